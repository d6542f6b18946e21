"""The names that other things rely on, and how fast they come."""

import subprocess
import sys
import time

import pytest

import bitlens


def test_every_public_name_exists():
    for name in bitlens.__all__:
        assert getattr(bitlens, name) is not None
    assert set(bitlens.__all__) <= set(dir(bitlens))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bitlens.nonsense


def test_import_is_light():
    code = "import sys, bitlens; assert 'torch' not in sys.modules; bitlens.IBA; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import bitlens"], check=True)
    assert time.perf_counter() - begun < 1.0
