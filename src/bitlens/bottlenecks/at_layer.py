"""What the bottlenecks of images share: one layer, statistics of its features, and the way from a group to noised features."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.bottlenecks.bottleneck import EVIDENCE_STREAM, Bottleneck
from bitlens.bottlenecks.groups import Group, Samples
from bitlens.bottlenecks.paths import check_paths, warn_if_unread
from bitlens.bottlenecks.recorded import Recorded
from bitlens.core.family import Region
from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import LAYOUTS, Layout
from bitlens.core.own import FEWEST, own_noise, places_of
from bitlens.core.passes import BottleneckOptions, in_precision, memory_format, suffix_dtype
from bitlens.core.statistics import FeatureStatistics
from bitlens.core.targets import as_target, last_token
from bitlens.errors import BitlensWarning, LayerError, StatisticsError, one_of, one_of_literal, warn_caller
from bitlens.probe import Probe
from bitlens.probe.fingerprint import weights_hash, weights_versions
from bitlens.probe.geometry import Geometry
from bitlens.probe.pictured import pictured

_FAR = 10  # standard deviations: photos as the statistics know them lie within 1, all of them noise or black within 7
ExtraTokens = Literal["restricted", "mean", "whole"]


class LayerBottleneck(Bottleneck):
    """A bottleneck at one layer, against statistics of its features.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output is restricted, or its dotted name.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: what the axes of the features are, one of `LAYOUTS`, where neither modules nor a measurement tell.
        noise: how it is made from the statistics.
        extra_tokens: what happens to tokens that are no patches.
        compile: whether what lies behind the layer is to become one graph.
    """

    runs_behind: ClassVar[bool]
    """Whether masks are found by running what comes behind the layer."""

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        *,
        call: int | None,
        layout: str | None,
        noise: NoiseSettings,
        extra_tokens: ExtraTokens = "restricted",
        compile: bool = False,  # noqa: A002  (PyTorch's own name)
        **run: Unpack[BottleneckOptions],
    ) -> None:
        super().__init__(**run)
        self.probe = Probe(model, layer, call=call, output=self.passes.output)
        self.layout = one_of("layout", layout, LAYOUTS) if layout is not None else None
        self.noise = noise
        self.extra_tokens = one_of_literal("extra_tokens", extra_tokens, ExtraTokens)
        self.compile = compile
        self._statistics: FeatureStatistics | None = None
        self._versions: tuple[tuple[int, int], ...] = ()  # of the weights that the statistics are known to belong to

    @property
    def own(self) -> bool:
        """Return whether each input's own places say what noise looks like, because no statistics of others were given."""
        return self._statistics is None

    @property
    def statistics(self) -> FeatureStatistics:
        """Return the statistics of the layer's features. Setting them checks that they belong to this layer and these weights.

        Raises:
            StatisticsError: if there are none yet, or they belong to something else.
        """
        if self._statistics is None:
            raise StatisticsError(
                f"there are no statistics of layer {self.probe.name!r} yet: call fit_statistics(batches) with inputs like "
                "those to explain, or set iba.statistics = FeatureStatistics.load(file)"
            )
        return self._statistics

    @statistics.setter
    def statistics(self, statistics: FeatureStatistics) -> None:
        statistics.check_network(self.probe.name, self.probe.fingerprint())
        self._statistics = statistics
        self._versions = weights_versions(self.model)

    def check(self) -> None:
        """Warn if the statistics are of other weights.

        Weights are read only if something was written to them since.
        """
        if self.own:
            return
        known, versions = self.statistics.provenance.weights, weights_versions(self.model)
        if versions != self._versions and known not in ("", weights_hash(self.model)):
            warnings.warn(
                f"the network's weights have changed since the statistics of layer {self.probe.name!r} were made, so the bits "
                "are measured against features that it no longer has: call fit_statistics again",
                BitlensWarning,
                stacklevel=3,
            )
        self._versions = versions

    def samples(self, inputs: Any) -> Samples:
        """Read what is to be explained."""
        return Samples.of(inputs)

    def read(self, inputs: Any, targets: Any) -> Samples:
        """Read what is to be explained, and find out which image the layer looks at, of several that differ in size."""
        samples = super().read(inputs, targets)
        return replace(samples, inputs=pictured(self.probe, samples.inputs))

    @contextmanager
    def recorded(self, group: Group) -> Iterator[Recorded]:
        """Run a group through the network; within the block what comes behind the layer can run again."""
        aimed = self.keep is not None or self.guarantee is not None
        behind = (
            self.runs_behind or aimed or bool(self.signed) or group.wanted.evidence_samples > 0 or group.wanted.curve
        )
        recording = self.probe.record(group.inputs, check=behind)
        check_paths(self.probe, group.inputs, allowed=self.allow_bypass)
        geometry = self.geometry(group.inputs)
        warn_if_unread(self.probe, group.inputs, geometry.layout)
        layout, features = geometry.layout, geometry.arranged(recording.features.float())
        mask = group.inputs.kwargs.get("attention_mask")
        last = last_token(mask.bool()) if isinstance(mask, Tensor) and mask.dim() == 2 else None
        target = as_target(group.targets, recording.output, group.inputs.count, recording.form, last=last)
        dtype = suffix_dtype(self.precision, recording.features, self.model)
        features = features.contiguous(memory_format=memory_format(features, dtype, layout))
        noise = self._noise_for(group.inputs, features, layout)
        opened: AbstractContextManager[Any] = (
            recording.suffix(dtype, packed=not self.compile) if behind else nullcontext()
        )
        with opened as suffix:
            region = Region()
            if self.extra_tokens == "mean" and layout.extra:
                mean = noise.mean if self.own else noise.mean[: layout.extra]
                held = mean.expand(len(features), layout.extra, -1)
                features = torch.cat([held, features[:, layout.extra :]], 1)
            if self.extra_tokens != "restricted" and layout.extra:
                restricted = torch.ones(1, features.shape[1], 1, device=features.device, dtype=torch.float32)
                restricted[:, : layout.extra] = 0
                region = Region(restricted)
            yield Recorded(
                group, self.probe.name, features, recording.output, target, noise, layout, region,
                run=in_precision(lambda z, *chosen: suffix(geometry.as_found(z), *chosen), dtype, recording.features, layout),
                seed=self.seed,
                evidence_seed=self.seed + EVIDENCE_STREAM,
                dtype=dtype,
                recording=recording,
            )  # fmt: skip

    def geometry(self, inputs: ModelInputs) -> Geometry:
        """Return how the axes of the layer's features are meant for inputs like these.

        Raises:
            StatisticsError: if the statistics are about other features, or take their axes otherwise.
        """
        if self.own:
            return self.probe.geometry(inputs, self.layout)
        said = self.statistics.layout
        try:
            found = self.probe.geometry(inputs, self.layout)
        except LayerError:
            if self.layout is not None or said.name == "PD":
                raise
            found = self.probe.geometry(inputs, said)  # nothing tells, but somebody did when the statistics were made
        size = self.probe.size(inputs)
        if found.layout != said:
            extra = f" with {said.extra} tokens more" if said.extra else ""
            raise StatisticsError(
                f"the statistics of layer {self.probe.name!r} take the axes of its features {size} as {said.name}{extra}, but "
                f"for these inputs they are {found.layout.name}: make new ones with fit_statistics, or say layout={said.name!r}"
            )
        self.statistics.check_features(size)
        return found

    def _noise_for(self, inputs: ModelInputs, features: Tensor, layout: Layout) -> NoiseModel:
        if not self.own:
            noise = self.statistics.noise(self.noise, tuple(features.shape[1:])).to(features.device)
            far = float(noise.distance(features).max())
            if far > _FAR:
                warn_caller(
                    f"features of layer {self.probe.name!r} lie {far:.0f} standard deviations on average from what its "
                    "statistics were made of, so bits count that above all: prepare inputs as those of the statistics were"
                )
            return noise
        places = places_of(features, layout)
        if places.shape[2] < FEWEST:
            places = self._places_of_others(inputs, layout, -(-FEWEST // places.shape[2]))
        return own_noise(features, places, layout, self.noise)

    def _places_of_others(self, inputs: ModelInputs, layout: Layout, count: int) -> Tensor:
        """Return features (N, channels, P) for inputs of noise, as large and spread as each sample, where its places are too few.

        Raises:
            StatisticsError: if the inputs are no real numbers, of which noise could be made, or rows of a table.
        """
        first = inputs.first
        if not first.is_floating_point():
            raise StatisticsError(
                f"layer {self.probe.name!r} has too few places to tell what noise looks like: call fit_statistics(batches) with "
                "inputs like those to explain"
            )
        if first.dim() == 2 and (inputs.places is None or inputs.places.unordered):
            raise StatisticsError(
                "the features of a row are of many kinds, and none tells what noise looks like at another: call "
                "fit_statistics(batches) with other rows, or give statistics (on the command line --statistics-from table:FILE)"
            )
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(count, *first.shape[1:], dtype=torch.float32, generator=generator).to(first)
        found = []
        for sample in range(inputs.count):
            one = inputs.select(torch.tensor([sample], device=first.device))
            spread, mean = one.first.float().std().nan_to_num(0.0), one.first.float().mean()
            others = one.tile(count).with_first(mean.to(first) + noise * spread.to(first))
            found.append(places_of(self.probe.features(others).float(), layout).movedim(0, 1).flatten(1))
        return torch.stack(found)
