"""What methods and metrics may be set with, read from a file that was made of their signatures: no network library is needed.

`tools/list_settings.py` makes the files `settings.json` anew, and `tests/methods/test_settings.py` compares them with the code.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from importlib.resources import files
from operator import or_
from typing import Any, Literal, get_args, get_origin

from bitlens.methods.specs import alternatives, defaults_of_callable, settings_of_callable, words_for

_PLAIN: dict[str, Any] = {"none": type(None), "bool": bool, "int": int, "float": float, "str": str, "python": Any}
"""How types are called in the file; a list of values stands for those alone."""


@dataclass(frozen=True)
class Setting:
    """One setting of a method or a metric.

    Attributes:
        kind: the type that it may have; Any for what only Python can give.
        default: None also where it must be given, or is nothing that a file can hold.
        summary: what it is.
    """

    kind: Any
    default: Any = None
    summary: str = ""

    @property
    def takes(self) -> str:
        """Say what may be typed for it; nothing if only Python can give it."""
        return words_for(self.kind)


@dataclass(frozen=True)
class Listed:
    """Words of a method or a metric about itself, with its settings.

    Attributes:
        description: the first paragraph of its documentation.
        settings: by name.
    """

    description: str
    settings: Mapping[str, Setting]

    @property
    def kinds(self) -> dict[str, Any]:
        """The type of each setting."""
        return {name: setting.kind for name, setting in self.settings.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of each setting."""
        return {name: setting.default for name, setting in self.settings.items()}


def settings_in(room: str) -> dict[tuple[str, str], Listed]:
    """Read the file of a room of the package, by kind of input and name."""
    held = json.loads(files(f"bitlens.{room}").joinpath("settings.json").read_text("utf-8"))
    return {(kind, name): _listed(row) for kind, rows in held.items() for name, row in rows.items()}


def settings_of(build: Callable[..., Any]) -> Listed:
    """Read the same off what builds a method or computes a metric."""
    from bitlens.core.passes import Passes

    known, defaults = settings_of_callable(build), defaults_of_callable(build)
    made = build.func if isinstance(build, partial) else build
    texts = {**_texts(Passes), **_texts(made)}
    settings = {name: Setting(kind, defaults[name], texts.get(name, "")) for name, kind in known.items()}
    return Listed(" ".join((inspect.getdoc(made) or "").partition("\n\n")[0].split()), settings)


def as_row(listed: Listed) -> dict[str, Any]:
    """Return it as the file holds it."""
    settings = {
        name: {"kind": _coded(one.kind), "default": _stored(one.default), "summary": one.summary}
        for name, one in listed.settings.items()
    }
    return {"description": listed.description, "settings": settings}


def _listed(row: Mapping[str, Any]) -> Listed:
    settings = {
        name: Setting(reduce(or_, map(_decoded, one["kind"])), one["default"], one["summary"])
        for name, one in row["settings"].items()
    }
    return Listed(row["description"], settings)


def _coded(kind: Any) -> list[str | list[Any]]:
    names = {known: name for name, known in _PLAIN.items()}
    parts = [
        list(get_args(one)) if get_origin(one) is Literal else names.get(one, "python") for one in alternatives(kind)
    ]
    return [part for i, part in enumerate(parts) if part not in parts[:i]]


def _decoded(part: str | list[Any]) -> Any:
    return _PLAIN[part] if isinstance(part, str) else Literal.__getitem__(tuple(part))


def _stored(default: Any) -> Any:
    return default if isinstance(default, bool | int | float | str) else None


def _texts(build: Any) -> dict[str, str]:
    """Read what the docstring says of each argument; a class may leave it to what it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(build) if inspect.isclass(build) else [build]):
        _, *after = re.split(
            r"^(?:Args|Attributes):\n", inspect.cleandoc(one.__doc__ or ""), maxsplit=1, flags=re.MULTILINE
        )
        arguments = "".join(after).partition("\n\n")[0]
        for name, text in re.findall(r"^    (\w+): ((?:.|\n(?=     ))*)", arguments, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found
