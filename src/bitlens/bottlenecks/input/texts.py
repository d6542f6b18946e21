"""InputIBA for texts: bits of each token at the word embedding (Zhang et al., NeurIPS 2021, appendix D).

The three stages of images.py: a bottleneck at a layer that reads the whole text, a prior at the embedding, and a bottleneck at
the embedding that counts only information beyond the prior. The first and the last are `TokenIBA`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.bottlenecks.groups import Group, Samples
from bitlens.bottlenecks.input.guided import GuidedBottleneck
from bitlens.bottlenecks.input.presets import (
    INPUT_STREAM,
    PRIOR_STREAM,
    TOKEN_INPUT_QUALITY,
    TOKEN_PRIORS,
    EmbeddingNoise,
    InputQuality,
    InputReadout,
    PriorName,
)
from bitlens.bottlenecks.input.prior import Prior
from bitlens.bottlenecks.input.stages import Guide, text_guide
from bitlens.bottlenecks.of_texts import TextMethod
from bitlens.bottlenecks.recorded import Recorded
from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.bottlenecks.tokens import MaskForm, Objective, SpecialTokens, TokenIBA
from bitlens.core.gaussian import NoiseModel
from bitlens.core.inputs import ModelInputs
from bitlens.core.passes import BottleneckOptions, without_aim
from bitlens.errors import one_of, one_of_literal


@final
class TokenInputIBA(TextMethod, GuidedBottleneck):
    """Information bottleneck attribution at the word embedding, guided by a bottleneck at a layer.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module after which stage 1 restricts hidden states, or its dotted name: an encoder layer, or an LSTM whose
            whole sequence is read.
        embedding: the word embedding, or its dotted name.
        beta: weight of the information in stage 1.
        quality: "fast"; "paper": the published passes and prior; "official": settings, noise and prior of the released code.
        mask: of stage 3: "unit": one mask for each dimension of each token; "token": one for each token; by default what
            `quality` says.
        objective: what is kept of a class, see `TokenIBA`; by default what `quality` says.
        noise: at the embedding: as the embeddings of many texts ("statistics"), or N(0, 1) ("standard"); by
            default what `quality` says.
        special_tokens: "restricted" like others, or "whole": they pass as they are and count nothing.
        statistics: by name of the layers (`layers`), if they exist already; else call `fit_statistics`.
        run: seed, precision and internal_batch_size, see `GroupedMethod`.

    Raises:
        LayerError: if the network has no such layer or embedding.
        SettingError: if a setting has a value that makes no sense.
    """

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
        statistics: Mapping[str, TokenStatistics] | None = None,
        **run: Unpack[BottleneckOptions],
    ) -> None:
        preset = one_of("quality", quality, TOKEN_INPUT_QUALITY)
        super().__init__(
            preset,
            TOKEN_PRIORS,
            prior,
            readout,
            beta_input=beta_input,
            steps=steps,
            noise_samples=noise_samples,
            learning_rate=learning_rate,
            **run,
        )
        self.noise = one_of_literal("noise", preset.noise if noise is None else noise, EmbeddingNoise)
        kept = preset.objective if objective is None else objective
        masks: MaskForm = mask or ("token" if preset.one_mask else "unit")
        plain = without_aim(run)
        first = TokenIBA(model, layer, mask="unit", objective=kept, special_tokens=special_tokens, **plain)
        first.fit = preset.features if beta is None else replace(preset.features, beta=beta)
        own: BottleneckOptions = {**plain, "seed": self.seed + INPUT_STREAM}
        last = TokenIBA(model, embedding, mask=masks, objective=kept, special_tokens=special_tokens, **own)
        last.fit = self.fit
        self.feature_bottleneck, self.input_bottleneck, self.probe = first, last, first.probe
        if statistics is not None:
            self.statistics = statistics

    @property
    def layers(self) -> tuple[str, ...]:
        """Dotted names of all whose statistics are needed: the layer for a prior, the embedding for its noise."""
        layer = [self.feature_bottleneck.probe.name] if self.find_prior is not None else []
        embedding = [self.input_bottleneck.probe.name] if self.noise == "statistics" else []
        return tuple(dict.fromkeys([*layer, *embedding]))

    @property
    def statistics(self) -> Mapping[str, TokenStatistics]:
        """Return the statistics of all `layers`, by name. Setting them checks that they belong to these weights.

        Raises:
            StatisticsError: if some are missing, or belong to something else.
        """
        return {name: self._knowing(name).statistics for name in self.layers}

    @statistics.setter
    def statistics(self, statistics: Mapping[str, TokenStatistics]) -> None:
        for part in (self.feature_bottleneck, self.input_bottleneck):
            part.statistics = statistics

    def _knowing(self, layer: str) -> TokenIBA:
        """Return the bottleneck at one of `layers`."""
        both = (self.feature_bottleneck, self.input_bottleneck)
        return next(part for part in both if part.probe.name == layer)

    def know(self, statistics: Mapping[str, TokenStatistics]) -> None:
        """Take statistics of `layers`, by name, that were made with this network."""
        for part in (self.feature_bottleneck, self.input_bottleneck):
            part.know(statistics)

    def learn_without(self, samples: Samples) -> None:
        """Make statistics of `layers` where there are none yet, see `TokenIBA.learn_without`."""
        for name in self.layers:
            self._knowing(name).learn_without(samples)

    def reads_padding(self, samples: Samples) -> bool:
        """Return whether what the embedding puts out at padding is read; see `TokenIBA.reads_padding`."""
        return self.input_bottleneck.reads_padding(samples)

    def rows(self, inputs: ModelInputs) -> int:
        """Return how many rows like these inputs may go through the network at once."""
        return self.input_bottleneck.rows(inputs)

    @contextmanager
    def recorded(self, group: Group) -> Iterator[Recorded]:
        """Run stages 1 and 2 for a group; within the block what comes behind the embedding can run again."""

        def noise(features: Tensor, kinds: Tensor) -> NoiseModel:
            hidden = self.hidden(group, features)
            if self.noise == "statistics":
                return replace(self.input_bottleneck.noise_of(features, kinds), hidden=hidden)
            one = features.new_ones(features.shape[2])
            return NoiseModel(torch.zeros_like(one), one, one, hidden=hidden)

        with self.input_bottleneck.recorded(group, noise) as recorded:
            yield recorded

    def guide(self, group: Group) -> Guide:
        """Find what stages 1 and 2 say of a group of texts."""
        assert self.find_prior is not None
        stream = self.seed + PRIOR_STREAM
        return text_guide(self.feature_bottleneck, self.input_bottleneck, self.find_prior, group, stream)

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
        bottleneck = self.input_bottleneck
        plain = {
            **self.fit.plain(),
            "objective": bottleneck.objective,
            "mask": bottleneck.mask,
            "special_tokens": bottleneck.special_tokens,
            "readout": self.readout,
            "noise": self.noise,
            "prior": self.prior,
            **self.run_settings,
        }
        if self.noise == "statistics":
            plain |= _of_statistics(bottleneck)
        if self.find_prior is None:
            return plain
        first = self.feature_bottleneck
        named = {"layer": first.probe.name, **first.fit.plain(), **_of_statistics(first)}
        return plain | {f"stage1_{name}": value for name, value in named.items()}


def _of_statistics(bottleneck: TokenIBA) -> dict[str, Any]:
    kept = ("min_std", "statistics", "statistics_data", "statistics_fingerprint", "weights")
    return {name: value for name, value in bottleneck.settings().items() if name in kept}
