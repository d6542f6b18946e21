"""The same evaluation on a Ray cluster: the same table, whoever dies on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.datasets import open_dataset
from bitlens.errors import BitlensWarning, ClusterError, DataError
from bitlens.evaluation.on_workers import evaluates_on
from bitlens.evaluation.run import carry_out, find_tasks, select_samples
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import build_table
from bitlens.methods.lessons import collect_here
from bitlens.methods.on_workers import summarises_on
from bitlens.models.load import load_model
from small_evaluation import NETWORK, context_for

FAST = "bbox,degradation-8:points=5"
LOGGED = (
    NETWORK
    + """
import json
import os

class Logged(nn.Sequential):
    def forward(self, x):
        with open(os.path.join({home!r}, "pids"), "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        return super().forward(x)

def logged():
    model, prepare = build()
    return Logged(*model), prepare
"""
)


@pytest.fixture(autouse=True)
def _one_thread():
    """As the workers have: sums are rounded alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(context, folder, engine=None, limit=None, **options):
    tasks = find_tasks(context, folder, select_samples(len(context.samples), (1, 1), limit))
    carry_out(context, folder, tasks, engine=engine, every_seconds=0, **options)
    return len(tasks)


def same_tables(one, other):
    """To the last digit: each sample is computed alone, on one thread."""
    first, second = (json.dumps(build_table(folder).plain()) for folder in (one, other))
    return first == second


@pytest.mark.slow
def test_the_same_table_though_a_photo_is_broken_and_a_worker_killed(home, two_workers):
    (home / "logged.py").write_text(LOGGED.format(home=str(home)))
    contexts = {
        name: context_for(home, "gradient,iba", FAST, name, model=f"{home / 'logged.py'}:logged")
        for name in ("here", "there")
    }
    (home / "photos" / "5.png").write_bytes(b"no photo")
    run(contexts["here"], home / "here")
    (home / "pids").write_text("")
    arrived = []

    def kill_one():
        arrived.append(1)
        if len(arrived) == 2:
            os.kill(int((home / "pids").read_text().split()[-1]), signal.SIGKILL)

    run(contexts["there"], home / "there", evaluates_on(two_workers), advance=kill_one)
    assert len(arrived) == 8
    pids = set((home / "pids").read_text().split()) - {str(os.getpid())}
    assert len(pids) >= 3
    assert same_tables(home / "here", home / "there")
    assert {cell.failures for cell in build_table(home / "there").cells.values()} == {1}


DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from small_evaluation import context_for
from bitlens.evaluation.on_workers import evaluates_on
from bitlens.evaluation.run import carry_out, find_tasks, select_samples
from bitlens.workers import open_workers
home = Path(sys.argv[2])
context = context_for(home, "gradient", "bbox,insertion:points=40")
with open_workers("ray", 2, "cpu") as workers:
    tasks = find_tasks(context, home / "out", select_samples(40))
    carry_out(context, home / "out", tasks, engine=evaluates_on(workers), every_seconds=0)
"""


@pytest.mark.slow
def test_a_run_begins_on_a_laptop_dies_on_a_cluster_and_ends_elsewhere(home, two_workers):
    import ray

    from small_evaluation import write_photos, write_table

    write_photos(home / "photos", 40)
    write_table(home, 40)
    context = partial(context_for, home, "gradient", "bbox,insertion:points=40")
    assert run(context(), home / "out", limit=4) == 4
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parents[1]), str(home)]
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address, "OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while len(list((home / "out" / "rows").glob("[!.]*"))) < 8 and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL, driver.stderr.read().decode()
    left = run(context(), home / "out", evaluates_on(two_workers), limit=30)
    assert 0 < left <= 23
    assert run(context(), home / "out") == 10
    run(context("whole"), home / "whole")
    assert same_tables(home / "out", home / "whole")
    files = list((home / "out" / "rows").glob("[!.]*"))
    assert sum(len(part) for part in RowStore(home / "out" / "rows")._parts(["index"])) == 80
    assert len(files) >= 12


@pytest.mark.slow
def test_statistics_are_those_of_one_process(home, two_workers, monkeypatch):
    monkeypatch.setattr("bitlens.methods.on_workers._CHUNK", 3)
    (home / "photos" / "5.png").write_bytes(b"no photo")
    loaded = load_model(f"{home / 'net.py'}:build")
    samples, iba = open_dataset(f"csv:{home / 'table.csv'}"), IBA(loaded.model, "0")
    found, seen = [], []
    for collect in (collect_here, summarises_on(two_workers)):
        with pytest.warns(BitlensWarning, match=r"skipped.*5\.png"):
            found.append(collect(iba, samples, loaded.preprocess, "element", seen.append))
    here, there = found
    assert here.samples == there.samples == 7
    assert seen[-1] == 8
    for name in ("mean", "squares", "nonzero"):
        torch.testing.assert_close(getattr(there, name), getattr(here, name), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_photos_that_are_not_on_the_cluster_are_told_at_once(home, two_workers):
    context = context_for(home, "gradient", "bbox")
    tasks = find_tasks(context, home / "out", [0, 1, 2])
    shutil.move(home / "table.csv", home / "elsewhere.csv")
    with pytest.raises(ClusterError, match=r"there is no .*table\.csv on"):
        carry_out(context, home / "out", tasks, engine=evaluates_on(two_workers))
    assert not RowStore(home / "out" / "rows").series()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills(home, small_disk):
    """One sentence, no half-written file, and with more room the run goes on to the same table."""
    context = partial(context_for, home, "gradient,random", "bbox,degradation-8:points=20")
    out = small_disk / "out"
    with pytest.raises(
        DataError, match=r"cannot write .*\.parquet: No space left on device: make room and run it again"
    ):
        run(context(), out)
    known = RowStore(out / "rows").series()["gradient", "bbox"]
    assert 0 < len(known.index) < 8
    assert not list((out / "rows").glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    assert run(context(), out) == 8 - len(known.index)
    run(context("whole"), home / "whole")
    assert same_tables(out, home / "whole")


LOCAL = """
import sys
from bitlens.cli import main
sys.argv[1:] = ["evaluate", "--model", "net.py:build", "--data", "csv:table.csv", "--layer", "0", "--methods", "iba",
                "--metrics", "bbox", "--limit", "2", "--out", "out"]
try:
    main()
except SystemExit as end:
    assert not end.code
assert not [name for name in sys.modules if name.partition(".")[0] == "ray"]
print("without")
"""


def test_a_local_run_does_not_import_ray(home):
    environment = {**os.environ, "BITLENS_CACHE": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LOCAL], capture_output=True, text=True, cwd=home, env=environment, check=False
    )
    assert done.stdout.endswith("without\n"), done.stderr
