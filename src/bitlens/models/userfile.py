"""A network from the user's own Python file, `FILE.py:CALLABLE`: the only thing that is run as code, and it says so."""

import importlib.util
import sys
import traceback
import zlib
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
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's own code
        del sys.modules[name]
        raise ModelError(f"cannot import {file}: {_where(error)}") from error
    return module


def _where(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{reason} ({Path(frame.filename).name}, line {frame.lineno})"
