"""The Per-Sample Bottleneck: the mask is optimised for each input (Schulz et al., ICLR 2020, section 3.1)."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bitlens.core.attribution import Attribution, Evidence
from bitlens.core.fitting import QUALITY, Fitted, Quality, Readout, Region, Watch, fit_masks, measure_under_noise
from bitlens.core.gaussian import NoiseMode, NoiseModel, NoiseSettings
from bitlens.core.inputs import ModelInputs, as_captum
from bitlens.core.layout import LAYOUTS, Layout
from bitlens.core.maps import bits_of, bits_of_extra, bits_per_cell, bits_per_pixel, unit_of
from bitlens.core.passes import Precision, in_precision, memory_format, rows_at_once, suffix_dtype
from bitlens.core.statistics import FeatureStatistics, Granularity, Provenance
from bitlens.core.targets import Target, as_target, select_targets
from bitlens.errors import BitlensWarning, SettingError, StatisticsError, one_of
from bitlens.probe import Compiler, Probe, Recording
from bitlens.probe.collecting import collect_statistics
from bitlens.probe.fingerprint import weights_hash, weights_versions
from bitlens.version import __version__

__all__ = ["IBA", "ExtraTokens"]

ExtraTokens = Literal["restricted", "mean", "whole"]

_COPIES_AT_ONCE = 2  # of each sample; the more samples share a pass, the fuller it is, also where copies are few
_EVIDENCE_STREAM = 0x5DEECE66D  # evidence must not reuse the noise that a mask was fitted on


class IBA:
    """Information bottleneck attribution at one layer of a network, optimised for each input.

    Noise replaces the layer's features little by little; the mask is found that lets the least information pass while
    the target is still predicted. What passes, in bits, is the attribution.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output is restricted, or its dotted name.
        beta: weight of the information; larger keeps less (the paper's β·k; 10 there).
        steps: optimisation steps; by default what `quality` says.
        noise_samples: noisy copies per step; by default what `quality` says.
        learning_rate: of Adam.
        smoothing: σ of the mask's blur, in cells of the layer's grid; 0 for none.
        seed: of the noise. The same seed gives the same map on the same machine, whatever the
            batch, up to rounding.
        precision: of the network behind the layer: "float32", "bfloat16", or "auto" (bfloat16 where the hardware
            multiplies it natively, float32 elsewhere). Mask and information are always float32.
        quality: "fast", "paper" or "best": how many steps and noise samples (see `QUALITY`).
        statistics: of the layer's features, if they exist already; else call `fit_statistics`.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: "CHW", "HWC", "TD" or "D" if the axes of the features cannot be told from their shape.
        noise: "gaussian" (the paper), "clamped" or "zero-mean" (variants for layers after a ReLU, algorithms A6).
        min_std: floor on the standard deviation of features.
        activity_threshold: features active in no more than this share of inputs are left out (A4).
        readout: "last_forward" (as published) or "final" (B7).
        extra_tokens: what happens to tokens of a vision transformer that are no patches (class token, registers): they are
            "restricted" like patches, at a price, and their bits told apart; or held at their "mean", so that all bits lie in
            the picture; or left "whole", and then the map does not bound what the network uses.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.
        compile: whether `torch.compile` makes one graph of what lies behind the layer (on a GPU with CUDA graphs). Compiling
            takes long in every `explain`, and the gain of a pass is small on a CPU: for hundreds of images in one call.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense.
    """

    method = "iba"
    fits_behind = True
    """Whether masks are found by running what comes after the layer."""

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        *,
        beta: float = 10.0,
        steps: int | None = None,
        noise_samples: int | None = None,
        learning_rate: float = 1.0,
        smoothing: float = 1.0,
        seed: int = 0,
        precision: Precision = "auto",
        quality: Quality = "paper",
        statistics: FeatureStatistics | None = None,
        call: int | None = None,
        layout: str | None = None,
        noise: NoiseMode = "gaussian",
        min_std: float = 0.01,
        activity_threshold: float = 0.01,
        readout: Readout = "last_forward",
        extra_tokens: ExtraTokens = "restricted",
        internal_batch_size: int | Literal["auto"] = "auto",
        compile: bool = False,  # noqa: A002  (PyTorch's own name)
    ) -> None:
        self.probe = Probe(model, layer, call=call)
        preset = one_of("quality", quality, QUALITY)
        self.settings = replace(
            preset,
            beta=beta,
            steps=preset.steps if steps is None else steps,
            noise_samples=preset.noise_samples if noise_samples is None else noise_samples,
            learning_rate=learning_rate,
            smoothing=smoothing,
            readout=readout,
        )
        self.seed = seed
        self.precision = one_of("precision", precision, {name: name for name in get_args(Precision)})
        self.layout = one_of("layout", layout, LAYOUTS) if layout is not None else None
        self.noise = NoiseSettings(noise, min_std, activity_threshold)
        self.extra_tokens = one_of("extra_tokens", extra_tokens, {name: name for name in get_args(ExtraTokens)})
        if internal_batch_size != "auto" and not (isinstance(internal_batch_size, int) and internal_batch_size > 0):
            raise SettingError(f"internal_batch_size must be 'auto' or a positive integer, got {internal_batch_size!r}")
        self.internal_batch_size = internal_batch_size
        self.compile = compile
        self._statistics: FeatureStatistics | None = None
        self._versions: tuple[tuple[int, int], ...] = ()  # of the weights that the statistics are known to belong to
        if statistics is not None:
            self.statistics = statistics

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.probe.model

    @property
    def statistics(self) -> FeatureStatistics:
        """Of the layer's features. Setting them checks that they belong to this layer and these weights.

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
        statistics.check_network(self.probe.name, weights_hash(self.model))
        self._statistics = statistics
        self._versions = weights_versions(self.model)

    def _warn_if_trained_since(self) -> None:
        """Say that statistics are of other weights; weights are read only if something was written to them since."""
        known, versions = self.statistics.provenance.weights, weights_versions(self.model)
        if versions != self._versions and known not in ("", weights_hash(self.model)):
            warnings.warn(
                f"the network's weights have changed since the statistics of layer {self.probe.name!r} were made, so the bits "
                "are measured against features that it no longer has: call fit_statistics again",
                BitlensWarning,
                stacklevel=3,
            )
        self._versions = versions

    def fit_statistics(
        self,
        batches: Iterable[Any],
        max_samples: int = 10_000,
        *,
        granularity: Granularity = "element",
        data: str = "",
        preprocessing: str = "",
    ) -> "IBA":
        """Learn what the layer puts out on inputs like those to be explained.

        Args:
            batches: any iterable of inputs, or of tuples whose first entry is the input.
            max_samples: stop at exactly this many (the paper's code: 10,000).
            granularity: "element" (as in the papers; fits one input size, wants 1,000 inputs or more) or "channel" (fits
                any size, a few dozen inputs are enough).
            data: where the inputs come from, kept with the statistics.
            preprocessing: how they were prepared, likewise.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no input, or sizes differ with granularity "element".
        """
        statistics = collect_statistics(
            self.probe, batches, max_samples=max_samples, granularity=granularity, layout=self.layout
        )
        provenance = Provenance(
            model=type(self.model).__name__,
            weights=weights_hash(self.model),
            layer=self.probe.name,
            data=data,
            preprocessing=preprocessing,
            version=__version__,
        )
        self.statistics = replace(statistics, provenance=provenance)
        return self

    def explain(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        evidence_samples: int = 32,
        keep_capacity: bool = False,
        progress: Callable[[int], None] | None = None,
        watch: Callable[[int, Tensor], None] | None = None,
    ) -> Attribution:
        """How many bits of each part of the inputs the network uses for the targets.

        Args:
            inputs: (N, C, H, W) images or whatever the network takes (a tuple or mapping for several arguments).
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            evidence_samples: fresh noise samples under which the target is measured; 0 leaves the evidence out.
            keep_capacity: whether to keep the bits of every feature, (N, ...) like the layer's output.
            progress: called with the number of samples explained so far.
            watch: called before each optimisation step with the number of steps done and the maps so far, in the unit and on
                the device of the optimisation, of the samples under way: to show it while it runs.

        Returns:
            Maps in bits: (N, H, W) for image features, (N, T) for tokens, (N, D) for vectors.

        Raises:
            StatisticsError: if the statistics are missing or do not fit the layer's output.
            InputError: if the inputs are empty or not finite.
            TargetError: if the targets do not fit the network's output.
            LayerError: if the layer cannot be restricted.
            FitError: if the network's output or gradient is not finite under noise.
        """
        batch = ModelInputs.of(inputs)
        self._warn_if_trained_since()  # if statistics are missing or old, say so before any work
        rows = self.internal_batch_size
        if rows == "auto":
            rows = rows_at_once(self.probe.bytes_per_row(batch), self.probe.device)
        group_size = max(1, rows // min(_COPIES_AT_ONCE, self.settings.noise_samples))
        parts = []
        compiler = Compiler() if self.compile else None  # of one call: within it the weights stay what they are
        for start in range(0, batch.count, group_size):
            group = batch.select(slice(start, start + group_size))
            chosen = select_targets(targets, start, start + group.count, batch.count)
            with torch.autocast(self.probe.device.type, enabled=False):  # `precision` alone decides
                parts.append(self._explain_group(group, chosen, rows, evidence_samples, keep_capacity, compiler, watch))
            if progress is not None:
                progress(start + group.count)
        return Attribution.join(parts)

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        """The maps as Captum's methods return them: (N, 1, H, W) or (N, T) on the inputs' device, in a tuple for a tuple."""
        given = ModelInputs.of(inputs, additional_forward_args)
        return as_captum(self.explain(given, target, evidence_samples=0).map, inputs, given.first.device)

    def _explain_group(
        self,
        group: ModelInputs,
        targets: Any,
        rows: int,
        evidence_samples: int,
        keep_capacity: bool,
        compiler: Compiler | None,
        watch: Callable[[int, Tensor], None] | None,
    ) -> Attribution:
        """Explain samples whose noisy copies go through the network together."""
        runs_behind = self.fits_behind or evidence_samples > 0
        recording = self.probe.record(group, check=runs_behind)
        features = recording.features.float()
        layout = self._layout_of(features, group.image_size)
        target = as_target(targets, recording.output, group.count)
        dtype = suffix_dtype(self.precision, recording.features)
        features = features.contiguous(memory_format=memory_format(features, dtype, layout))
        behind: AbstractContextManager[Any] = (
            recording.suffix(dtype, packed=not self.compile) if runs_behind else nullcontext()
        )
        with behind as suffix, torch.enable_grad():
            noise_model = self.statistics.noise(self.noise, tuple(features.shape[1:])).to(features.device)
            if self.extra_tokens == "mean" and layout.extra:
                held = noise_model.mean[: layout.extra].expand(len(features), -1, -1)
                features = torch.cat([held, features[:, layout.extra :]], 1)
            run = in_precision(suffix, dtype, recording.features, layout)
            fitting = compiler.compiled(run, recording) if compiler is not None else run
            seen = None if watch is None else self._watching(watch, layout, group.image_size)
            fitted = self._fit(fitting, target, features, noise_model, layout, recording, rows, seen)
            evidence = None
            if evidence_samples > 0:
                under_noise, spread = measure_under_noise(
                    run,
                    target,
                    features,
                    fitted.u,
                    noise_model,
                    noise_samples=evidence_samples,
                    seed=self.seed + _EVIDENCE_STREAM,
                    rows=rows,
                )
                before = target.value(recording.output).detach()
                evidence = Evidence(before.cpu(), under_noise.cpu(), spread.cpu(), target.measure, evidence_samples)
        return self._attribution(fitted, target, evidence, group, keep_capacity)

    def _fit(
        self,
        run: Callable[..., Any],
        target: Target,
        features: Tensor,
        noise_model: NoiseModel,
        layout: Layout,
        recording: Recording,  # noqa: ARG002
        rows: int,
        watch: Watch | None = None,
    ) -> Fitted:
        """Decide on the masks of recorded samples."""
        region = None
        if layout.extra and self.extra_tokens != "restricted":
            restricted = torch.ones(1, features.shape[1], 1, device=features.device)
            restricted[:, : layout.extra] = 0
            region = Region(restricted)
        return fit_masks(
            run,
            target,
            features,
            noise_model,
            layout,
            self.settings,
            seed=self.seed,
            rows=rows,
            region=region,
            watch=watch,
        )

    @staticmethod
    def _watching(
        watch: Callable[[int, Tensor], None], layout: Layout, image_size: tuple[int, int] | None
    ) -> Callable[[int, Tensor], None]:
        def seen(step: int, nats: Tensor) -> None:
            watch(step, _maps(nats, layout, image_size))

        return seen

    def _layout_of(self, features: Tensor, image_size: tuple[int, int] | None) -> Layout:
        """How the axes of features (N, ...) are meant, and where patches lie in an image of this size."""
        size = tuple(features.shape[1:])
        self.statistics.check_features(size)
        layout = self.statistics.layout.over(size, image_size)
        if layout.name == "PD" and layout.patches is None:
            raise StatisticsError(
                f"the statistics of layer {self.probe.name!r} are of patches of an image, but its {size[0]} tokens are none of "
                f"an image of {image_size} pixels: make new statistics with fit_statistics"
            )
        return layout

    def _attribution(
        self, fitted: Fitted, target: Target, evidence: Evidence | None, group: ModelInputs, keep_capacity: bool
    ) -> Attribution:
        layout = self._layout_of(fitted.information, group.image_size)
        extra = bits_of_extra(fitted.information, layout)
        unit = unit_of(layout, group.image_size)
        cells = bits_per_cell(fitted.information, layout)
        maps = _maps(fitted.information, layout, group.image_size)
        texts = target.describe()
        return Attribution(
            map=maps.cpu(),
            unit=unit,
            method=self.method,
            targets=texts if len(texts) == group.count else texts * group.count,
            settings=self.all_settings(),
            model=type(self.model).__name__,
            layer=self.probe.name,
            total_bits=bits_of(fitted.information).flatten(1).sum(1).cpu(),
            extra_bits=extra.cpu() if extra is not None else None,
            evidence=evidence,
            cells=cells.cpu(),
            capacity=bits_of(fitted.information).cpu() if keep_capacity else None,
            version=__version__,
        )

    def all_settings(self) -> dict[str, Any]:
        """Everything that decides what a map looks like, as plain values."""
        statistics = self.statistics
        return {
            **asdict(self.settings),
            **asdict(self.noise),
            "seed": self.seed,
            "precision": self.precision,
            "statistics": f"per {statistics.granularity}, {statistics.samples} inputs",
            "statistics_data": statistics.provenance.data,
            "statistics_fingerprint": statistics.fingerprint,
            **({"extra_tokens": self.extra_tokens} if statistics.layout.extra else {}),
            "call": self.probe.call,
            "weights": statistics.provenance.weights,
        }


def _maps(nats: Tensor, layout: Layout, image_size: tuple[int, int] | None) -> Tensor:
    """Information (N, ...) in nats as what people read: bits of pixels, cells, tokens or features."""
    cells = bits_per_cell(nats, layout)
    return bits_per_pixel(cells, image_size) if image_size and unit_of(layout, image_size) == "bits/pixel" else cells
