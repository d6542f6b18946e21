"""The baseline of baselines: an order of the tokens that knows nothing."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from bitlens.baselines.text.baseline import Question, TextBaseline

__all__ = ["TextRandom"]


class TextRandom(TextBaseline):
    """The numbers from -1 to 1, evenly spaced so that none occurs twice, in random order (algorithms F1, F15).

    A text's order follows from its tokens and the seed: other texts get other orders, the same text always the same.
    """

    method = "random"

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def maps(self, question: Question) -> Tensor:
        """(n, T) in [-1, 1]."""
        question.target.score(question.output)  # a target that the network cannot answer is refused here, too
        real, ids = question.batch.real.cpu(), question.batch.inputs["input_ids"].cpu()
        maps = torch.zeros(real.shape)
        for row, (own, text) in enumerate(zip(real, ids, strict=True)):
            count = int(own.sum())
            order = torch.randperm(count, generator=self._generator(text[own]))
            maps[row, own] = torch.linspace(-1, 1, count)[order]
        return maps.to(question.batch.real.device)

    def _generator(self, ids: Tensor) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed} {ids.tolist()}".encode(), usedforsecurity=False)
        return torch.Generator().manual_seed(int.from_bytes(digest.digest()[:7], "little"))
