"""One text as the network sees it, asked once."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import torch

from bitlens.baselines.asking import asking
from bitlens.baselines.changes import REPLACED
from bitlens.data.texts import TextSample
from bitlens.data.tokenizing import TokenBatch, Tokenizer, joined_text
from bitlens.errors import InputError
from bitlens.explaining.asked import Asked, answered
from bitlens.metrics.token_removal import Texts
from bitlens.models.loaded import Loaded

Unit = Literal["token", "word"]
"""What is removed as a whole: a token, or a word with all its tokens."""


@dataclass(frozen=True, kw_only=True)
class Text(Asked):
    """One text as the network sees it.

    Attributes:
        sample: where it comes from.
        batch: its tokens, on the network's device.
        output: of the network.
    """

    sample: TextSample
    batch: TokenBatch
    output: Any

    def units(self, unit: Unit) -> Texts:
        """Say what may go. In place of ids, tokens are their positions, from which an answer makes the network's inputs."""
        here = torch.arange(self.batch.real.shape[1], device=self.batch.real.device)[None]
        units = self.batch.word_units if unit == "word" else Texts.each_token(self.batch.real)
        return Texts(here, units, self.batch.present, REPLACED)


def tokenised(sample: TextSample, tokenizer: Tokenizer, max_tokens: int | None) -> TokenBatch:
    """Cut a text into tokens: the first ones where there are more than `max_tokens`; special tokens stay."""
    batch = tokenizer([sample.text], None if sample.pair is None else [sample.pair])
    if max_tokens is None or batch.real.shape[1] <= max_tokens:
        return batch
    left = max_tokens - int(batch.special.sum())
    if left < 1:
        raise InputError(f"{max_tokens} tokens are taken by special ones: allow more")
    return tokenizer.without(batch, batch.real & (batch.real.cumsum(1) > left))


def text_fingerprint(sample: TextSample) -> str:
    """Hash the characters of a text to 16 hexadecimal digits."""
    return hashlib.sha256(joined_text(sample.text, sample.pair).encode()).hexdigest()[:16]


def read_text(sample: TextSample, loaded: Loaded, max_tokens: int | None, *, predicted: bool) -> Text:
    """Tokenise a sample and ask the network about it.

    Args:
        sample: the text.
        loaded: the network and its tokenizer.
        max_tokens: of the text at most.
        predicted: whether the predicted class is asked about, whatever the label.

    Raises:
        InputError: if it has no token.
        TargetError: if its label is no class of the network.
    """
    device = next((p.device for p in loaded.model.parameters()), torch.device("cpu"))
    batch = tokenised(sample, loaded.tokenizer, max_tokens).to(device)
    with asking(loaded, batch, None if predicted else sample.label, 1, choice=loaded.output) as question:
        output, form = question.output, question.form
    said = answered(output, None if predicted else sample.label, form)
    return Text(text_fingerprint(sample), *said, sample=sample, batch=batch, output=output)
