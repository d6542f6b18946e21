"""The wheel: it builds, installs where nothing but its own dependencies is, and says what is missing for the rest."""

import ast
import json
import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from PIL import Image

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command, cwd, code=0):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("bitlens-*.whl")
    return built


def metadata_of(wheel):
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def required(requirements):
    """The distributions that requirements bring, by name, with all that those need."""
    found: dict[str, metadata.Distribution] = {}
    seen = set()
    waiting = [(Requirement(text), {""}) for text in requirements]
    while waiting:
        one, asked = waiting.pop()
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in asked):
            continue
        if (one.name, frozenset(one.extras)) not in seen:
            seen.add((one.name, frozenset(one.extras)))
            found[one.name] = metadata.distribution(one.name)
            waiting += [(Requirement(text), one.extras or {""}) for text in found[one.name].requires or ()]
    return found


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory):
    """The folder of a fresh environment with the wheel in it.

    Its dependencies, and theirs, are links to what is installed here: that saves gigabytes, and what is not among them is
    not seen. pip checks that none is missing.
    """
    home = tmp_path_factory.mktemp("empty")
    listed = [line.partition(": ")[2] for line in metadata_of(wheel).splitlines() if line.startswith("Requires-Dist: ")]
    core = home / "core"
    core.mkdir()
    for distribution in required(listed).values():
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__", "bin"}:
            place = Path(str(distribution.locate_file(top)))
            if place.exists() and not (core / top).exists():
                (core / top).symlink_to(place)
    venv.create(home / "env", with_pip=True)
    (packages,) = (home / "env").glob("lib/python*/site-packages")
    (packages / "core.pth").write_text(f"{core}\n")
    pip = (home / "env/bin/python", "-m", "pip")
    run(*pip, "uninstall", "--quiet", "--yes", "setuptools", cwd=home)  # of the venv module, and too old for PyTorch
    run(*pip, "install", "--quiet", "--no-index", wheel, cwd=home)
    return home


def test_everything_is_in_the_wheel(wheel):
    assert wheel.stat().st_size < 8_000_000
    packed = set(ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {str(path.relative_to(source)) for path in (source / "bitlens").rglob("*") if path.is_file()}
    assert {name for name in wanted if "__pycache__" not in name} <= packed
    assert "bitlens/py.typed" in packed
    assert not [name for name in packed if name.startswith(("tests", "docs"))]


def test_the_demo_and_its_report_run_without_any_extra(empty):
    bitlens = empty / "env/bin/bitlens"
    run(bitlens, "demo", "--scenes", "2", "--out", "demo", "--device", "cpu", cwd=empty)
    assert (empty / "demo" / "sheet.png").stat().st_size > 10_000
    done = run(bitlens, "report", "demo", "--out", "report.html", "--json", cwd=empty)
    found = json.loads(done.stdout)
    assert (found["photos"], found["problems"]) == (2, [])
    home = run(empty / "env/bin/python", "-c", "import bitlens; print(bitlens.__file__)", cwd=empty).stdout
    assert home.startswith(str(empty))


@pytest.mark.parametrize(("model", "extra"), [("timm/resnet18@random", "timm"), ("hf/some/thing", "text")])
def test_a_command_that_needs_an_extra_says_which_in_one_line(empty, model, extra):
    Image.new("RGB", (64, 64), "red").save(empty / "photo.png")
    done = run(
        empty / "env/bin/bitlens", "explain", "photo.png", "--model", model, "--method", "saliency", cwd=empty, code=1
    )
    (line,) = done.stderr.strip().splitlines()
    assert f"pip install 'bitlens[{extra}]'" in line


def test_everything_that_is_asked_for_by_name_is_an_extra_of_the_wheel(empty, wheel):
    pairs = {
        tuple(argument.value for argument in call.args)
        for path in (ROOT / "src" / "bitlens").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "need"
        if all(isinstance(argument, ast.Constant) for argument in call.args)
    }
    assert {"timm", "transformers"} <= {module for module, _ in pairs}
    offered = {line.partition(": ")[2] for line in metadata_of(wheel).splitlines() if line.startswith("Provides-Extra")}
    assert {extra for _, extra in pairs} <= offered
    code = f"""
from bitlens.errors import DependencyError
from bitlens.system.optional import need
for module, extra in {sorted(pairs)!r}:
    try:
        need(module, extra)
    except DependencyError as error:
        print(module, f"pip install 'bitlens[{{extra}}]'" in str(error))
"""
    said = run(empty / "env/bin/python", "-c", code, cwd=empty).stdout.splitlines()
    assert sorted(said) == sorted(f"{module} True" for module, _ in pairs)
