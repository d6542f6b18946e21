"""Degradation, insertion/deletion, Sensitivity-n and single deletion for texts: tokens are removed or replaced, not tiles.

The functions know nothing of tokenizers and networks: they take tokens (ids or embeddings), which of them may go, and a
callable that answers for changed texts (algorithms E6, G4, G5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from bitlens.baselines.asking import in_passes
from bitlens.baselines.changes import Removal, without
from bitlens.errors import InputError, SettingError, at_least
from bitlens.metrics.degradation import Degradation
from bitlens.metrics.insertion_deletion import InsertionDeletion
from bitlens.metrics.ranking import by_rank, ranks
from bitlens.metrics.sensitivity_n import SensitivityN, random_sets
from bitlens.metrics.single_deletion import SingleDeletion

TokenAnswer: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Changed texts, copy-major (row b*N + i is a variant of text i), as tokens (b*N, T) or (b*N, T, D) and where there are
tokens (b*N, T), boolean, to one number for each (b*N,)."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of one batch, and which of their parts may go.

    Attributes:
        tokens: (N, T) ids or (N, T, D) embeddings.
        units: (N, T) the unit that each position belongs to, counted from 0 in each text: tokens one by one (see
            `each_token`), or words of several tokens; -1 for positions that stay ([CLS], [SEP], padding).
        present: (N, T) boolean, where there are tokens and no padding.
        replacement: what takes the place of a token: an id (of the mask, the unknown word or the padding), or an embedding
            (D,) or a number for all its entries, as 0.
    """

    tokens: Tensor
    units: Tensor
    present: Tensor
    replacement: Tensor | float

    def __post_init__(self) -> None:
        shapes = [tuple(t.shape) for t in (self.tokens, self.units, self.present)]
        if self.tokens.dim() not in (2, 3) or {self.units.shape, self.present.shape} != {self.tokens.shape[:2]}:
            raise InputError(f"tokens, units and present must be (N, T) or (N, T, D), (N, T), (N, T); got {shapes}")
        if bool((self.counts == 0).any()):
            raise InputError(f"text {int((self.counts == 0).nonzero()[0])} has no unit that may go")

    @staticmethod
    def each_token(removable: Tensor) -> Tensor:
        """Return units for single tokens: (N, T) boolean, which tokens may go → (N, T)."""
        return torch.where(removable, removable.cumsum(1) - 1, -1)

    @property
    def counts(self) -> Tensor:
        """(N,) how many units each text has."""
        return self.units.amax(1) + 1

    def sums(self, scores: Tensor) -> Tensor:
        """Return token scores (N, T) summed over each unit: (N, units of the longest), float64."""
        if scores.shape != self.units.shape or not bool(torch.isfinite(scores[self.units >= 0]).all()):
            raise InputError(f"scores must be finite, {tuple(self.units.shape)}; got {tuple(scores.shape)}")
        total = torch.zeros(len(scores), int(self.counts.max()) + 1, dtype=torch.float64, device=self.units.device)
        own = torch.where(self.units >= 0, scores.to(self.units.device).double(), 0)
        return total.scatter_add_(1, self._column, own)[:, :-1]

    def spread(self, values: Tensor, stays: float) -> Tensor:
        """Return values of units (..., N, units), given to their positions (..., N, T); `stays` where there is no unit."""
        padded = torch.cat([values, torch.full_like(values[..., :1], stays)], -1)
        return padded.gather(-1, self._column.expand(*values.shape[:-1], -1))

    @property
    def _column(self) -> Tensor:
        """Each position's unit, the column after the last one for positions that stay."""
        return torch.where(self.units >= 0, self.units, self.counts.max()).long()

    def rank(self, scores: Tensor, *, descending: bool, seed: int) -> Tensor:
        """Return (N, T) places in the order of unit scores; those that stay come last."""
        sums = self.sums(scores)
        missing = torch.arange(sums.shape[1], device=sums.device) >= self.counts[:, None]
        worst = -torch.inf if descending else torch.inf
        places = ranks(sums.masked_fill(missing, worst), descending=descending, seed=seed)
        return self.spread(places, torch.iinfo(places.dtype).max)

    def changed(self, removed: Tensor, mode: Removal = "replace") -> tuple[Tensor, Tensor]:
        """Return texts (v, N, T, ...) without the removed positions (v, N, T), and where there are tokens."""
        places, present = without(removed, self.present.expand_as(removed), mode)
        places = places.reshape(*places.shape, *[1] * (self.tokens.dim() - 2)).expand(len(removed), *self.tokens.shape)
        fill = torch.as_tensor(self.replacement, dtype=self.tokens.dtype, device=self.tokens.device)
        there = self.tokens.expand_as(places).gather(2, places.clamp_min(0))
        return torch.where(places < 0, fill, there), present


