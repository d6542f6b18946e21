"""What a bottleneck is: noise in the place of features, masks that say how much of it, and what then passes, in bits.

A subclass says how its inputs are read, how a group of them is recorded, and how masks are found. Grouping, evidence and
attribution are the same for all.
"""

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitlens.bottlenecks.groups import COPIES_AT_ONCE, Group, GroupedMethod
from bitlens.core.attribution import Attribution, Evidence
from bitlens.core.fitting import DeeperLayers, FitSettings, Fitted, Region, Run, fit_masks, measure_under_noise
from bitlens.core.gaussian import NoiseModel
from bitlens.core.layout import Layout
from bitlens.core.maps import bits_of, bits_of_extra, bits_per_cell, bits_per_pixel, unit_of
from bitlens.core.targets import Target
from bitlens.probe import Recording
from bitlens.version import __version__

EVIDENCE_STREAM = 0x5DEECE66D  # evidence must not reuse the noise that a mask was fitted on


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


@dataclass(frozen=True, eq=False)
class Reading:
    """What people read of masks.

    Attributes:
        map: as in `Attribution`.
        unit: likewise.
        bits: of every feature (n, ...).
        cells: bits of each cell of the layer's grid, where that is something else than the map may be.
        extra: bits of tokens that are no place of the map.
    """

    map: Tensor
    unit: str
    bits: Tensor
    cells: Tensor | None = None
    extra: Tensor | None = None


class Bottleneck(GroupedMethod):
    """A method that finds masks for what a layer puts out, and tells what passes them."""

    fit: FitSettings
    """How masks are optimised."""

    @property
    def copies(self) -> int:
        """How many noisy copies of each sample a pass should hold at least."""
        return min(COPIES_AT_ONCE, self.fit.noise_samples)

    @abstractmethod
    def recorded(self, group: Group) -> AbstractContextManager[Recorded]:
        """Run a group through the network; within the block what comes behind the layer can run again."""

    @abstractmethod
    def masks(self, recorded: Recorded) -> Fitted:
        """Decide how much of each feature passes."""

    def explain_group(self, group: Group) -> Attribution:
        """Explain samples whose noisy copies go through the network together."""
        with self.recorded(group) as recorded, torch.enable_grad():
            fitted = self.masks(recorded)
            evidence = self.evidence(recorded, fitted)
        return self.attribution(recorded, fitted, evidence)

    def evidence(self, recorded: Recorded, fitted: Fitted) -> Evidence | None:
        """Measure the target under fresh noise in the place of what the masks hold back; None if nobody wants it."""
        samples, target = recorded.group.wanted.evidence_samples, recorded.target
        if samples < 1:
            return None
        mean, spread = measure_under_noise(
            recorded.run,
            target,
            recorded.features,
            fitted.u,
            recorded.noise,
            noise_samples=samples,
            seed=recorded.evidence_seed,
            rows=recorded.group.rows,
            block=recorded.region.block,
            starts=recorded.region.starts,
            deeper=recorded.deeper,
        )
        before = target.value(recorded.output).detach()
        return Evidence(before.cpu(), mean.cpu(), spread.cpu(), target.measure, samples)

    def reading(self, recorded: Recorded, fitted: Fitted) -> Reading:
        """Return what people read of the masks: here, bits of pixels, cells, tokens or features."""
        nats, layout, size = fitted.information, recorded.layout, recorded.group.inputs.image_size
        extra = bits_of_extra(nats, layout)
        return Reading(_maps(recorded, nats), unit_of(layout, size), bits_of(nats), bits_per_cell(nats, layout), extra)

    def attribution(self, recorded: Recorded, fitted: Fitted, evidence: Evidence | None = None) -> Attribution:
        """Return what was found, with everything needed to find it again."""
        found, texts, count = self.reading(recorded, fitted), recorded.target.describe(), len(recorded.features)
        return Attribution(
            map=found.map.cpu(),
            unit=found.unit,
            method=self.method,
            targets=texts if len(texts) == count else texts * count,
            settings=self.settings(),
            model=type(self.model).__name__,
            layer=recorded.layer,
            total_bits=found.bits.flatten(1).sum(1).cpu(),
            extra_bits=found.extra.cpu() if found.extra is not None else None,
            evidence=evidence,
            cells=found.cells.cpu() if found.cells is not None else None,
            capacity=found.bits.cpu() if recorded.group.wanted.keep_capacity else None,
            version=__version__,
        )


def optimised(recorded: Recorded, fit: FitSettings) -> Fitted:
    """Optimise masks for recorded samples, watched if somebody wants to."""
    watch = recorded.group.wanted.watch
    return fit_masks(
        recorded.run,
        recorded.target,
        recorded.features,
        recorded.noise,
        recorded.layout,
        fit,
        seed=recorded.seed,
        rows=recorded.group.rows,
        region=recorded.region,
        deeper=recorded.deeper,
        watch=None if watch is None else lambda step, nats: watch(step, _maps(recorded, nats)),
    )


def _maps(recorded: Recorded, nats: Tensor) -> Tensor:
    """Information (n, ...) in nats as maps: bits of pixels, cells, tokens or features."""
    layout, size = recorded.layout, recorded.group.inputs.image_size
    cells = bits_per_cell(nats, layout)
    return bits_per_pixel(cells, size) if size and unit_of(layout, size) == "bits/pixel" else cells
