"""What is not installed is asked for in one sentence, wherever it is used."""

import ast
import functools
import sys
from pathlib import Path

import pytest

from bitlens.errors import DependencyError
from bitlens.system.optional import need

SOURCE = Path(__file__).parents[2] / "src" / "bitlens"
OPTIONAL = {"timm", "transformers", "tokenizers", "accelerate", "ray", "gradio", "quantus", "jinja2", "scipy", "pandas"}


def test_what_is_there_is_imported():
    assert need("json.decoder", "any") is sys.modules["json.decoder"]


def test_what_is_missing_is_asked_for(monkeypatch):
    with pytest.raises(DependencyError, match=r"'no_such_package': install it with  pip install 'bitlens\[cluster\]'$"):
        need("no_such_package.part", "cluster")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(DependencyError, match=r"'gradio'.*bitlens\[app\]"):
        need("gradio", "app")


def test_what_the_package_itself_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DependencyError, match="'not_there_either'"):
        need("needs_more", "app")


def test_an_installed_package_without_the_part_is_no_missing_package():
    with pytest.raises(ModuleNotFoundError, match=r"json\.nonsense") as raised:
        need("json.nonsense", "any")
    assert not isinstance(raised.value, DependencyError)


def required_packages():
    """The first names of what pyproject.toml requires of everybody, as they are imported."""
    text = (SOURCE.parents[1] / "pyproject.toml").read_text("utf-8")
    listed = text.partition("\ndependencies = [")[2].partition("]")[0]
    return {line.strip(' ",').split(">")[0].lower() for line in listed.splitlines() if line.strip()}


@functools.cache
def parsed(path):
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


@functools.cache
def guarded_by(room):
    """The packages that some file of a folder asks for with `need`."""
    return {
        str(call.args[0].value).partition(".")[0]
        for file in room.rglob("*.py")
        for call in parsed(file)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "need" and call.args
        if isinstance(call.args[0], ast.Constant)
    }


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_optional_packages_are_lazy_and_guarded(path):
    optional = OPTIONAL - required_packages()
    tree = parsed(path)[0]
    guarded = guarded_by(path.parent) if path.parent != SOURCE else set()
    typed = [n for node in tree.body if isinstance(node, ast.If) for n in ast.walk(node)]  # if TYPE_CHECKING
    used = [(node, name) for node in parsed(path) for name in imported(node) if name in optional]
    assert not [name for node, name in used if node in tree.body]
    assert {name for node, name in used if node not in typed} <= guarded


def imported(node):
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]
    elif isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
