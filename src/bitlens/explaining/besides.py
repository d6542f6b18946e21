"""What can be found besides a map, by the methods that can."""

import inspect
from collections.abc import Mapping
from typing import Any

from bitlens.errors import SettingError


def able(method: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of this a method can find besides its map."""
    return {name: value for name, value in more.items() if name in inspect.signature(method.explain).parameters}


def findable(method: Any, name: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return all of this.

    Raises:
        SettingError: if the method, of this name, cannot find it.
    """
    found = able(method, more)
    if missing := more.keys() - found.keys():
        raise SettingError(f"{name} has no setting {min(missing)!r}: it is of bottlenecks")
    return found
