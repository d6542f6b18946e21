"""Scores of maps by the map alone: how few places it takes, and whether it stays when next to nothing changes."""

import torch
from torch import Tensor

from bitlens.evaluation.case import Case
from bitlens.evaluation.scored import Scored
from bitlens.methods.building import map_alone
from bitlens.metrics import conciseness, stability


def sparseness(case: Case) -> Scored:
    """Return Gini index of the sizes of the map's values."""
    return Scored(float(conciseness.sparseness(case.map)))


def max_sensitivity(case: Case, *, radius: float = 0.02, samples: int = 10) -> Scored:
    """Return how far the map moves at most when the photo is changed by a little noise, over the map's size."""
    method, photo = case.method, case.photo

    def make_maps(images: Tensor) -> Tensor:
        made: Tensor = method.explain(images, photo.target, **map_alone(method)).map
        return made

    image, own = photo.image, case.map.to(photo.image.device)
    found = stability.max_sensitivity(make_maps, image, own, radius=radius, samples=samples, seed=case.seed)
    return Scored(float(found))


def seed_stability(case: Case, *, seeds: int = 3) -> Scored:
    """Return mean rank correlation of the maps of several seeds, the method's own and those that follow."""
    others = [case.map_of(method) for method in case.reseeded(seeds - 1)]
    return Scored(float(stability.seed_stability(torch.stack([case.map, *others]))))
