"""The versions that were tested, for those who want exactly these; and whose licences they have."""

import re
import subprocess
import sys
from pathlib import Path

from licences import licences
from needed import needed
from versions import oldest_pins

ROOT = Path(__file__).parents[1]
LOCKED = (ROOT / "requirements.txt").read_text("utf-8")
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8")


def pins(text):
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\\n]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_locked_versions_are_the_tested_ones():
    locked, tested = pins(LOCKED), pins(CONSTRAINTS)
    assert len(locked) > 100
    assert {name: version for name, version in locked.items() if name in tested} == tested
    assert set(locked) - set(tested) <= {"setuptools"}


def test_every_version_has_hashes_and_none_an_address():
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", LOCKED, flags=re.MULTILINE).strip())
    assert len(entries) == len(pins(LOCKED))
    for entry in entries:
        assert re.fullmatch(r"\S+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", entry), entry[:200]
    for word in ("://", "--index", "--find-links", "file:", " @ "):
        assert word not in LOCKED


def test_the_oldest_versions_are_told_by_the_project_itself():
    found = dict(pin.split("==") for pin in oldest_pins(needed()["core"]))
    assert found["torch"] == "2.4.*"
    assert len(found) > 10


def test_a_missing_python_is_said_and_not_hidden(tmp_path):
    code = "import sys, versions as t; t.PYTHONS['oldest'] = ('2.99',); sys.argv = ['x', 'oldest']; sys.exit(t.main())"
    path = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SKIPPED: there is no Python 2.99")


def test_what_the_core_needs_has_a_permissive_licence():
    found = {one.name: one for one in licences()}
    core = [one for one in found.values() if one.needed_by == "core"]
    assert {"torch", "numpy", "scipy", "pillow", "typer"} <= {one.name for one in core}
    assert not [one for one in core if one.version and not (one.permissive or one.excepted)]
    assert found["gradio"].needed_by == "app"
