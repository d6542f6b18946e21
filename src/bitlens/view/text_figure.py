"""Texts with shaded tokens as a figure: lines of text with the colours of their values behind them, and a colour bar."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bitlens.errors import InputError
from bitlens.view.canvas import add_axes, line_height, new_page, width_of, wrap, write
from bitlens.view.shaded import Piece, ShadedText

# Inches.
_PAGE, _MARGIN, _GAP = 7.0, 0.15, 0.22
_BAR, _BAR_WIDTH, _BAR_TEXT = 0.1, 2.4, 0.2
# Points.
_TITLE, _BODY, _SMALL = 11.0, 10.0, 8.0
_SPACING = 1.45  # of lines, for shades do not touch
_MUTED = "#555555"
_FOR, _AGAINST = to_rgb("#ffab5c"), to_rgb("#8fbcf5")
_STEPS = 64


@dataclass(frozen=True)
class _Placed:
    """A part of a line: where it begins, in inches, and how it is shaded."""

    left: float
    line: int
    piece: Piece


def draw_texts(texts: Sequence[ShadedText]) -> Figure:
    """Draw texts one below the other, each with its scale.

    Raises:
        InputError: if there is none, or the page would be too long.
    """
    if not texts:
        raise InputError("there is no text to draw")
    width = _PAGE - 2 * _MARGIN
    blocks = [_Block(one, width) for one in texts]
    page = new_page(_PAGE, _MARGIN * 2 + sum(block.height for block in blocks) + _GAP * (len(blocks) - 1))
    top = _MARGIN
    for block in blocks:
        block.draw(page, top)
        top += block.height + _GAP
    return page


class _Block:
    """One text with its title, its scale and its notes."""

    def __init__(self, text: ShadedText, width: float) -> None:
        self.text, self.width = text, width
        self.title = wrap(text.title, width, _TITLE, bold=True, max_lines=2) if text.title else []
        self.placed = _laid_out(text.pieces, width)
        self.lines = 1 + max((one.line for one in self.placed), default=0)
        self.notes = [line for note in text.notes for line in wrap(note, width, _SMALL)]

    @property
    def head(self) -> float:
        return len(self.title) * line_height(_TITLE) + 0.05

    @property
    def body(self) -> float:
        return self.lines * _SPACING * line_height(_BODY)

    @property
    def height(self) -> float:
        return self.head + self.body + 0.08 + _BAR + _BAR_TEXT + len(self.notes) * line_height(_SMALL)

    def draw(self, page: Figure, top: float) -> None:
        """Draw it below `top`, in inches."""
        write(page, self.title, _MARGIN, top, _TITLE, bold=True)
        first, step = top + self.head, _SPACING * line_height(_BODY)
        axes = add_axes(page, _MARGIN, first, self.width, self.body)
        axes.set(xlim=(0, self.width), ylim=(self.body, 0))
        axes.set_axis_off()
        for one in self.placed:
            if one.piece.value is not None:
                share = max(-1.0, min(1.0, one.piece.value / self.text.scale.top))
                place = (one.left, one.line * step + 0.02)
                wide = width_of(one.piece.text, _BODY)
                axes.add_patch(Rectangle(place, wide, step - 0.04, facecolor=_shade(share), edgecolor="none"))
            upper = first + one.line * step + (step - line_height(_BODY)) / 2
            write(page, [one.piece.text], _MARGIN + one.left, upper, _BODY)
        below = first + self.body + 0.08
        self._draw_bar(page, below)
        write(page, self.notes, _MARGIN, below + _BAR + _BAR_TEXT, _SMALL, colour=_MUTED)

    def _draw_bar(self, page: Figure, top: float) -> None:
        low, high = self.text.ends
        left = _MARGIN + width_of(low, _SMALL) + 0.06
        bar = add_axes(page, left, top, _BAR_WIDTH, _BAR)
        bar.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        bottom = self.text.scale.bottom / self.text.scale.top
        for step in range(_STEPS):
            share = bottom + (1 - bottom) * (step + 0.5) / _STEPS
            bar.add_patch(Rectangle((step / _STEPS, 0), 1.05 / _STEPS, 1, facecolor=_shade(share), edgecolor="none"))
        upper = top - 0.03
        write(page, [low], _MARGIN, upper, _SMALL, colour=_MUTED)
        write(page, [f"{high} {self.text.meaning}"], left + _BAR_WIDTH + 0.06, upper, _SMALL, colour=_MUTED)


def _shade(share: float) -> tuple[float, float, float]:
    """Return the colour of a share of the scale's end, from white."""
    red, green, blue = _FOR if share >= 0 else _AGAINST
    strength = abs(share)
    return (1 - strength * (1 - red), 1 - strength * (1 - green), 1 - strength * (1 - blue))


def _laid_out(pieces: Sequence[Piece], width: float) -> list[_Placed]:
    """Fill lines with the pieces of a text; line breaks in it stay, and a piece that is wider than a line is cut."""
    placed: list[_Placed] = []
    left, line = 0.0, 0
    for piece in pieces:
        for number, part in enumerate(piece.text.split("\n")):
            if number:
                left, line = 0.0, line + 1
            for some in _cut(part, width):
                wide = width_of(some, _BODY)
                if left and left + wide > width:
                    left, line = 0.0, line + 1
                    some = some.lstrip(" ")  # noqa: PLW2901
                    wide = width_of(some, _BODY) if some else 0.0
                if some:
                    placed.append(_Placed(left, line, replace(piece, text=some)))
                    left += wide
    return placed


def _cut(text: str, width: float) -> list[str]:
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    parts: list[str] = []
    while visible:
        count = len(visible)
        while count > 1 and width_of(visible[:count], _BODY) > width:
            count -= 1
        parts.append(visible[:count])
        visible = visible[count:]
    return parts