def answers_without(
    answer: TokenAnswer, texts: Texts, removed: Callable[[slice], Tensor], steps: int, rows: int, mode: Removal
) -> Tensor:
    """Return what is answered to texts without the positions (v, N, T) that `removed` names for v of the steps: (N, steps)."""

    def ask(some: slice) -> Tensor:
        tokens, present = texts.changed(removed(some), mode)
        return answer(tokens.flatten(0, 1), present.flatten(0, 1))

    with torch.no_grad():
        return in_passes(ask, len(texts.tokens), steps, rows)


def token_degradation(
    answer: TokenAnswer,
    texts: Texts,
    scores: Tensor,
    *,
    mode: Removal = "delete",
    points: int = 10,
    rows: int = 16,
    seed: int = 0,
) -> Degradation:
    """Remove tokens in the order of a map, most relevant first and least relevant first, and watch the target.

    The MoRF curve is "removal of the top-k tokens" (Jiang et al., EMNLP Findings 2020; algorithms E6).

    Args:
        answer: what the target says of changed texts, a probability as a rule.
        texts: the texts.
        scores: (N, T), higher means more relevant; those of a word's tokens are added up.
        mode: "delete": tokens vanish and the others move together (Jiang et al.); "replace": something else takes their
            place.
        points: of the curves: shares of the units from 0 to 1, evenly spread (10 in the code of Jiang et al.).
        rows: how many texts may go through the network at once; the N of a batch always do.
        seed: of the order of ties.

    Returns:
        The curves of every text, on the CPU; join batches and score the set as for images.

    Raises:
        InputError: if scores do not fit the texts.
        SettingError: if a setting makes no sense.
    """
    at_least(2, points=points)
    shares = torch.linspace(0, 1, points, dtype=torch.float64)
    limits = _of_share(texts, shares)

    def curve(descending: bool) -> Tensor:
        removed = by_rank(texts.rank(scores, descending=descending, seed=seed), limits)
        return answers_without(answer, texts, removed, points, rows, mode).cpu()

    return Degradation(shares, curve(True), curve(False))


def _of_share(texts: Texts, shares: Tensor) -> Tensor:
    """Say how many units are a share of them: (V,) → (V, N)."""
    return (shares[:, None] * texts.counts.cpu()).round().long()


def token_insertion_deletion(
    answer: TokenAnswer,
    texts: Texts,
    scores: Tensor,
    *,
    points: int = 24,
    step: int | None = None,
    limit: float = 1.0,
    rows: int = 16,
    seed: int = 0,
) -> InsertionDeletion:
    """Replace units in the order of a map, and put them into a text of replacements, and watch the target.

    Args:
        answer: what the target says of changed texts, a probability as a rule.
        texts: the texts; insertion starts from one where everything that may go is replaced.
        scores: (N, T), higher means more relevant; those of a word's tokens are added up.
        points: in how many steps of equal share.
        step: units in one step, in place of `points`: 10 in Zhang et al. (unknown words as replacement), 2 in their code
            (zero embeddings).
        limit: the last share, 1 in Zhang et al., 0.4 in their code.
        rows: how many texts may go through the network at once; the N of a batch always do.
        seed: of the order of ties.

    Returns:
        The curves of every text, on the CPU. With `step`, short texts stay at their last point.

    Raises:
        InputError: if scores do not fit the texts.
        SettingError: if a setting makes no sense.
    """
    if not 0 < limit <= 1:
        raise SettingError(f"limit must be a share in (0, 1], got {limit!r}")
    limits = _step_limits(texts, points, step, limit)
    places = texts.rank(scores, descending=True, seed=seed)
    touched, may_go = by_rank(places, limits), texts.units >= 0

    def curve(removed: Callable[[slice], Tensor]) -> Tensor:
        return answers_without(answer, texts, removed, len(limits), rows, "replace").cpu()

    share = (limits.double() / texts.counts.cpu()).T
    return InsertionDeletion(share, curve(lambda steps: may_go & ~touched(steps)), curve(touched))


