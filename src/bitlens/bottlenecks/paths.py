"""What goes round a layer: a map of its bits would not bound what the network uses, so it is refused unless allowed."""

import warnings

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout
from bitlens.errors import BitlensWarning, LayerError
from bitlens.probe import Probe


def check_paths(probe: Probe, inputs: ModelInputs, *, allowed: bool) -> None:
    """Refuse a layer that the output can do without, or warn where the user allows it, or where other arguments say the answer.

    Raises:
        LayerError: if with noise at the layer the output still tells inputs apart.
    """
    around = probe.around(inputs)
    if not around.share:
        return
    if around.beside:
        names = ", ".join(map(repr, around.beside))
        warnings.warn(
            f"with noise at layer {probe.name!r} the output still shows {around.share:.2g} of the difference between two "
            f"samples: argument {names} says it, so bits at the layer are of what is left to decide",
            BitlensWarning,
            stacklevel=4,
        )
        return
    through = f" through {', '.join(around.through[:3])}" if around.through else ""
    text = (
        f"with noise at layer {probe.name!r} the output still shows {around.share:.2g} of the difference between two inputs: "
        f"they reach it{through} as well"
    )
    if not allowed:
        raise LayerError(
            f"{text}. Choose a layer that nothing goes round (one that encloses it, or an earlier or later one), or say "
            "allow_bypass=True: then bits at the layer do not bound what the network uses"
        )
    warnings.warn(f"{text}, so bits at the layer do not bound what the network uses", BitlensWarning, stacklevel=4)


def warn_if_unread(probe: Probe, inputs: ModelInputs, layout: Layout) -> None:
    """Say so where nothing behind a layer reads the patches of an image that it puts out."""
    if layout.name == "PD" and probe.unread(inputs, layout):
        text = (
            f"nothing behind layer {probe.name!r} reads its patches, so their bits say nothing of the decision: choose a layer "
            "before it"
        )
        warnings.warn(text, BitlensWarning, stacklevel=4)
