"""The house: files import one way, rooms import one way, the core needs nothing, and only the probe touches a network."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "bitlens"
DRAWING = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text("utf-8").split("```")[1]
"""The rooms in rows: each imports only from rows below its own. The package's own `__init__` names them all."""

ROWS = [row[:28].split() for row in reversed(DRAWING.strip().splitlines())]
LOOSE = {"__init__", "__main__", "errors", "version"}
FILES = {path: ".".join(("bitlens", *path.relative_to(SOURCE).with_suffix("").parts)) for path in SOURCE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for path, name in FILES.items()}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path):
    """Names of modules that a file imports, wherever in it; `from package import name` is the name where that is a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def own_imports(path):
    """The files of the package that a file imports."""
    return {MODULES[name] for name in imports(path) if name in MODULES} - {path}


def test_the_graph_of_files_has_no_circle():
    assert len(FILES) > 100
    graph = {path: own_imports(path) for path in FILES if room_of(path) not in ("__init__", "__main__")}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = " -> ".join(FILES[path] for path in error.args[1])
        raise AssertionError(f"these files import each other: {names}") from None


def test_rooms_import_one_way():
    level = {room: number for number, row in enumerate(ROWS) for room in row}
    files = [path for path in FILES if room_of(path) not in ("__init__", "__main__")]
    wrong = [
        f"{FILES[path]} imports {FILES[other]}"
        for path in files
        for other in own_imports(path)
        if room_of(path) != room_of(other) and level[room_of(other)] >= level[room_of(path)]
    ]
    assert not wrong


def test_the_core_needs_nothing_but_tensors():
    """Torch, NumPy and Python itself; and the one way into files, for what people save."""
    allowed = {"bitlens.core", "bitlens.errors", "bitlens.system.files"}
    for path in (SOURCE / "core").glob("*.py"):
        for name in imports(path):
            top = name.partition(".")[0]
            own = top == "bitlens" and any(name == known or name.startswith(f"{known}.") for known in allowed)
            assert own or top in ("torch", "numpy") or top in sys.stdlib_module_names, f"{FILES[path]} imports {name}"


def test_every_room_is_drawn_once_and_nothing_lies_loose():
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {path.stem for path in SOURCE.glob("*.py")} == LOOSE
    assert sorted(room for row in ROWS for room in row) == sorted(rooms | LOOSE - {"__init__", "__main__"})


def test_only_the_probe_reaches_into_modules():
    """Hooks, patched forwards and requires_grad of a user's network are the probe's alone."""
    words = ("register_forward", "register_full_backward", "requires_grad_(False)", '__dict__["forward"]')
    outside = [path for path in FILES if room_of(path) not in ("probe", "models")]
    assert not [(FILES[path], word) for path in outside for word in words if word in path.read_text("utf-8")]
