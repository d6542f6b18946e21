"""The stages of InputIBA for texts before the embedding: a bottleneck at a layer, and the prior that is made of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.bottlenecks.input.prior import FirstStage, Prior
from bitlens.bottlenecks.token_groups import TextGroup
from bitlens.bottlenecks.token_statistics import PADDING
from bitlens.bottlenecks.tokens import FittedTexts, TokenIBA
from bitlens.core.attribution import Attribution
from bitlens.core.gaussian import NoiseModel
from bitlens.core.layout import LAYOUTS
from bitlens.core.maps import bits_per_cell
from bitlens.core.passes import in_precision

__all__ = ["first_token_stages"]

_TOKENS = LAYOUTS["TD"]


def first_token_stages(
    features: TokenIBA, embedding: TokenIBA, find_prior: Prior, group: TextGroup, seed: int
) -> tuple[Attribution, Tensor]:
    """Stages 1 and 2 for one group of texts.

    Each text has a prior of its own, made of its own positions: padding takes part in nothing.

    Args:
        features: of stage 1, with statistics.
        embedding: of stage 3, which says where masked texts enter the network, and which tokens have a mask.
        find_prior: stage 2.
        group: few enough to go through the network together.
        seed: of stage 2's noise; that of stage 1 is the bottleneck's own.

    Returns:
        Stage 1's map, and the logits of λ_G (n, T, 1) or (n, T, D), -inf where there is no mask.

    Raises:
        LayerError: if the layer cannot be restricted, or has no gradient at the embedding.
        FitError: if the network's output or gradient is not finite under noise.
    """
    found = features._fit_group(group, 0)
    inputs, kinds = group.texts.inputs, group.texts.kinds
    vectors = embedding.probe.features(inputs)
    masked, present = embedding._restricted(kinds), kinds != PADDING
    with features.probe.reaching(inputs, found.dtype, embedding.probe) as passes, torch.enable_grad():
        run = in_precision(passes, found.dtype, vectors, _TOKENS)
        parts = []
        for text in range(len(kinds)):
            places = masked[text].nonzero()[:, 0]
            way = _WayToLayer(run, text, vectors[text].float(), places, present[text])
            stage = _stage_of(found, way, group.rows, seed)
            logits = find_prior(stage).detach()
            whole = logits.new_full((1, kinds.shape[1], logits.shape[2]), -torch.inf)
            parts.append(whole.index_copy(1, places, logits))
    return features._attribution(found, keep_capacity=False), torch.cat(parts)


@dataclass(frozen=True)
class _WayToLayer:
    """From the embedding of one text's masked tokens to what the layer puts out where it has tokens.

    Attributes:
        run: embeddings (R, T, D) and rows (R,) → features (R, T, H) of a group of texts.
        text: which of them.
        vectors: (T, D) its embedding.
        places: (m,) positions that have a mask.
        present: (T,) bool, positions that are not padding.
    """

    run: Callable[[Tensor, Tensor], Tensor]
    text: int
    vectors: Tensor
    places: Tensor
    present: Tensor

    def __call__(self, variants: Tensor, rows: Tensor) -> Tensor:
        """Features (R, t, H) for embeddings (R, m, D)."""
        whole = self.vectors.expand(len(variants), -1, -1).index_copy(1, self.places, variants)
        return self.run(whole, torch.full_like(rows, self.text))[:, self.present]


def _stage_of(found: FittedTexts, way: _WayToLayer, rows: int, seed: int) -> FirstStage:
    """What stage 1 found for one text, without its padding."""

    def own(values: Tensor) -> Tensor:
        return values.expand_as(found.features)[way.text, way.present][None]

    bits = bits_per_cell(found.fitted.information, _TOKENS)
    noise = NoiseModel(own(found.noise.mean), own(found.noise.std), own(found.noise.active), found.noise.clamp)
    return FirstStage(
        images=way.vectors[way.places][None],
        maps=bits[way.text, way.places][None, :, None],
        features=own(found.features),
        u=own(found.fitted.u),
        information=own(found.fitted.information),
        noise=noise,
        layout=_TOKENS,
        reach=way,
        rows=rows,
        seed=seed,
    )
