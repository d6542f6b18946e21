"""What a part of a file may be: each function gives back what it was given, or says in a ValueError what is wrong with it.

Files come from anywhere. Their readers name every part they take with the type, shape and range that it must have.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

A = TypeVar("A", "Tensor", "npt.NDArray[Any]")
"""An array of torch or of NumPy."""

MOST = 2**53
"""Above it whole numbers are no longer told apart by a float64."""


def number(value: Any, name: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """Take a finite number within bounds; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e308:
        raise ValueError(f"{name} is {_short(value)}, expected a finite number")
    if not least <= value <= most:  # also what is not a number
        raise ValueError(f"{name} is {_short(value)}, expected {_range(least, most)}")
    return value


def whole_number(value: Any, name: str, *, least: int = 0, most: int = MOST) -> int:
    """Take a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is {_short(value)}, expected a whole number, {_range(least, most)}")
    return value


def yes_or_no(value: Any, name: str) -> bool:
    """Take a truth value."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {_short(value)}, expected true or false")
    return value


def text(value: Any, name: str, choices: Collection[str] | None = None) -> str:
    """Take a text, of some choices if there are some."""
    if not isinstance(value, str) or (choices is not None and value not in choices):
        wanted = "a text" if choices is None else f"one of {', '.join(map(repr, choices))}"
        raise ValueError(f"{name} is {_short(value)}, expected {wanted}")
    return value


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Take a list of texts."""
    return tuple(text(one, f"an entry of {name}") for one in listed(value, name))


def listed(value: Any, name: str) -> list[Any]:
    """Take a list."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {_short(value)}, expected a list")
    return list(value)


def mapping(value: Any, name: str) -> dict[str, Any]:
    """Take a mapping whose keys are texts."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} is {_short(value)}, expected values by name")
    return value


def exactly(found: Iterable[str], wanted: Iterable[str], name: str) -> None:
    """Refuse names that are missing, and others than those that are wanted."""
    there, known = set(found), set(wanted)
    if missing := sorted(known - there):
        raise ValueError(f"{name} lack {', '.join(missing[:4])}")
    if more := sorted(there - known):
        raise ValueError(f"{name} hold {', '.join(_short(one) for one in more[:4])}, which nobody wrote")


def array(
    arrays: Mapping[str, A],
    name: str,
    dtypes: Any,
    shape: tuple[int | None, ...] | None = None,
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> A:
    """Take an array of finite numbers, of torch or of NumPy.

    Args:
        arrays: all there are.
        name: of the one that is wanted.
        dtypes: that it may have, one or a tuple of them, as torch has them or by name.
        shape: its size along each axis, None for any; None for any shape.
        least: of its values.
        most: of its values.
    """
    if name not in arrays:
        raise ValueError(f"the array {name} is missing")
    tensor, allowed = arrays[name], dtypes if isinstance(dtypes, tuple) else (dtypes,)
    if plain(tensor.dtype) not in map(plain, allowed):
        raise ValueError(f"{name} is {plain(tensor.dtype)}, expected {' or '.join(map(plain, allowed))}")
    if shape is not None and not _fits(tuple(tensor.shape), shape):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, expected ({wanted})")
    finite(tensor, name)
    if math.prod(tensor.shape) and not (float(tensor.min()) >= least and float(tensor.max()) <= most):
        low, high = float(tensor.min()), float(tensor.max())
        raise ValueError(f"{name} lies between {low:g} and {high:g}, expected {_range(least, most)}")
    return tensor


def finite(tensor: A, name: str) -> A:
    """Take an array that holds neither NaN nor infinite values."""
    import numpy as np

    good = np.isfinite(tensor) if isinstance(tensor, np.ndarray) else tensor.isfinite()
    if not bool(good.all()):
        raise ValueError(f"{name} holds NaN or infinite values")
    return tensor


def plain(dtype: Any) -> str:
    """Name a type of numbers as people do."""
    return str(dtype).removeprefix("torch.")


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted, strict=True))


def _range(least: float, most: float) -> str:
    if least > -math.inf and most in (math.inf, MOST):
        return f"at least {least:g}"
    return f"{least:g} to {most:g}"


def _short(value: Any) -> str:
    try:
        told = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        return f"a {type(value).__name__} that is too long or too deep to show"
    return told if len(told) <= 60 else f"{told[:57]}…"
