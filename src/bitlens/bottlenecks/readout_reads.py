"""What a readout looks at: the features of several layers and the network's own answer, collected in one clean pass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bottlenecks.readout_network import Normaliser
from bitlens.errors import StatisticsError
from bitlens.gaussian import NoiseSettings
from bitlens.inputs import ModelInputs
from bitlens.layout import Layout, detect_layout
from bitlens.probe import Probe, Recording
from bitlens.statistics import FeatureStatistics, Granularity
from bitlens.targets import logits_of

__all__ = ["OUTPUT", "TARGET", "Reads", "collect_reads", "reading_probe"]

OUTPUT = "output"
"""The name, among the read layers, of the network's own output: its class scores."""

TARGET = "target"
"""The name, among the readout's inputs, of the class that is asked for, where the readout is told."""


@dataclass(frozen=True)
class Reads:
    """What is read, and how it is standardised.

    Attributes:
        normalisers: of the read layers, by name, in the order in which they are concatenated.
        classes: how many the network tells apart.
        conditional: whether the class that is asked for is read, too.
    """

    normalisers: Mapping[str, Normaliser]
    classes: int
    conditional: bool

    @property
    def channels(self) -> dict[str, int]:
        """How many channels each has, by name."""
        told = {TARGET: self.classes} if self.conditional else {}
        return {name: one.channels for name, one in self.normalisers.items()} | told

    def seen(self, recording: Recording) -> list[Tensor]:
        """What is read of recorded samples, standardised, channels last; without the target."""
        looked = {**recording.reads, OUTPUT: logits_of(recording.output)}
        return [normaliser(looked[name]) for name, normaliser in self.normalisers.items()]

    def told(self, classes: Tensor) -> list[Tensor]:
        """The target (N,) as a further vector to read, one-hot and standardised, where the readout is told; else nothing."""
        if not self.conditional:
            return []
        share = 1 / self.classes
        return [(F.one_hot(classes, self.classes).float() - share) / (share * (1 - share)) ** 0.5]


def reading_probe(probe: Probe, names: Sequence[str | nn.Module]) -> Probe:
    """A probe of the same layer that keeps what these layers put out, too."""
    within = [name for name in names if not (isinstance(name, str) and name == OUTPUT)]
    return Probe(probe.model, probe.layer, call=probe.call, reads=within)


def collect_reads(
    probe: Probe,
    batches: Iterable[ModelInputs],
    *,
    with_output: bool,
    conditional: bool,
    granularity: Granularity,
    layout: Layout | None,
    min_std: float,
    progress: Callable[[int], None] | None,
) -> tuple[FeatureStatistics, Reads]:
    """Statistics of the layer and of all that is read, from one clean pass of each batch.

    Args:
        probe: of `reading_probe`.
        batches: of inputs.
        with_output: whether the network's class scores are read.
        conditional: whether the target is.
        granularity: "channel" or "element".
        layout: how the axes of the layer's features are meant; found from their shape if not given.
        min_std: floor on the standard deviation of what is read.
        progress: called with the number of inputs seen so far.

    Raises:
        StatisticsError: if there is no input, or sizes differ with granularity "element".
    """
    known: dict[str, FeatureStatistics] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    seen, classes = 0, 0
    for inputs in batches:
        recording = probe.record(inputs, check=False)
        scores = logits_of(recording.output)
        classes, seen = scores.shape[1], seen + inputs.count
        looked = {"": recording.features, **recording.reads, **({OUTPUT: scores} if with_output else {})}
        for name, features in looked.items():
            sizes[name] = tuple(features.shape[1:])
            given = known[name].layout if name in known else (layout if not name else None)
            axes = (given or detect_layout(sizes[name], inputs.image_size)).over(sizes[name], inputs.image_size)
            made = FeatureStatistics.of(features, axes, granularity)
            known[name] = known[name].merge(made) if name in known else made
        if progress is not None:
            progress(seen)
    if not known:
        raise StatisticsError("there are no inputs to make statistics from: the batches are empty")
    own = known.pop("")
    scale = NoiseSettings("gaussian", min_std)
    models = {name: statistics.noise(scale, sizes[name]) for name, statistics in known.items()}
    normalisers = {name: Normaliser(known[name].layout, model.mean, model.std) for name, model in models.items()}
    return own, Reads(normalisers, classes, conditional)
