"""What a language model says behind a prompt: its likeliest words, one after the other; and how it reads a conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitlens.data.words import PAD, WordTokenizer
from bitlens.errors import InputError, ModelError, at_least
from bitlens.models.loaded import Loaded
from bitlens.probe import frozen
from bitlens.probe.ids import writes_beside_encoder
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
    beside = writes_beside_encoder(loaded.model)
    ends = int((batch.present if beside else batch.real)[0].nonzero().max()) + 1  # some put an end behind every text
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
        text = own.tokenizer.decode(made[0, 0 if beside else ends :], skip_special_tokens=True)
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


def conversation_text(loaded: Loaded, messages: Sequence[Mapping[str, str]]) -> str:
    """Return what a model reads of a conversation, by its chat template, up to where its next answer begins.

    A token that the tokenizer itself puts before every text is left out.

    Args:
        loaded: the model and its tokenizer.
        messages: each with its "role" and "content".

    Raises:
        InputError: if they are no messages, or the template takes no such conversation.
        ModelError: if there is no chat template.
    """
    if not messages or not all(_is_message(one) for one in messages):
        raise InputError(
            'a conversation is a list of messages, each with "role" and "content", of which each says something'
        )
    own: Any = getattr(loaded.tokenizer, "tokenizer", None)
    if getattr(own, "chat_template", None) is None:
        raise ModelError(
            "the model's tokenizer has no chat template: give the prompt as one text, as the model reads it"
        )
    try:
        text: str = own.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    except Exception as error:  # what a template raises: no system, no turns out of order
        raise InputError(f"the model's chat template takes no such conversation: {error}") from error
    begun = own("")["input_ids"][:1]
    return text.removeprefix(own.bos_token) if own.bos_token and begun == [own.bos_token_id] else text


def _is_message(one: Any) -> bool:
    values = [one.get("role"), one.get("content")] if isinstance(one, Mapping) else [None]
    return all(isinstance(value, str) and value.strip() for value in values)
