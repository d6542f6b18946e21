"""What all tests share: fixed seeds, the way to the real data, a tiny network, the command line."""

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from bitlens.cli import main
from bitlens.system.console import answers, messages
from bitlens.workers import open_workers
from drawn_scenes import drawn_once
from ray_cluster import started_ray
from small_evaluation import make_home


def pytest_configure() -> None:
    """Print for a wide terminal: processes that run tests side by side believe that theirs has 80 columns."""
    for console in (answers, messages):
        console.width = 200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, visibly, what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _a_cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what methods learn out of the user's cache, and what lies there out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _scenes_are_drawn_once() -> Iterator[None]:
    with drawn_once():
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real photos and sentences; tests that want them are skipped where BITLENS_DATA does not say where they are."""
    folder = os.environ.get("BITLENS_DATA")
    if not folder:
        pytest.skip("set BITLENS_DATA to the folder of the real data to run this test")
    return Path(folder)


@pytest.fixture
def tiny_cnn() -> nn.Sequential:
    """Four convolutions for 16x16 images in three classes, with in-place ReLUs as VGG has them."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


@dataclass
class Done:
    """What a command wrote."""

    stdout: str
    stderr: str


@pytest.fixture
def bitlens(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() sets its own

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["bitlens", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:  # noqa: PT012
            warnings.simplefilter("default")
            main()
            sys.exit(0)
        done = Done(*capsys.readouterr())
        assert (ended.value.code or 0) == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def two_workers():
    """A Ray cluster on this machine with two workers of one core each, started once for all tests that need it."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    with started_ray(cores=2), open_workers("ray", 2, "cpu") as workers:
        yield workers


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos for evaluations, with a cache of its own."""
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    return make_home(tmp_path)
