"""A network from the user's own Python file, `FILE.py:CALLABLE`: the only thing that is run as code, and it says so."""

import ast
import difflib
import importlib.util
import sys
import traceback
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bitlens.errors import ModelError


def call_user_file(file: Path, attribute: str) -> Any:
    """Run a file as a module of its own (`sys.path` stays as it is), and give what its callable returns.

    Raises:
        ModelError: the file is missing or fails, defines no such callable, or that fails; says in which line.
    """
    build = getattr(_imported(file), attribute, None)
    if not callable(build):
        raise ModelError(f"{file} defines no callable {attribute!r}: expected FILE.py:CALLABLE")
    try:
        return build()
    except (Exception, SystemExit) as error:  # the user's own code
        raise ModelError(f"{file}:{attribute} failed: {_where(error)}") from error


def check_user_file(file: Path, attribute: str) -> None:
    """Refuse a file that cannot be read as Python, or does not name such a callable; nothing of it is run.

    Raises:
        ModelError: if that is so.
    """
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    names = names_in(file)
    if attribute not in names and "*" not in names:
        close = difflib.get_close_matches(attribute, names, n=1, cutoff=0.4) or names[:1]
        hint = f"did you mean {file}:{close[0]}?" if close else "expected FILE.py:CALLABLE"
        raise ModelError(f"{file} defines no callable {attribute!r}: {hint}")


def names_in(file: Path) -> list[str]:
    """Return the names that a file of Python gives to functions, classes and values, functions first; * for all of another's.

    Raises:
        ModelError: if it is no Python.
    """
    try:
        tree = ast.parse(file.read_bytes()) if file.is_file() else ast.Module([], [])
    except (SyntaxError, ValueError) as error:
        line = f" ({file.name}, line {error.lineno})" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ModelError(f"cannot import {file}: {type(error).__name__}: {reason}{line}") from error
    functions: list[str] = []
    others: list[str] = []
    for node in _outside_functions(tree):
        if isinstance(node, ast.FunctionDef):
            functions.append(node.name)
        elif isinstance(node, ast.ClassDef):
            others.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            others.append(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            others += [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    return [*functions, *others]


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what a file does when it is imported."""
    for inner in ast.iter_child_nodes(node):
        yield inner
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _outside_functions(inner)


def types_of(value: Any) -> str:
    """Return the types in what a callable returned, for messages."""
    names = [type(part).__name__ for part in value] if isinstance(value, tuple) else [type(value).__name__]
    return f"({', '.join(names)})" if isinstance(value, tuple) else names[0]


def _imported(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    name = f"bitlens_file_{zlib.crc32(str(file.resolve()).encode()):08x}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ModelError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickle look their module up here
    asked, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing is left beside the user's files
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's own code
        del sys.modules[name]
        raise ModelError(f"cannot import {file}: {_where(error)}") from error
    finally:
        sys.dont_write_bytecode = asked
    return module


def _where(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{reason} ({Path(frame.filename).name}, line {frame.lineno})"
