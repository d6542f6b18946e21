"""Methods as a person types them, checked against the list: no network library is needed for it."""

from collections.abc import Mapping
from typing import Any

from bitlens.data.kinds import Kind
from bitlens.methods import METHODS
from bitlens.methods.specs import Spec, parse_specs

KEEP = 0.9
"""Share of the decision that a map holds unless somebody says otherwise."""


def read_methods(text: str, kind: Kind = "image") -> dict[str, Spec]:
    """Read methods as a person types them, `iba,iba:beta=100`, by label; see `parse_specs`."""
    return parse_specs(text, METHODS[kind], "method", lambda entry: entry.listed.kinds)


def holding(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with which a bottleneck's maps hold, where no price, budget or share was named."""
    if name not in ("iba", "token-iba") or settings.keys() & {"keep", "bits", "beta"}:
        return {}
    return {"keep": KEEP, **({} if "quality" in settings or name != "iba" else {"quality": "fast"})}
