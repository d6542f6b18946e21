"""InputIBA: bits at the resolution of the input (Zhang et al., NeurIPS 2021).

Three stages: a bottleneck at a layer finds which features are needed; a prior finds which inputs give such features; a
bottleneck at the input, which counts only information beyond the prior, finds what of the input is needed.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.bottlenecks.groups import Group, Samples
from bitlens.bottlenecks.input.guided import GuidedBottleneck
from bitlens.bottlenecks.input.presets import (
    INPUT_QUALITY,
    INPUT_STREAM,
    PRIOR_STREAM,
    PRIORS,
    InputQuality,
    InputReadout,
    PriorName,
)
from bitlens.bottlenecks.input.prior import Prior
from bitlens.bottlenecks.input.stages import Guide, image_guide
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.recorded import Recorded
from bitlens.core.family import Region
from bitlens.core.gaussian import NoiseModel
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout
from bitlens.core.passes import BottleneckOptions, in_precision, suffix_dtype, without_aim
from bitlens.core.places import Places
from bitlens.core.statistics import FeatureStatistics, Granularity
from bitlens.core.targets import as_target
from bitlens.errors import SettingError, one_of
from bitlens.probe import Network

_EVIDENCE_STREAM = 0x2C1B3C6D  # of the noise at the input under which masks are judged


@final
class InputIBA(GuidedBottleneck):
    """Information bottleneck attribution at the input, guided by a bottleneck at a layer.

    Of images, series and volumes alike. Of a table each feature has a mask, and bits/feature; no layer behind its input has
    places that are its features, so there is no prior: prior="none".

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output stage 1 restricts, or its dotted name.
        beta: weight of the information in stage 1 (the paper's β·k; 10, in "official" 20).
        quality: "fast"; "paper": the published passes and prior; "official": settings and prior of the released code.
        one_mask: whether the colours of a pixel share one mask in stage 3; by default what `quality` says.
        noise_mean: of the noise at the input, in the units of the network's input; a number, or as one input has them: those
            of each feature of a table that is not standardised, (D,), or of each channel, (C, 1, 1).
        noise_std: of the noise at the input, in the same units.
        statistics: of the layer's features, if they exist already; else call `fit_statistics`.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: "CHW" or "HWC" if the axes of the features cannot be told from their shape.
        run: seed, precision and internal_batch_size, see `GroupedMethod`.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        *,
        beta: float | None = None,
        beta_input: float | None = None,
        prior: PriorName | Prior | None = None,
        quality: InputQuality = "fast",
        steps: int | None = None,
        noise_samples: int | None = None,
        learning_rate: float | None = None,
        smoothing: float | None = None,
        one_mask: bool | None = None,
        readout: InputReadout = "mask",
        noise_mean: float | Tensor = 0.0,
        noise_std: float | Tensor = 1.0,
        statistics: FeatureStatistics | Literal["own"] | None = None,
        call: int | None = None,
        layout: str | None = None,
        **run: Unpack[BottleneckOptions],
    ) -> None:
        preset = one_of("quality", quality, INPUT_QUALITY)
        super().__init__(
            preset,
            PRIORS,
            prior,
            readout,
            beta_input=beta_input,
            steps=steps,
            noise_samples=noise_samples,
            learning_rate=learning_rate,
            smoothing=smoothing,
            **run,
        )
        if not bool((torch.as_tensor(noise_std) > 0).all()):
            raise SettingError(f"noise_std must be positive, got {noise_std}")
        self.one_mask = preset.one_mask if one_mask is None else one_mask
        self.noise_mean, self.noise_std = noise_mean, noise_std
        own = without_aim(run)
        self.feature_bottleneck = IBA(model, layer, statistics=statistics, call=call, layout=layout, **own)
        features = preset.features
        self.feature_bottleneck.fit = features if beta is None else replace(features, beta=beta)
        self.probe, self.network = self.feature_bottleneck.probe, Network(model, output=self.passes.output)

    @property
    def layout(self) -> Layout | None:
        """Return how the axes of the features were said to be meant."""
        return self.feature_bottleneck.layout

    @property
    def statistics(self) -> FeatureStatistics:
        """Return the statistics of the layer's features; see `IBA.statistics`."""
        return self.feature_bottleneck.statistics

    @statistics.setter
    def statistics(self, statistics: FeatureStatistics) -> None:
        self.feature_bottleneck.statistics = statistics

    def fit_statistics(
        self,
        batches: Iterable[Any],
        max_samples: int = 10_000,
        *,
        granularity: Granularity = "element",
        data: str = "",
        preprocessing: str = "",
    ) -> "InputIBA":
        """Learn what the layer puts out on inputs like those to be explained; see `IBA.fit_statistics`."""
        self.feature_bottleneck.fit_statistics(
            batches, max_samples, granularity=granularity, data=data, preprocessing=preprocessing
        )
        return self

    def check(self) -> None:
        """Warn if the statistics are of other weights, if the prior needs them."""
        if self.find_prior is not None:
            self.feature_bottleneck.check()

    def samples(self, inputs: Any) -> Samples:
        """Read images (N, C, H, W), series, volumes or tables, or several arguments of which the first tensor is these."""
        return Samples.of(inputs)

    def read(self, inputs: Any, targets: Any) -> Samples:
        """Read what is to be explained, whose places must be known."""
        samples = super().read(inputs, targets)
        samples.inputs.placed(self.method)
        return samples

    def rows(self, inputs: ModelInputs) -> int:
        """Return how many rows like these inputs may go through the whole network at once."""
        network = self.network
        return self.passes.rows(lambda: network.bytes_per_row(network.prepared(inputs)), network.device)

    @contextmanager
    def recorded(self, group: Group) -> Iterator[Recorded]:
        """Run stages 1 and 2 for a group; within the block the network can run again from the input."""
        inputs = self.network.prepared(group.inputs)
        places = inputs.placed(self.method)
        output, form = self.network.answered(inputs)
        target = as_target(group.targets, output, inputs.count, form)
        images = places.first(inputs.first).float()
        hidden = self.hidden(group, images, inputs=inputs, targets=target)
        mean, std = (self._as_input(name, inputs.first, places) for name in ("noise_mean", "noise_std"))
        noise = NoiseModel(mean, std, torch.ones_like(std), hidden=hidden)
        dtype = suffix_dtype(self.precision, inputs.first, self.network.model)

        def run(z: Tensor, samples: Tensor | None = None) -> Any:
            own = places.back(z).clone()  # networks may overwrite it
            return passes(own) if samples is None else passes(own, samples.repeat(len(z) // len(samples)))

        with self.network.running(inputs, dtype) as passes:
            yield Recorded(
                group, self.probe.name, images, output, target, noise, places.layout, Region(shared=self.one_mask),
                run=in_precision(run, dtype, inputs.first, places.layout),
                seed=self.seed + INPUT_STREAM,
                evidence_seed=self.seed + _EVIDENCE_STREAM,
                dtype=dtype,
            )  # fmt: skip

    def _as_input(self, name: str, first: Tensor, places: Places) -> Tensor:
        """Return a setting of the noise, in the shape of one input with its channels first, or one that broadcasts to it."""
        given = torch.as_tensor(getattr(self, name), dtype=torch.float32, device=first.device)
        shape = given.shape if given.dim() else torch.Size([1] * (first.dim() - 1))
        if len(shape) != first.dim() - 1 or any(
            own not in (1, size) for own, size in zip(shape, first.shape[1:], strict=False)
        ):
            raise SettingError(
                f"{name} has shape {tuple(given.shape)}, one input {tuple(first.shape[1:])}: give a number, or as one input has "
                "them"
            )
        return places.first(given.reshape(1, *shape))[0]

    def guide(self, group: Group) -> Guide:
        """Find what stages 1 and 2 say of a group of prepared images."""
        assert self.find_prior is not None
        return image_guide(self.feature_bottleneck, self.find_prior, group, self.seed + PRIOR_STREAM)

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
        plain = {
            **self.fit.plain(),
            "one_mask": self.one_mask,
            "readout": self.readout,
            "noise_mean": _plain(self.noise_mean),
            "noise_std": _plain(self.noise_std),
            "precision": self.precision,
            **self.passes.declared(),
            "layer": self.probe.name,
            "prior": self.prior,
            "seed": self.seed,
        }
        if self.find_prior is None:
            return plain
        first = self.feature_bottleneck.settings()
        return plain | {
            f"stage1_{name}": value for name, value in first.items() if name not in ("seed", "precision", "output")
        }


def _plain(value: float | Tensor) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value
