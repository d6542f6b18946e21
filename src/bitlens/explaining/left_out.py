"""The same input by several methods: what a network does not support is left out, and said."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

from bitlens.errors import LayerError, SettingError

T = TypeVar("T")


def by_each(labels: Collection[str], explain: Callable[[str], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Explain by each of several methods.

    Args:
        labels: of the methods.
        explain: by the method of a label.

    Returns:
        What was found by label, and by label why a method cannot be used.

    Raises:
        LayerError, SettingError: if the only one, or none, can be used.
    """
    found, refused = dict[str, T](), dict[str, str]()
    for label in labels:
        try:
            found[label] = explain(label)
        except (LayerError, SettingError) as error:
            if len(labels) == 1:
                raise
            refused[label] = str(error)
    if not found:
        raise SettingError("; ".join(refused.values()))
    return found, refused


def left_out(refused: Mapping[str, str]) -> Iterator[str]:
    """Say of each method that cannot be used why not."""
    for label, reason in refused.items():
        yield f"left out: {reason if reason.startswith(label) else f'{label}: {reason}'}"
