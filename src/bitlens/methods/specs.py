"""Methods and metrics with settings as a person types them: `iba`, `iba:beta=100`, `grad-cam:layer=layer4`."""

import difflib
import inspect
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from bitlens.errors import SettingError

E = TypeVar("E")
Builder: TypeAlias = Callable[..., Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Spec:
    """One entry of a list, with the settings it was given.

    Attributes:
        name: of the entry.
        settings: by name, already of the right type; what is not named keeps its default.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Return what it is called in results: `iba`, `iba[beta=100]`, `iba[beta=100,steps=20]`."""
        given = ",".join(f"{key}={_text(value)}" for key, value in sorted(self.settings.items()))
        return f"{self.name}[{given}]" if given else self.name


def parse_specs(text: str, entries: Mapping[str, E], kind: str, builder: Callable[[E], Builder]) -> dict[str, Spec]:
    """Read `NAME[:SETTING=VALUE]...`, several separated by commas.

    Args:
        text: what was typed. `all` stands for every entry, and a name's beginning for all that begin so: `degradation` for
            `degradation-8` and `degradation-14`, with the same settings.
        entries: by name.
        kind: what an entry is, for errors: "method" or "metric".
        builder: gives of an entry what takes its settings (the signature says which there are, and of what types), or these
            types by name.

    Returns:
        By label, in the order given; one that is named twice counts once.

    Raises:
        SettingError: an entry or a setting is unknown, or a value is not of the setting's type.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise SettingError(f"no {kind} was named: expected {kind}s separated by commas, from {', '.join(entries)}")
    if words == ["all"]:
        words = list(entries)
    specs = [spec for word in words for spec in _parse(word, entries, kind, builder)]
    return {spec.label: spec for spec in specs}


def settings_of_callable(build: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings that a function or class takes by keyword, and the types they may have."""
    constructor = _constructor(build)
    hints = get_type_hints(constructor)
    named: dict[str, Any] = {}
    for parameter in inspect.signature(constructor).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = hints.get(parameter.name, str)
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= _options(hints[parameter.name], hints.get("return"))
    if "layer" in hints:  # bottlenecks take it by position
        named["layer"] = str
    return named


def defaults_of_callable(build: Callable[..., Any]) -> dict[str, Any]:
    """Return the default of each of those settings; None for one that must be given."""
    from bitlens.core.passes import Passes

    signature = {**inspect.signature(_made_by(build)).parameters, **inspect.signature(build).parameters}
    usual = {field.name: field.default for field in fields(Passes)} | getattr(_class_of(build), "run_defaults", {})
    found = {}
    for name in settings_of_callable(build):
        default = signature[name].default if name in signature else usual.get(name)
        found[name] = None if default is inspect.Parameter.empty else default
    return found


def _class_of(build: Callable[..., Any]) -> Callable[..., Any]:
    return build.func if isinstance(build, partial) else build


def _constructor(build: Callable[..., Any]) -> Callable[..., Any]:
    build = _class_of(build)
    return build.__init__ if inspect.isclass(build) else build


def _made_by(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return the class of what a function builds; of a class, itself."""
    build = _class_of(build)
    made = get_type_hints(build).get("return")
    return made if inspect.isclass(made) and not inspect.isclass(build) else build


def _options(kind: Any, made: Any) -> dict[str, Any]:
    """Return the keywords of `**run: Unpack[RunOptions]`, or of a function's `**settings: Any`: what the class takes."""
    (options,) = get_args(kind) or (None,)
    if is_typeddict(options):
        return get_type_hints(options)
    return settings_of_callable(made) if kind is Any and inspect.isclass(made) and made is not type(None) else {}


def words_for(kind: Any) -> str:
    """Return what may be typed for a setting of a type: "a number or none"; nothing if only Python can give such a value."""
    texts = [text for text in map(_described, alternatives(kind)) if text]
    return " or ".join(dict.fromkeys(texts)) if texts != ["none"] else ""


def _parse(word: str, entries: Mapping[str, E], kind: str, builder: Callable[[E], Builder]) -> list[Spec]:
    name, *pairs = word.split(":")
    names = [name] if name in entries else [known for known in entries if known.startswith(f"{name}-")]
    if not names:
        close = difflib.get_close_matches(name, entries, n=3) or list(entries)
        raise SettingError(f"there is no {kind} {name!r}; did you mean {' or '.join(close)}?")
    return [Spec(one, dict(_setting(pair, builder(entries[one]), one, word) for pair in pairs)) for one in names]


def _setting(pair: str, build: Builder, name: str, word: str) -> tuple[str, Any]:
    known = build if isinstance(build, Mapping) else settings_of_callable(build)
    key, equals, value = pair.partition("=")
    if key not in known:
        close = difflib.get_close_matches(key, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known) or 'none'}"
        raise SettingError(f"{word!r}: {name} has no setting {key!r}; {hint}")
    if not equals:
        raise SettingError(f"{word!r}: {key} has no value; write {name}:{key}=VALUE")
    return key, _read(value, known[key], f"{name}:{key}")


def _read(text: str, kind: Any, place: str) -> Any:
    """Return the value that a text stands for, as the most special of the types that it may have."""
    kinds = alternatives(kind)
    options = {str(option): option for one in kinds if get_origin(one) is Literal for option in get_args(one)}
    if text in options:
        return options[text]
    for one, read in _READERS.items():
        with suppress(KeyError, ValueError):  # the text is none of this type
            if one in kinds:
                return read(text)
    expected = words_for(kind)
    raise SettingError(f"{place}={text}: {f'expected {expected}' if expected else 'this can only be given in Python'}")


def _whole(text: str) -> int:
    if not text.lstrip("-").isdecimal():
        raise ValueError(text)
    return int(text)


_READERS: dict[Any, Callable[[str], Any]] = {
    type(None): {"none": None}.__getitem__,
    bool: {"true": True, "yes": True, "false": False, "no": False}.__getitem__,
    int: _whole,
    float: float,
    str: str,
}
"""From texts to values of a type, the most special type first."""


def alternatives(kind: Any) -> list[Any]:
    """List the types of which a setting's value may have any."""
    if get_origin(kind) in (Union, types.UnionType):
        return [one for part in get_args(kind) for one in alternatives(part)]
    return [kind]


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    names = {type(None): "none", bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, "")


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
