"""What a layer puts out for tokens: statistics per hidden unit, those of special tokens apart.

[CLS], [SEP] and their like have features unlike those of words, with a few enormous units; noise drawn from a mixture of
both would look like neither. So ordinary tokens have one set of statistics, and each special token, by its id, its own.
Padding enters none (algorithms E3).
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.groups import ORDINARY, PADDING, Samples
from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.layout import LAYOUTS
from bitlens.core.statistics import FEW_OBSERVATIONS, FeatureStatistics, Provenance
from bitlens.core.stored import statistics_parts
from bitlens.errors import BitlensWarning, LayerError, StatisticsError
from bitlens.probe import layer_features
from bitlens.probe.collecting import limited
from bitlens.probe.fingerprint import provenance_of
from bitlens.probe.ids import texts_of_chance
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import exactly, mapping, whole_number
from bitlens.system.reading import parsed, whole

_FORMAT = "bitlens.token-statistics/1"
_CHANCE, _LENGTH = 32, 64  # texts of chance, and tokens in each
SAMPLED = "texts of tokens drawn from the vocabulary"
"""Where statistics come from that nobody gave texts for."""
_ARRAYS = ("mean", "squares", "nonzero")


def _found(kinds: Tensor) -> set[int]:
    return set(kinds.flatten().tolist())


@dataclass(frozen=True)
class TokenStatistics:
    """Statistics of a layer over tokens, per hidden unit.

    Attributes:
        groups: by kind: `ORDINARY`, or the id of a special token.
    """

    groups: Mapping[int, FeatureStatistics]

    @classmethod
    def of(cls, features: Tensor, kinds: Tensor) -> "TokenStatistics":
        """Summarise one batch: features (N, T, D), kinds (N, T)."""
        layout = LAYOUTS["TD"]
        found = [kind for kind in _found(kinds) if kind != PADDING]
        return cls({k: FeatureStatistics.of(features, layout, "channel", valid=kinds == k) for k in found})

    def merge(self, other: "TokenStatistics") -> "TokenStatistics":
        """Return the statistics of both sets of texts together."""
        groups = dict(self.groups)
        for kind, summary in other.groups.items():
            groups[kind] = groups[kind].merge(summary) if kind in groups else summary
        return TokenStatistics(groups)

    @property
    def provenance(self) -> Provenance:
        """Return where they come from."""
        return next(iter(self.groups.values())).provenance

    @property
    def samples(self) -> int:
        """Return how many texts were seen."""
        return max(group.samples for group in self.groups.values())

    @property
    def fingerprint(self) -> str:
        """Differs between statistics whose numbers differ."""
        return "-".join(group.fingerprint[:8] for _, group in sorted(self.groups.items()))

    def with_provenance(self, provenance: Provenance) -> "TokenStatistics":
        """Return the same with where they come from."""
        return TokenStatistics({kind: replace(group, provenance=provenance) for kind, group in self.groups.items()})

    def check_network(self, layer: str, weights: str) -> None:
        """Refuse another layer, or a network with other weights."""
        for group in self.groups.values():
            group.check_network(layer, weights)

    def check_features(self, features: tuple[int, ...], kinds: Tensor) -> None:
        """Refuse features (one text's shape), or special tokens, that these statistics are not about."""
        for group in self.groups.values():
            group.check_features(features)
        missing = _found(kinds) - {*self.groups, PADDING}
        if missing:
            what = "ordinary tokens" if missing == {ORDINARY} else f"the special token with id {max(missing)}"
            raise StatisticsError(
                f"the statistics of layer {self.provenance.layer!r} know nothing of {what}: make them from texts that were "
                "prepared as those to explain"
            )

    def for_kinds(self, kinds: Tensor) -> "TokenStatistics":
        """Return the same; special tokens that were never seen get the noise of ordinary ones if these are of texts of chance."""
        if self.provenance.data != SAMPLED:
            return self
        ordinary = self.groups[ORDINARY]
        return TokenStatistics(dict.fromkeys(_found(kinds) - {PADDING}, ordinary) | dict(self.groups))

    def noise(self, settings: NoiseSettings, kinds: Tensor) -> NoiseModel:
        """Return the noise for each position of each text, (N, T, D); at padding standard normal noise, which no one uses."""
        units = len(next(iter(self.groups.values())).mean)
        mean, (std, active) = torch.zeros(units, dtype=torch.float32), torch.ones(2, units, dtype=torch.float32)
        rows = torch.zeros_like(kinds)
        models = [self.groups[kind].noise(settings) for kind in sorted(self.groups)]
        for number, kind in enumerate(sorted(self.groups), 1):
            rows = torch.where(kinds == kind, number, rows)

        def table(first: Tensor, others: Sequence[Tensor]) -> Tensor:
            return torch.stack([first, *(other.flatten() for other in others)]).to(kinds.device)[rows]

        return NoiseModel(
            table(mean, [m.mean for m in models]),
            table(std, [m.std for m in models]),
            table(active, [m.active for m in models]),
            settings.noise != "gaussian",
        )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        arrays = {f"{kind}.{name}": getattr(group, name) for kind, group in self.groups.items() for name in _ARRAYS}
        counts = {str(kind): [group.samples, group.observations] for kind, group in self.groups.items()}
        metadata = {
            "format": _FORMAT,
            "counts": json.dumps(counts),
            "provenance": json.dumps(asdict(self.provenance)),
        }
        write_arrays(path, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "TokenStatistics":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else.
        """
        arrays, metadata = read_arrays(path, "statistics of tokens", lambda m: m.get("format") == _FORMAT)
        with whole(path, "complete statistics", "make new ones"):
            provenance = Provenance.parsed(metadata["provenance"])
            counts = mapping(parsed(metadata["counts"]), "counts")
            exactly(arrays, (f"{kind}.{name}" for kind in counts for name in _ARRAYS), "the arrays")
            groups: dict[int, FeatureStatistics] = {}
            for kind, (samples, observations) in counts.items():
                details = {"samples": samples, "observations": observations, "granularity": "channel"}
                parts = statistics_parts(arrays, details, LAYOUTS["TD"], f"{kind}.")
                number = whole_number(int(kind), "the kind of tokens", least=ORDINARY)
                groups[number] = FeatureStatistics(**parts, provenance=provenance)
            if len({len(group.mean) for group in groups.values()}) != 1:
                raise ValueError("the kinds of tokens have different numbers of units")
            return cls(groups)


def sampled_statistics(
    model: nn.Module,
    layers: Sequence[str],
    *,
    begun: Sequence[int] = (),
    ended: Sequence[int] = (),
    call: int | None = None,
    seed: int = 0,
) -> dict[str, TokenStatistics]:
    """Return statistics of several layers over texts of chance, for those who have no others: what hidden units do here.

    Special tokens that do not stand around these texts get the noise of ordinary ones.

    Args:
        model: the network.
        layers: dotted names.
        begun: special tokens that texts begin with.
        ended: special tokens that texts end with.
        call: which call of the layers, if the network calls them several times in one pass.
        seed: of the texts.

    Raises:
        StatisticsError: if the network cannot be called with ids and a mask alone.
    """
    try:
        batch = texts_of_chance(model, _CHANCE, _LENGTH, seed, begun, ended)
        special = torch.zeros_like(batch["input_ids"])
        special[:, : len(begun)] = 1
        special[:, special.shape[1] - len(ended) :] = 1
        batch["special_tokens_mask"] = special
        found = collect_token_statistics(model, layers, [batch], call=call, data=SAMPLED)
    except LayerError:
        raise
    except Exception as error:  # the user's own network, on inputs of ours
        raise StatisticsError(
            f"{type(model).__name__} cannot be run on texts of chance, so statistics cannot be made without texts: call "
            "fit_statistics(batches) with texts like those to explain"
        ) from error
    return found


def collect_token_statistics(
    model: nn.Module,
    layers: Sequence[str],
    batches: Iterable[Any],
    *,
    max_samples: int = 10_000,
    call: int | None = None,
    data: str = "",
    preprocessing: str = "",
) -> dict[str, TokenStatistics]:
    """Return statistics of several layers, each batch running through the network once.

    Args:
        model: the network.
        layers: dotted names.
        batches: of texts (`TokenBatch` or mappings).
        max_samples: stop at exactly this many texts.
        call: which call of the layers, if the network calls them several times in one pass.
        data: where the texts come from, kept with the statistics.
        preprocessing: how they were prepared, kept as well.

    Returns:
        Statistics by the layer's name.

    Raises:
        StatisticsError: if there is no text.
        LayerError: if the pass does not reach a layer.
    """
    totals: dict[str, TokenStatistics] = {}
    for texts in limited(map(Samples.of_texts, batches), max_samples, "texts to make statistics from"):
        for name, features in zip(layers, layer_features(model, layers, texts.inputs, call=call), strict=True):
            if features.dim() != 3 or features.shape[:2] != texts.kinds.shape:
                raise LayerError(
                    f"layer {name!r} puts out {tuple(features.shape)} for texts of {tuple(texts.kinds.shape)} tokens: choose one "
                    "that gives a vector for each token"
                )
            summary = TokenStatistics.of(features, texts.kinds.to(features.device))
            totals[name] = totals[name].merge(summary) if name in totals else summary
    _warn_if_few(next(iter(totals.values())))
    known = provenance_of(model, data=data, preprocessing=preprocessing)
    return {name: total.with_provenance(replace(known, layer=name)) for name, total in totals.items()}


def _warn_if_few(statistics: TokenStatistics) -> None:
    ordinary = statistics.groups.get(ORDINARY)
    if ordinary is not None and ordinary.observations < FEW_OBSERVATIONS:
        text = f"statistics from {ordinary.observations} tokens are rough; use more texts"
        warnings.warn(text, BitlensWarning, stacklevel=3)
