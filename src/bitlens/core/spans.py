"""What is asked of a language model: some of its words, by the probability that it gives them where they stand."""

import math
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.outputs import answer_of
from bitlens.core.questions import Target, changed, chosen_rows, tiled
from bitlens.errors import TargetError

NOTHING = -1
"""In place of a token: the span of this text is shorter than the longest."""

_LN_2 = math.log(2)


@final
class Span(Target):
    """The tokens that a text ends with, as a language model foresees them: a word, a sentence, a whole answer.

    The model reads the text once, and says at each position what comes next (teacher forcing), so a long span costs what a
    short one does. Loss is minus the log-odds of all tokens together, -ln(P / (1 - P)), which goes on to grow where the span
    is all but certain. Value is the geometric mean of the tokens' probabilities, P^(1/tokens): the probability itself for one
    token, and of the same size for a word and for a page. `nats` is ln P.

    Args:
        tokens: (N, L) or (L,) ids, the last ones of each text; -1 behind the end of a span that is shorter than the longest.
        first: at which position the network foresees the first of them, where they are no end of a text: (N,), or a number for
            all (0 for what a decoder beside an encoder begins with).

    Raises:
        TargetError: if they are no ids, or a span has none.
    """

    each = "tokens"

    def __init__(self, tokens: Tensor, *, first: int | Tensor | None = None) -> None:
        given = torch.as_tensor(tokens)
        given = given[None] if given.dim() == 1 else given
        if given.dim() != 2 or given.is_floating_point() or given.dtype == torch.bool:
            raise TargetError(f"tokens must be ids (N, L) or (L,), got {given.dtype} {tuple(given.shape)}")
        there = given >= 0
        if not bool(there[:, :1].all()) or bool((there[:, 1:] & ~there[:, :-1]).any()):
            raise TargetError("each span must begin with a token, and only -1 may stand behind its end")
        self.tokens, self.count = given.long(), len(given)
        self.first = None if first is None else torch.as_tensor(first, device=given.device).expand(len(given))
        self.last: Tensor | None = None
        self.skipped = 0

    @property
    def lengths(self) -> Tensor:
        """Return how many tokens each span has (N,)."""
        return (self.tokens >= 0).sum(1)

    @property
    def starts(self) -> Tensor:
        """Return the position (N,) of each span's first token.

        Raises:
            TargetError: if nobody has said where the texts end.
        """
        if self.first is not None:
            return self.first + 1
        if self.last is None:
            raise TargetError("Span asks for the end of a text, but the inputs are no texts: give first=, or texts")
        return self.last.to(self.tokens.device) - self.lengths + 1

    def at(self, last: Tensor | None) -> "Span":
        """Return the question about texts whose last tokens (N,) are known.

        Raises:
            TargetError: if a span is as long as its text.
        """
        if self.first is not None:
            return self
        if last is not None and bool((last.to(self.tokens.device) < self.lengths).any()):  # here, and not in every pass
            raise TargetError(
                "a span is as long as its text: a language model foresees no first token, put some in front"
            )
        return changed(self, last=last)

    def behind(self, skipped: int) -> "Span":
        """Return the question to an output that begins behind so many positions of the texts."""
        return changed(self, skipped=skipped)

    def select(self, rows: slice | Tensor) -> "Span":
        """Return the question for some of the texts."""
        places = {n: None if (at := getattr(self, n)) is None else chosen_rows(at, rows) for n in ("first", "last")}
        return changed(self, tokens=(some := chosen_rows(self.tokens, rows)), count=len(some), **places)

    def context(self, length: int) -> Tensor:
        """Mark (N, length) the positions before each span, which it may be explained by; all where it is no end of a text."""
        if self.first is not None:
            return torch.ones(len(self.tokens), length, dtype=torch.bool, device=self.tokens.device)
        return torch.arange(length, device=self.tokens.device) < self.starts[:, None]

    def check(self, output: Any) -> None:
        """Refuse an output that does not foresee tokens, or does not reach so far, and ids that it does not know."""
        logits = answer_of(output, self.form.part)
        if logits.dim() != 3:
            raise TargetError(
                f"Span asks a language model, whose output is (texts, tokens, vocabulary); this one is {tuple(logits.shape)}"
            )
        if int(self.tokens.max()) >= logits.shape[2]:
            raise TargetError(f"token {int(self.tokens.max())} does not exist: the network knows {logits.shape[2]}")
        if int((self.starts + self.lengths).max()) - 1 > logits.shape[1] + self.skipped:
            raise TargetError(f"the span ends behind the {logits.shape[1]} positions of the network's output")

    def nats(self, output: Any) -> Tensor:
        """Return ln of the probability of all tokens together, of each row."""
        return self.each_nats(output).sum(1)

    def loss(self, output: Any) -> Tensor:
        """Return minus the log-odds of all tokens together."""
        nats = self.nats(output).clamp_max(-torch.finfo(torch.float32).tiny)
        unlikely = torch.log1p(-nats.clamp_max(-_LN_2).exp())  # either is exact where the other is not
        likely = (-torch.expm1(nats.clamp_min(-_LN_2))).log()
        return torch.where(nats < -_LN_2, unlikely, likely) - nats

    def value(self, output: Any) -> Tensor:
        """Return the geometric mean of the tokens' probabilities."""
        nats = self.nats(output)
        return (nats / tiled(self.lengths.to(nats.device), len(nats))).exp()

    def score(self, output: Any) -> Tensor:
        """Return the log-odds of all tokens together, as a classifier's logit is: ln P where P is small, and never flat."""
        return -self.loss(output)

    def describe(self) -> tuple[str, ...]:
        """Return how many tokens each span has."""
        return tuple(f"{int(length)} tokens" if length > 1 else "1 token" for length in self.lengths)

    def each_nats(self, output: Any) -> Tensor:
        """Return ln of each token's probability (rows, L), exact also where that is all but 1; 0 behind the end of a span."""
        logits = answer_of(output, self.form.part)
        tokens = tiled(self.tokens.to(logits.device), len(logits))
        there = tokens >= 0
        starts = tiled(self.starts.to(logits.device), len(logits))
        places = starts[:, None] - 1 - self.skipped + torch.arange(tokens.shape[1], device=logits.device)
        rows = torch.arange(len(logits), device=logits.device)[:, None]
        said = logits[rows, torch.where(there, places, 0)]
        said = said.float() if said.dtype in (torch.float16, torch.bfloat16) else said
        own = tokens.clamp_min(0)[..., None]
        others = torch.logsumexp(said.scatter(2, own, -torch.inf), 2) - said.gather(2, own)[..., 0]
        return torch.where(there, F.logsigmoid(-others), torch.zeros_like(others))
