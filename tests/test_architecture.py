"""A file imports only what stands before it: one direction, no way back (design: the way of the data)."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "bitlens"
ORDER = [
    {"version", "errors", "extras", "allocator", "py"},
    {"console", "files", "inputs", "layout", "data", "workers"},
    {"probe"},
    {"gaussian", "masks", "maps", "noise", "targets"},
    {"statistics"},
    {"attribution", "engine", "view"},
    {"fitting", "training"},
    {"bottlenecks", "baselines"},
    {"metrics"},
    {"models"},
    {"methods", "cache", "adapters"},
    {"photos", "evaluation", "text", "text_cache", "layer_pages"},
    {"pictures"},
    {"pictures_on_workers"},
    {"app", "demo", "reports"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bitlens."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("bitlens."))


def test_imports_point_one_way():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 20
    wrong = [
        f"{path.relative_to(SOURCE)} imports {room}"
        for path in files
        for room in imported_rooms(path)
        if LEVEL[room] > LEVEL[room_of(path)]
    ]
    assert not wrong


def test_only_the_probe_reaches_into_modules():
    """Hooks, patched forwards and requires_grad of a user's network are the probe's alone."""
    words = ("register_forward", "register_full_backward", "requires_grad_(False)", '__dict__["forward"]')
    outside = [p for p in SOURCE.rglob("*.py") if room_of(p) not in ("probe", "models")]
    assert not [(p.name, word) for p in outside for word in words if word in p.read_text("utf-8")]
