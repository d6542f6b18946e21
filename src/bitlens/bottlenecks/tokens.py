"""The bottleneck of texts: bits per token after any layer of a transformer (Jiang et al., EMNLP Findings 2020).

It follows algorithms E3, not the released code, whose statistics come from the very text that is explained (E2): noise
is drawn as the layer's hidden units behave over the tokens of many texts, special tokens apart, and padding takes part in
nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.bottlenecks.bottleneck import EVIDENCE_STREAM, Bottleneck, optimised
from bitlens.bottlenecks.groups import ORDINARY, PADDING, Group, Samples
from bitlens.bottlenecks.of_texts import TextMethod
from bitlens.bottlenecks.paths import check_paths
from bitlens.bottlenecks.recorded import Reading, Recorded
from bitlens.bottlenecks.shared_mask import SharedMask
from bitlens.bottlenecks.token_statistics import TokenStatistics, sampled_statistics
from bitlens.core.effort import FitSettings, Readout
from bitlens.core.family import Fitted, Region
from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.layout import LAYOUTS
from bitlens.core.outputs import answer_of
from bitlens.core.passes import BottleneckOptions, in_precision, suffix_dtype
from bitlens.core.targets import ClassTarget, LogOdds, Span, Target, as_target, last_token
from bitlens.errors import InputError, LayerError, StatisticsError, one_of_literal
from bitlens.probe import Probe, Recording, find_layer
from bitlens.probe.agreement import agree
from bitlens.probe.fingerprint import weights_hash
from bitlens.probe.ids import answers_from, left_out
from bitlens.probe.modules import call_of

NoiseOf = Callable[[Tensor, Tensor], NoiseModel]
"""Features (n, T, D) and kinds (n, T) of texts → the noise at each position."""

MaskForm = Literal["token", "unit"]
SpecialTokens = Literal["restricted", "whole"]
Objective = Literal["log-odds", "cross-entropy"]

_BLOCK = 32  # tokens that share a stream of noise
_TOKENS = LAYOUTS["TD"]


@final
class TokenIBA(TextMethod, Bottleneck):
    """Bits that a transformer uses of each token of a text, by the features after one of its layers.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module after which hidden states (T, D) are restricted, or its dotted name: any layer of an encoder; `NAME#2`
            is the third call of one that is called for several layers (ALBERT).
        deeper: further layers behind it that the same mask restricts too (one mask for several layers, after CoIBA, CVPR
            2025); the information is counted once, at `layer`, which bounds what passes any of them.
        mask: "token": one mask for each token, shared by its hidden units; "unit": one for each hidden unit of each token.
        special_tokens: "restricted" like others, or "whole": they pass as they are and count nothing.
        objective: what is kept of a class: "log-odds" (see `LogOdds`; all evidence for it) or "cross-entropy" (as published:
            as much as makes it certain). Other targets have a loss of their own.
        beta: weight of the information; larger keeps less. Not with `keep`.
        steps: optimisation steps.
        noise_samples: noisy copies per step.
        learning_rate: of Adam.
        initial_logit: α at the start: 0 lets half of each feature pass, 5 (as published) 99.3 %.
        antithetic: whether half of the copies use the negative noise of the others.
        readout: "final", or "last_forward" as published (B7).
        statistics: of the layer, or by name of all layers, over texts like those to explain; `fit_statistics` makes them.
            Without, hidden states over texts of chance serve (`sampled_statistics`).
        call: which call of the layer, if the network calls it several times in one pass (ALBERT does).
        min_std: floor on the standard deviation of features.
        run: seed, precision and internal_batch_size, see `GroupedMethod`.

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
        statistics: "TokenStatistics | Mapping[str, TokenStatistics] | None" = None,
        call: int | None = None,
        min_std: float = 0.01,
        **run: Unpack[BottleneckOptions],
    ) -> None:
        super().__init__(**run)
        self.probe = Probe(model, layer, call=call, output=self.passes.output)
        self.deeper = dict(find_layer(self.probe.model, other) for other in deeper)
        if self.probe.name in self.deeper:
            raise LayerError(f"deeper holds {self.probe.name!r}, the layer itself: name layers behind it")
        if self.probe.layer in self.deeper.values() or any(call_of(name) is not None for name in self.deeper):
            raise LayerError("deeper holds one of several calls of a layer: name layers that are called once")
        self.mask = one_of_literal("mask", mask, MaskForm)
        self.special_tokens = one_of_literal("special_tokens", special_tokens, SpecialTokens)
        self.objective = one_of_literal("objective", objective, Objective)
        self.fit = FitSettings(
            beta=self.price(beta, 3.0),
            steps=steps,
            noise_samples=noise_samples,
            learning_rate=learning_rate,
            smoothing=0.0,
            initial_logit=initial_logit,
            antithetic=antithetic,
            readout=readout,
        )
        self.noise = NoiseSettings(min_std=min_std, activity_threshold=-1)
        self._reads_padding: bool | None = None  # not known as yet
        self._behind_read: bool | None = None  # likewise: whether a span's own positions hold what stands before it
        self._lower_precision: bool | None = None  # whether the network can; not known as yet
        self._statistics: dict[str, TokenStatistics] = {}
        if statistics is not None:
            self.statistics = statistics

    @property
    def layers(self) -> tuple[str, ...]:
        """Dotted names of all layers that the mask restricts, the one where information is counted first."""
        return (self.probe.name, *self.deeper)

    @property
    def statistics(self) -> TokenStatistics:
        """Return the layer's statistics. Setting them (or a mapping from layers' names) checks that they belong to these weights.

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
        """Return the statistics of one of the restricted layers.

        Raises:
            StatisticsError: if there are none yet.
        """
        if layer not in self._statistics:
            raise StatisticsError(
                f"there are no statistics of layer {layer!r} yet: call fit_statistics(batches) with texts like those to "
                "explain, or set iba.statistics"
            )
        return self._statistics[layer]

    def know(self, statistics: Mapping[str, TokenStatistics]) -> None:
        """Take statistics of `layers`, by name, that were made with this network."""
        self._statistics = {name: statistics[name] for name in self.layers if name in statistics}

    def learn_without(self, samples: Samples) -> None:
        """Make statistics where there are none yet: of texts of chance, see `sampled_statistics`."""
        missing = [name for name in self.layers if name not in self._statistics]
        if missing:
            begun, ended = samples.frame
            self._statistics |= sampled_statistics(
                self.model, missing, begun=begun, ended=ended, call=self.probe.call, seed=self.seed
            )

    def read(self, inputs: Any, targets: Any) -> Samples:
        """Read texts; of a language model what it foresees from the first span on, as far as it can leave out the rest."""
        samples = super().read(inputs, targets)
        if not isinstance(targets, Span) or targets.first is not None:
            return samples
        begun = int(targets.at(last_token(samples.kinds != PADDING)).starts.min()) - 1
        return replace(samples, inputs=answers_from(self.model, samples.inputs, begun))

    def reads_padding(self, samples: Samples) -> bool:
        """Return whether the output changes with what the layer puts out at padding (XLNet's head reads the last position).

        It is measured once: what is not restricted there would let everything pass around the bottleneck.
        """
        if self._reads_padding is None:
            few = samples.select(torch.tensor([0, len(samples) - 1], device=samples.kinds.device))
            recording = self.probe.record(few.inputs, check=False)
            features = recording.features
            if features.shape[:2] != few.kinds.shape:
                return False
            other = torch.where((few.kinds == PADDING)[..., None], features.flip(-1) * 0.7 + 0.1, features)
            with recording.suffix() as run, torch.no_grad():
                self._reads_padding = not agree(run(features), run(other))
        return self._reads_padding

    def restricted(self, kinds: Tensor) -> Tensor:
        """Return which tokens (n, T) are restricted."""
        return kinds != PADDING if self.special_tokens == "restricted" else kinds == ORDINARY

    @contextmanager
    def recorded(self, group: Group, noise: NoiseOf | None = None) -> Iterator[Recorded]:
        """Run texts through the network; within the block what comes behind the layer can run again.

        Args:
            group: the texts.
            noise: that stands in for the features; as the statistics say if not given.
        """
        check_paths(self.probe, group.inputs, allowed=self.allow_bypass)
        recording, kinds = self.probe.record(group.inputs), group.kinds
        features = recording.features.float()
        if features.shape[:2] != kinds.shape:
            raise LayerError(
                f"layer {self.probe.name!r} puts out {tuple(features.shape)} for texts of {tuple(kinds.shape)} tokens: choose "
                "one that gives a vector for each token"
            )
        there = kinds != PADDING
        last = last_token(there)
        asked = group.targets
        if isinstance(asked, Span):
            asked = asked.behind(left_out(group.inputs, answer_of(recording.output, recording.form.part)))
        target = self._asked(as_target(asked, recording.output, len(kinds), recording.form, last=last))
        dtype = self._dtype(recording)
        restricted = self.restricted(kinds)
        if isinstance(target, Span):
            restricted = restricted & self._context_of(target, group, features)
        region = Region(
            restricted[..., None].float(),
            shared=self.mask == "token",
            block=_BLOCK,
            starts=there.int().argmax(1),
        )
        model = (noise or self.noise_of)(features, kinds)
        deeper = self._shared_mask(kinds, region)
        with recording.suffix(dtype, changes=deeper.changes) as suffix:
            yield Recorded(
                group, self.probe.name, features, recording.output, target, model, _TOKENS, region,
                run=in_precision(suffix, dtype, recording.features, _TOKENS),
                seed=self.seed,
                evidence_seed=self.seed + EVIDENCE_STREAM,
                dtype=dtype,
                deeper=deeper if self.deeper else None,
                recording=recording,
            )  # fmt: skip

    def masks(self, recorded: Recorded) -> Fitted:
        """Optimise the masks."""
        return optimised(recorded, self.fit, aimed=bool(self.aim))

    def told(self, recorded: Recorded, nats: Tensor) -> Reading:
        """Return bits of tokens; the map is the grid of the layer, which is not told twice."""
        return replace(super().told(recorded, nats), cells=None)

    def noise_of(self, features: Tensor, kinds: Tensor) -> NoiseModel:
        """Return the noise at each position of texts, by the statistics; tokens that pass whole need none of their own.

        Raises:
            StatisticsError: if these are not about such features (n, T, D), or such tokens (n, T).
        """
        if self.special_tokens == "whole":
            kinds = torch.where(kinds == PADDING, PADDING, ORDINARY)
        statistics = self.statistics.for_kinds(kinds)
        statistics.check_features(tuple(features.shape[1:]), kinds)
        return statistics.noise(self.noise, kinds)

    def _context_of(self, span: Span, group: Group, features: Tensor) -> Tensor:
        """Return which positions (n, T) may explain a span: those before it, unless what stands behind has read them."""
        context = span.context(group.kinds.shape[1]).to(group.kinds.device)
        if not bool((context & self.restricted(group.kinds)).any(1).all()):
            raise InputError("nothing before a span is restricted: put words in front of it")
        if self._behind_read is None and span.first is None:
            first = group.inputs.first
            before = context if first.dim() == 2 else context[..., None]
            others = group.inputs.with_first(torch.where(before, first.roll(1, 1), first))
            found = self.probe.record(others, check=False).features.float()
            behind = ~context & (group.kinds != PADDING)
            self._behind_read = not agree(found[behind], features[behind])
        if self._behind_read:
            raise LayerError(
                f"at {self.probe.name!r} the span's own positions have read what stands before them, and would carry it past the "
                "noise: restrict the word embedding"
            )
        return context

    def _asked(self, target: Target) -> Target:
        plain = type(target) is ClassTarget and self.objective == "log-odds"
        return LogOdds.instead_of(target) if plain and isinstance(target, ClassTarget) else target

    def _dtype(self, recording: Recording) -> torch.dtype | None:
        """Return the lower precision to compute in, unless the network cannot (DeBERTa masks with the least float32 number)."""
        dtype = suffix_dtype(self.precision, recording.features, self.model)
        if dtype is None or self._lower_precision is False:
            return None
        if self._lower_precision is None:
            with recording.suffix(dtype) as suffix, torch.no_grad():
                try:
                    in_precision(suffix, dtype, recording.features, _TOKENS)(recording.features)
                    self._lower_precision = True
                except RuntimeError as error:
                    if "without overflow" not in str(error):
                        raise
                    self._lower_precision = False
        return dtype if self._lower_precision else None

    def _shared_mask(self, kinds: Tensor, region: Region) -> SharedMask:
        models = {
            module: self.statistics_of(name).for_kinds(kinds).noise(self.noise, kinds)
            for name, module in self.deeper.items()
        }
        return SharedMask(models, region, self.seed)

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
        statistics = self.statistics
        return {
            **self.fit.plain(),
            "objective": self.objective,
            "mask": self.mask,
            "special_tokens": self.special_tokens,
            "deeper": list(self.deeper),
            "min_std": self.noise.min_std,
            **self.run_settings,
            "statistics": f"per hidden unit, {statistics.samples} texts",
            "statistics_data": statistics.provenance.data,
            "statistics_fingerprint": statistics.fingerprint,
            "call": self.probe.call,
            "weights": statistics.provenance.weights,
        }
