"""A tokenizer of whole words that needs nothing installed: lower case, punctuation split off."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bitlens.data.tokenizing import TokenBatch, check_texts, checked, delete_tokens, joined_text, warn_of_cuts
from bitlens.errors import DataError, InputError

PAD, UNKNOWN = 0, 1
_SPECIAL = ("<pad>", "<unk>")
_WORD = re.compile(r"<br\s*/?>|[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_+")


def split_words(text: str) -> list[tuple[str, int, int]]:
    """Find the words and punctuation marks of a text: (lower-cased, first character, behind the last).

    A word keeps its apostrophes (`don't`); line breaks written as HTML vanish.
    """
    found = [(match.group().lower().replace("’", "'"), match.start(), match.end()) for match in _WORD.finditer(text)]
    return [entry for entry in found if not entry[0].startswith("<br")]


def build_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """List the most frequent words, padding and the unknown word first; ties in alphabetical order."""
    counts = Counter(word for text in texts for word, _, _ in split_words(text))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return [*_SPECIAL, *ordered[: size - len(_SPECIAL)]]


class WordTokenizer:
    """Words by their place in a vocabulary; no special tokens.

    Args:
        vocabulary: padding, the unknown word, and then the words in lower case.
        max_length: the most words that the network reads; longer texts are cut, with a warning.
    """

    def __init__(self, vocabulary: Sequence[str], max_length: int) -> None:
        if tuple(vocabulary[:2]) != _SPECIAL:
            raise DataError(f"the vocabulary must begin with {_SPECIAL}, got {tuple(vocabulary[:2])}")
        self.vocabulary, self.max_length = tuple(vocabulary), max_length
        self.pad_id, self.mask_id = PAD, UNKNOWN
        self._index = {word: index for index, word in enumerate(self.vocabulary)}

    @classmethod
    def load(cls, path: Path, max_length: int) -> "WordTokenizer":
        """Read the vocabulary from a JSON list of words.

        Raises:
            DataError: if the file is missing or holds something else.
        """
        try:
            words = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the vocabulary {path}: {error}") from error
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"the vocabulary {path} is no list of words")
        return cls(words, max_length)

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TokenBatch:
        """Tokenise texts.

        Raises:
            InputError: if there is no text, a text has no word, or there are pairs.
        """
        check_texts(texts, pairs)
        if pairs is not None:
            raise InputError("this network reads one text at a time: leave out the pairs")
        found = [split_words(text) for text in texts]
        used = [entries[: self.max_length] for entries in found]
        length = max(1, *(len(entries) for entries in used))
        ids = torch.full((len(texts), length), self.pad_id)
        for row, entries in enumerate(used):
            ids[row, : len(entries)] = torch.tensor([self._index.get(word, UNKNOWN) for word, _, _ in entries]).long()
        real = torch.arange(length) < torch.tensor([len(entries) for entries in used])[:, None]
        batch = TokenBatch(
            {"input_ids": ids, "attention_mask": real.long()},
            real,
            torch.zeros_like(real),
            tuple(tuple(self._shown(word) for word, _, _ in entries) for entries in used),
            tuple(tuple((start, end) for _, start, end in entries) for entries in used),
            tuple(tuple(range(len(entries))) for entries in used),
            tuple(joined_text(text) for text in texts),
        )
        cut = [i for i in range(len(texts)) if len(found[i]) > self.max_length]
        warn_of_cuts(cut, self.max_length)
        return checked(batch)

    def without(self, batch: TokenBatch, removed: Tensor) -> TokenBatch:
        """Return the batch after the words at `removed` (N, T) bool are deleted; what is left moves together."""
        return delete_tokens(batch, removed, {"input_ids": self.pad_id})

    def _shown(self, word: str) -> str:
        return word if word in self._index else _SPECIAL[UNKNOWN]
