"""How results show themselves in a notebook: drawing is above the core, so the package says it when it is imported."""

from collections.abc import Callable
from typing import Any


def _unknown(result: Any, *_: Any) -> Any:
    return repr(result)


html: Callable[[Any], str] = _unknown
"""A result → a piece of HTML."""

figure: Callable[[Any, Any, bool], Any] = _unknown
"""An attribution, its inputs if somebody has them, and whether its spread is wanted → a figure."""
