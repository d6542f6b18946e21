"""One text with what a network uses of it, ready to be shown: in the terminal, as HTML, for machines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group

from bitlens.core.attribution import Attribution
from bitlens.core.told import share_asked
from bitlens.data.tokenizing import Span
from bitlens.system.console import answers
from bitlens.view.card import Proof, agreement, deviation
from bitlens.view.colours import Scale
from bitlens.view.scales import darkened
from bitlens.view.shaded import Piece, ShadedText, html_fragment, number, pieces_of, terminal, word_scale
from bitlens.view.tradeoff import TradeOff, trade_off


@dataclass(frozen=True)
class ExplainedWord:
    """A word of a text.

    Attributes:
        text: as it was written.
        span: its characters in the text: the first, and the one behind the last.
        value: bits or score, summed over its tokens; of a mask, the mean.
        tokens: positions of its tokens.
    """

    text: str
    span: Span
    value: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Words and tokens of one text that a network uses.

    Attributes:
        text: as it was written; a pair follows its text after a line break.
        tokens: as the tokenizer writes them, special ones included.
        values: bits or score of each token.
        words: of the text, their tokens joined.
        target: what was asked.
        prediction: what the network says, empty where it says no class.
        probability: of the prediction, None where it says no class.
        signed: whether the sign of values means something.
        attribution: everything else: unit, method, settings, total bits, evidence.
        spans: the characters of each token, None for special ones.
        said: the probability of each class, empty where the network says no class.
    """

    text: str
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    words: tuple[ExplainedWord, ...]
    target: str
    prediction: str
    probability: float | None
    signed: bool
    attribution: Attribution
    spans: tuple[Span | None, ...]
    said: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """Name what words' and tokens' values count: "bits", "score" or "mask"."""
        return self.attribution.unit.partition("/")[0]

    @property
    def special(self) -> float:
        """Return the sum over special tokens, which belong to no word; where values are a mask, of their bits."""
        cells = self.attribution.cells
        values: Sequence[float] = self.values
        if self.unit == "mask" and cells is not None:
            values = cells[0, : len(self.spans)].tolist()
        return sum(value for value, span in zip(values, self.spans, strict=True) if span is None)

    @property
    def idle(self) -> bool:
        """Say whether the network gives this answer without seeing anything, so that no word was needed or is against it."""
        proof = Proof.of(self.attribution)
        return proof is not None and proof.idle and self.unit == "bits" and not self.attribution.signed

    @property
    def title(self) -> str:
        """Say what was asked, and what the network says."""
        if not self.prediction:
            return self.target
        said = f"{self.prediction}, p = {self.probability:.3f}"
        return said if self.target == self.prediction else f"{self.target}? ({said})"

    def shaded(self, scale: Scale | None = None) -> ShadedText:
        """Return the text with its words' values, ready to be shown; the scale ends at its strongest word if none is given."""
        pieces = self._pieces(self.values)
        scale = scale or word_scale([pieces], self.unit, signed=self.signed)
        if self.idle:
            scale = darkened(scale, max(piece.value or 0.0 for piece in pieces))
        shown = ShadedText(pieces, scale, self.title, tuple(self._notes()))
        return shown if (curve := trade_off(self.attribution)) is None else replace(shown, **self._curve(curve))

    def passages(self, scale: Scale | None = None) -> list[ShadedText]:
        """Return what is shown: the text, and how far its tokens' values differ between seeds where that was asked for."""
        over = self.attribution.spread
        if over is None:
            return [self.shaded(scale)]
        spans = [span for span in self.spans if span is not None]
        values = over.std[0, : len(self.spans)].tolist()
        pieces = pieces_of(
            self.text, spans, [v for v, span in zip(values, self.spans, strict=True) if span is not None]
        )
        notes = [agreement(self.attribution)]
        apart = ShadedText(pieces, word_scale([pieces], self.unit), deviation(self.attribution), notes, "token")
        return [self.shaded(scale), apart]

    def html(self) -> str:
        """Return a piece of HTML with its own style."""
        return html_fragment(self.passages())

    def _repr_html_(self) -> str:
        return self.html()

    def __rich__(self) -> Any:
        """Give what rich prints."""
        return Group(*map(terminal, self.passages()))

    def print(self) -> None:
        """Show the text in the terminal."""
        answers.print(self)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for machines: words for people, and every token as it is."""
        owner = {position: number for number, word in enumerate(self.words) for position in word.tokens}
        tokens = [
            {"token": token, "value": value, "span": span, "word": owner.get(position)}
            for position, (token, value, span) in enumerate(zip(self.tokens, self.values, self.spans, strict=True))
        ]
        words = [{"word": word.text, "value": word.value, "span": word.span} for word in self.words]
        found: dict[str, Any] = {"text": self.text, "prediction": self.prediction}
        found["prediction_probability"] = self.probability
        if (asked := share_asked(self.attribution.settings)) is not None:
            found["keep"] = asked
        found |= {**self.attribution.summary()[0], "target": self.target, "words": words, "tokens": tokens}
        if (over := self.attribution.spread) is not None:
            found["spread"] = over.std[0, : len(self.tokens)].tolist()
        if (curve := self.attribution.curve) is not None:
            points = zip(curve.kept[0].tolist(), curve.bits[0].tolist(), curve.maps[0].tolist(), strict=True)
            found["curve"] = [{"kept": k, "bits": b, "tokens": m[: len(self.tokens)]} for k, b, m in points]
        return found

    def _pieces(self, values: Sequence[float]) -> tuple[Piece, ...]:
        """Cut the text into its words, with the values of their tokens."""
        sums = [joined([values[p] for p in word.tokens], self.attribution.unit) for word in self.words]
        return pieces_of(self.text, [word.span for word in self.words], sums)

    def _curve(self, curve: TradeOff) -> dict[str, Any]:
        steps = [(step.said(curve.measure), self._pieces(step.map[0].tolist())) for step in curve.steps]
        scale = word_scale([pieces for _, pieces in steps], self.unit)
        return {"curve": [ShadedText(pieces, scale, said) for said, pieces in steps], "told": curve.sentence}

    def _notes(self) -> Iterable[str]:
        found = self.attribution
        where = f" at {found.layer}" if found.layer else ""
        if found.total_bits is not None:
            apart = f", {number(self.special)} of them on special tokens" if self.special else ""
            total, against = number(float(found.total_bits[0])), found.total_against
            every = "in total" if against is None else f"for the answer, {number(float(against[0]))} against it"
            yield f"{found.method}{where}: {total} bits {every}{apart}"
        else:
            yield f"{found.method}{where}"
        if (proof := Proof.of(found)) is not None:
            what = "p" if proof.measure == "probability" else proof.measure
            under = f"{proof.under:.3f} ± {proof.spread:.3f}"
            held = f": {proof.held}" if proof.held else ""
            yield f"{what} of {self.target}: {proof.before:.3f}, with noise in place of what is not needed {under}{held}"
            yield from filter(None, [proof.caveat])


def joined(values: Sequence[float], unit: str) -> float:
    """Join the values of a word's tokens: what is counted adds up, shares have a mean."""
    return sum(values) / (len(values) if unit == "mask" else 1)
