"""Texts as a network reads them: padded ids, and the way back to characters and words.

Each token knows which characters of the text it stands for and which word it belongs to, so that what a method says of
tokens can be shown on the words that people wrote.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from bitlens.errors import BitlensWarning, InputError, ModelError

Span = tuple[int, int]
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Characters of scripts that put no space between words: Thai to Khmer, Chinese and Japanese."""
T = TypeVar("T")


NEEDS_PADDING = (
    "has no padding token, without which texts and noisy copies do not share a pass: set tokenizer.pad_token = "
    "tokenizer.eos_token and model.config.pad_token_id = tokenizer.pad_token_id"
)
"""What is said of a tokenizer or a network that has none."""


def joined_text(text: str, pair: str | None = None) -> str:
    """Return the characters that spans count in: a text, or a text and its pair with a line break between them."""
    return text if pair is None else f"{text}\n{pair}"


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes:
        span: its characters, (first, behind the last).
        tokens: the positions of its tokens.
    """

    span: Span
    tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """N texts, cut into tokens and padded on the right to T positions.

    Attributes:
        inputs: the network's keyword arguments: input_ids (N, T), attention_mask (N, T), and whatever else it reads.
        real: (N, T) bool, tokens of the text: neither padding nor special.
        special: (N, T) bool, tokens that the tokenizer adds: [CLS], [SEP], <s> ...
        tokens: of each text, as the tokenizer writes them, one for each position that is not padding.
        spans: of each text, which characters each token stands for; None for special tokens.
        words: of each text, which word each token belongs to, counted from 0; None for special tokens.
        texts: the characters that spans count in (`joined_text`).
    """

    inputs: dict[str, Tensor]
    real: Tensor
    special: Tensor
    tokens: tuple[tuple[str, ...], ...]
    spans: tuple[tuple[Span | None, ...], ...]
    words: tuple[tuple[int | None, ...], ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def present(self) -> Tensor:
        """Mark, (N, T) bool, every position that is not padding."""
        return self.real | self.special

    @property
    def word_units(self) -> Tensor:
        """Number, (N, T) long, the word of each real token, counted from 0 in each text without gaps; -1 elsewhere."""
        units = torch.full(self.real.shape, -1)
        for row, words in enumerate(self.words):
            number = {word: n for n, word in enumerate(sorted({w for w in words if w is not None}))}
            units[row, : len(words)] = torch.tensor([-1 if w is None else number[w] for w in words], dtype=torch.long)
        return units.to(self.real.device)

    def words_of(self, text: int) -> tuple[Word, ...]:
        """List the words of one text, in their order."""
        places: dict[int, list[int]] = {}
        for position, word in enumerate(self.words[text]):
            if word is not None:
                places.setdefault(word, []).append(position)
        found = []
        for word in sorted(places):
            known = [span for position in places[word] if (span := self.spans[text][position]) is not None]
            spans = [span for span in known if self.texts[text][slice(*span)].strip()] or known
            span = _without_space(self.texts[text], min(s for s, _ in spans), max(e for _, e in spans))
            found.append(Word(span, tuple(places[word])))
        return tuple(found)

    def to(self, device: torch.device | str) -> "TokenBatch":
        """Return the same on another device."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return replace(self, inputs=inputs, real=self.real.to(device), special=self.special.to(device))


class Tokenizer(Protocol):
    """Cuts texts into what a network reads.

    Attributes:
        pad_id: stands behind the end of shorter texts.
        mask_id: what a removed token is replaced by: [MASK], else the unknown word.
    """

    pad_id: int
    mask_id: int

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TokenBatch:
        """Tokenise texts, or pairs of texts."""
        ...

    def without(self, batch: TokenBatch, removed: Tensor) -> TokenBatch:
        """Return the batch after the real tokens at `removed` (N, T) bool are deleted; what is left moves together."""
        ...


