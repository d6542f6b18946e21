"""One text as the network sees it, asked once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch

from bitlens.baselines.asking import asking
from bitlens.baselines.changes import REPLACED
from bitlens.data.texts import TextSample
from bitlens.data.tokenizing import TokenBatch, Tokenizer, joined_text
from bitlens.errors import InputError
from bitlens.metrics.token_removal import Texts
from bitlens.models.loaded import Loaded

Unit = Literal["token", "word"]
"""What is removed as a whole: a token, or a word with all its tokens."""

T = TypeVar("T")


@dataclass(frozen=True)
class Text:
    """One sample as the network sees it.

    Attributes:
        sample: where it comes from.
        batch: its tokens, on the network's device.
        fingerprint: of its characters, 16 hexadecimal digits.
        target: the class that is asked about.
        predicted: the class that the network names.
        probability: of the target; of a regression the value.
        output: of the network.
    """

    sample: TextSample
    batch: TokenBatch
    fingerprint: str
    target: int
    predicted: int
    probability: float
    output: Any
    _shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What does not depend on a map and several methods are measured with, made the first time."""
        if name not in self._shared:
            self._shared[name] = make()
        shared: T = self._shared[name]
        return shared

    def units(self, unit: Unit) -> Texts:
        """What may go. In place of ids, tokens are their positions, from which an answer makes the network's inputs."""
        here = torch.arange(self.batch.real.shape[1], device=self.batch.real.device)[None]
        units = self.batch.word_units if unit == "word" else Texts.each_token(self.batch.real)
        return Texts(here, units, self.batch.present, REPLACED)


def tokenised(sample: TextSample, tokenizer: Tokenizer, max_tokens: int | None) -> TokenBatch:
    """One text's tokens: the first ones where there are more than `max_tokens`; special tokens stay."""
    batch = tokenizer([sample.text], None if sample.pair is None else [sample.pair])
    if max_tokens is None or batch.real.shape[1] <= max_tokens:
        return batch
    left = max_tokens - int(batch.special.sum())
    if left < 1:
        raise InputError(f"{max_tokens} tokens are taken by special ones: allow more")
    return tokenizer.without(batch, batch.real & (batch.real.cumsum(1) > left))


def text_fingerprint(sample: TextSample) -> str:
    """Of the characters of a text: 16 hexadecimal digits."""
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
    label = None if predicted else sample.label
    with asking(loaded, batch, label, 1, choice=loaded.output) as question:
        output, form = question.output, question.form
    named = 0 if form.numbers == "regression" else int(form.scores(output).argmax(1))
    target = named if label is None else label
    probability = float(question.target.value(output))
    return Text(sample, batch, text_fingerprint(sample), target, named, probability, output)
