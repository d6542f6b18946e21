"""Methods as a person types them, checked against the list: no network library is needed for it."""

from collections.abc import Mapping
from typing import Any

from bitlens.data.kinds import Kind
from bitlens.errors import SettingError
from bitlens.methods import METHODS, entry_of
from bitlens.methods.specs import Spec, parse_specs

KEEP = 0.9
"""Share of the decision that a map holds unless somebody says otherwise."""

HOLDERS = ("iba", "token-iba", "input-iba")
"""Methods whose maps can hold a share of the decision."""

_AIMS = {"keep", "bits", "beta", "beta_input"}


def holding(name: str, settings: Mapping[str, Any], kind: Kind = "image") -> dict[str, Any]:
    """Return the settings with which a bottleneck's maps hold, where no price, budget or share was named.

    This is the default of everything that a person asks by words: `bitlens.explain`, the command line and the page. The classes
    (`bitlens.IBA`) and papers' tables keep what was published.
    """
    if "guarantee" in settings:
        return guaranteed(name, settings, kind)
    if name not in HOLDERS or _decided(settings):
        return {}
    fast = name == "iba" and kind == "image" and "quality" not in settings
    return {"keep": KEEP, **({"quality": "fast"} if fast else {})}


def guaranteed(name: str, settings: Mapping[str, Any], kind: Kind = "image") -> dict[str, Any]:
    """Return the settings with which a bottleneck is calibrated, and explains with a guarantee, unless they are named.

    In bfloat16 rounding alone turns classes that are nearly as probable as others, whatever passes.
    """
    usual = {"quality": "fast"} if name == "iba" and kind == "image" else {}
    usual |= {"precision": "float32"} if name in ("iba", "input-iba", "readout") else {}
    return {key: value for key, value in usual.items() if key not in settings}


def with_options(
    specs: Mapping[str, Spec], chosen: Mapping[str, Any], kind: Kind = "image", *, holds: bool = True
) -> dict[str, Spec]:
    """Return the methods with what options say, each as far as it takes that and names no setting of its own; by label.

    Args:
        specs: the methods.
        chosen: settings by name; None is nothing chosen.
        kind: what the methods explain.
        holds: whether maps hold where nothing says how much passes, see `holding`.

    Raises:
        SettingError: if an option is for none of them.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    useless, found = set(given), dict[str, Spec]()
    for label, spec in specs.items():
        entry = entry_of(spec.name, kind)
        fits_any = entry.needs_layer or kind == "text"
        taken = set(entry.listed.kinds) - (set() if fits_any else {"layer"})
        useless -= taken
        if _decided(spec.settings):
            taken -= _AIMS  # it says itself how much passes
        settings = {**{name: value for name, value in given.items() if name in taken}, **spec.settings}
        held = holding(spec.name, settings, kind) if holds else {}
        found[label] = Spec(spec.name, {**held, **settings})
    if useless:
        raise SettingError(
            f"--{min(useless)} is not for {' or '.join(specs)}: leave it out; `bitlens methods NAME` shows how a method is set"
        )
    return found


def _decided(settings: Mapping[str, Any]) -> bool:
    """Say whether settings themselves decide how much passes, or that all does."""
    return bool(settings.keys() & _AIMS) or settings.get("signed") == "opening"


def read_methods(text: str, kind: Kind = "image") -> dict[str, Spec]:
    """Read methods as a person types them, `iba,iba:beta=100`, by label; see `parse_specs`."""
    return parse_specs(text, METHODS[kind], "method", lambda entry: entry.listed.kinds)
