"""Scores of maps by the map and its method alone: how few places it takes, how far it holds, and what moves it."""

import torch
from torch import Tensor

from bitlens.evaluation.case import Case, CaseOf
from bitlens.evaluation.scored import Scored
from bitlens.methods.building import map_alone
from bitlens.metrics import conciseness, stability


def sparseness(case: CaseOf) -> Scored:
    """Return Gini index of the sizes of the map's values."""
    return Scored(float(conciseness.sparseness(case.scored(case.map))))


def kept(case: CaseOf) -> Scored | None:
    """Return the share of the decision that the map holds under noise, as its method proves it; None without a proof.

    At most 1: where noise raises the target, a mean over samples would hide those that lose it.
    """
    proof = case.evidence
    return Scored(float(proof.kept.clamp(max=1))) if proof is not None else None


def max_sensitivity(case: Case, *, radius: float = 0.02, samples: int = 10) -> Scored:
    """Return how far the map moves at most when the photo is changed by a little noise, over the map's size."""
    method, photo = case.method, case.photo

    def make_maps(images: Tensor) -> Tensor:
        made: Tensor = method.explain(images, case.elsewhere, **map_alone(method)).map
        return made

    image, own = photo.image, case.map.to(photo.image.device)
    found = stability.max_sensitivity(make_maps, image, own, radius=radius, samples=samples, seed=case.seed)
    return Scored(float(found))


def seed_stability(case: CaseOf, *, seeds: int = 3) -> Scored:
    """Return mean rank correlation of the maps of several seeds, the method's own and those that follow."""
    others = [case.map_of(method) for method in case.reseeded(seeds - 1)]
    return Scored(float(stability.seed_stability(torch.stack([case.scored(one) for one in (case.map, *others)]))))
