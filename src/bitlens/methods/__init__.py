"""The list of every method by name. Command line, metrics and app read this and nothing else."""

import difflib
from typing import Any

from torch import nn

from bitlens.errors import SettingError
from bitlens.methods.baselines import BASELINES
from bitlens.methods.bottlenecks import BOTTLENECKS
from bitlens.methods.entry import Method, MethodEntry

__all__ = ["METHODS", "Method", "MethodEntry", "method"]

METHODS: dict[str, MethodEntry] = {entry.name: entry for entry in (*BOTTLENECKS, *BASELINES)}


def method(name: str, model: nn.Module, **settings: Any) -> Method:
    """A method by name, ready to explain.

    Args:
        name: one of `METHODS`.
        model: the network.
        **settings: what the method takes besides.

    Raises:
        SettingError: if there is no such method.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=3) or list(METHODS)
        raise SettingError(f"there is no method {name!r}; did you mean {' or '.join(map(repr, close))}?")
    return METHODS[name].build(model, **settings)
