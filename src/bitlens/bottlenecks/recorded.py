"""A group of samples that went through the network once, and what is read of the masks found for it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitlens.bottlenecks.groups import Group
from bitlens.core.family import Region
from bitlens.core.fitting import DeeperLayers, Run
from bitlens.core.gaussian import NoiseModel
from bitlens.core.layout import Layout
from bitlens.core.targets import Target
from bitlens.probe import Recording


@dataclass(frozen=True, eq=False)
class Recorded:
    """A group of samples that went through the network once, ready for masks.

    Attributes:
        group: the samples.
        layer: dotted name of where they are restricted.
        features: R (n, ...), float32.
        output: of the network, clean.
        target: the question, one for each sample.
        noise: what stands in for the features.
        layout: how the features' axes are meant.
        region: what of them is restricted, and by how many masks.
        run: noised features (copies * n, ...) → the network's output.
        seed: of the noise under which masks are found.
        evidence_seed: of the noise under which they are judged.
        dtype: the lower precision of `run`, None for the network's own.
        deeper: further layers that the same masks restrict.
        recording: of the pass; None where the input itself is restricted.
    """

    group: Group
    layer: str
    features: Tensor
    output: Any
    target: Target
    noise: NoiseModel
    layout: Layout
    region: Region
    run: Run
    seed: int
    evidence_seed: int
    dtype: torch.dtype | None = None
    deeper: DeeperLayers | None = None
    recording: Recording | None = None

    @property
    def rows_of_tables(self) -> bool:
        """Return whether the samples are rows of a table, whose features are their places."""
        places = self.group.inputs.places
        return places is not None and places.unordered


@dataclass(frozen=True, eq=False)
class Reading:
    """Numbers that people read of masks.

    Attributes:
        map: as in `Attribution`.
        unit: as in `Attribution`.
        bits: of every feature (n, ...).
        cells: bits of each cell of the layer's grid, where that is something else than the map may be.
        extra: bits of tokens that are no place of the map.
    """

    map: Tensor
    unit: str
    bits: Tensor
    cells: Tensor | None = None
    extra: Tensor | None = None
