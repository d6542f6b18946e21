"""LIME and KernelSHAP for texts: a linear model of the score in terms of which tokens are there.

Both ask about the same target as every other method and give every token its own coefficient (algorithms E6: no token
counts as the most important because it is missing from a list of features).
"""

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from bitlens.baselines.surrogate import ridge_values, shapley_coalitions, shapley_values
from bitlens.baselines.text.baseline import Question, TextBaseline, TextModel
from bitlens.baselines.text.changes import Removal
from bitlens.core.passes import Precision
from bitlens.errors import SettingError, one_of

__all__ = ["TextKernelSHAP", "TextLIME"]


class _TextSurrogate(TextBaseline):
    """Tokens that are there or not, and a linear model of the score for every text."""

    copies = 16  # hundreds of passes for one text: on a CPU a step of the progress is one of them

    def __init__(
        self,
        loaded: TextModel,
        samples: int,
        removal: Removal,
        precision: Precision,
        seed: int,
        internal_batch_size: int | Literal["auto"],
    ) -> None:
        super().__init__(loaded, seed=seed, internal_batch_size=internal_batch_size)
        if not isinstance(samples, int) or samples < 2:
            raise SettingError(f"samples must be at least 2, got {samples!r}")
        self.samples, self.precision = samples, precision
        self.removal: Removal = one_of("removal", removal, {"replace": "replace", "delete": "delete"})

    def settings(self) -> dict[str, Any]:
        """How many samples, how tokens are removed, and the precision."""
        return {"samples": self.samples, "removal": self.removal, "precision": self.precision}

    @abstractmethod
    def coalitions(self, count: int) -> tuple[Tensor, Tensor]:
        """Which of `count` tokens are there in each pass (P, count), bool, and the weight of each pass (P,)."""

    @abstractmethod
    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """A value for every token (count,) from the scores (P,) of the passes; all of them float64."""

    def maps(self, question: Question) -> Tensor:
        """(n, T)."""
        real = question.batch.real
        maps = torch.zeros(real.shape)
        for row, own in enumerate(real.cpu()):
            shown, weights = self.coalitions(int(own.sum()))
            removed = torch.zeros(len(shown), real.shape[1], dtype=torch.bool)
            removed[:, own] = ~shown
            rows = torch.full((len(shown),), row, device=real.device)
            with torch.no_grad():
                answers = question.without(removed.to(real.device), rows, self.removal)
            maps[row, own] = self.fit(shown.double(), weights, answers.cpu().double()).float()
        return maps.to(real.device)


class TextLIME(_TextSurrogate):
    """How much each token adds to the score near this text, by a ridge regression on texts with tokens removed.

    Ribeiro et al., KDD 2016. As in their package the number of removed tokens is drawn evenly, and a copy weighs
    exp(-d²/(2·width²)), where d is the cosine distance of its tokens from all of them; unlike there the score is explained,
    not the probability, and every token has a coefficient.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        samples: copies of each text, one pass each; 200 in Zhang et al. (NeurIPS 2021), 100 in Jiang et al. (2020).
        width: of the kernel, in units of the cosine distance.
        ridge: penalty on the squares of the coefficients, in units of a sample's weight; 0 for plain least squares.
        removal: "replace" puts the mask token in a token's place, "delete" lets the others move together.
        precision: of the network: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it natively).
        seed: of the copies.
        internal_batch_size: how many texts go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "lime"

    def __init__(
        self,
        loaded: TextModel,
        *,
        samples: int = 500,
        width: float = 0.25,
        ridge: float = 1.0,
        removal: Removal = "replace",
        precision: Precision = "float32",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(loaded, samples, removal, precision, seed, internal_batch_size)
        if not width > 0 or not ridge >= 0:
            raise SettingError(f"width must be positive and ridge not negative, got {width} and {ridge}")
        self.width, self.ridge = width, ridge

    def settings(self) -> dict[str, Any]:
        """The kernel and penalty, and what is told to KernelSHAP, too."""
        return {"width": self.width, "ridge": self.ridge, **super().settings()}

    def coalitions(self, count: int) -> tuple[Tensor, Tensor]:
        """The whole text first, then copies that lack 1 to all tokens, each number as often as any other."""
        generator = torch.Generator().manual_seed(self.seed)
        ranks = torch.rand(self.samples, count, generator=generator).argsort(1).argsort(1)
        shown = ranks >= torch.randint(1, count + 1, (self.samples, 1), generator=generator)
        shown[0] = True
        distance = 1 - (shown.sum(1).double() / count).sqrt()  # the cosine of shown and (1, ..., 1) is √(|shown|/M)
        return shown, torch.exp(-((distance / self.width) ** 2) / 2)

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Coefficients of the weighted ridge regression."""
        return ridge_values(shown, weights, answers, self.ridge)


class TextKernelSHAP(_TextSurrogate):
    """Shapley values of the tokens: the score is a game, a removed token has left it (Lundberg and Lee, NeurIPS 2017).

    A map sums exactly to the score of the text minus that of the text without any token. Coalitions are drawn with their
    complements; if there are no more than `samples`, all of them are taken, and the values are exact.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        samples: coalitions for each text, one pass each; with two more passes for the text and the empty text.
        removal: "replace" puts the mask token in a token's place, "delete" lets the others move together.
        precision: of the network: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it natively).
        seed: of the coalitions.
        internal_batch_size: how many texts go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "kernel-shap"

    def __init__(
        self,
        loaded: TextModel,
        *,
        samples: int = 500,
        removal: Removal = "replace",
        precision: Precision = "float32",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(loaded, samples, removal, precision, seed, internal_batch_size)

    def coalitions(self, count: int) -> tuple[Tensor, Tensor]:
        """None, all, and what lies between."""
        return shapley_coalitions(count, self.samples, self.seed)

    def fit(self, shown: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
        """Values whose sum is that of the whole text minus that of the empty one."""
        return shapley_values(shown, weights, answers)
