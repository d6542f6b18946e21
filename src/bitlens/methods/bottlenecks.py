"""The bottlenecks: methods whose maps are in bits."""

from bitlens.bottlenecks.per_sample import IBA
from bitlens.methods.entry import MethodEntry

__all__ = ["BOTTLENECKS"]

BOTTLENECKS: tuple[MethodEntry, ...] = (
    MethodEntry(
        name="iba",
        summary="bits that pass one layer when noise, optimised for this input, hides all that is not needed",
        paper="Schulz et al., Restricting the Flow (ICLR 2020)",
        unit="bits/pixel",
        passes="90 behind the layer (forward and backward), 1 full, 32 forward for the evidence",
        build=IBA,
        needs_layer=True,
        learns="statistics",
    ),
)
