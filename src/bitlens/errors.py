"""Every error bitlens raises on purpose, in one tree.

    BitlensError
    ├── LayerError          the layer cannot be found, is ambiguous, or cannot be restricted
    ├── InputError          an input to the network is unusable (NaN, wrong shape, empty)
    ├── TargetError         the target does not fit the network's output
    ├── StatisticsError     feature statistics are missing, or belong to something else
    ├── SettingError        a setting has a value that makes no sense
    ├── FitError            the optimisation went wrong (NaN, no finite loss)
    │   └── NotFiniteError  a map, its evidence or a score is NaN or infinite
    ├── ModelError          a model cannot be found, built, loaded or run
    ├── DataError           a file or a data set cannot be read
    ├── ClusterError        a cluster cannot be reached, or its workers cannot work
    └── DependencyError     an optional package is not installed

Each message names the argument, what came, what was expected, and what to do. What a network raises in a pass becomes an
`InputError` or a `ModelError`, with what was raised as its cause. The command line prints one line, of any other exception its
type and text, and a traceback with `--debug` alone.
"""

import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

T = TypeVar("T")


class BitlensError(Exception):
    """Base of all errors that bitlens raises on purpose."""


class LayerError(BitlensError, ValueError):
    """The layer cannot be found, is ambiguous, or cannot be restricted."""


class InputError(BitlensError, ValueError):
    """An input to the network is unusable: NaN, wrong shape, empty, or not what the network takes."""


class TargetError(BitlensError, ValueError):
    """The target does not fit the network's output."""


class StatisticsError(BitlensError, ValueError):
    """Feature statistics are missing, or belong to another layer, network or input size."""


class SettingError(BitlensError, ValueError):
    """A setting has a value that makes no sense."""


class FitError(BitlensError, RuntimeError):
    """The optimisation of a mask went wrong."""


class NotFiniteError(FitError):
    """A map, its evidence or a score is NaN or infinite.

    Attributes:
        what: holds them.
        sample: the first of which it does, counted from 0 among those that were worked on together; -1 for none.
        why: that is, and what to do.
    """

    def __init__(self, what: str, sample: int, why: str = "") -> None:
        where = f", sample {sample}" if sample >= 0 else ""
        told = why or "check the inputs and the weights of the network"
        super().__init__(f"NaN or infinite values in {what}{where}: {told}")
        self.what, self.sample, self.why = what, sample, why

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry it between processes."""
        return type(self), (self.what, self.sample, self.why)

    @classmethod
    def refuse(cls, what: str, values: Any, why: str = "") -> None:
        """Raise it if a tensor (N, ...) holds a number that is not finite; see the attributes."""
        if values.isfinite().all():
            return
        rows = values.reshape(len(values), -1) if values.dim() else values.reshape(1, 1)
        raise cls(what, int((~rows.isfinite()).any(1).nonzero()[0]), why)


class ModelError(BitlensError, ValueError):
    """A model cannot be found, built, loaded or run."""


class DataError(BitlensError, ValueError):
    """A file or a data set cannot be read."""


class ClusterError(BitlensError, RuntimeError):
    """A cluster cannot be reached, or its workers cannot work."""


class DependencyError(BitlensError, ImportError):
    """An optional package is not installed."""

    @classmethod
    def missing(cls, package: str, extra: str) -> "DependencyError":
        """Say which extra brings the missing package."""
        return cls(f"this needs the package {package!r}: install it with  pip install 'bitlens[{extra}]'")


class BitlensWarning(UserWarning):
    """A warning of what is worth knowing and does not stop the work."""


def warn_caller(text: str) -> None:
    """Warn at the line outside of bitlens that called it: it is said once for that line, however often it comes up within."""
    depth, outside, frame = 1, 1, inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "bitlens":
            outside = depth + 1
        depth, frame = depth + 1, frame.f_back
    warnings.warn(text, BitlensWarning, stacklevel=outside)


def at_least(least: int, **settings: Any) -> None:
    """Refuse settings, by name, that are no whole numbers of at least so much.

    Raises:
        SettingError: if one of them is none.
    """
    for name, value in settings.items():
        if not isinstance(value, int | float):
            raise SettingError(f"{name} must be an int, got {value!r}")
        if not isinstance(value, int) or value < least:
            raise SettingError(f"{name} must be at least {least}, got {value!r}")


def numbers(**settings: Any) -> None:
    """Refuse settings, by name, that are no finite numbers.

    Raises:
        SettingError: if one of them is none.
    """
    for name, value in settings.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise SettingError(f"{name} must be a finite int or float, got {value!r}")


def one_of_literal(name: str, value: T, kind: Any) -> T:
    """Give back a setting that is one of the texts of a `Literal` type.

    Raises:
        SettingError: if it is none of them.
    """
    return one_of(name, str(value), dict.fromkeys(get_args(kind), value))


def one_of(name: str, value: str, choices: Mapping[str, T]) -> T:
    """Return what a setting's text stands for.

    Raises:
        SettingError: if it is none of the choices.
    """
    if value not in choices:
        raise SettingError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[value]
