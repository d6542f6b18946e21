"""What cells of tables of data may hold: labels, and texts."""

from typing import Any

from bitlens.errors import DataError

_DIGITS = 9
"""Of a label; more classes than that nobody has."""


def read_label(value: Any) -> int | None:
    """The index of a class, or None for an empty cell or none.

    Raises:
        DataError: if it is anything else.
    """
    if value is None or value == "":
        return None
    digits = value if isinstance(value, str) else str(value) if _small(value) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        told = repr(value) if isinstance(value, str) or _small(value) else type(value).__name__
        told = told if len(told) <= 60 else f"{told[:57]}…"
        raise DataError(f"the label is {told}, expected the index of a class (0, 1, 2, …) or nothing")
    return int(digits)


def _small(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_DIGITS


def check_text(text: str) -> str:
    """Give back a text, or raise DataError where it holds half of a character (JSON can say so, UTF-8 cannot)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"it holds half of a character (a lone surrogate, at position {error.start}): {text[:60]!r}"
        ) from error
    return text
