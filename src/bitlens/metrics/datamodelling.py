"""Whether scores of a context foretell what an answer loses: without the parts that they name, and without random ones.

Park et al., TRAK: Attributing Model Behavior at Scale (ICML 2023), as Cohen-Wang et al., ContextCite (NeurIPS 2024), use it of
contexts. An answer is a text whose own tokens are no unit, so that they stay.
"""

from collections.abc import Sequence

import torch
from scipy.stats import spearmanr
from torch import Tensor

from bitlens.baselines.changes import Removal
from bitlens.errors import SettingError
from bitlens.metrics.ranking import by_rank
from bitlens.metrics.token_removal import Texts, TokenAnswer, answers_without, share_sets


def top_drop(
    answer: TokenAnswer,
    texts: Texts,
    scores: Tensor,
    *,
    tops: Sequence[int] = (1, 3, 5),
    mode: Removal = "delete",
    rows: int = 16,
    seed: int = 0,
) -> Tensor:
    """Return how far the answer falls without the units of the highest scores: (N, tops), on the CPU.

    Args:
        answer: what the target says of changed texts: ln of the span's probability.
        texts: the texts.
        scores: (N, T); those of a unit's tokens are added up.
        tops: how many units go, each number by itself.
        mode: "delete": tokens vanish and the others move together; "replace": something else takes their place.
        rows: how many texts may go through the network at once; the N of a batch always do.
        seed: of the order of ties.

    Raises:
        InputError: if scores do not fit the texts.
        SettingError: if a number is below 1.
    """
    if not tops or min(tops) < 1:
        raise SettingError(f"tops must be whole numbers of units from 1 on, got {list(tops)}")
    limits = torch.tensor([0, *tops])[:, None].expand(-1, len(texts.tokens))
    removed = by_rank(texts.rank(scores, descending=True, seed=seed), limits)
    found = answers_without(answer, texts, removed, len(limits), rows, mode)
    return (found[:, :1] - found[:, 1:]).cpu()


def linear_datamodelling_score(
    answer: TokenAnswer,
    texts: Texts,
    scores: Tensor,
    *,
    share: float = 0.5,
    sets: int = 64,
    mode: Removal = "delete",
    rows: int = 16,
    seed: int = 0,
) -> Tensor:
    """Return Spearman's correlation of the scores that are left with the answer, over random ablations: (N,), on the CPU.

    Args:
        answer: what the target says of changed texts: ln of the span's probability.
        texts: the texts.
        scores: (N, T); those of a unit's tokens are added up.
        share: of the units that an ablation removes, above 0 and below 1.
        sets: how many ablations, the same for texts of as many units.
        mode: as of `top_drop`.
        rows: how many texts may go through the network at once; the N of a batch always do.
        seed: of the ablations.

    Returns:
        NaN where the answer, or the scores, are the same for all ablations.

    Raises:
        InputError: if scores do not fit the texts.
        SettingError: if a setting makes no sense.
    """
    if not 0 < share < 1 or sets < 3:
        raise SettingError(f"share must lie between 0 and 1, and sets must be 3 or more; got {share!r} and {sets!r}")
    sums = texts.sums(scores)
    gone = torch.zeros(sets, *sums.shape, dtype=torch.bool, device=sums.device)
    for text, count in enumerate(texts.counts.tolist()):
        gone[:, text, :count] = share_sets(count, share, sets, seed).to(sums.device)
    removed = texts.spread(gone, stays=False)
    found = answers_without(answer, texts, removed.__getitem__, sets, rows, mode).cpu().double()
    left = (~gone * sums).sum(-1).T.cpu()
    same = (found.std(1) == 0) | (left.std(1) == 0)
    pairs = zip(left, found, same.tolist(), strict=True)
    return torch.tensor(
        [torch.nan if flat else float(spearmanr(a.numpy(), b.numpy()).statistic) for a, b, flat in pairs]
    )
