"""Freed memory stays with the process once it is asked to, and comes back to use without new page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from bitlens.system.memory import keep_freed_memory

def faults():
    for _ in range(10):
        torch.ones(2**26 // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(2**26 // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
assert keep_freed_memory() is True
print(faults(), given_back)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library alone has the setting")
def test_freed_memory_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, given_back = map(int, done.stdout.split())
    assert kept < given_back / 4
