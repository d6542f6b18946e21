"""Work in other processes: order, slow items, items that fail or kill, answers that nobody takes."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bitlens.errors import BitlensWarning, ClusterError, SettingError
from bitlens.workers import Lost, open_workers, share_out


@pytest.fixture(scope="module")
def workers(two_workers):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nobody can import a test
    return two_workers


def squares(_device):
    return lambda item: item**2


def logging_work(log, action, _device):
    """Writes one line for each item that is begun; then does what `action` says."""

    def work(item):
        with Path(log).open("a") as file:
            file.write(f"{item} {os.getpid()}\n")
        return action(item)

    return work


def begun(log):
    return [tuple(map(int, line.split())) for line in Path(log).read_text().splitlines()]


@pytest.mark.slow
def test_answers_in_order_and_warnings_are_heard(workers):
    def slow_first(_device):
        import warnings

        def work(item):
            time.sleep(0.5 if item == 0 else 0)
            warnings.warn(f"item {item}", BitlensWarning, stacklevel=1)
            return item**2

        return work

    with pytest.warns(BitlensWarning, match="item"):
        found = list(workers.carry_out(slow_first, range(70), in_order=True))
    assert found == [(i, i**2) for i in range(70)]


@pytest.mark.slow
def test_a_slow_item_does_not_hold_the_rest(workers, tmp_path):
    """The first item ends when all others but those of its batch have been answered, or never."""
    log = tmp_path / "log"

    def first_waits(item):
        deadline = time.monotonic() + 120
        while item == 0 and len(log.read_text().splitlines()) < 40:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return item

    positions = [position for position, _ in workers.carry_out(partial(logging_work, log, first_waits), range(40))]
    assert sorted(positions) == list(range(40))
    assert positions.index(0) >= 30


@pytest.mark.slow
def test_killed_workers_are_replaced_and_an_item_that_kills_is_given_up_alone(workers, tmp_path):
    """One worker is killed from outside; the thirtieth item kills its own twice, and then fills the memory."""
    log, done = tmp_path / "log", {}

    def work(item):
        if item == 30:
            if log.read_text().count("30 ") == 3:
                raise MemoryError
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return item

    for position, answer in workers.carry_out(partial(logging_work, log, work), range(40)):
        done[position] = answer
        if len(done) == 4:
            os.kill(begun(log)[-1][1], signal.SIGKILL)
    assert done.pop(30) == Lost(3)
    assert done == {i: i for i in range(40) if i != 30}
    counts = Counter(item for item, _ in begun(log))
    assert counts.pop(30) == 3
    assert sum(counts.values()) <= 39 + 2
    assert len({pid for _, pid in begun(log)}) >= 5


@pytest.mark.slow
def test_where_every_item_kills_the_run_stops(workers):
    one = replace(workers, count=1)
    with pytest.raises(ClusterError, match="the first 2 samples each ended 3 worker processes"):
        list(one.carry_out(lambda _device: lambda _item: os._exit(1), range(50)))


@pytest.mark.slow
def test_what_a_worker_raises_is_raised_here(workers):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(workers.carry_out(lambda _device: lambda item: 1 / item, range(3)))
    with pytest.raises(ClusterError, match=r"there is no nowhere on .*same place on every machine"):
        list(workers.carry_out(squares, range(3), places=[Path("nowhere")]))


@pytest.mark.slow
def test_answers_that_nobody_takes_hold_the_workers_up(workers, tmp_path):
    """Memory is bounded: 200 answers of 4 MiB do not fit the store of 256 MiB."""
    log = tmp_path / "log"
    answers = workers.carry_out(partial(logging_work, log, lambda _: bytes(4 * 2**20)), range(200))
    next(answers)
    time.sleep(4)
    ahead = len(begun(log))
    assert ahead < 100
    assert sum(1 for _ in answers) == 199


@pytest.mark.slow
def test_workers_are_free_after_an_answer_was_enough(workers):
    answers = workers.carry_out(squares, range(100))
    next(answers)
    answers.close()
    assert dict(workers.carry_out(squares, range(10))) == {i: i**2 for i in range(10)}


@pytest.mark.parametrize(
    ("machines", "count", "device", "expected"),
    [
        ([{"CPU": 2}], None, "auto", (1, 2, "cpu")),
        ([{"CPU": 16}], None, "auto", (4, 4, "cpu")),
        ([{"CPU": 2}], 2, "auto", (2, 1, "cpu")),
        ([{"CPU": 7}, {"CPU": 3}], 3, "cpu", (3, 3, "cpu")),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 8, "GPU": 4}, {"CPU": 64}], None, "auto", (8, 2, "cuda")),
        ([{"CPU": 16, "GPU": 4}], 2, "auto", (2, 4, "cuda")),
        ([{"CPU": 16, "GPU": 4}], None, "cpu", (4, 4, "cpu")),
        ([{"GPU": 2}], None, "auto", (2, 0, "cuda")),
    ],
)
def test_how_machines_become_workers(machines, count, device, expected):
    assert share_out(machines, count, device) == expected


@pytest.mark.parametrize(
    ("machines", "count", "device", "words"),
    [
        ([{"CPU": 2}], 3, "auto", "--workers 3: the cluster has 2 cores"),
        ([{"CPU": 8, "GPU": 1}], 2, "auto", "--workers 2: the cluster has 1 GPU,"),
        ([{"CPU": 8}], None, "cuda", "the cluster has 0 GPUs"),
        ([{}], None, "cpu", "the cluster has 0 cores"),
    ],
)
def test_more_workers_than_there_is_room_for(machines, count, device, words):
    with pytest.raises(SettingError, match=words):
        share_out(machines, count, device)


@pytest.mark.parametrize("address", ["spark", "10.0.0.1:6379", ""])
def test_other_addresses_are_refused(address):
    with pytest.raises(SettingError, match="expected ray"), open_workers(address):
        pass


WITHOUT = """
import sys
sys.modules["ray"] = sys.modules["ray.data"] = None
from bitlens.workers import open_workers
with open_workers("ray"):
    pass
"""


def test_without_ray_one_sentence_says_how_to_install_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert (
        "DependencyError: this needs the package 'ray': install it with  pip install 'bitlens[cluster]'" in done.stderr
    )