def delete_tokens(batch: TokenBatch, removed: Tensor, padding: Mapping[str, int]) -> TokenBatch:
    """Delete real tokens from a batch; what is left moves to the left, and the batch ends where its longest text does.

    Args:
        batch: the texts.
        removed: (N, T) bool; special tokens and padding stay even where it is true.
        padding: by the name of an input, what stands behind the end of a text; 0 for those that are not named.
    """
    if removed.shape != batch.real.shape or removed.dtype != torch.bool:
        raise InputError(
            f"removed must be bool {tuple(batch.real.shape)}, got {removed.dtype} {tuple(removed.shape)}: one for each token"
        )
    kept = batch.present & ~(removed.to(batch.real.device) & batch.real)
    length = max(1, int(kept.sum(1).max()))
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :length]
    there = torch.arange(length, device=kept.device) < kept.sum(1, keepdim=True)

    def moved(values: Tensor, fill: int) -> Tensor:
        return torch.where(there, values.gather(1, order), fill)

    rows = [row.nonzero().flatten().tolist() for row in kept]

    def of(parts: tuple[tuple[T, ...], ...]) -> tuple[tuple[T, ...], ...]:
        return tuple(tuple(part[i] for i in row) for part, row in zip(parts, rows, strict=True))

    return TokenBatch(
        {name: moved(value, padding.get(name, 0)) for name, value in batch.inputs.items()},
        moved(batch.real, 0).bool(),
        moved(batch.special, 0).bool(),
        of(batch.tokens),
        of(batch.spans),
        of(batch.words),
        batch.texts,
    )


class HubTokenizer:
    """A tokenizer of transformers.

    Args:
        tokenizer: a fast one, which knows the characters of its tokens.
        max_length: the most tokens that the network reads, special ones included; longer texts are cut, with a warning.

    Raises:
        ModelError: if the tokenizer does not know the characters of its tokens.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"{type(tokenizer).__name__} does not say which characters its tokens stand for: take a fast tokenizer "
                "(a folder with tokenizer.json)"
            )
        self.tokenizer, self.max_length = tokenizer, max_length
        known = [tokenizer.pad_token_id, tokenizer.eos_token_id, 0]
        self.pad_id: int = next(i for i in known if i is not None)
        known = [tokenizer.mask_token_id, tokenizer.unk_token_id, self.pad_id]
        self.mask_id: int = next(i for i in known if i is not None)

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TokenBatch:
        """Tokenise texts, or pairs of texts.

        Raises:
            InputError: if there is no text, a text has no token, or pairs are as many as texts.
        """
        check_texts(texts, pairs)
        if self.tokenizer.pad_token is None and len(texts) > 1:
            raise ModelError(f"the tokenizer {NEEDS_PADDING}")
        encoded = self.tokenizer(
            list(texts),
            list(pairs) if pairs is not None else None,
            padding=self.tokenizer.pad_token is not None,
            padding_side="right",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
            return_special_tokens_mask=True,
            return_attention_mask=True,
        )
        special_or_padding = encoded.pop("special_tokens_mask").bool()
        present = encoded["attention_mask"].bool()
        inputs = {name: encoded[name] for name in encoded if name in self.tokenizer.model_input_names}
        inputs["attention_mask"] = encoded["attention_mask"]
        real = present & ~special_or_padding
        parts = [self._parts(encoded.encodings[i], texts[i], pairs[i] if pairs else "") for i in range(len(texts))]
        batch = TokenBatch(
            inputs,
            real,
            present & special_or_padding,
            tuple(tokens for tokens, _, _ in parts),
            tuple(spans for _, spans, _ in parts),
            tuple(words for _, _, words in parts),
            tuple(joined_text(text, pairs[i] if pairs is not None else None) for i, text in enumerate(texts)),
        )
        warn_of_cuts([i for i in range(len(texts)) if encoded.encodings[i].overflowing], self.max_length)
        return checked(batch)

    def without(self, batch: TokenBatch, removed: Tensor) -> TokenBatch:
        """Return the batch after the real tokens at `removed` (N, T) bool are deleted; what is left moves together."""
        types = self.tokenizer.pad_token_type_id
        return delete_tokens(batch, removed, {"input_ids": self.pad_id, "token_type_ids": types})

    @staticmethod
    def _parts(
        encoding: Any, text: str, pair: str
    ) -> tuple[tuple[str, ...], tuple[Span | None, ...], tuple[int | None, ...]]:
        """Return tokens, their characters and their words; those of a pair go on counting where the text's end."""
        count = sum(encoding.attention_mask)
        numbers: dict[tuple[int, int], int] = {}
        spans: list[Span | None] = []
        words: list[int | None] = []
        for position in range(count):
            if encoding.special_tokens_mask[position]:
                spans.append(None)
                words.append(None)
                continue
            part = encoding.sequence_ids[position] or 0
            shift = len(text) + 1 if part else 0
            start, end = _without_space(text if not part else pair, *encoding.offsets[position])
            spans.append((start + shift, end + shift))
            words.append(numbers.setdefault((part, encoding.word_ids[position]), len(numbers)))
        whole = joined_text(text, pair)
        return tuple(encoding.tokens[:count]), tuple(spans), words_by_space(whole, spans, words)


