"""A prompt and its answer as a language model reads them: one row for each part of the answer that is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.data.tokenizing import Span, TokenBatch, Tokenizer
from bitlens.errors import InputError

NOTHING = -1
"""Behind the end of a part that has fewer tokens than the longest."""


@dataclass(frozen=True, eq=False)
class Answered:
    """Parts of an answer, each in a row of its own that ends with it.

    Attributes:
        batch: the prompt and the answer up to the end of each part. The answer's tokens, and those of the prompt that are not
            its words, count as special: they stand as they are, whatever is restricted or removed.
        tokens: (N, L) ids of each part, `NOTHING` behind its end.
    """

    batch: TokenBatch
    tokens: Tensor


def read_answer(
    tokenizer: Tokenizer, prompt: str, answer: str, parts: Sequence[Span], context: Sequence[Span] | None = None
) -> Answered:
    """Cut a prompt and its answer into tokens, once, and end a row behind each part of the answer.

    Args:
        tokenizer: the model's own.
        prompt: everything before the answer.
        answer: what the model said, or is to be asked about.
        parts: characters of the answer.
        context: characters of the prompt that may explain it; everything if not given. What stands between (marks of a chat's
            template) stays as it is.

    Raises:
        InputError: if a part has no token, a token stands half in the prompt, or all is longer than the model reads.
    """
    begin, text = len(prompt), prompt + answer
    whole = tokenizer([text])
    spans = whole.spans[0]
    reached = max((span[1] for span in spans if span is not None), default=0)
    if reached < len(text.rstrip()):
        raise InputError(
            f"prompt and answer are longer than the {len(spans)} tokens that the model reads: leave out some of the prompt"
        )
    half = next((span for span in spans if span is not None and span[0] < begin < span[1]), None)
    if half is not None:
        raise InputError(
            f"the token {text[slice(*half)]!r} stands half in the prompt and half in the answer: put a space or a line break "
            "between them"
        )
    around = [(0, begin)] if context is None else context
    words = [span is not None and any(start <= span[0] < end for start, end in around) for span in spans]
    if not any(words):
        raise InputError("the prompt has no word that could explain the answer")
    rows = [_places(spans, begin, part, answer) for part in parts]
    length = max(row[-1] + 1 for row in rows)
    ids = whole.inputs["input_ids"][0]
    tokens = torch.full((len(rows), max(map(len, rows))), NOTHING)
    for own, row in zip(tokens, rows, strict=True):
        own[: len(row)] = ids[row]
    there = torch.arange(length) < torch.tensor([row[-1] + 1 for row in rows])[:, None]
    real = torch.tensor(words)[:length] & there
    many = range(len(rows))
    inputs = {name: value[:, :length].repeat(len(rows), 1) for name, value in whole.inputs.items()}
    inputs["input_ids"] = torch.where(there, inputs["input_ids"], tokenizer.pad_id)
    inputs["attention_mask"] = there.long()
    ends = [row[-1] + 1 for row in rows]
    batch = TokenBatch(
        inputs,
        real,
        there & ~real,
        tuple(whole.tokens[0][:end] for end in ends),
        tuple(tuple(s if w else None for s, w in zip(spans[:end], words, strict=False)) for end in ends),
        tuple(tuple(n if w else None for n, w in zip(whole.words[0][:end], words, strict=False)) for end in ends),
        (prompt,) * len(many),
    )
    return Answered(batch, tokens)


def _places(spans: Sequence[Span | None], begin: int, part: Span, answer: str) -> list[int]:
    """Return the positions of a part's tokens."""
    start, end = begin + part[0], begin + part[1]
    found = [place for place, span in enumerate(spans) if span is not None and start <= span[0] < end]
    if not found:
        raise InputError(f"there is no token in {answer[slice(*part)]!r:.60}, a part of the answer")
    return found
