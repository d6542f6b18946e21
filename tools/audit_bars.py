"""Whether an audit can be repeated, and whether damage is seen: 100 maps verified by another process, 200 flipped bits.

    python tools/audit_bars.py --photos 25 --flips 200 --seed 0

Photos of the bundled scenes are explained by four methods and packed. Then another Python process, in another folder, with an
empty cache and nothing but the audit and the photos (called otherwise), verifies every map. Then single bits of the file are
flipped, each of which must be refused. Exit code 1 if anything fails.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bitlens.data.datasets import open_dataset
from bitlens.errors import DataError
from bitlens.reports.audit_file import opened_audit

_METHODS = "iba,readout,saliency,grad-cam"


def bitlens(home: Path, *words: str) -> Any:
    """Run a command in a process of its own, with a cache of its own."""
    environment = {**os.environ, "BITLENS_CACHE": str(home / "cache")}
    command = [sys.executable, "-m", "bitlens", *words, "--device", "cpu", "--json"]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def flipped(content: bytes, bit: int) -> bytes:
    """Flip one bit."""
    broken = bytearray(content)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


def is_refused(file: Path) -> bool:
    """Say whether a file is refused as an audit."""
    try:
        with opened_audit(file):
            return False
    except DataError:
        return True


def main() -> int:
    """Pack, verify, flip; see the top of this file."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--photos", type=int, default=25)
    asked.add_argument("--flips", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="bitlens-audit-") as place:
        here, there = Path(place, "here"), Path(place, "there")
        for home, stem in ((here, "photo"), (there, "other")):
            (home / "photos").mkdir(parents=True)
            for number in range(given.photos):
                open_dataset("builtin:scenes")[number].image.save(home / "photos" / f"{stem}-{number}.png")
        bitlens(here, "explain", "photos", "--model", "builtin/scenes", "--methods", _METHODS, "--out", "run")
        packed = bitlens(here, "audit", "run")
        file = there / "received.audit"
        Path(packed["file"]).rename(file)
        found = bitlens(there, "audit", "verify", "received.audit", "--data", "photos")
        for text in found["problems"]:
            print(f"DIFFERS {text}")
        print(f"{found['verified_maps']} of {found['maps']} maps verified")
        print(f"the largest difference is {found['largest']:.2%} of what is tolerated")
        content, chance = file.read_bytes(), random.Random(given.seed)
        bits = [chance.randrange(8 * len(content)) for _ in range(given.flips)]
        missed = [bit for bit in bits if not (file.write_bytes(flipped(content, bit)) and is_refused(file))]
        print(f"{given.flips - len(missed)} of {given.flips} flipped bits found in {len(content):,} bytes")
    return 0 if found["good"] and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