def _step_limits(texts: Texts, points: int, step: int | None, limit: float) -> Tensor:
    """Say how many units are touched at each point, (points + 1, N)."""
    at_least(1, **({"points": points} if step is None else {"step": step}))
    if step is None:
        return _of_share(texts, torch.linspace(0, limit, points + 1, dtype=torch.float64))
    last = (limit * texts.counts.cpu()).round().long()
    steps = torch.arange(-(-int(last.max()) // step) + 1)
    return torch.minimum(steps[:, None] * step, last)


def share_sets(count: int, share: float, sets: int, seed: int) -> Tensor:
    """Return random sets of a share of `count` units, one unit at least, the same for the same arguments: (sets, count)."""
    return random_sets(count, max(1, round(share * count)), sets, seed)


def token_sensitivity_n(
    answer: TokenAnswer,
    texts: Texts,
    scores: Tensor,
    *,
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    sets: int = 100,
    rows: int = 16,
    seed: int = 0,
) -> SensitivityN:
    """Replace random shares of a text's units, and correlate the drop of the score with the map's sum over them.

    Args:
        answer: what the target says of changed texts: the logit of the class that is asked about (for one logit of two
            classes, with a minus for class 0).
        texts: the texts; both papers' code replaces by zero embeddings.
        scores: (N, T), signed: what lowers the score should be negative.
        shares: of the units; 1 is not allowed, since there is only one such set.
        sets: per share, the same for texts with as many units.
        rows: how many texts may go through the network at once; the N of a batch always do.
        seed: of the sets.

    Returns:
        Sums and drops of every set, on the CPU.

    Raises:
        InputError: if scores do not fit the texts.
        SettingError: if a setting makes no sense.
    """
    if not shares or not all(0 < share < 1 for share in shares) or sets < 2:
        raise SettingError(f"shares must lie between 0 and 1, and sets must be 2 or more; got {shares} and {sets!r}")
    sums, counts = texts.sums(scores), texts.counts.tolist()
    attributed, left = [], []
    for share in shares:
        members = torch.zeros(sets, *sums.shape, dtype=torch.bool)
        for text, count in enumerate(counts):
            members[:, text, :count] = share_sets(count, share, sets, seed)
        members = members.to(sums.device)
        attributed.append((members * sums).sum(-1).T)
        removed = texts.spread(members, stays=False)
        left.append(answers_without(answer, texts, removed.__getitem__, sets, rows, "replace"))
    nothing = torch.zeros_like(texts.present)[None]
    clean = answers_without(answer, texts, lambda _: nothing, 1, rows, "replace")[:, 0]
    dropped = clean[:, None, None] - torch.stack(left, 1)
    return SensitivityN(
        torch.tensor(list(shares), dtype=torch.float64), torch.stack(attributed, 1).cpu(), dropped.cpu(), clean.cpu()
    )


def token_single_deletion(
    answer: TokenAnswer, texts: Texts, scores: Tensor, *, mode: Removal = "replace", rows: int = 16
) -> SingleDeletion:
    """Take each unit of a text away alone, and compare what the score loses with the map's sum over the unit.

    SDS of Hesse et al. (NeurIPS 2024), whose cells of a photo are a text's units here.

    Args:
        answer: what the target says of changed texts: the logit of the class that is asked about.
        texts: the texts.
        scores: (N, T), signed: what lowers the score should be negative.
        mode: "replace": something else takes the unit's place; "delete": the others move together.
        rows: how many texts may go through the network at once; the N of a batch always do.

    Returns:
        Sums and drops of every unit, on the CPU: a pass for each unit of the longest text, and one.

    Raises:
        InputError: if scores do not fit the texts.
    """
    sums, counts = texts.sums(scores), texts.counts
    longest = sums.shape[1]

    def one_gone(steps: slice) -> Tensor:
        gone = torch.arange(steps.start, steps.stop, device=texts.units.device) - 1  # nothing is gone first
        return (texts.units == gone[:, None, None]) & (texts.units >= 0)

    said = answers_without(answer, texts, one_gone, longest + 1, rows, mode).double()
    none = torch.arange(longest, device=counts.device) >= counts[:, None]
    dropped = (said[:, :1] - said[:, 1:]).masked_fill(none.to(said.device), torch.nan)
    return SingleDeletion(sums.cpu(), dropped.cpu(), said[:, 0].cpu(), texts.units.cpu())
