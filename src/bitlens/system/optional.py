"""Packages that only some commands use: imported when they are used, and asked for in one sentence where they are missing."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bitlens.errors import DependencyError


def need(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: its dotted name: `timm`, `ray.data`.
        extra: of bitlens, that brings the package: `timm` for `pip install 'bitlens[timm]'`.

    Returns:
        The module.

    Raises:
        DependencyError: the package, or one that it needs, is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        if find_spec(package) is not None:
            raise  # it is there but lacks a part: installing the extra again would not help
        raise DependencyError.missing(package, extra) from error


def refuse_without(package: str, extra: str) -> None:
    """Refuse at once what an optional package is needed for later; it is not imported.

    Raises:
        DependencyError: it is not installed; says how to install it.
    """
    if find_spec(package) is None:
        raise DependencyError.missing(package, extra)
