"""A prompt and its answer as a language model reads them: one row for each part of the answer that is asked about."""

from collections.abc import Callable, Sequence
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
        batch: the prompt and the answer up to the end of each part; of a decoder beside an encoder the prompt, and the answer as
            decoder_input_ids. The answer's tokens, and those of the prompt that are not its words, count as special: they stand
            as they are, whatever is restricted or removed.
        tokens: (N, L) ids of each part, `NOTHING` behind its end.
        first: (N,) where a decoder beside an encoder foresees the first token of each part; None where parts end their rows.
    """

    batch: TokenBatch
    tokens: Tensor
    first: Tensor | None = None


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
    _check_end(spans, text, "prompt and answer are")
    half = next((span for span in spans if span is not None and span[0] < begin < span[1]), None)
    if half is not None:
        raise InputError(
            f"the token {text[slice(*half)]!r} stands half in the prompt and half in the answer: put a space or a line break "
            "between them"
        )
    words = _explaining(spans, [(0, begin)] if context is None else context)
    rows = [_places(spans, begin, part, answer) for part in parts]
    length = max(row[-1] + 1 for row in rows)
    tokens = _tokens_at(whole.inputs["input_ids"][0], rows)
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


def read_beside(
    tokenizer: Tokenizer,
    shifted: Callable[[Tensor], Tensor],
    prompt: str,
    answer: str,
    parts: Sequence[Span],
    context: Sequence[Span] | None = None,
) -> Answered:
    """Cut a prompt into tokens for an encoder and an answer into tokens for the decoder beside it, one row for each part.

    Args:
        tokenizer: the model's own.
        shifted: ids of an answer (1, L) to what the decoder reads where it foresees them (1, L).
        prompt: what the encoder reads.
        answer: what the model said, or is to be asked about.
        parts: characters of the answer.
        context: characters of the prompt that may explain it; everything if not given.

    Raises:
        InputError: if a part has no token, or prompt or answer is longer than the model reads.
    """
    read, said = tokenizer([prompt]), tokenizer([answer])
    _check_end(read.spans[0], prompt, "the prompt is")
    _check_end(said.spans[0], answer, "the answer is")
    words = _explaining(read.spans[0], [(0, len(prompt))] if context is None else context)
    rows, many = [_places(said.spans[0], 0, part, answer) for part in parts], len(parts)
    ids, real = said.inputs["input_ids"], torch.tensor(words).expand(many, -1)
    inputs = {name: value.repeat(many, 1) for name, value in read.inputs.items()}
    inputs["decoder_input_ids"] = shifted(ids).repeat(many, 1)
    batch = TokenBatch(
        inputs,
        real,
        ~real,
        read.tokens * many,
        (tuple(s if w else None for s, w in zip(read.spans[0], words, strict=True)),) * many,
        (tuple(n if w else None for n, w in zip(read.words[0], words, strict=True)),) * many,
        (prompt,) * many,
    )
    return Answered(batch, _tokens_at(ids[0], rows), torch.tensor([row[0] for row in rows]))


def _check_end(spans: Sequence[Span | None], text: str, what: str) -> None:
    """Refuse a text whose end was not read."""
    if max((span[1] for span in spans if span is not None), default=0) < len(text.rstrip()):
        raise InputError(
            f"{what} longer than the {len(spans)} tokens that the model reads: leave out some of the prompt"
        )


def _explaining(spans: Sequence[Span | None], context: Sequence[Span]) -> list[bool]:
    """Say which tokens begin within the context."""
    found = [span is not None and any(start <= span[0] < end for start, end in context) for span in spans]
    if not any(found):
        raise InputError("the prompt has no word that could explain the answer")
    return found


def _tokens_at(ids: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the ids at the places of each row, `NOTHING` behind the end of shorter ones."""
    tokens = torch.full((len(rows), max(map(len, rows))), NOTHING)
    for own, row in zip(tokens, rows, strict=True):
        own[: len(row)] = ids[list(row)]
    return tokens


def _places(spans: Sequence[Span | None], begin: int, part: Span, answer: str) -> list[int]:
    """Return the positions of a part's tokens."""
    start, end = begin + part[0], begin + part[1]
    found = [place for place, span in enumerate(spans) if span is not None and start <= span[0] < end]
    if not found:
        raise InputError(f"there is no token in {answer[slice(*part)]!r:.60}, a part of the answer")
    return found
