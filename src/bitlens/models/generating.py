"""What a language model says behind a prompt: its likeliest words, one after the other."""

from typing import Any

import torch

from bitlens.data.words import PAD, WordTokenizer
from bitlens.errors import InputError, at_least
from bitlens.models.loaded import Loaded
from bitlens.probe import frozen
from bitlens.probe.modules import device_of


@torch.no_grad()
def generated(loaded: Loaded, prompt: str, most: int) -> str:
    """Let a language model go on with a prompt, greedily, until it ends or has said so many tokens.

    Args:
        loaded: the model and its tokenizer.
        prompt: what it reads.
        most: how many tokens at most.

    Raises:
        InputError: if it ends at once.
    """
    at_least(1, **{"max-new-tokens": most})
    batch = loaded.tokenizer([prompt])
    ends = int(batch.real[0].nonzero().max()) + 1  # some tokenizers put an end behind every text
    ids = batch.inputs["input_ids"][:, :ends].to(device_of(loaded.model))
    own: Any = loaded.tokenizer
    if isinstance(own, WordTokenizer):
        said = _one_by_one(loaded, ids, most)
        text = "".join(f" {word}" if word[0].isalnum() else word for word in (own.vocabulary[i] for i in said))
    else:
        made = loaded.model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=most,
            do_sample=False,
            pad_token_id=loaded.tokenizer.pad_id,
        )
        text = own.tokenizer.decode(made[0, ends:], skip_special_tokens=True)
    if not text.strip():
        raise InputError("the model says nothing behind this prompt: give the answer to ask about with --continuation")
    return text


def _one_by_one(loaded: Loaded, ids: torch.Tensor, most: int) -> list[int]:
    """Return the likeliest ids, each from all before it; padding ends an answer."""
    said: list[int] = []
    with frozen(loaded.model):
        while len(said) < most:
            following = loaded.model(input_ids=ids)[:, -1].argmax(1)
            if int(following) == PAD:
                break
            said.append(int(following))
            ids = torch.cat([ids, following[:, None]], 1)
    return said
