"""The bottlenecks: methods whose maps are in bits."""

from bitlens.bottlenecks.input.images import InputIBA
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout.readout import ReadoutIBA
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
    MethodEntry(
        name="readout",
        summary="bits that pass one layer, as a trained network reads them from the features of several: train once, then fast",
        paper="Schulz et al., Restricting the Flow (ICLR 2020), section 3.2",
        unit="bits/pixel",
        passes="1 full forward, 32 forward behind the layer for the evidence (after training)",
        build=ReadoutIBA,
        needs_layer=True,
        learns="weights",
    ),
    MethodEntry(
        name="input-iba",
        summary="how much of each pixel passes when noise at the input, guided by a bottleneck at a layer, hides the rest",
        paper="Zhang et al., Fine-Grained Neural Network Explanation by Identifying Input Features (NeurIPS 2021)",
        unit="mask",
        passes="80 full (forward and backward), 18 behind the layer, 2 full forward, 32 forward for the evidence",
        build=InputIBA,
        needs_layer=True,
        learns="statistics",
    ),
)
