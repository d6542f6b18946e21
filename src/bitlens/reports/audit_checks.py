"""Whether maps say something: do they need what the network learnt, does the seed matter, do they hold under noise?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.errors import BitlensError
from bitlens.explaining.photo import Photo
from bitlens.methods.building import grey_photo, map_alone
from bitlens.metrics.randomisation import cascade_steps, randomised
from bitlens.models.loaded import Loaded

HOLDS = 0.9
"""A map holds if the answer keeps this share under noise: of what it has above the floor, what the network says without seeing
anything. Where the floor was not measured, of its value."""

Another = Callable[[str, int | None, Loaded | None], Any]
"""(label, seed, network) → the method with another seed, or on another network."""


@dataclass(frozen=True)
class Checked:
    """Findings about one method.

    Attributes:
        maps: how many there are.
        proven: how many of them carry evidence.
        needed: for how many of those the input was needed: elsewhere the network says the same without seeing anything.
        held: share of these that hold, see `HOLDS`; None without any.
        kept: median of what the answers keep; None without any.
        photos: how many were explained again for the rest.
        random_weights: mean rank correlation of its maps with those of a network of random weights; near 0 is good.
        seeds: mean rank correlation of its maps with those of another seed; near 1 is good.
        left_out: why one of them is missing.
    """

    maps: int
    proven: int
    needed: int
    held: float | None
    kept: float | None
    photos: int = 0
    random_weights: float | None = None
    seeds: float | None = None
    left_out: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def check(
    label: str,
    made: Sequence[Attribution],
    photos: Sequence[Photo],
    method: Any,
    another: Another,
    random: Loaded | None,
    maps: Mapping[str, Tensor],
) -> Checked:
    """Check one method.

    Args:
        label: of the method.
        made: its attributions, of one photo each; empty where none were kept.
        photos: that are explained again; those that were not read are told of.
        method: as it made the maps.
        another: builds it anew.
        random: the network with random weights; None where it could not be made.
        maps: (H, W) those that there are, by fingerprint of their photo; others are made.
    """
    proofs = [one.evidence for one in made if one.evidence is not None]
    kept = [share for share in map(_kept, proofs) if share is not None]
    held = float(np.mean([share >= HOLDS for share in kept])) if kept else None
    usual = float(np.median(kept)) if kept else None
    count = len(made) or len(maps)
    if not photos:
        return Checked(count, len(proofs), len(kept), held, usual, left_out="the photos are not at hand")
    own = [maps[photo.fingerprint] if photo.fingerprint in maps else _map(method, photo) for photo in photos]
    left_out = list[str]()

    def likeness(seed: int | None, network: Loaded | None) -> float | None:
        try:
            changed = another(label, seed, network)
            values = [_alike(one, _map(changed, photo)) for one, photo in zip(own, photos, strict=True)]
        except BitlensError as error:
            left_out.append(str(error))
            return None
        known = [value for value in values if value is not None]
        if not known:
            left_out.append("maps that are the same everywhere are like no other")
        return float(np.mean(known)) if known else None

    seeds = likeness(1, None)
    if random is None:
        left_out.append("the network has no layers that could be randomised")
    alike = likeness(None, random) if random is not None else None
    return Checked(count, len(proofs), len(kept), held, usual, len(photos), alike, seeds, "; ".join(left_out))


def random_network(loaded: Loaded) -> Loaded | None:
    """Return the network with all its weights drawn anew; None if nothing of it can be."""
    try:
        last = cascade_steps(loaded.model, grey_photo(loaded))[-1]
        return replace(loaded, model=randomised(loaded.model, last.modules, seed=0), readout=None)
    except BitlensError:
        return None


def _kept(proof: Evidence) -> float | None:
    """Return what an answer keeps under noise; nothing where nothing of the input was needed."""
    if proof.floor is not None:
        share = float(proof.kept[0])
        return share if np.isfinite(share) else None
    before = float(proof.before[0])
    return float(proof.under_noise[0]) / before if before > 0 else None


def _map(method: Any, photo: Photo) -> Tensor:
    found: Tensor = method.explain(photo.image, photo.target, **map_alone(method)).map[0]
    return found


def _alike(one: Tensor, other: Tensor) -> float | None:
    """Rank correlation of two maps; none where one of them is the same everywhere."""
    first, second = one.flatten().numpy(), other.flatten().numpy()
    if first.shape != second.shape or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
