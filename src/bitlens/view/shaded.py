"""Shows texts with their words shaded by bits or scores: in the terminal, and as HTML that carries all it needs.

The strength of a shade is the word's share of the scale's end, nothing in between is stretched. Scores for and against
get two colours. Between words stand the text's own characters, so that what is copied is what was written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from rich.console import Group
from rich.text import Text

from bitlens.errors import InputError
from bitlens.version import __version__
from bitlens.view.colours import Scale
from bitlens.view.html import asset, render_template
from bitlens.view.scales import little

# From which share of the scale's end a word gets the next stronger style; where there are no colours, bold, underline and
# reverse remain.
_STEPS = (0.03, 0.12, 0.3, 0.6)
_FOR = ("#c9772b", "bold #c9772b", "bold underline #e0771a", "bold reverse #f0862a")
_AGAINST = ("#5b8fd0", "bold #5b8fd0", "bold underline #4a8ae0", "bold reverse #5a9af0")
_LISTED_IN_TERMINAL, _LISTED_OF_CURVE, _LISTED_IN_HTML = 6, 3, 20
_WHOLE = 9.95
_NAMED = 0.005


@dataclass(frozen=True)
class Piece:
    """A piece of a text.

    Attributes:
        text: as it stands there.
        value: bits or score of a word; None for what is between words.
    """

    text: str
    value: float | None = None


@dataclass(frozen=True)
class ShadedText:
    """One text, ready to be shown.

    Attributes:
        pieces: which together are the text.
        scale: what the shades mean; `word_scale` makes one for several texts.
        title: said above it.
        notes: said below it, a line each.
        of: what is shaded: "word" or "token".
        curve: the same text as less and less of it passes, on a scale of their own, each with what is said of it as its title.
        told: what is said of the curve as a whole.
    """

    pieces: Sequence[Piece]
    scale: Scale
    title: str = ""
    notes: Sequence[str] = ()
    of: str = "word"
    curve: Sequence["ShadedText"] = ()
    told: str = ""

    @property
    def text(self) -> str:
        """Join the pieces to the text as it was written."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def ends(self) -> tuple[str, str]:
        """Return the values at the two ends of the scale."""
        return number(self.scale.bottom), number(self.scale.top)

    @property
    def meaning(self) -> str:
        """Say what the shades stand for."""
        note = f" ({self.scale.note})" if self.scale.note else ""
        for_and_against = ": orange for the answer, blue against it" if self.scale.signed else ""
        return f"{self.scale.unit} of each {self.of}{for_and_against}{note}"

    @property
    def faint(self) -> str:
        """Say that next to nothing of the scale is used, where that is so of bits."""
        values = [piece.value for piece in self.pieces if piece.value is not None]
        return little(np.array(values, dtype=np.float32), self.scale)

    def share(self, value: float) -> str:
        """Say how strong the shade of a value is, in percent."""
        return f"{100 * min(abs(value) / self.scale.top, 1.0):.1f}"

    def described(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{number(value)} {self.scale.unit}"

    def strongest(self, count: int = _LISTED_IN_HTML) -> list[tuple[str, str]]:
        """Return the words with the largest magnitudes, and their values as text.

        Punctuation is no word, unless there is nothing else; nor is what has next to nothing of the scale a word to be named,
        unless it is the only one.
        """
        every = [(piece.text, piece.value) for piece in self.pieces if piece.value is not None]
        words = [word for word in every if any(map(str.isalnum, word[0]))] or every
        words.sort(key=lambda word: -abs(word[1]))
        least = _NAMED * self.scale.top
        return [
            (word, number(value))
            for place, (word, value) in enumerate(words[:count])
            if not place or abs(value) >= least
        ]


@dataclass(frozen=True)
class Abreast:
    """Texts that stand side by side on a page, as wide as there is room.

    Attributes:
        title: said above them, empty where each has its own.
        texts: at least one.
    """

    title: str
    texts: Sequence[ShadedText]


def pieces_of(text: str, spans: Sequence[tuple[int, int]], values: Iterable[float]) -> tuple[Piece, ...]:
    """Cut a text into its words and what is between them.

    Args:
        text: as it was written.
        spans: of each word, in order: its first character, and the one behind its last. Where words share characters, the
            shared ones belong to the first; a word without characters of its own adds its value to that one.
        values: of each word.

    Raises:
        InputError: if there are not as many values as words, one is not finite, or a span lies outside of the text.
    """
    numbers = [float(value) for value in values]
    if len(numbers) != len(spans) or not all(np.isfinite(numbers)):
        raise InputError(f"there must be one finite value for each of {len(spans)} words, got {len(numbers)}")
    pieces: list[Piece] = []
    done = 0
    for (start, end), value in zip(spans, numbers, strict=True):
        if not 0 <= start <= end <= len(text):
            raise InputError(f"a word at characters {start} to {end} does not lie in a text of {len(text)}")
        if start > done:
            pieces.append(Piece(text[done:start]))
        if end > max(start, done):
            pieces.append(Piece(text[max(start, done) : end], value))
        elif pieces and (last := pieces[-1]).value is not None:
            pieces[-1] = Piece(last.text, last.value + value)
        done = max(done, end)
    return (*pieces, Piece(text[done:])) if done < len(text) else tuple(pieces)


def word_scale(
    texts: Iterable[Sequence[Piece]], unit: str, *, vmax: float | None = None, signed: bool = False
) -> Scale:
    """Make the scale on which the words of all these texts can be compared.

    Args:
        texts: pieces of each.
        unit: what the values count: "bits" or "score".
        vmax: the upper end; the largest magnitude by default.
        signed: let the scale reach below 0 even if no word does.

    Raises:
        InputError: if there is no word, `vmax` is out of range, or a value in bits is negative.
    """
    values = [piece.value for pieces in texts for piece in pieces if piece.value is not None]
    if not values:
        raise InputError("there is no word to show")
    return Scale.over([np.array(values, dtype=np.float32)], unit, vmax, signed=signed)


def terminal(shaded: ShadedText) -> Group:
    """Lay out what rich prints: title, shaded text, legend, the strongest words in numbers, notes."""
    text = Text()
    for piece in shaded.pieces:
        text.append(piece.text, _style((piece.value or 0.0) / shaded.scale.top))
    lines = [Text(shaded.title, "bold")] if shaded.title else []
    lines += [text, _legend(shaded), Text(f"most: {_listed(shaded, _LISTED_IN_TERMINAL)}", "dim")]
    notes = [
        *filter(None, [shaded.faint]),
        *shaded.notes,
        *(f"{one.title}; most: {_listed(one, _LISTED_OF_CURVE)}" for one in shaded.curve),
    ]
    return Group(*lines, *(Text(note, "dim") for note in notes))


def html_fragment(texts: Sequence[ShadedText]) -> str:
    """Return the texts as a piece of HTML with its own style, for notebooks."""
    return _render([Abreast("", [one]) for one in texts], "", whole=False)


def html_page(groups: Sequence[Abreast], title: str) -> str:
    """Return texts as a whole page that asks no server for anything; light or dark as the reader's system is."""
    return _render(groups, title, whole=True)


def _listed(shaded: ShadedText, count: int) -> str:
    return ", ".join(f"{word} {value}" for word, value in shaded.strongest(count))


def _style(share: float) -> str:
    step = sum(abs(share) >= threshold for threshold in _STEPS)
    return "" if step == 0 else (_AGAINST if share < 0 else _FOR)[step - 1]


def _legend(shaded: ShadedText) -> Text:
    legend = Text().append("from ", "dim")
    for sign, before in ((1, ""), (-1, "or, against, from ")) if shaded.scale.signed else ((1, ""),):
        legend.append(before, "dim")
        for share in _STEPS:
            legend.append(number(share * shaded.scale.top), _style(sign * share)).append("  ")
    return legend.append(shaded.meaning, "dim")


def number(value: float) -> str:
    """Write a number as people read it: two digits, whole from 10 on."""
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.2g}"


def _render(groups: Sequence[Abreast], title: str, *, whole: bool) -> str:
    style = Markup(asset("text.css"))
    shown = {"groups": groups, "wide": any(len(group.texts) > 1 for group in groups), "title": title, "whole": whole}
    page = render_template("text.html.j2", **shown, style=style, version=__version__)
    return page.strip() + "\n"
