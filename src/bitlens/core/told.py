"""What settings and numbers say, in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitlens.core.promise import Promise

if TYPE_CHECKING:
    from torch import Tensor

BYPASSED = "More may go round this layer (allow_bypass=True): its bits do not bound what the network uses"
"""What must be known of bits at a layer that something else than its features may go round."""

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
"""Shares of the target at which a curve is measured."""

_FEW = 3  # targets that are named one by one


def aim_of(settings: Mapping[str, Any], class_kept: bool | None = None) -> str:
    """Say what decided how much passes a bottleneck; empty for other methods.

    Args:
        settings: of an attribution: with a guarantee, a share to hold, a budget of bits, a price, or everything opened.
        class_kept: whether this input is one that keeps its class, where that was guaranteed of most.
    """
    if (promise := Promise.of(settings)) is not None:
        own = {None: "", True: "; this one does", False: "; this is one of those that do not"}[class_kept]
        return f"{promise}{own}"
    if settings.get("signed") == "opening":
        return "all opened together"
    for name, text in (("keep", "keep = {:g}"), ("bits", "at most {:,.0f} bits"), ("beta", "β = {:g}")):
        if isinstance(settings.get(name), int | float):
            return text.format(settings[name])
    return ""


def share_asked(settings: Mapping[str, Any]) -> float | None:
    """Return the share of the target that a map had to hold; None where something else decided how much passes."""
    asked = settings.get("keep")
    return float(asked) if isinstance(asked, int | float) else None


def listed(targets: Sequence[str]) -> str:
    """Name the first targets, and say how many more there are."""
    shown = ", ".join(text if len(text) <= 60 else f"{text[:59]}…" for text in targets[:_FEW])
    return shown + (f" and {len(targets) - _FEW} more" if len(targets) > _FEW else "")


def ends(values: "Tensor", form: str) -> str:
    """Write the least and the greatest value, once where they read alike."""
    both = (f"{float(values.min()):{form}}", f"{float(values.max()):{form}}")
    return " to ".join(dict.fromkeys(both))
