"""The pieces of a text that people point at: words, sentences, paragraphs, named sources; as characters."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bitlens.data.tokenizing import Span, TokenBatch
from bitlens.errors import InputError

Group = Literal["word", "sentence", "paragraph", "source"]

_SENTENCE = re.compile(
    r"[^\s](?:.*?[^\s])??(?:[.!?…]+[\"'”’»)\]]*(?=\s|$)|[。！？]+[」』）]*|(?=\s*\n)|\s*$)", re.DOTALL
)
_PARAGRAPH = re.compile(r"\S(?:.*?\S)??(?=\s*\n\s*\n|\s*$)", re.DOTALL)
_STAND_IN = "vqxzj"  # in place of what messages say: letters that no template writes itself
BETWEEN = "\n\n"
"""What stands between the sources of a prompt."""


@dataclass(frozen=True)
class Prompt:
    """A prompt and the sources that it is made of.

    Attributes:
        text: everything that a model reads before its answer.
        sources: by name, the characters of each: documents, the question, the turns of a conversation.
    """

    text: str
    sources: Mapping[str, Span]

    @classmethod
    def of(cls, prompt: str, sources: Mapping[str, str] | None = None) -> "Prompt":
        """Put sources in front of a prompt, an empty line behind each.

        Raises:
            InputError: if the prompt has no word, or a source is called as the prompt is.
        """
        if not prompt.strip():
            raise InputError("the prompt is empty: a language model foresees nothing without words in front")
        if "prompt" in (sources or {}):
            raise InputError("a source is called 'prompt', as what stands behind the sources is: give it another name")
        text, found = "", {}
        for name, part in {**(sources or {}), "prompt": prompt}.items():
            text += BETWEEN if text else ""
            found[name] = (len(text), len(text) + len(part))
            text += part
        return cls(text, found)

    @classmethod
    def of_chat(
        cls, messages: Sequence[Mapping[str, str]], template: Callable[[Sequence[Mapping[str, str]]], str]
    ) -> "Prompt":
        """Find the messages of a conversation in what a chat's template makes of them; its marks between them belong to none.

        A message may say what stands in the marks, too ("user"): where each stands is what a template shows that is given
        others in their places.

        Args:
            messages: each with its "role" and "content", one by one.
            template: what makes the text that a model reads of a conversation.

        Raises:
            InputError: if the template changes what a message says.
        """
        stands = [f"{_STAND_IN}{number:03}" for number in range(len(messages))]
        text = template(messages)
        marks = template([{**one, "content": stand} for one, stand in zip(messages, stands, strict=True)])
        built, found = "", dict[str, Span]()
        for number, (message, stand) in enumerate(zip(messages, stands, strict=True)):
            said, role = message["content"], message["role"]
            before, _, marks = marks.partition(stand)
            built += before
            written = next((form for form in (said, said.strip()) if text.startswith(built + form)), None)
            if written is None:
                raise InputError(
                    f"the model's chat template changes what the {role} says: give the prompt as one text, as the model reads it"
                )
            count, start = (
                sum(other["role"] == role for other in messages[:number]),
                len(built) + written.index(said.strip()),
            )
            found[f"{role} {count + 1}" if count else role] = (start, start + len(said.strip()))
            built += written
        return cls(text, found)

    def pieces(self, group: Group) -> "list[Piece]":
        """Return the words, sentences or paragraphs of each source, or the sources, in their order."""
        return [
            Piece(name if group == "source" else self.text[start:end], (start, end), name)
            for name, whole in self.sources.items()
            for start, end in ([whole] if group == "source" else _within(self.text, whole, group))
        ]


@dataclass(frozen=True)
class Piece:
    """A piece of a prompt.

    Attributes:
        text: as it was written; of a source its name.
        span: its characters in the prompt.
        source: the name of the source that it belongs to.
    """

    text: str
    span: Span
    source: str


def sentences(text: str) -> list[Span]:
    """Find the sentences of a text: each ends with a full stop, a question or exclamation mark before white space, or a line.

    Abbreviations end one, too: only people know better.
    """
    return [match.span() for match in _SENTENCE.finditer(text)]


def paragraphs(text: str) -> list[Span]:
    """Find the paragraphs of a text, which empty lines part."""
    return [match.span() for match in _PARAGRAPH.finditer(text)]


def words(text: str) -> list[Span]:
    """Find what stands between white space."""
    return [match.span() for match in re.finditer(r"\S+", text)]


_FOUND = {"word": words, "sentence": sentences, "paragraph": paragraphs}


def _within(text: str, whole: Span, group: str) -> list[Span]:
    return [(whole[0] + start, whole[0] + end) for start, end in _FOUND[group](text[slice(*whole)])]


Unit = Literal["token", "word", "sentence"]
"""What is removed as a whole."""


def units_of(batch: TokenBatch, unit: Unit) -> Tensor:
    """Number (N, T) the unit that each real token belongs to, counted from 0 in each text without gaps; -1 elsewhere."""
    if unit == "word":
        return batch.word_units
    if unit == "token":
        return torch.where(batch.real, batch.real.cumsum(1) - 1, -1)
    units = torch.full(batch.real.shape, -1)
    for row, (text, spans) in enumerate(zip(batch.texts, batch.spans, strict=True)):
        found = sentences(text)
        own = [-1 if span is None else piece_of(span, found) for span in spans]
        number = {piece: place for place, piece in enumerate(sorted({one for one in own if one >= 0}))}
        units[row, : len(own)] = torch.tensor([number.get(one, -1) for one in own])
    return torch.where(batch.real, units.to(batch.real.device), -1)


def piece_of(span: Span, pieces: Sequence[Span]) -> int:
    """Return which of some pieces, in order, a token belongs to by where it begins; -1 if to none."""
    return next((number for number, (start, end) in enumerate(pieces) if start <= span[0] < end), -1)
