"""One bottleneck after each layer of a network of texts: where in it a word still matters, and how much is kept.

Layers are independent of each other; what a layer's map says holds for that layer alone (algorithms E5). Statistics of
all layers come from one pass of each batch; of every text only what lies behind the layer runs again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.groups import Samples
from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.attribution import Attribution
from bitlens.core.stored import analysis_parts
from bitlens.errors import SettingError
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import mapping
from bitlens.system.reading import parsed, whole

_FORMAT = "bitlens.layers/1"


@dataclass(frozen=True, eq=False)
class LayerAnalysis:
    """Bits that each of L layers uses of N texts of T positions, for B weights of the information.

    Attributes:
        layers: dotted names, from the input to the output.
        betas: weights of the information.
        maps: (B, L, N, T) bits per token.
        kept: (B, L, N) probability (or score) of the target under noise, mean over fresh noise.
        spread: (B, L, N) its standard deviation.
        before: (N,) on the clean text.
        targets: one text per sample, what was asked.
        measure: "probability" or "score".
        settings: of the bottleneck.
        model: the network's class.
    """

    layers: tuple[str, ...]
    betas: tuple[float, ...]
    maps: Tensor
    kept: Tensor
    spread: Tensor
    before: Tensor
    targets: tuple[str, ...]
    measure: str
    settings: Mapping[str, Any]
    model: str

    @property
    def total_bits(self) -> Tensor:
        """(B, L, N) bits that pass each layer."""
        return self.maps.sum(-1)

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain mapping for each text, β and layer: total bits and what of the prediction they keep."""
        bits = self.total_bits
        return [
            {
                "text": n,
                "target": self.targets[n],
                "beta": beta,
                "layer": layer,
                "total_bits": float(bits[b, depth, n]),
                f"{self.measure}_before": float(self.before[n]),
                f"{self.measure}_under_noise": float(self.kept[b, depth, n]),
                f"{self.measure}_under_noise_std": float(self.spread[b, depth, n]),
            }
            for n in range(len(self.before))
            for b, beta in enumerate(self.betas)
            for depth, layer in enumerate(self.layers)
        ]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        arrays = {name: getattr(self, name) for name in ("maps", "kept", "spread", "before")}
        names = ("layers", "betas", "targets", "measure", "settings", "model")
        details = {name: getattr(self, name) for name in names}
        write_arrays(path, arrays, {"format": _FORMAT, "details": json.dumps(details)})

    @classmethod
    def load(cls, path: str | Path) -> "LayerAnalysis":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else.
        """
        arrays, metadata = read_arrays(path, "an analysis of layers", lambda m: m.get("format") == _FORMAT)
        with whole(path, "a whole analysis of layers", "make it again"):
            return cls(**analysis_parts(arrays, mapping(parsed(metadata["details"]), "details")))


def analyse_layers(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    *,
    statistics: Mapping[str, TokenStatistics],
    betas: Sequence[float] = (1.0,),
    evidence_samples: int = 32,
    progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> LayerAnalysis:
    """Restrict each layer by itself, for each β, and see what it uses and what of the prediction is kept.

    Args:
        model: the network.
        inputs: N texts, as `TokenIBA.explain` takes them.
        targets: what is asked of each, as `TokenIBA.explain` takes it.
        statistics: of the layers to restrict, by name, from the input to the output (see `collect_token_statistics`).
        betas: weights of the information.
        evidence_samples: fresh noise samples under which the target is measured, at least 1.
        progress: called with the number of finished pairs of a layer and a β.
        settings: further ones of `TokenIBA`.

    Raises:
        SettingError: if there is no layer, no β, or a setting makes no sense; what `TokenIBA.explain` raises besides.
    """
    if not statistics or not betas or evidence_samples < 1:
        raise SettingError(
            f"an analysis needs layers, betas and evidence_samples >= 1, got {list(statistics)}, {list(betas)} and "
            f"{evidence_samples}"
        )
    texts = Samples.of_texts(inputs)
    found: list[list[Attribution]] = [[] for _ in betas]
    done = 0
    for layer, known in statistics.items():
        iba = TokenIBA(model, layer, beta=betas[0], statistics=known, **settings)
        for number, beta in enumerate(betas):
            iba.fit = replace(iba.fit, beta=beta)
            found[number].append(iba.explain(texts, targets, evidence_samples=evidence_samples))
            done += 1
            if progress is not None:
                progress(done)
    return _joined(tuple(statistics), tuple(float(beta) for beta in betas), found)


def _joined(layers: tuple[str, ...], betas: tuple[float, ...], found: Sequence[Sequence[Attribution]]) -> LayerAnalysis:
    one = found[0][0]
    proof = one.evidence
    assert proof is not None  # there is at least one evidence sample

    def stacked(read: Callable[[Attribution], Tensor]) -> Tensor:
        return torch.stack([torch.stack([read(part) for part in row]) for row in found])

    return LayerAnalysis(
        layers,
        betas,
        stacked(lambda part: part.map),
        stacked(lambda part: part.evidence.under_noise),  # type: ignore[union-attr]
        stacked(lambda part: part.evidence.under_noise_std),  # type: ignore[union-attr]
        proof.before,
        one.targets,
        proof.measure,
        {name: value for name, value in one.settings.items() if name not in _OF_ONE_LAYER},
        one.model,
    )


_OF_ONE_LAYER = {"beta", "statistics_fingerprint"}
