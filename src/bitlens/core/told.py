"""What settings and numbers say, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_FEW = 3  # targets that are named one by one


def aim_of(settings: Mapping[str, Any]) -> str:
    """Say what decided how much passes a bottleneck: a share to hold, a budget of bits, or a price; empty for other methods."""
    for name, text in (("keep", "keep = {:g}"), ("bits", "at most {:,.0f} bits"), ("beta", "β = {:g}")):
        if isinstance(settings.get(name), int | float):
            return text.format(settings[name])
    return ""


def listed(targets: Sequence[str]) -> str:
    """Name the first targets, and say how many more there are."""
    shown = ", ".join(text if len(text) <= 60 else f"{text[:59]}…" for text in targets[:_FEW])
    return shown + (f" and {len(targets) - _FEW} more" if len(targets) > _FEW else "")


def ends(values: Tensor, form: str) -> str:
    """Write the least and the greatest value, once where they read alike."""
    both = (f"{float(values.min()):{form}}", f"{float(values.max()):{form}}")
    return " to ".join(dict.fromkeys(both))
