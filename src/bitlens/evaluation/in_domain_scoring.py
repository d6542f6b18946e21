"""Scores by a copy of the network that knows deletions: fine-tuned before the first map is judged.

What it is fine-tuned on are the photos that methods learn from: others than those that are evaluated where the data set names
such, or `--statistics-from` does.

As in `scoring`, each takes a case and settings, and gives the score.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from bitlens.core.passes import Precision
from bitlens.evaluation.case import Case
from bitlens.evaluation.scored import Scored, kept_curve
from bitlens.metrics.f_fidelity import f_fidelity
from bitlens.metrics.in_domain import Deletion, OneCell, RandomTiles
from bitlens.metrics.single_deletion import single_deletion

DELETIONS: Mapping[str, Callable[[Mapping[str, Any]], Deletion]] = {
    "idsds": lambda settings: OneCell(settings["cells"]),
    "f-fidelity": lambda settings: RandomTiles(settings["tile"], settings["share"]),
}
"""What each metric's copy of the network must know, by the metric's settings."""


def in_domain_single_deletion(
    case: Case, *, cells: int = 4, epochs: int = 10, precision: Precision = "float32"
) -> Scored:
    """Return rank correlation of each cell's sum with what the copy's score loses without the cell."""
    judge, photo = case.judge(OneCell(cells), epochs), case.photo
    nothing = torch.zeros_like(case.map)
    measured = photo.once(  # what is lost without a cell does not depend on the map
        f"in-domain single deletion {cells} {epochs} {precision}",
        lambda: single_deletion(judge, photo.image, case.elsewhere, nothing, cells, precision=precision),
    )
    return Scored(float(measured.of(case.map).correlations()))


def f_fidelity_score(
    case: Case,
    *,
    tile: int = 8,
    share: float = 0.1,
    part: float = 0.5,
    draws: int = 10,
    epochs: int = 10,
    precision: Precision = "auto",
) -> Scored:
    """Return what the target loses without some of the explanation, less what it loses without as much of the rest."""
    judge, photo = case.judge(RandomTiles(tile, share), epochs), case.photo
    settings: dict[str, Any] = {"share": share, "part": part, "draws": draws, "precision": precision}
    seed = case.seed + int(photo.fingerprint[:8], 16)  # draws that all photos share would err on all of them alike
    found = f_fidelity(judge, photo.image, case.elsewhere, case.map, tile, seed=seed, **settings)
    curves = (kept_curve(values) for values in (found.sizes, found.plus[0], found.minus[0]))
    return Scored(float(found.scores()), None, *curves)