def words_by_space(text: str, spans: Sequence[Span | None], words: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return the word of each token; where a tokenizer takes more for a word than stands between two spaces, found by the spaces.

    Tokenizers without a pre-tokenizer (Llama 2, Gemma) take the whole text for one word. A word then begins behind white space,
    and at each token of a script that writes none; a token of white space alone belongs to the word behind it.

    Args:
        text: the characters that spans count in.
        spans: of each token, None for special ones.
        words: as the tokenizer counts them.
    """
    ends: dict[int, Span] = {}
    for span, word in zip(spans, words, strict=True):
        if span is not None and word is not None:
            first, last = ends.get(word, span)
            ends[word] = (min(first, span[0]), max(last, span[1]))
    pieces = [text[start:end].strip() for start, end in ends.values()]
    if not any(map(_holds_space, pieces)) and not (len(pieces) == 1 and _UNSPACED.search(pieces[0])):
        return tuple(words)
    found: list[int | None] = []
    number, end, begins, opened, unspaced = -1, 0, True, False, False
    for span in spans:
        if span is None:
            found.append(None)
            begins = True
            continue
        piece, before = text[slice(*span)], unspaced
        blank, unspaced = not piece.strip(), bool(_UNSPACED.search(piece))
        begins = begins or _holds_space(text[end : span[0]]) or unspaced or before
        begins = begins or (blank and bool(text[span[1] :].strip()))
        if number < 0 or (begins and not opened and span[0] >= end):
            number += 1
        begins, opened, end = False, blank, max(end, span[1])
        found.append(number)
    return tuple(found)


def _holds_space(text: str) -> bool:
    return any(character.isspace() for character in text)


def _without_space(text: str, start: int, end: int) -> Span:
    """Return a token's characters without the space around them, which some tokenizers count to it."""
    piece = text[start:end]
    if not piece.strip():
        return (start, end)
    return (start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip()))


def check_texts(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    """Refuse what is no list of texts."""
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"texts must be a list of texts, got {texts!r:.80}")
    if pairs is not None and (isinstance(pairs, str) or len(pairs) != len(texts)):
        raise InputError(f"pairs must be one text for each of the {len(texts)} texts, got {pairs!r:.80}")


def checked(batch: TokenBatch) -> TokenBatch:
    """Return the batch, if each of its texts has a token."""
    empty = (~batch.real.any(1)).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"text {empty[0]} is empty: there is no token in {batch.texts[empty[0]]!r:.60}")
    return batch


def warn_of_cuts(cut: Sequence[int], max_length: int) -> None:
    """Say which texts were longer than the network reads."""
    if cut:
        which = f"text {cut[0]} is" if len(cut) == 1 else f"{len(cut)} texts (the first is text {cut[0]}) are"
        warnings.warn(
            f"{which} longer than the {max_length} tokens that the network reads: the rest is left out",
            BitlensWarning,
            stacklevel=3,
        )
