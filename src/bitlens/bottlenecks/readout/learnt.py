"""What a readout knows about one layer: statistics, what is read, and, once it was trained, the network that reads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.readout.network import ReadoutNetwork
from bitlens.bottlenecks.readout.reads import OUTPUT, Reads, collect_reads, reading_probe
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.layout import Layout
from bitlens.core.masks import complement, smoothing_matrices
from bitlens.core.statistics import FeatureStatistics, Granularity, Provenance
from bitlens.probe import Probe, stages_behind
from bitlens.probe.collecting import limited
from bitlens.probe.fingerprint import provenance_of
from bitlens.probe.following import arguments_of


@dataclass(frozen=True)
class Learnt:
    """Knowledge about one layer of one network.

    Attributes:
        statistics: of the layer's features.
        reads: what is looked at.
        settings: of the bottleneck and of the readout's network, as plain values.
        provenance: network, weights, layer, data, preprocessing and version.
        network: that reads; None before it was trained.
        training: how it was, and what was lost in the end, as plain values.
    """

    statistics: FeatureStatistics
    reads: Reads
    settings: Mapping[str, Any]
    provenance: Provenance
    network: ReadoutNetwork | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, weights: ReadoutWeights, device: torch.device) -> "Learnt":
        """Return what a trained readout knows, its network on a device."""
        known = cls(weights.statistics, weights.reads, weights.settings, weights.provenance, training=weights.training)
        network = known.new_network(0, device)
        network.load_state_dict(dict(weights.state))
        return replace(known, network=network)

    @cached_property
    def weights(self) -> ReadoutWeights:
        """All of it as what can be kept. Asked for once the network is trained: it does not change after that."""
        assert self.network is not None
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        return ReadoutWeights(state, self.statistics, self.reads, self.settings, self.training, self.provenance)

    @property
    def smoothing(self) -> float:
        """σ of the mask's blur."""
        return float(self.settings["smoothing"])

    @property
    def read_layers(self) -> tuple[str, ...]:
        """Names of the layers that are read, in the order in which they are concatenated."""
        return tuple(self.reads.normalisers)

    def noise(self, features: Tensor) -> NoiseModel:
        """Return the noise that stands in for features (N, ...)."""
        chosen = NoiseSettings(*(self.settings[name] for name in ("noise", "min_std", "activity_threshold")))
        return self.statistics.noise(chosen, tuple(features.shape[1:])).to(features.device)

    def logits(self, network: nn.Module, reads: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Return what a network says of standardised features: α (N, ...) in the shape of the layer's features, float32."""
        channel = self.statistics.layout.channel + 1
        grid = torch.Size(size for axis, size in enumerate(shape) if axis not in (0, channel))
        predicted: Tensor = network(reads, grid)
        return predicted.float().movedim(-1, channel)

    def noise_shares(self, logits: Tensor, layout: Layout) -> Tensor:
        """Return U = 1 - λ (N, ...) of logits α, smoothed."""
        matrices = smoothing_matrices(layout, tuple(logits.shape[1:]), self.smoothing)
        return complement(logits, layout, [matrix.to(logits.device) for matrix in matrices])

    def new_network(self, seed: int, device: torch.device) -> ReadoutNetwork:
        """Return a network that reads what is to be read, not trained yet."""
        shape, layout = self.statistics.mean.shape, self.statistics.layout
        width = shape[-1] if self.statistics.granularity == "channel" else shape[layout.channel]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = ReadoutNetwork(
                self.reads.channels, width, hidden=self.settings["hidden"], middle=self.settings["middle"]
            )
        return made.to(device)


def learn_statistics(
    probe: Probe,
    batches: Iterable[Any],
    max_samples: int,
    *,
    read_layers: Sequence[str | nn.Module] | None,
    settings: Mapping[str, Any],
    granularity: Granularity,
    layout: Layout | None,
    data: str,
    preprocessing: str,
    progress: Callable[[int], None] | None,
) -> Learnt:
    """Return what the layer of a probe and all read layers put out, from one clean pass of each batch.

    Args:
        probe: of the layer.
        batches: of inputs, or of tuples whose first entry is the input.
        max_samples: stop at exactly this many.
        read_layers: where to look; the layer, the stages after it and the output if not given.
        settings: of the bottleneck and of the readout's network.
        granularity: "channel" or "element".
        layout: how the axes of the layer's features are meant; found from their shape if not given.
        data: where the inputs come from.
        preprocessing: how they were prepared.
        progress: called with the number of inputs seen so far.

    Raises:
        StatisticsError: if there is no input, or sizes differ with granularity "element".
    """
    inputs = limited((arguments_of(probe.model, batch)[0] for batch in batches), max_samples)
    first = next(inputs)
    names = read_layers if read_layers is not None else (*stages_behind(probe.model, probe.layer, first), OUTPUT)
    statistics, reads = collect_reads(
        reading_probe(probe, names, conditional=settings["conditional"]),
        chain([first], inputs),
        with_output=OUTPUT in names,
        conditional=settings["conditional"],
        granularity=granularity,
        layout=layout,
        min_std=settings["min_std"],
        progress=progress,
    )
    provenance = provenance_of(probe.model, probe.name, data=data, preprocessing=preprocessing)
    return Learnt(replace(statistics, provenance=provenance), reads, settings, provenance)
