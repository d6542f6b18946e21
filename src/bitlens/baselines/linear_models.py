"""Linear models of a score in terms of which parts of an input are there, and the passes that they are fitted to.

Ribeiro, Singh and Guestrin, "Why should I trust you?" (KDD 2016); Lundberg and Lee, A unified approach to interpreting
model predictions (NeurIPS 2017). Captum's versions take images and samples one by one, fit with scikit-learn, and keep
the sum of KernelSHAP's values only as far as a large weight goes; here the models are solved in closed form.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from bitlens.errors import SettingError, at_least
from bitlens.system.optional import need


@dataclass(frozen=True)
class LinearModel(ABC):
    """A way to choose passes and to find the value of every part from their scores.

    Attributes:
        samples: passes with some of the parts.
    """

    samples: int

    def __post_init__(self) -> None:
        at_least(2, samples=self.samples)

    @abstractmethod
    def coalitions(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return which of `count` parts are there in each pass (P, count), bool, and the weight of each pass (P,)."""

    @abstractmethod
    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Return a value for every part (count,); all float64.

        Args:
            shown: (P, count), 1 where a part is there.
            weights: (P,) of the passes.
            answers: (P,) scores of the passes.
        """


@final
@dataclass(frozen=True)
class Ridge(LinearModel):
    """Fit a ridge regression near the whole input, its intercept without penalty, to passes with some parts taken away.

    Attributes:
        samples: passes, the whole input the first of them.
        width: of the kernel, in units of the cosine distance d of a pass's parts from all of them.
        ridge: penalty on the squares of the values, in units of a sample's weight.
        draw: (samples, count, generator) → which parts are there, (samples, count) bool.
        spread: a pass weighs exp(-(d/width)²/spread).
    """

    width: float
    ridge: float
    draw: Callable[[int, int, torch.Generator], Tensor]
    spread: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.width > 0 or not self.ridge >= 0:
            raise SettingError(f"width must be positive and ridge not negative, got {self.width} and {self.ridge}")

    def coalitions(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return the whole input first, then what is drawn."""
        shown = self.draw(self.samples, count, torch.Generator().manual_seed(seed))
        shown[0] = True
        distance = 1 - (shown.sum(1).double() / count).sqrt()  # the cosine of shown and (1, ..., 1) is √(|shown|/M)
        return shown, torch.exp(-((distance / self.width) ** 2) / self.spread)

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Return the regression's coefficients."""
        share = weights / weights.sum()
        centred, rest = shown - share @ shown, answers - share @ answers
        weighted = centred.T * weights
        return _solved(weighted @ centred + self.ridge * torch.eye(shown.shape[1]).double(), weighted @ rest)


@final
@dataclass(frozen=True)
class Shapley(LinearModel):
    """Find the values that fit the scores of coalitions best under the Shapley kernel, and whose sum is exact.

    The sum is the score with all parts minus that with none, by a constraint (Lundberg and Lee, theorem 2). Coalitions are
    drawn with their complements (Covert and Lee, AISTATS 2021); if there are no more than `samples`, all of them are taken,
    and the values are exact.
    """

    def coalitions(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return none of the parts, all, and coalitions between; the ends have no weight, for they are a constraint."""
        between, weights = self._between(count, seed)
        ends = torch.tensor([[False], [True]]).expand(2, count)
        return torch.cat([ends, between]), torch.cat([torch.zeros(2).double(), weights])

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Return values whose sum is answers[1] - answers[0], by a Lagrange multiplier."""
        count = shown.shape[1]
        nothing, everything = answers[:2]
        weighted = shown.T * weights
        system = torch.ones(count + 1, count + 1).double()
        system[:count, :count] = weighted @ shown
        system[count, count] = 0
        right = torch.cat([weighted @ (answers - nothing), (everything - nothing)[None]])
        return _solved(system, right)[:count]

    def _between(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return coalitions (S, count), neither empty nor full, and weights (S,) that make them follow the kernel."""
        sizes = torch.arange(1, count)
        of_size = (count - 1) / (sizes * (count - sizes)).double()  # the kernel's sum over all coalitions of a size
        if 2**count - 2 <= self.samples:
            shown = (torch.arange(1, 2**count - 1)[:, None] >> torch.arange(count)) % 2 == 1
            how_many = torch.tensor([math.comb(count, size) for size in range(1, count)]).double()
            return shown, (of_size / how_many)[shown.sum(1) - 1]
        generator = torch.Generator().manual_seed(seed)
        drawn = 1 + torch.multinomial(of_size, self.samples // 2, replacement=True, generator=generator)
        ranks = torch.rand(len(drawn), count, dtype=torch.float32, generator=generator).argsort(1).argsort(1)
        shown = ranks < drawn[:, None]
        return torch.cat([shown, ~shown]), torch.ones(2 * len(shown)).double()


@final
@dataclass(frozen=True)
class Sparse(LinearModel):
    """Fit a LASSO to passes with half of the parts, at random: few parts have a value, the others none.

    Parts are -1 or 1, and a value is what the score gains by a part's being there. Solved by scikit-learn.

    Attributes:
        samples: passes.
        penalty: on the magnitudes of half the values, where the squared error of a pass counts one half.
    """

    penalty: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.penalty > 0:
            raise SettingError(f"penalty must be above 0, got {self.penalty}")

    def coalitions(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return parts that are there with probability 1/2, and weights of 1."""
        shown = (
            torch.rand(self.samples, count, dtype=torch.float32, generator=torch.Generator().manual_seed(seed)) < 0.5
        )
        return shown, torch.ones(self.samples).double()

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Return twice the regression's coefficients."""
        lasso = need("sklearn.linear_model", "text").Lasso(alpha=self.penalty)
        lasso.fit((2 * shown - 1).numpy(), answers.numpy(), sample_weight=weights.numpy())
        return 2 * torch.from_numpy(lasso.coef_)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Return the solution of a linear system, the shortest one if there are several (fewer samples than parts)."""
    solution: Tensor = torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution
    return solution[:, 0]
