"""Occlusion: how far the score falls without a token (leave one out; algorithms F15)."""

from typing import Any, Literal

import torch
from torch import Tensor

from bitlens.baselines.text.baseline import Question, TextBaseline, TextModel
from bitlens.baselines.text.changes import Removal
from bitlens.core.passes import Precision
from bitlens.errors import one_of

__all__ = ["TextOcclusion"]


class TextOcclusion(TextBaseline):
    """The fall of the score when one token is removed, for every token (Li et al., Understanding Neural Networks, 2016).

    One pass for each token. Positive where the token speaks for the target.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        removal: "replace" puts the mask token in a token's place, "delete" lets the others move together.
        precision: of the network: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it natively).
        seed: kept with the map; nothing is random here.
        internal_batch_size: how many texts go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method = "occlusion"

    def __init__(
        self,
        loaded: TextModel,
        *,
        removal: Removal = "replace",
        precision: Precision = "float32",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(loaded, seed=seed, internal_batch_size=internal_batch_size)
        self.removal: Removal = one_of("removal", removal, {"replace": "replace", "delete": "delete"})
        self.precision = precision

    def settings(self) -> dict[str, Any]:
        """How tokens are removed, and the precision."""
        return {"removal": self.removal, "precision": self.precision}

    def maps(self, question: Question) -> Tensor:
        """(n, T)."""
        real = question.batch.real
        rows, positions = real.nonzero(as_tuple=True)
        removed = torch.zeros(len(rows), real.shape[1], dtype=torch.bool, device=real.device)
        removed[torch.arange(len(rows), device=real.device), positions] = True
        with torch.no_grad():
            left = question.without(removed, rows, self.removal)
        maps = torch.zeros(real.shape, device=real.device)
        maps[rows, positions] = question.target.score(question.output).float()[rows] - left
        return maps
