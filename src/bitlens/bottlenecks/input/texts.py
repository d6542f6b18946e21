"""InputIBA for texts: bits of each token at the word embedding (Zhang et al., NeurIPS 2021, appendix D).

The three stages of input.py: a bottleneck at a layer that reads the whole text, a prior at the embedding, and a bottleneck at
the embedding that counts only information beyond the prior. The first and the last are `TokenIBA`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bottlenecks.input.presets import (
    INPUT_STREAM,
    PRIOR_STREAM,
    InputQuality,
    InputReadout,
    PriorName,
)
from bitlens.bottlenecks.input.prior import Prior
from bitlens.bottlenecks.input.stages import InputStages
from bitlens.bottlenecks.input.text_presets import TOKEN_INPUT_QUALITY, TOKEN_PRIORS, TOKEN_UNITS, EmbeddingNoise
from bitlens.bottlenecks.input.text_stages import first_token_stages
from bitlens.bottlenecks.token_groups import TextGroup, groups_of, in_order, longest_first
from bitlens.bottlenecks.token_statistics import KindedInputs, TokenStatistics, collect_token_statistics
from bitlens.bottlenecks.tokens import FittedTexts, MaskForm, Objective, SpecialTokens, TokenIBA
from bitlens.core.attribution import Attribution
from bitlens.core.gaussian import NoiseModel, information
from bitlens.core.maps import bits_of
from bitlens.core.passes import Precision
from bitlens.errors import one_of
from bitlens.probe import Probe
from bitlens.version import __version__

__all__ = ["TokenInputIBA"]


class TokenInputIBA:
    """Information bottleneck attribution at the word embedding, guided by a bottleneck at a layer.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module after which stage 1 restricts hidden states, or its dotted name: an encoder layer, or an LSTM whose
            whole sequence is read.
        embedding: the word embedding, or its dotted name.
        beta: weight of the information in stage 1.
        beta_input: weight of the information in stage 3.
        prior: how stage 2 finds λ_G, as in `InputIBA`, or any function from a `FirstStage` of one text to logits.
        quality: "fast"; "paper": the published passes and prior; "official": settings, noise and prior of the released code.
        steps: optimisation steps of stage 3; by default what `quality` says.
        noise_samples: noisy copies per step of stage 3, likewise.
        learning_rate: of stage 3, likewise.
        mask: of stage 3: "unit": one mask for each dimension of each token; "token": one for each token; likewise.
        objective: what is kept of a class, see `TokenIBA`, likewise.
        readout: "mask" (after the last update, mean over dimensions; in [0, 1]), "information" (all bits that pass the
            embedding, against noise alone) or "beyond-prior" (bits as proposition 3 counts them).
        noise: at the embedding: as the embeddings of many texts ("statistics"), or N(0, 1) ("standard"), likewise.
        special_tokens: "restricted" like others, or "whole": they pass as they are and count nothing.
        seed: of all noise.
        precision: of the network: "float32", "bfloat16", or "auto".
        statistics: by name of the layers (`layers`), if they exist already; else call `fit_statistics`.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such layer or embedding.
        SettingError: if a setting has a value that makes no sense.
    """

    method = "input-iba"

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        embedding: str | nn.Module,
        *,
        beta: float | None = None,
        beta_input: float | None = None,
        prior: PriorName | Prior | None = None,
        quality: InputQuality = "fast",
        steps: int | None = None,
        noise_samples: int | None = None,
        learning_rate: float | None = None,
        mask: MaskForm | None = None,
        objective: Objective | None = None,
        readout: InputReadout = "mask",
        noise: EmbeddingNoise | None = None,
        special_tokens: SpecialTokens = "restricted",
        seed: int = 0,
        precision: Precision = "auto",
        statistics: Mapping[str, TokenStatistics] | None = None,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        preset = one_of("quality", quality, TOKEN_INPUT_QUALITY)
        shared: dict[str, Any] = {
            "objective": preset.objective if objective is None else objective,
            "special_tokens": special_tokens,
            "precision": precision,
            "internal_batch_size": internal_batch_size,
        }
        self.feature_bottleneck = TokenIBA(model, layer, mask="unit", seed=seed, **shared)
        self.feature_bottleneck.settings = preset.features if beta is None else replace(preset.features, beta=beta)
        masks = preset.mask if mask is None else mask
        self.input_bottleneck = TokenIBA(model, embedding, mask=masks, seed=seed + INPUT_STREAM, **shared)
        chosen = {
            "beta": beta_input, "steps": steps, "noise_samples": noise_samples, "learning_rate": learning_rate,
        }  # fmt: skip
        given: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
        self.input_bottleneck.settings = replace(preset.input, **given)
        name = preset.prior if prior is None else prior
        self.find_prior: Prior | None = name if callable(name) else one_of("prior", name, TOKEN_PRIORS)
        self.prior = name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)
        self.readout = one_of("readout", readout, {name: name for name in TOKEN_UNITS})
        noises = {name: name for name in get_args(EmbeddingNoise)}
        self.noise = preset.noise if noise is None else one_of("noise", noise, noises)
        self.seed, self.precision = seed, self.feature_bottleneck.precision
        if statistics is not None:
            self.statistics = statistics

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.feature_bottleneck.model

    @property
    def probe(self) -> Probe:
        """The way into stage 1's layer."""
        return self.feature_bottleneck.probe

    @property
    def layers(self) -> tuple[str, ...]:
        """Dotted names of all whose statistics are needed: the layer for a prior, the embedding for its noise."""
        layer = [self.feature_bottleneck.probe.name] if self.find_prior is not None else []
        embedding = [self.input_bottleneck.probe.name] if self.noise == "statistics" else []
        return tuple(dict.fromkeys([*layer, *embedding]))

    @property
    def statistics(self) -> Mapping[str, TokenStatistics]:
        """Of all `layers`, by name. Setting them checks that they belong to these weights.

        Raises:
            StatisticsError: if some are missing, or belong to something else.
        """
        return {name: self._knowing(name).statistics for name in self.layers}

    @statistics.setter
    def statistics(self, statistics: Mapping[str, TokenStatistics]) -> None:
        for part in (self.feature_bottleneck, self.input_bottleneck):
            part.statistics = statistics

    def _knowing(self, layer: str) -> TokenIBA:
        """The bottleneck at one of `layers`."""
        both = (self.feature_bottleneck, self.input_bottleneck)
        return next(part for part in both if part.probe.name == layer)

    def fit_statistics(
        self, batches: Iterable[Any], max_samples: int = 10_000, *, data: str = "", preprocessing: str = ""
    ) -> "TokenInputIBA":
        """Learn what the layer and the embedding put out for the tokens of texts; see `TokenIBA.fit_statistics`."""
        self.statistics = collect_token_statistics(
            self.model,
            self.layers,
            batches,
            max_samples=max_samples,
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
        """What of each token the network needs for the targets.

        Args:
            inputs: N texts: a `TokenBatch`, or a mapping of keyword arguments as tokenizers of transformers give it.
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            evidence_samples: fresh noise samples at the embedding under which the target is measured; 0 for no evidence.
            keep_capacity: whether to keep the bits of every single dimension, (N, T, D).
            progress: called with the number of texts explained so far.

        Returns:
            Maps (N, T), their unit by the read-out: "mask" or "bits/token"; zero at padding, and at special tokens that are
            left whole. `cells` are all bits that pass each token's embedding and `total_bits` their sum, whatever the
            read-out.

        Raises:
            StatisticsError: if statistics of `layers` are missing or do not fit.
            InputError: if there is no text, or a text has no token.
            TargetError: if the targets do not fit the network's output.
            LayerError: if the layer or the embedding cannot be restricted.
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
        _ = self.statistics  # if some are missing, say so before any work
        device, bottleneck = self.probe.device, self.input_bottleneck
        texts = KindedInputs.of(inputs).to(device)
        order, length, parts = longest_first(texts), texts.kinds.shape[1], []
        for group in groups_of(texts, order, targets, bottleneck._rows, bottleneck._copies):
            with torch.autocast(device.type, enabled=False):  # `precision` alone decides
                parts.append(self._group(group, evidence_samples, keep_capacity))
            if progress is not None:
                progress(group.done)
        firsts = [part.features for part in parts if part.features is not None]
        priors = [F.pad(part.prior, (0, 0, 0, length - part.prior.shape[1])) for part in parts]
        return InputStages(
            in_order(firsts, order, length) if firsts else None,
            torch.cat(priors)[order.argsort().cpu()],
            in_order([part.input for part in parts], order, length),
        )

    def attribute(self, inputs: Any, target: Any = None) -> Tensor:
        """The map alone, (N, T)."""
        return self.explain(inputs, target, evidence_samples=0).map

    def _group(self, group: TextGroup, evidence_samples: int, keep_capacity: bool) -> InputStages:
        """All stages for texts whose noisy copies go through the network together."""
        first, logits = None, torch.full((*group.texts.kinds.shape, 1), -torch.inf, device=group.texts.kinds.device)
        if self.find_prior is not None:
            first, logits = first_token_stages(
                self.feature_bottleneck, self.input_bottleneck, self.find_prior, group, self.seed + PRIOR_STREAM
            )
        noise = partial(self._noise, hidden=torch.sigmoid(-logits))
        found = self.input_bottleneck._fit_group(group, evidence_samples, noise)
        prior = torch.sigmoid(logits).expand_as(found.features).cpu()
        return InputStages(first, prior, self._attribution(found, keep_capacity))

    def _noise(self, features: Tensor, kinds: Tensor, hidden: Tensor) -> NoiseModel:
        """At the embedding (n, T, D), where so much of the prior (n, T, 1 or D) is hidden."""
        if self.noise == "statistics":
            noise = self.input_bottleneck._noise(features, kinds)
        else:
            one = features.new_ones(features.shape[2])
            noise = NoiseModel(torch.zeros_like(one), one, one)
        return replace(noise, hidden=hidden.expand_as(features))

    def _attribution(self, found: FittedTexts, keep_capacity: bool) -> Attribution:
        fitted, region = found.fitted, found.region
        bits = region.of(bits_of(information(fitted.u, found.noise.squared_score(found.features))))
        cells, texts = bits.sum(2), found.target.describe()
        maps = {
            "mask": lambda: region.of(torch.sigmoid(fitted.logits)).mean(2),
            "information": lambda: cells,
            "beyond-prior": lambda: bits_of(fitted.information).sum(2),
        }
        return Attribution(
            map=maps[self.readout]().cpu(),
            unit=TOKEN_UNITS[self.readout],
            method=self.method,
            targets=texts if len(texts) == len(cells) else texts * len(cells),
            settings=self.all_settings(),
            model=type(self.model).__name__,
            layer=self.input_bottleneck.probe.name,
            total_bits=cells.sum(1).cpu(),
            evidence=found.evidence,
            cells=cells.cpu(),
            capacity=bits.cpu() if keep_capacity else None,
            version=__version__,
        )

    def all_settings(self) -> dict[str, Any]:
        """Everything that decides what a map looks like, as plain values."""
        bottleneck = self.input_bottleneck
        plain = {
            **asdict(bottleneck.settings),
            "objective": bottleneck.objective,
            "mask": bottleneck.mask,
            "special_tokens": bottleneck.special_tokens,
            "readout": self.readout,
            "noise": self.noise,
            "prior": self.prior,
            "seed": self.seed,
            "precision": self.precision,
        }
        if self.noise == "statistics":
            plain |= _of_statistics(bottleneck)
        if self.find_prior is None:
            return plain
        first = self.feature_bottleneck
        named = {"layer": first.probe.name, **asdict(first.settings), **_of_statistics(first)}
        return plain | {f"stage1_{name}": value for name, value in named.items()}


def _of_statistics(bottleneck: TokenIBA) -> dict[str, Any]:
    kept = ("min_std", "statistics", "statistics_data", "statistics_fingerprint", "weights")
    return {name: value for name, value in bottleneck.all_settings().items() if name in kept}
