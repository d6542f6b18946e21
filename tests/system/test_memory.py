"""Freed memory stays with the process once it is asked to, and comes back to use without new page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from bitlens.system.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory() is True
for _ in range(30):
    torch.ones(2**26 // 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**26 // 4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library alone has the setting")
def test_freed_memory_is_used_again() -> None:
    def faults(choice: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, choice], capture_output=True, text=True, check=True)
        return int(done.stdout)

    kept, given_back = faults("keep"), faults("as usual")
    assert kept < given_back / 4
