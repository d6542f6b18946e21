"""InputIBA: bits at the resolution of the input (Zhang et al., NeurIPS 2021).

Three stages: a bottleneck at a layer finds which features are needed; a prior finds which inputs give such features; a
bottleneck at the input, which counts only information beyond the prior, finds what of the input is needed.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.input.presets import (
    EVIDENCE_STREAM,
    INPUT_QUALITY,
    INPUT_STREAM,
    PRIOR_STREAM,
    PRIORS,
    UNITS,
    InputQuality,
    InputReadout,
    PriorName,
)
from bitlens.bottlenecks.input.prior import Prior
from bitlens.bottlenecks.input.stages import IMAGES, InputStages, first_stages
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution, Evidence
from bitlens.core.fitting import Fitted, Region, fit_masks, measure_under_noise
from bitlens.core.gaussian import NoiseModel, information
from bitlens.core.inputs import ModelInputs, as_captum
from bitlens.core.layout import Layout
from bitlens.core.maps import bits_of
from bitlens.core.passes import Precision, in_precision, rows_at_once, suffix_dtype
from bitlens.core.statistics import FeatureStatistics, Granularity
from bitlens.core.targets import Target, as_target, select_targets
from bitlens.errors import InputError, SettingError, one_of
from bitlens.probe import Network, Probe
from bitlens.version import __version__

__all__ = ["InputIBA", "InputStages"]


class InputIBA:
    """Information bottleneck attribution at the input, guided by a bottleneck at a layer.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output stage 1 restricts, or its dotted name.
        beta: weight of the information in stage 1 (the paper's β·k; 10, in "official" 20).
        beta_input: weight of the information in stage 3 (20).
        prior: how stage 2 finds λ_G: "feature-map" (stage 1's map, squashed), "none" (λ_G = 0: a plain bottleneck at the
            input), "feature-matching", "wgan-gp", "wgan" (the paper), "official" (as released), or any function from a
            `FirstStage` to logits. By default what `quality` says.
        quality: "fast"; "paper": the published passes and prior; "official": settings and prior of the released code.
        steps: optimisation steps of stage 3; by default what `quality` says.
        noise_samples: noisy copies per step of stage 3, likewise.
        learning_rate: of stage 3, likewise.
        smoothing: σ of the blur of stage 3's mask, in pixels; 0 for none; likewise.
        one_mask: whether the colours of a pixel share one mask in stage 3, likewise.
        readout: "mask" (as published: after the last update, without the blur, mean over colours; in [0, 1]), "information"
            (all bits that pass the input, against noise alone) or "beyond-prior" (bits as proposition 3 counts them).
        noise_mean: of the noise at the input, in the units of the network's input.
        noise_std: likewise.
        seed: of all noise.
        precision: of the network: "float32", "bfloat16", or "auto". Masks and information are always float32.
        statistics: of the layer's features, if they exist already; else call `fit_statistics`.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: "CHW" or "HWC" if the axes of the features cannot be told from their shape.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense.
    """

    method = "input-iba"

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
        noise_mean: float = 0.0,
        noise_std: float = 1.0,
        seed: int = 0,
        precision: Precision = "auto",
        statistics: FeatureStatistics | None = None,
        call: int | None = None,
        layout: str | None = None,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        preset = one_of("quality", quality, INPUT_QUALITY)
        chosen = {
            "beta": beta_input, "steps": steps, "noise_samples": noise_samples, "learning_rate": learning_rate,
            "smoothing": smoothing,
        }  # fmt: skip
        given: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
        self.input_settings = replace(preset.input, **given)
        self.one_mask = preset.one_mask if one_mask is None else one_mask
        self.feature_bottleneck = IBA(
            model,
            layer,
            seed=seed,
            precision=precision,
            statistics=statistics,
            call=call,
            layout=layout,
            internal_batch_size=internal_batch_size,
        )
        features = preset.features
        self.feature_bottleneck.settings = features if beta is None else replace(features, beta=beta)
        name = preset.prior if prior is None else prior
        self.find_prior: Prior | None = name if callable(name) else one_of("prior", name, PRIORS)
        self.prior = name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)
        self.readout = one_of("readout", readout, {name: name for name in UNITS})
        if not noise_std > 0:
            raise SettingError(f"noise_std must be positive, got {noise_std}")
        self.noise_mean, self.noise_std = noise_mean, noise_std
        self.seed, self.precision = seed, self.feature_bottleneck.precision
        self.network = Network(model)

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.network.model

    @property
    def probe(self) -> Probe:
        """The way into stage 1's layer."""
        return self.feature_bottleneck.probe

    @property
    def layout(self) -> Layout | None:
        """How the axes of the features were said to be meant."""
        return self.feature_bottleneck.layout

    @property
    def statistics(self) -> FeatureStatistics:
        """Of the layer's features; see `IBA.statistics`."""
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

    def explain(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        evidence_samples: int = 32,
        keep_capacity: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Attribution:
        """What of each pixel the network needs for the targets.

        Args:
            inputs: (N, C, H, W) images, or a tuple or mapping of arguments of which the first tensor is the images.
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            evidence_samples: fresh noise samples at the input under which the target is measured; 0 for no evidence.
            keep_capacity: whether to keep the bits of every single value, (N, C, H, W).
            progress: called with the number of images explained so far.

        Returns:
            Maps (N, H, W), their unit by the read-out: "mask" or "bits/pixel". `cells` are all bits that pass each pixel
            and `total_bits` their sum, whatever the read-out.

        Raises:
            StatisticsError: if the statistics are missing (with any prior but "none") or do not fit the layer's output.
            InputError: if the inputs are empty, not finite, or no images.
            TargetError: if the targets do not fit the network's output.
            LayerError: if the layer cannot be restricted, or has no grid for a map.
            FitError: if the network's output or gradient is not finite under noise.
        """
        return self.stages(
            inputs, targets, evidence_samples=evidence_samples, keep_capacity=keep_capacity, progress=progress
        ).input

    def stages(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        evidence_samples: int = 32,
        keep_capacity: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> InputStages:
        """What each of the three stages found; arguments and errors as of `explain`."""
        batch = self.network.prepared(inputs)
        if batch.image_size is None:
            raise InputError(
                f"{self.method} needs images (N, C, H, W), got {tuple(batch.first.shape)} of {batch.first.dtype}"
            )
        if self.find_prior is not None:
            _ = self.statistics  # if they are missing, say so before any work
        rows = self.feature_bottleneck.internal_batch_size
        if rows == "auto":
            rows = rows_at_once(self.network.bytes_per_row(batch), self.network.device)
        size = max(1, rows // 2)  # images of a group: two copies of each fill a pass
        parts = []
        for start in range(0, batch.count, size):
            group = batch.select(slice(start, start + size))
            chosen = select_targets(targets, start, start + group.count, batch.count)
            with torch.autocast(self.network.device.type, enabled=False):  # `precision` alone decides
                parts.append(self._group(group, chosen, rows, evidence_samples, keep_capacity))
            if progress is not None:
                progress(start + group.count)
        firsts = [part.features for part in parts if part.features is not None]
        return InputStages(
            Attribution.join(firsts) if firsts else None,
            torch.cat([part.prior for part in parts]),
            Attribution.join([part.input for part in parts]),
        )

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        """The maps as Captum's methods return them: (N, 1, H, W) on the inputs' device, in a tuple for a tuple."""
        given = ModelInputs.of(inputs, additional_forward_args)
        return as_captum(self.explain(given, target, evidence_samples=0).map, inputs, given.first.device)

    def _group(
        self, group: ModelInputs, targets: Any, rows: int, evidence_samples: int, keep_capacity: bool
    ) -> InputStages:
        """All stages for images whose noisy copies go through the network together."""
        with torch.no_grad(), self.network.running(group) as passes:
            output = passes(group.first.clone())
        target = as_target(targets, output, group.count)
        first, logits = None, torch.full_like(group.first, -torch.inf, dtype=torch.float32)
        if self.find_prior is not None:
            stream = self.seed + PRIOR_STREAM
            first, logits = first_stages(self.feature_bottleneck, self.find_prior, group, target, rows, stream)
        images, one = group.first.float(), torch.ones(1, 1, 1, device=group.first.device)
        hidden = torch.sigmoid(-logits).expand_as(images)
        noise = NoiseModel(self.noise_mean * one, self.noise_std * one, one, hidden=hidden)
        dtype = suffix_dtype(self.precision, group.first)
        evidence = None
        with self.network.running(group, dtype) as passes, torch.enable_grad():
            run = in_precision(lambda z: passes(z.clone()), dtype, group.first, IMAGES)  # networks may overwrite z
            region, seed = Region(shared=self.one_mask), self.seed + INPUT_STREAM
            fitted = fit_masks(
                run, target, images, noise, IMAGES, self.input_settings, seed=seed, rows=rows, region=region
            )
            if evidence_samples > 0:
                seed = self.seed + EVIDENCE_STREAM
                measured = measure_under_noise(
                    run, target, images, fitted.u, noise, noise_samples=evidence_samples, seed=seed, rows=rows
                )
                before, mean, spread = (values.cpu() for values in (target.value(output), *measured))
                evidence = Evidence(before, mean, spread, target.measure, evidence_samples)
        bits = bits_of(information(fitted.u, noise.squared_score(images)))
        made = self._attribution(fitted, bits, target, evidence, bits if keep_capacity else None)
        return InputStages(first, torch.sigmoid(logits).expand_as(images).cpu(), made)

    def _attribution(
        self, fitted: Fitted, bits: Tensor, target: Target, evidence: Evidence | None, capacity: Tensor | None
    ) -> Attribution:
        cells, texts, count = bits.sum(1), target.describe(), len(bits)
        maps = {
            "mask": lambda: torch.sigmoid(fitted.logits).mean(1),
            "information": lambda: cells,
            "beyond-prior": lambda: bits_of(fitted.information).sum(1),
        }
        return Attribution(
            map=maps[self.readout]().cpu(),
            unit=UNITS[self.readout],
            method=self.method,
            targets=texts if len(texts) == count else texts * count,
            settings={**self.settings(), "seed": self.seed},
            model=type(self.model).__name__,
            layer=self.probe.name,
            total_bits=cells.flatten(1).sum(1).cpu(),
            evidence=evidence,
            cells=cells.cpu(),
            capacity=capacity.cpu() if capacity is not None else None,
            version=__version__,
        )

    def settings(self) -> dict[str, Any]:
        """Everything besides the seed that decides what a map looks like, as plain values."""
        plain = {
            **asdict(self.input_settings),
            "one_mask": self.one_mask,
            "readout": self.readout,
            "noise_mean": self.noise_mean,
            "noise_std": self.noise_std,
            "precision": self.precision,
            "layer": self.probe.name,
            "prior": self.prior,
        }
        if self.find_prior is None:
            return plain
        first = self.feature_bottleneck.all_settings()
        return plain | {f"stage1_{name}": value for name, value in first.items() if name not in ("seed", "precision")}
