"""Build bitlens with the oldest versions that pyproject.toml allows, or the newest there are, and see whether it works.

    python tools/versions.py oldest     # on Python 3.10
    python tools/versions.py newest     # on the newest Python there is, 3.13 at least

Makes an environment of its own, installs, runs the demo, and the fast tests of the rooms that need nothing but the core. Where
that Python is missing it says so and ends well: SKIPPED.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from needed import ROOT, needed

PYTHONS = {"oldest": ("3.10",), "newest": ("3.15", "3.14", "3.13")}
_TESTS = ("tests/core", "tests/system", "tests/probe")  # not golden: its numbers are of the versions of constraints.txt


def python_of(version: str) -> str | None:
    """Find a Python of a version that runs: on the path, or one of pyenv's."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    for found in (shutil.which(f"python{version}"), *map(str, kept)):
        if found and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0:
            return found
    return None


def oldest_pins(names: list[str]) -> Iterator[str]:
    """`torch>=2.4` as `torch==2.4.*`: the oldest series, whose last repair will do."""
    for name in names:
        plain = re.match(r"([\w.-]+)>=([\d.]+)$", name.partition(";")[0].strip())
        if plain is None:
            raise SystemExit(f"{name!r} does not say which version is the oldest")
        yield f"{plain[1]}=={plain[2]}.*"


def run(*command: str, folder: Path = ROOT) -> None:
    """Run a command, shown, with nothing but what is installed; ends this program if it fails."""
    print("$", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"FAILED: {' '.join(command)}")


def main() -> int:
    """Install and test; see the top of this file."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("which", choices=PYTHONS)
    which = asked.parse_args().which
    python = next((found for version in PYTHONS[which] if (found := python_of(version)) is not None), None)
    if python is None:
        print(f"SKIPPED: there is no Python {' or '.join(PYTHONS[which])} on this machine; test-{which} was not run")
        return 0
    with tempfile.TemporaryDirectory(prefix=f"bitlens-{which}-") as place:
        own = f"{place}/env/bin/python"
        run(python, "-m", "venv", f"{place}/env")
        install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = list(oldest_pins(needed()["core"])) if which == "oldest" else needed()["core"]
        run(*install, *wanted, "pytest>=8", "hatchling>=1.24")
        run(*install, "--no-deps", "--no-build-isolation", str(ROOT))
        run(
            own,
            "-c",
            "import sys, torch, bitlens; print(sys.version, torch.__version__, bitlens.__file__)",
            folder=Path(place),
        )
        run(own, "-m", "bitlens", "demo", folder=Path(place))
        run(own, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *_TESTS)
    print(f"test-{which}: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
