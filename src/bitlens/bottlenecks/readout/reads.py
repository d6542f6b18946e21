"""What a readout looks at: the features of several layers and the network's own answer, collected in one clean pass.

A conditional readout also sees the evidence for the class that is asked for: the gradient of its score with respect to the
deepest layer that is read, times how far that layer's features are from their mean, summed over channels; and the same for
the class's rivals. The gradient is of the same pass and runs through nothing but what comes after that layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.readout.network import Normaliser
from bitlens.core.gaussian import NoiseSettings
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import LAYOUTS, Layout
from bitlens.core.statistics import FeatureStatistics, Granularity
from bitlens.errors import LayerError, SettingError
from bitlens.probe import Probe, Recording

OUTPUT = "output"
"""The name, among the read layers, of the network's own output: its class scores."""

TARGET = "target"
"""The name, among the readout's inputs, of the evidence for and against the class that is asked for, where it is told."""

_VOICES = 2  # the class, and its rivals


@dataclass(frozen=True)
class Reads:
    """Layers that are read, and the standardisation of what they put out.

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
        """Return how many channels each has, by name."""
        told = {TARGET: _VOICES} if self.conditional else {}
        return {name: one.channels for name, one in self.normalisers.items()} | told

    def seen(self, recording: Recording) -> list[Tensor]:
        """Return what is read of recorded samples, standardised, channels last; without the target."""
        looked = {**recording.reads, OUTPUT: recording.form.scores(recording.output)}
        return [normaliser(looked[name]) for name, normaliser in self.normalisers.items()]

    def told(self, recording: Recording, classes: Tensor) -> list[Tensor]:
        """Return the evidence (N, ..., 2) for classes (N,) and for their rivals, where the readout is told; else nothing."""
        return [self.evidence(recording, classes)] if self.conditional else []

    def evidence(self, recording: Recording, classes: Tensor) -> Tensor:
        """Return evidence at each place of the last read layer, for classes (N,) and for their rivals: (N, ..., 2).

        To first order, what the score owes to the place's features not being the mean. Scores count from the mean of all, since
        what moves all alike decides nothing; of the rivals it is the logarithm of the sum of their exponentials, whose gradient
        does not vanish where the network is sure. Scaled to a mean square of 1 over each sample.
        """
        ((name, source),) = recording.sources.items()
        deviation = self.normalisers[name].deviation(source.detach())
        places, form = self.normalisers[name].at_places, recording.form

        def told(voice: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            slopes = recording.slopes(lambda output: voice(form.scores(output), classes))
            return (places(slopes) * places(deviation)).sum(-1)

        voices = [told(_score), told(_rivals)]
        both = torch.stack(voices, -1)
        size = both.square().flatten(1).mean(1).sqrt().clamp_min(torch.finfo(both.dtype).tiny)
        return both / size.view(-1, *[1] * (both.dim() - 1))


def _centred(scores: Tensor) -> Tensor:
    return scores - scores.mean(1, keepdim=True)


def _score(scores: Tensor, classes: Tensor) -> Tensor:
    return _centred(scores).gather(1, classes[:, None])[:, 0]


def _rivals(scores: Tensor, classes: Tensor) -> Tensor:
    return _centred(scores).scatter(1, classes[:, None], float("-inf")).logsumexp(1)


def reading_probe(probe: Probe, names: Sequence[str | nn.Module], *, conditional: bool) -> Probe:
    """Return a probe of the same layer that also keeps what these layers put out; with the gradients of a conditional readout.

    Raises:
        SettingError: if it needs them and nothing but the output is read.
    """
    within = [name for name in names if not (isinstance(name, str) and name == OUTPUT)]
    if conditional and not within:
        raise SettingError("a conditional readout needs a layer in read_layers, not the output alone")
    return Probe(probe.model, probe.layer, call=probe.call, reads=within, slopes=conditional, output=probe.output)


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
    """Return statistics of the layer and of all that is read, from one clean pass of each batch.

    Args:
        probe: of `reading_probe`.
        batches: of inputs, at least one.
        with_output: whether the network's class scores are read.
        conditional: whether the target is.
        granularity: "channel" or "element".
        layout: how the axes of the layer's features are meant; found from their shape if not given.
        min_std: floor on the standard deviation of what is read.
        progress: called with the number of inputs seen so far.

    Raises:
        StatisticsError: if sizes differ with granularity "element".
    """
    known: dict[str, FeatureStatistics] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    layers = {"": probe, **{name: Probe(probe.model, name) for name in probe.read_layers}}
    seen, classes = 0, 0
    for inputs in batches:
        recording = probe.record(inputs, check=False)
        recording.forget()
        scores = recording.form.scores(recording.output)
        classes, seen = scores.shape[1], seen + inputs.count
        looked = {"": recording.features, **recording.reads, **({OUTPUT: scores} if with_output else {})}
        for name, features in looked.items():
            sizes[name] = tuple(features.shape[1:])
            axes = _axes(layers[name], inputs, layout if not name else None) if name in layers else LAYOUTS["D"]
            made = FeatureStatistics.of(features, axes, granularity)
            known[name] = known[name].merge(made) if name in known else made
        if progress is not None:
            progress(seen)
    own = known.pop("")
    scale = NoiseSettings("gaussian", min_std)
    models = {name: statistics.noise(scale, sizes[name]) for name, statistics in known.items()}
    normalisers = {name: Normaliser(known[name].layout, model.mean, model.std) for name, model in models.items()}
    return own, Reads(normalisers, classes, conditional)


def _axes(layer: Probe, inputs: ModelInputs, layout: Layout | None) -> Layout:
    found = layer.geometry(inputs, layout)
    if found.order is not None:
        raise LayerError(
            f"the patches of layer {layer.name!r} come in another order than the image's, which a readout cannot read: choose "
            "another layer, or method 'iba'"
        )
    return found.layout
