"""Kill commands at random moments, let them go on, and compare what they leave with what an undisturbed run leaves.

    python tools/crash.py --count 100 --seed 0 [--only evaluate,roar] [--power]

Every command runs once undisturbed. Then it is killed (SIGKILL) again and again, each time at a random moment of the time that
it took, until it comes to its end: the same files must be there then, with the same tensors, numbers and tables, no row lost
or doubled, and no file half-written left. With --power a kill is a power cut: whatever was not synced is lost, too. Exit
code 1 if anything differs.
"""

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

# Commands are copies of this process: a thread that it had started would be missing in them, and waited for without end.
os.environ["OMP_NUM_THREADS"] = "1"

import pyarrow.parquet as pq
from safetensors import safe_open

from bitlens import cli
from bitlens.data.datasets import open_dataset
from bitlens.models.load import load_model
from crash_disk import Disk, cut_power

_PHOTOS = 10
_SCENES = "--model builtin/scenes --device cpu"
COMMANDS = {
    "evaluate": f"evaluate {_SCENES} --data builtin:scenes --methods iba:quality=fast,saliency --metrics degradation-14,bbox "
    "--limit 5 --keep-maps --statistics-count 40 --out home/out",
    "explain": f"explain photos {_SCENES} --methods iba,saliency --quality fast --report --statistics-count 40 "
    "--statistics-from folder:photos --out home/out",
    "statistics": f"statistics {_SCENES} --data builtin:scenes-train --count 200 --out home/out/s.safetensors",
    "text-evaluate": "text evaluate --model builtin/reviews --device cpu --data builtin:reviews --methods iba,saliency --limit 6 "
    "--out home/out",
    "roar": "roar --device cpu --data builtin:scenes-train --methods random,saliency --size 16 --limit 60 --rates 0.3,0.6 "
    "--seeds 2 --epochs 2 --width 4 --out home/out",
    "readout-train": f"readout train {_SCENES} --data folder:photos --epochs 8 --batch 4 --out home/out/r.safetensors",
}
_TIMES = {"seconds", "map_seconds", "metric_seconds", "peak_memory", "memory"}


def run(command: Sequence[str], seconds: float | None, disk: Disk | None = None) -> int | None:
    """Run a command in a process of its own; killed after so many seconds.

    Returns:
        Its exit code; None if it was killed.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if disk is not None:
                disk.install()
            code = _main(command)
        finally:
            os._exit(code)
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None if os.waitstatus_to_exitcode(status) == -signal.SIGKILL else os.waitstatus_to_exitcode(status)


def _main(command: Sequence[str]) -> int:
    sys.argv = ["bitlens", *command]
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        try:
            cli.main()
        except SystemExit as ended:
            if not ended.code:
                return 0
        except BaseException:
            traceback.print_exc()
    sys.__stderr__.write(told.getvalue()) if sys.__stderr__ is not None else None
    return 1


def contents(home: Path) -> dict[str, str]:
    """What a folder holds, by name; rows of all files of a folder together, without the times that they took."""
    held: dict[str, str] = {}
    rows: dict[str, list[str]] = {}
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = str(path.relative_to(home))
        if path.suffix == ".parquet":
            found = pq.read_table(path).to_pylist()
            plain = [{key: value for key, value in row.items() if key not in _TIMES} for row in found]
            rows.setdefault(str(path.parent.relative_to(home)), []).extend(map(repr, plain))
        else:
            held[name] = hashlib.sha256(_plain(path)).hexdigest()
    return held | {
        f"{name}/rows": hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest() for name, own in rows.items()
    }


def _plain(path: Path) -> bytes:
    """What a file holds, without the times that were taken, and whatever order its parts are in."""
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            words = {name: _parsed(text) for name, text in (file.metadata() or {}).items() if name != "sha256"}
            arrays = [(name, file.get_tensor(name)) for name in sorted(file.keys())]
        held = b"".join(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes() for name, array in arrays)
        return json.dumps(_untimed(words), sort_keys=True).encode() + held
    if path.suffix not in (".json", ".jsonl"):
        return path.read_bytes()
    parts = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    return json.dumps([_untimed(json.loads(part)) for part in parts], sort_keys=True).encode()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untimed(one) for name, one in value.items() if name not in _TIMES}
    return [_untimed(one) for one in value] if isinstance(value, list) else value


def crash(name: str, kills: int, seed: int, *, power: bool = False) -> tuple[int, list[str]]:
    """Kill a command so many times, in the folder that this process works in.

    Returns:
        How often it was killed, and what then was not as it should be.
    """
    chance, home, kept, command = (
        random.Random(f"{seed} {name}"),
        Path("home").absolute(),
        Path("kept").absolute(),
        COMMANDS[name].split(),
    )
    _clear()
    began = time.monotonic()
    if run(command, None) != 0:
        return 0, [f"{name}: it fails undisturbed"]
    took, wanted = time.monotonic() - began, contents(home)
    killed, wrong = 0, list[str]()
    while killed < kills and not wrong:
        _clear()
        for round_ in range(min(chance.randint(1, 4), kills - killed)):
            disk = Disk(home, kept, seed=chance.randrange(2**31)) if power else None
            ended = run(command, chance.random() * took, disk)
            if ended is not None and ended != 0:
                wrong.append(f"{name}: after {killed} kills (round {round_}) it ended with {ended}")
            killed += ended is None
            if power:
                cut_power(home, kept)
        if run(command, None) != 0:
            wrong.append(f"{name}: after {killed} kills it does not go on")
        wrong += [f"{name}: after {killed} kills {text}" for text in differences(wanted, contents(home))]
    return killed, wrong


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """Say what of a folder is missing, left over, or other than it should be."""
    return [
        *(f"{name} is missing" for name in sorted(wanted.keys() - found.keys())),
        *(f"{name} is left over" for name in sorted(found.keys() - wanted.keys())),
        *(f"{name} differs" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]),
    ]


def _clear() -> None:
    for name in ("home", "kept", "kept.synced"):
        shutil.rmtree(name, ignore_errors=True)


def prepare() -> None:
    """Make the photos that commands read, and load what they share, so that kills meet their work and not their start."""
    os.environ["BITLENS_CACHE"] = str(Path("home/cache").absolute())
    Path("photos").mkdir()
    samples = open_dataset("builtin:scenes-train")
    for number in range(_PHOTOS):
        samples[number].image.save(f"photos/{number}.png")
    load_model("builtin/scenes")
    load_model("builtin/reviews", kind="text")


def main() -> int:
    """Kill and compare; see the top of this file."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--count", type=int, default=100, help="kills, of all commands together")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", default=",".join(COMMANDS))
    asked.add_argument("--power", action="store_true", help="each kill is a power cut")
    given = asked.parse_args()
    names, total, wrong = given.only.split(","), 0, list[str]()
    with tempfile.TemporaryDirectory(prefix="bitlens-crash-") as place:
        os.chdir(place)
        prepare()
        for number, name in enumerate(names):
            share = given.count // len(names) + (number < given.count % len(names))
            began = time.monotonic()
            killed, found = crash(name, share, given.seed, power=given.power)
            total, wrong = total + killed, wrong + found
            print(f"{name}: {killed} kills, {len(found)} differences, {time.monotonic() - began:.0f} s", flush=True)
        os.chdir("/")
    for text in wrong:
        print(f"WRONG {text}")
    print(f"{total} kills of {len(names)} commands, {len(wrong)} differences (seed {given.seed})")
    return 1 if wrong or total < given.count else 0


if __name__ == "__main__":
    sys.exit(main())
