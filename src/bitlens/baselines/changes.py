"""Texts without some of their tokens: deleted, so that the rest moves together, or replaced by the mask token.

Everything stays on the device; a variant of a text is which of its positions stands where.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import one_of

Removal = Literal["delete", "replace"]
"""What becomes of a removed token: it vanishes and the others move together, or the mask token takes its place."""

REPLACED = -1
"""In place of a position: the mask token, or padding where no token is."""


def without(removed: Tensor, present: Tensor, mode: Removal) -> tuple[Tensor, Tensor]:
    """Return which positions of a text stand where when some are removed.

    Args:
        removed: (..., T) bool.
        present: (..., T) bool, where the whole texts have tokens.
        mode: "delete" or "replace".

    Returns:
        The positions (..., T), `REPLACED` where there is none, and where there are tokens (..., T).
    """
    here = torch.arange(removed.shape[-1], device=removed.device)
    if one_of("mode", mode, {"delete": False, "replace": True}):
        return torch.where(removed, REPLACED, here), present
    kept = present & ~removed
    order = (~kept).to(torch.uint8).argsort(dim=-1, stable=True)
    there = here < kept.sum(-1, keepdim=True)
    return torch.where(there, order, REPLACED), there


def arranged(
    batch: TokenBatch, rows: Tensor, places: Tensor, present: Tensor, mask_id: int, pad_id: int
) -> dict[str, Tensor]:
    """Return the network's keyword arguments for variants of texts.

    Args:
        batch: N texts of T positions.
        rows: (R,) which text each is a variant of.
        places: (R, L) the position that stands at each place, or `REPLACED`; L may be less than T.
        present: (R, L) bool, where there are tokens.
        mask_id: of the token at replaced places.
        pad_id: of the token at places where there is none.
    """
    length = places.shape[1]
    gone = places < 0
    here = torch.arange(length, device=places.device)
    source = torch.where(gone, here, places)  # a replaced token keeps what else is known of its place (token types)
    inputs = {}
    for name, value in batch.inputs.items():
        own = value[rows]
        inputs[name] = own.gather(1, source) if _of_text(name, value, batch) else own
    ids = inputs["input_ids"]
    fill = torch.where(present, mask_id, pad_id).to(ids.dtype)
    return {
        **inputs,
        "input_ids": torch.where(gone, fill, ids),
        "attention_mask": present.to(batch.inputs["attention_mask"].dtype),
    }


def selected(batch: TokenBatch, part: slice) -> TokenBatch:
    """Take some texts of a batch, and end it where the longest of them does."""
    length = max(map(len, batch.tokens[part]))
    inputs = {
        name: value[part, :length] if _of_text(name, value, batch) else value[part]
        for name, value in batch.inputs.items()
    }
    return replace(
        batch,
        inputs=inputs,
        real=batch.real[part, :length],
        special=batch.special[part, :length],
        tokens=batch.tokens[part],
        spans=batch.spans[part],
        words=batch.words[part],
        texts=batch.texts[part],
    )


def _of_text(name: str, value: Tensor, batch: TokenBatch) -> bool:
    """Return whether an argument says something of each position of the texts; what a decoder writes beside them does not."""
    return value.shape == batch.real.shape and not name.startswith("decoder_")
