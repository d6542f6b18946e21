"""The stages of InputIBA before the input: a bottleneck at a layer, and the prior that is made of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bitlens.bottlenecks.bottleneck import Bottleneck
from bitlens.bottlenecks.groups import PADDING, Group, Wanted
from bitlens.bottlenecks.input.prior import FirstStage, Prior
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.recorded import Recorded
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.attribution import Attribution
from bitlens.core.family import Fitted
from bitlens.core.gaussian import NoiseModel
from bitlens.core.layout import LAYOUTS
from bitlens.core.maps import bits_per_cell, covers
from bitlens.core.passes import in_precision, suffix_dtype
from bitlens.errors import LayerError

_TOKENS = LAYOUTS["TD"]


@dataclass(frozen=True, eq=False)
class Guide:
    """Findings of stages 1 and 2 for a group.

    Attributes:
        features: stage 1, its map; None if the prior does not ask for it.
        logits: stage 2, of λ_G, broadcastable to the inputs (n, ...); -inf where nothing is known, or there is no mask.
    """

    features: Attribution | None
    logits: Tensor


def image_guide(iba: IBA, find_prior: Prior, group: Group, seed: int) -> Guide:
    """Find what of a group of images gives the features that are needed.

    Args:
        iba: of stage 1, with statistics.
        find_prior: stage 2.
        group: prepared images (n, C, H, W), series or volumes.
        seed: of stage 2's noise; that of stage 1 is the bottleneck's own.

    Raises:
        LayerError: if the layer has no grid over the input's places.
    """
    recorded, fitted, found = _first_stage(iba, group)
    places = group.inputs.placed("a prior")
    if not covers(recorded.layout, places):
        raise LayerError(
            f"layer {found.layer!r} has no grid over the {places.one}s of the input (its maps are in {found.unit}): choose "
            "another layer, or prior='none', which needs none"
        )
    images = places.first(group.inputs.first)
    dtype = suffix_dtype(iba.precision, images, iba.model)
    with iba.probe.reaching(group.inputs, dtype) as passes, torch.enable_grad():
        stage = _known(
            recorded,
            fitted,
            lambda values: values,
            images=images.float(),
            maps=found.map[:, None].to(images.device),
            reach=in_precision(lambda z, of: passes(places.back(z).clone(), of), dtype, images, places.layout),
            seed=seed,
            overwritten=iba.probe.overwritten(group.inputs),
        )
        return Guide(found, find_prior(stage))


def text_guide(features: TokenIBA, embedding: TokenIBA, find_prior: Prior, group: Group, seed: int) -> Guide:
    """Find what of the embedding of each text gives the features that are needed.

    Each text has a prior of its own, made of its own positions: padding takes part in nothing.

    Args:
        features: of stage 1, with statistics.
        embedding: of stage 3, which says where masked texts enter the network, and which tokens have a mask.
        find_prior: stage 2.
        group: the texts.
        seed: of stage 2's noise; that of stage 1 is the bottleneck's own.

    Raises:
        LayerError: if the layer cannot be restricted, or has no gradient at the embedding.
        FitError: if the network's output or gradient is not finite under noise.
    """
    recorded, fitted, found = _first_stage(features, group)
    bits = bits_per_cell(fitted.information, _TOKENS)
    vectors = embedding.probe.features(group.inputs)
    masked, present = embedding.restricted(group.kinds), group.kinds != PADDING
    with features.probe.reaching(group.inputs, recorded.dtype, embedding.probe) as passes, torch.enable_grad():
        run = in_precision(passes, recorded.dtype, vectors, _TOKENS)
        parts = []
        for text in range(len(group.kinds)):

            def own(values: Tensor, text: int = text) -> Tensor:
                return values.expand_as(recorded.features)[text, present[text]][None]

            places = masked[text].nonzero()[:, 0]
            way = _WayToLayer(run, text, vectors[text].float(), places, present[text])
            images, maps = way.vectors[places][None], bits[text, places][None, :, None]
            logits = find_prior(_known(recorded, fitted, own, images=images, maps=maps, reach=way, seed=seed)).detach()
            whole = logits.new_full((1, group.kinds.shape[1], logits.shape[2]), -torch.inf)
            parts.append(whole.index_copy(1, places, logits))
    return Guide(found, torch.cat(parts))


def _first_stage(bottleneck: Bottleneck, group: Group) -> tuple[Recorded, Fitted, Attribution]:
    """Make stage 1 for a group: masks at the layer, and their map; no evidence."""
    with bottleneck.recorded(replace(group, wanted=Wanted())) as recorded, torch.enable_grad():
        recorded = replace(recorded, features=recorded.features.contiguous())  # noqa: PLW2901  (as critics play with them)
        fitted = bottleneck.masks(recorded)
    return recorded, fitted, bottleneck.attribution(recorded, bottleneck.reading(recorded, fitted))


def _known(recorded: Recorded, fitted: Fitted, own: Callable[[Tensor], Tensor], **others: Any) -> FirstStage:
    """Return what stage 1 found, as far as a prior may see it (`own`)."""
    noise = recorded.noise
    return FirstStage(
        features=own(recorded.features),
        u=own(fitted.u),
        information=own(fitted.information),
        noise=NoiseModel(own(noise.mean), own(noise.std), own(noise.active), noise.clamp),
        layout=recorded.layout,
        rows=recorded.group.rows,
        **others,
    )


@dataclass(frozen=True)
class _WayToLayer:
    """Way from the embedding of one text's masked tokens to what the layer puts out where it has tokens.

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
        """Return features (R, t, H) for embeddings (R, m, D)."""
        whole = self.vectors.expand(len(variants), -1, -1).index_copy(1, self.places, variants)
        return self.run(whole, torch.full_like(rows, self.text))[:, self.present]
