"""The bottleneck of texts: bits per token after any layer of a transformer (Jiang et al., EMNLP Findings 2020).

It follows algorithms E3, not the released code, whose statistics come from the very text that is explained (E2): noise
is drawn as the layer's hidden units behave over the tokens of many texts, special tokens apart, and padding takes part in
nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.shared_mask import SharedMask
from bitlens.bottlenecks.token_groups import TextGroup, groups_of, in_order, longest_first
from bitlens.bottlenecks.token_statistics import (
    ORDINARY,
    PADDING,
    KindedInputs,
    TokenStatistics,
    collect_token_statistics,
)
from bitlens.core.attribution import Attribution, Evidence
from bitlens.core.fitting import FitSettings, Fitted, Readout, Region, fit_masks, measure_under_noise
from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.layout import LAYOUTS
from bitlens.core.maps import bits_of, bits_per_cell
from bitlens.core.passes import Precision, in_precision, rows_at_once, suffix_dtype
from bitlens.core.targets import ClassTarget, LogOdds, Target, as_target
from bitlens.errors import LayerError, SettingError, StatisticsError, one_of
from bitlens.probe import Probe, Recording, find_layer
from bitlens.probe.fingerprint import weights_hash
from bitlens.version import __version__

__all__ = ["FittedTexts", "MaskForm", "Objective", "SpecialTokens", "TokenIBA"]

NoiseOf = Callable[[Tensor, Tensor], NoiseModel]
"""Features (n, T, D) and kinds (n, T) of texts → the noise at each position."""

MaskForm = Literal["token", "unit"]
SpecialTokens = Literal["restricted", "whole"]
Objective = Literal["log-odds", "cross-entropy"]

_COPIES_AT_ONCE = 2  # of each text, as for images
_EVIDENCE_STREAM = 0x5DEECE66D  # evidence must not reuse the noise that a mask was fitted on
_BLOCK = 32  # tokens that share a stream of noise


@dataclass(frozen=True)
class FittedTexts:
    """What was found for texts that share passes.

    Attributes:
        features: R (n, T, D).
        noise: of each position.
        region: what is restricted.
        target: the question, one for each text.
        fitted: masks and what passes them.
        evidence: how the prediction fares under the noise, if that was asked.
        dtype: the lower precision that served, None for the network's own.
    """

    features: Tensor
    noise: NoiseModel
    region: Region
    target: Target
    fitted: Fitted
    evidence: Evidence | None
    dtype: torch.dtype | None


class TokenIBA:
    """How many bits of each token of a text a transformer uses, by the features after one of its layers.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module after which hidden states (T, D) are restricted, or its dotted name: any layer of an encoder.
        deeper: further layers behind it that the same mask restricts too (one mask for several layers, after CoIBA, CVPR
            2025); the information is counted once, at `layer`, which bounds what passes any of them.
        mask: "token": one mask for each token, shared by its hidden units; "unit": one for each hidden unit of each token.
        special_tokens: "restricted" like others, or "whole": they pass as they are and count nothing.
        objective: what is kept of a class: "log-odds" (see `LogOdds`; all evidence for it) or "cross-entropy" (as published:
            as much as makes it certain). Other targets have a loss of their own.
        beta: weight of the information; larger keeps less.
        steps: optimisation steps.
        noise_samples: noisy copies per step.
        learning_rate: of Adam.
        initial_logit: α at the start: 0 lets half of each feature pass, 5 (as published) 99.3 %.
        antithetic: whether half of the copies use the negative noise of the others.
        readout: "final", or "last_forward" as published (B7).
        seed: of the noise. The same seed gives the same map, whatever the batch and its padding, up to rounding.
        precision: of the network behind the layer, as in `IBA`.
        statistics: of the layer, or by name of all layers, if they exist already; else call `fit_statistics`.
        call: which call of the layer, if the network calls it several times in one pass (ALBERT does).
        min_std: floor on the standard deviation of features.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense.
    """

    method = "token-iba"

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        *,
        deeper: Sequence[str | nn.Module] = (),
        mask: MaskForm = "token",
        special_tokens: SpecialTokens = "restricted",
        objective: Objective = "log-odds",
        beta: float = 3.0,
        steps: int = 10,
        noise_samples: int = 2,
        learning_rate: float = 1.0,
        initial_logit: float = 0.0,
        antithetic: bool = True,
        readout: Readout = "final",
        seed: int = 0,
        precision: Precision = "auto",
        statistics: "TokenStatistics | Mapping[str, TokenStatistics] | None" = None,
        call: int | None = None,
        min_std: float = 0.01,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        self.probe = Probe(model, layer, call=call)
        self.deeper = dict(find_layer(self.probe.model, other) for other in deeper)
        if self.probe.name in self.deeper:
            raise LayerError(f"deeper holds {self.probe.name!r}, the layer itself: name layers behind it")
        self.mask = one_of("mask", mask, {name: name for name in get_args(MaskForm)})
        self.special_tokens = one_of("special_tokens", special_tokens, {name: name for name in get_args(SpecialTokens)})
        self.objective = one_of("objective", objective, {name: name for name in get_args(Objective)})
        self.settings = FitSettings(
            beta=beta,
            steps=steps,
            noise_samples=noise_samples,
            learning_rate=learning_rate,
            smoothing=0.0,
            initial_logit=initial_logit,
            antithetic=antithetic,
            readout=readout,
        )
        self.seed = seed
        self.precision = one_of("precision", precision, {name: name for name in get_args(Precision)})
        self.noise = NoiseSettings(min_std=min_std, activity_threshold=-1)
        if internal_batch_size != "auto" and not (isinstance(internal_batch_size, int) and internal_batch_size > 0):
            raise SettingError(f"internal_batch_size must be 'auto' or a positive integer, got {internal_batch_size!r}")
        self.internal_batch_size = internal_batch_size
        self._lower_precision: bool | None = None  # whether the network can; not known as yet
        self._statistics: dict[str, TokenStatistics] = {}
        if statistics is not None:
            self.statistics = statistics

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.probe.model

    @property
    def layers(self) -> tuple[str, ...]:
        """Dotted names of all layers that the mask restricts, the one where information is counted first."""
        return (self.probe.name, *self.deeper)

    @property
    def statistics(self) -> TokenStatistics:
        """Of the layer. Setting them (or a mapping from layers' names) checks that they belong to these weights.

        Raises:
            StatisticsError: if there are none yet, or they belong to something else.
        """
        return self.statistics_of(self.probe.name)

    @statistics.setter
    def statistics(self, statistics: "TokenStatistics | Mapping[str, TokenStatistics]") -> None:
        known = statistics if isinstance(statistics, Mapping) else {self.probe.name: statistics}
        weights = weights_hash(self.model)
        for name in self.layers:
            if name in known:
                known[name].check_network(name, weights)
        self._statistics = {name: known[name] for name in self.layers if name in known}

    def statistics_of(self, layer: str) -> TokenStatistics:
        """Of one of the restricted layers.

        Raises:
            StatisticsError: if there are none yet.
        """
        if layer not in self._statistics:
            raise StatisticsError(
                f"there are no statistics of layer {layer!r} yet: call fit_statistics(batches) with texts like those to "
                "explain, or set iba.statistics"
            )
        return self._statistics[layer]

    def fit_statistics(
        self, batches: Iterable[Any], max_samples: int = 10_000, *, data: str = "", preprocessing: str = ""
    ) -> "TokenIBA":
        """Learn what the layer puts out for the tokens of texts like those to be explained; 1,000 texts are plenty.

        Args:
            batches: of texts: `TokenBatch`, or mappings as tokenizers of transformers give them.
            max_samples: stop at exactly this many texts.
            data: where the texts come from, kept with the statistics.
            preprocessing: how they were prepared, likewise.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no text.
        """
        self._statistics = collect_token_statistics(
            self.model,
            self.layers,
            batches,
            max_samples=max_samples,
            call=self.probe.call,
            data=data,
            preprocessing=preprocessing,
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
        """How many bits of each token the network uses for the targets.

        Args:
            inputs: N texts: a `TokenBatch`, or a mapping of keyword arguments with input_ids and attention_mask (and
                special_tokens_mask if special tokens are to be known). Everything goes on to the network.
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            evidence_samples: fresh noise samples under which the target is measured; 0 leaves the evidence out.
            keep_capacity: whether to keep the bits of every hidden unit, (N, T, D).
            progress: called with the number of texts explained so far.

        Returns:
            Maps (N, T) in bits per token; zero at padding, and at special tokens that are left whole.

        Raises:
            StatisticsError: if the statistics are missing or do not fit the layer's output.
            InputError: if there is no text, or a text has no token.
            TargetError: if the targets do not fit the network's output.
            LayerError: if the layer cannot be restricted.
            FitError: if the network's output or gradient is not finite under noise.
        """
        for name in self.layers:
            self.statistics_of(name)  # if they are missing, say so before any work
        texts = KindedInputs.of(inputs).to(self.probe.device)
        order, parts = longest_first(texts), []
        for group in groups_of(texts, order, targets, self._rows, self._copies):
            with torch.autocast(self.probe.device.type, enabled=False):  # `precision` alone decides
                found = self._fit_group(group, evidence_samples)
            parts.append(self._attribution(found, keep_capacity))
            if progress is not None:
                progress(group.done)
        return in_order(parts, order, texts.kinds.shape[1])

    def attribute(self, inputs: Any, target: Any = None) -> Tensor:
        """The map alone, (N, T)."""
        return self.explain(inputs, target, evidence_samples=0).map

    @property
    def _copies(self) -> int:
        """How many copies of each text share a pass at least."""
        return min(_COPIES_AT_ONCE, self.settings.noise_samples)

    def _rows(self, longest: KindedInputs) -> int:
        if self.internal_batch_size != "auto":
            return self.internal_batch_size
        return rows_at_once(self.probe.bytes_per_row(longest.inputs), self.probe.device)

    def _restricted(self, kinds: Tensor) -> Tensor:
        """Which tokens (n, T) are restricted."""
        return kinds != PADDING if self.special_tokens == "restricted" else kinds == ORDINARY

    def _region(self, kinds: Tensor) -> Region:
        return Region(self._restricted(kinds)[..., None].float(), shared=self.mask == "token", block=_BLOCK)

    def _fit_group(self, group: TextGroup, evidence_samples: int, noise: NoiseOf | None = None) -> FittedTexts:
        """Masks of texts whose noisy copies go through the network together; their noise by the statistics if not given."""
        recording = self.probe.record(group.texts.inputs)
        features, kinds = recording.features.float(), group.texts.kinds
        if features.shape[:2] != kinds.shape:
            raise LayerError(
                f"layer {self.probe.name!r} puts out {tuple(features.shape)} for texts of {tuple(kinds.shape)} tokens: choose "
                "one that gives a vector for each token"
            )
        target = self._asked(as_target(group.targets, recording.output, len(kinds)))
        dtype, region = self._dtype(recording), self._region(kinds)
        noise_model = (noise or self._noise)(features, kinds)
        deeper = self._shared_mask(kinds, region)
        with recording.suffix(dtype, changes=deeper.changes) as suffix, torch.enable_grad():
            run = in_precision(suffix, dtype, recording.features, LAYOUTS["TD"])
            fitted = fit_masks(
                run,
                target,
                features,
                noise_model,
                LAYOUTS["TD"],
                self.settings,
                seed=self.seed,
                rows=group.rows,
                region=region,
                deeper=deeper if self.deeper else None,
            )
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
                    rows=group.rows,
                    block=_BLOCK,
                    deeper=deeper if self.deeper else None,
                )
                before = target.value(recording.output).detach()
                evidence = Evidence(before.cpu(), under_noise.cpu(), spread.cpu(), target.measure, evidence_samples)
        return FittedTexts(features, noise_model, region, target, fitted, evidence, dtype)

    def _noise(self, features: Tensor, kinds: Tensor) -> NoiseModel:
        self.statistics.check_features(tuple(features.shape[1:]), kinds)
        return self.statistics.noise(self.noise, kinds)

    def _asked(self, target: Target) -> Target:
        plain = type(target) is ClassTarget and self.objective == "log-odds"
        return LogOdds(target.classes) if plain and isinstance(target, ClassTarget) else target

    def _dtype(self, recording: Recording) -> torch.dtype | None:
        """The lower precision to compute in, unless the network cannot (DeBERTa masks with the least float32 number)."""
        dtype = suffix_dtype(self.precision, recording.features)
        if dtype is None or self._lower_precision is False:
            return None
        if self._lower_precision is None:
            with recording.suffix(dtype) as suffix, torch.no_grad():
                try:
                    in_precision(suffix, dtype, recording.features, LAYOUTS["TD"])(recording.features)
                    self._lower_precision = True
                except RuntimeError as error:
                    if "without overflow" not in str(error):
                        raise
                    self._lower_precision = False
        return dtype if self._lower_precision else None

    def _shared_mask(self, kinds: Tensor, region: Region) -> SharedMask:
        models = {module: self.statistics_of(name).noise(self.noise, kinds) for name, module in self.deeper.items()}
        return SharedMask(models, region, self.seed)

    def _attribution(self, found: FittedTexts, keep_capacity: bool) -> Attribution:
        cells = bits_per_cell(found.fitted.information, LAYOUTS["TD"])
        texts, count = found.target.describe(), len(cells)
        return Attribution(
            map=cells.cpu(),
            unit="bits/token",
            method=self.method,
            targets=texts if len(texts) == count else texts * count,
            settings=self.all_settings(),
            model=type(self.model).__name__,
            layer=self.probe.name,
            total_bits=cells.sum(1).cpu(),
            evidence=found.evidence,
            capacity=bits_of(found.fitted.information).cpu() if keep_capacity else None,
            version=__version__,
        )

    def all_settings(self) -> dict[str, Any]:
        """Everything that decides what a map looks like, as plain values."""
        statistics = self.statistics
        return {
            **asdict(self.settings),
            "objective": self.objective,
            "mask": self.mask,
            "special_tokens": self.special_tokens,
            "deeper": list(self.deeper),
            "min_std": self.noise.min_std,
            "seed": self.seed,
            "precision": self.precision,
            "statistics": f"per hidden unit, {statistics.samples} texts",
            "statistics_data": statistics.provenance.data,
            "statistics_fingerprint": statistics.fingerprint,
            "call": self.probe.call,
            "weights": statistics.provenance.weights,
        }
