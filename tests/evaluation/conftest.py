"""A home for evaluations, with a cache of its own."""

from pathlib import Path

import pytest

from small_evaluation import make_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    return make_home(tmp_path)
