"""What cells of tables and entries of files of texts may hold."""

from typing import Any

from bitlens.errors import DataError


def told(value: Any) -> str:
    """Return a value as a text: texts and numbers as they are, all else by its kind alone, which may be deep or long."""
    if not isinstance(value, str | int | float | bool | None):
        return f"a {type(value).__name__}"
    said = str(value)
    return said if len(said) <= 300 else f"{said[:299]}…"


def check_text(text: str) -> str:
    """Give back a text, or raise DataError where it holds half of a character (JSON can say so, UTF-8 cannot)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"it holds half of a character (a lone surrogate, at position {error.start}): {text[:60]!r}"
        ) from error
    return text
