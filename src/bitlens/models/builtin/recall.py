"""A small language model that answers from its context, its weights set by hand, so that what it uses is known.

| layer | what it puts out |
|---|---|
| `embedding` | (N, T, 256), one vector for each word |
| `lookups.0`, `lookups.1` | (N, T, 256), the word that stands behind the one asked for, and the word behind that |

It answers the questions of `builtin:recall`, whose sentences all have the same form: three words behind whom or what a sentence
is about stands what is said, and six behind who is asked about the answer begins. Each word has a code drawn at random; names and
things share a part of theirs, by which they are told from other words. A lookup finds the word whose third word before is
the one it is asked for; where there is none, padding ends the answer. Nothing else of a text is read, and noise there is taken
for no word.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.data.recall import ASKED, HAS, HOLDS, IDLE, NAMES, THINGS
from bitlens.data.words import PAD, WordTokenizer, split_words

MAX_LENGTH, WIDTH = 256, 256
_SAID, _ASKED = 3, 6  # words from who to what is said, and to the answer
_SHARED = 0.5**0.5  # of the code of a name or a thing
_MATCH, _CONTENT, _NONE = (
    32.0,
    40.0,
    0.6,
)  # weights of a match and of being a name or thing; how much of a match is none
_SURE, _FURTHER = 24.0, 3.0  # of the logits; of what the second lookup finds
_SEED = 7_200_461  # of the codes: noise that begins with a seed as 0, as people choose, must not hold a code


class Lookup(nn.Module):
    """Attention to the word whose third word before is the one asked for; where there is none, to `nothing`."""

    def __init__(self, shared: Tensor, nothing: Tensor) -> None:
        super().__init__()
        self.shared: Tensor
        self.nothing: Tensor
        self.register_buffer("shared", shared)
        self.register_buffer("nothing", nothing)

    def forward(self, asked: Tensor, own: Tensor) -> Tensor:
        """Return what is found (N, T, width) for codes that are asked for, among words (N, T, width) up to each position."""
        before = self._particular(_later(own, _SAID))
        match = self._particular(asked) @ before.transpose(1, 2) / (1 - _SHARED**2)
        scores = _MATCH * match + _CONTENT / _SHARED * (own @ self.shared)[:, None]
        causal = torch.ones(scores.shape[1:], dtype=torch.bool, device=own.device).tril()
        scores = F.pad(scores.masked_fill(~causal, -torch.inf), (0, 1), value=_CONTENT + _NONE * _MATCH)
        (weights,) = scores[:, None].softmax(3).unbind(1)  # one head
        found: Tensor = weights[..., :-1] @ own + weights[..., -1:] * self.nothing
        return found

    def _particular(self, codes: Tensor) -> Tensor:
        """Return codes without what names and things share."""
        return codes - (codes @ self.shared)[..., None] * self.shared


def _later(codes: Tensor, steps: int) -> Tensor:
    """Return at each position the code so many words before it; zero where there is none."""
    return F.pad(codes, (0, 0, steps, 0))[:, : codes.shape[1]]


class RecallNetwork(nn.Module):
    """Word indices (N, T), padded on the right, to logits (N, T, words) of the word behind each.

    Args:
        codes: (words, width) of the words.
        shared: (width,) what the codes of names and things share.
    """

    def __init__(self, codes: Tensor, shared: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes.shape[0], codes.shape[1], _weight=codes)
        self.lookups = nn.ModuleList([Lookup(shared, codes[PAD]), Lookup(shared, torch.zeros_like(shared))])
        self.head = nn.Linear(codes.shape[1], codes.shape[0], bias=False)
        self.head.weight = self.embedding.weight  # what is read and what is said are the same words

    def after(self, own: Tensor) -> Tensor:
        """Return logits (N, T, words) from embedded words (N, T, width)."""
        found = self.lookups[0](_later(own, _ASKED), own)
        further = self.lookups[1](found, own)
        logits: Tensor = _SURE * self.head(found + _FURTHER * further)
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return logits of the word behind each; what stands behind a text changes nothing before it."""
        return self.after(self.embedding(input_ids))


CONTENT = tuple(word.lower() for word in (*NAMES, *THINGS))
"""Words that may carry an answer."""


def vocabulary() -> list[str]:
    """Return all words of texts and questions; those that may carry an answer stand behind padding and the unknown word."""
    others = {word for text in (HAS, HOLDS, ASKED, *IDLE) for word, _, _ in split_words(text.format("", ""))}
    return ["<pad>", "<unk>", *CONTENT, *sorted(others)]


def recall() -> tuple[nn.Module, WordTokenizer]:
    """Return the network in evaluation mode, and its tokenizer."""
    words = vocabulary()
    drawn = torch.randn(len(words) + 1, WIDTH, dtype=torch.float32, generator=torch.Generator().manual_seed(_SEED))
    shared = F.normalize(drawn[-1], dim=0)
    particular = F.normalize(drawn[:-1] - (drawn[:-1] @ shared)[:, None] * shared, dim=1) * (1 - _SHARED**2) ** 0.5
    share = torch.full((len(words), 1), -_SHARED * len(CONTENT) / (len(words) - len(CONTENT)))  # none on average
    share[2 : 2 + len(CONTENT)] = _SHARED
    return RecallNetwork(particular + share * shared, shared).eval(), WordTokenizer(words, MAX_LENGTH)
