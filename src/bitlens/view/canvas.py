"""A figure as a page measured in inches from its top left corner, and the way of a page into a file.

Everything is placed explicitly and every property that matters is given, so a page does not depend on the user's
matplotlib settings (but for the fonts of letters that DejaVu Sans lacks), changes none of them, and two threads can
draw at once. The same page gives the same bytes.
"""

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from bitlens.errors import DataError, InputError
from bitlens.system.files import write_bytes

# The generic name is for letters that DejaVu lacks, and for viewers of an SVG that do not have the font.
FONT = ["DejaVu Sans", "sans-serif"]
_DPI = 200
_MOST_PIXELS = 2**16 - 1  # of one side, in matplotlib's PNG renderer
_MEASURE = TextToPath()
# Where a line may end, best first: a pattern, and what joins its parts on one line.
_BREAKS = ((" · ", " · "), (" ", " "), ("(?<=[-/_])", ""), ("", ""))


class Page(Figure):
    """A figure that shows itself in a notebook, whether pyplot is there or not."""

    def _repr_png_(self) -> bytes:
        return png_of(self)


def png_of(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    _write_png(figure, buffer)
    return buffer.getvalue()


def svg_of(figure: Figure) -> bytes:
    """Return a figure as SVG, its letters as text."""
    buffer, dpi = io.BytesIO(), figure.dpi
    try:
        _write_svg(figure, buffer)
    finally:
        figure.dpi = dpi
    return buffer.getvalue()


def new_page(width: float, height: float) -> Figure:
    """Make an empty white page of `width` x `height` inches.

    Raises:
        InputError: the page would have more than 65,535 pixels on a side.
    """
    longest = round(max(width, height) * _DPI)
    if longest > _MOST_PIXELS:
        raise InputError(
            f"the figure would be {longest} pixels long, {_MOST_PIXELS} is the most: draw fewer per figure"
        )
    page = Page(figsize=(width, height), dpi=_DPI, facecolor="white", edgecolor="none")
    page.set_layout_engine("none")
    return page


def add_axes(page: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place of the page, in inches, `top` counted downwards from the upper edge."""
    page_width, page_height = page.get_size_inches()
    bottom = page_height - top - height
    return page.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height), facecolor="white"
    )


def line_height(size: float) -> float:
    """Return the height of one line of text of `size` points, in inches."""
    return 1.35 * size / 72


def width_of(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a line of text of `size` points, in inches."""
    return float(_MEASURE.get_text_width_height_descent(text, _font(size, bold), False)[0]) / 72


def wrap(text: str, width: float, size: float, *, bold: bool = False, max_lines: int | None = None) -> list[str]:
    """Break text into lines no wider than `width` inches; line breaks in it stay, control characters do not.

    Args:
        text: any text; it is broken at " · " if the parts fit, otherwise between words, and a word that is wider
            than a line after a hyphen or where it must be.
        width: the widest line, in inches.
        size: the size of the letters in points.
        bold: whether the letters are bold.
        max_lines: leave out what does not fit into so many lines, and show with an ellipsis that it is left out.
    """

    def fits(line: str) -> bool:
        return width_of(line, size, bold) <= width

    lines = [line for paragraph in text.splitlines() for line in _fill(_tidy(paragraph), _BREAKS, fits)]
    if max_lines is None or len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and not fits(f"{last}…"):
        last = last[:-1]
    return [*lines[: max_lines - 1], f"{last.rstrip(' ,;·')}…"]


def shorten(name: str, width: float, size: float) -> str:
    """Shorten a name to `width` inches; what is too much is left out of its middle, since both ends tell names apart."""
    if width_of(name, size) <= width:
        return name
    for kept in range(len(name) - 1, 1, -1):
        short = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
        if width_of(short, size) <= width:
            return short
    return "…"


def write(
    page: Figure,
    lines: list[str],
    x: float,
    top: float,
    size: float,
    *,
    align: Literal["left", "center", "right"] = "left",
    bold: bool = False,
    colour: str = "#222222",
) -> None:
    """Write lines of text below `top`, beside, around or before `x` (inches)."""
    width, height = page.get_size_inches()
    for number, line in enumerate(lines):
        baseline = top + number * line_height(size) + 1.02 * size / 72
        page.text(
            x / width,
            1 - baseline / height,
            line,
            fontproperties=_font(size, bold),
            color=colour,
            horizontalalignment=align,
            verticalalignment="baseline",
            parse_math=False,
            usetex=False,
        )


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as .png, .svg or .pdf, by the suffix of `path`: the whole file or none at all.

    The same figure gives the same bytes: no date, no random identifiers. Text in SVG stays text.

    Raises:
        DataError: the suffix is none of the three, or the file cannot be written.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"cannot save a figure as {str(path)!r}: expected a name that ends in {', '.join(_WRITERS)}")
    buffer, dpi = io.BytesIO(), figure.dpi
    try:
        writer(figure, buffer)
    finally:
        figure.dpi = dpi  # writers of vectors leave 72 behind
    write_bytes(path, buffer.getvalue())


def _font(size: float, bold: bool) -> FontProperties:
    return FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")


def _tidy(paragraph: str) -> str:
    """Leave only letters that can be shown, single spaces, and none where a line must not break."""
    visible = "".join(letter if letter.isprintable() else " " for letter in paragraph)
    return re.sub(r" ([=±]) ", "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", " ".join(visible.split()))


def _fill(text: str, breaks: tuple[tuple[str, str], ...], fits: Callable[[str], bool]) -> list[str]:
    """Fill lines with the parts of a text, cut at the first kind of break; a part too wide is cut at the next kind."""
    (pattern, glue), *finer = breaks
    lines = [""]
    for part in re.split(pattern, text):
        longer = lines[-1] + glue + part if lines[-1] else part
        if fits(longer):
            lines[-1] = longer
        else:
            lines += _fill(part, tuple(finer), fits) if finer and not fits(part) else [part]
    return lines if lines[0] or len(lines) == 1 else lines[1:]


class _SvgRenderer(RendererSVG):
    """Text as text and identifiers that follow the content, without touching the settings that all threads share."""

    def draw_text(self, *arguments: Any, **options: Any) -> None:
        self._draw_text_as_text(*arguments, **options)  # type: ignore[no-untyped-call]

    def _make_id(self, type: str, content: object) -> str:  # noqa: A002
        return type + hashlib.sha256(f"bitlens {content}".encode()).hexdigest()[:10]


def _write_svg(figure: Figure, file: io.BytesIO) -> None:
    width, height = figure.get_size_inches()
    text = io.StringIO()
    metadata = {"Date": None, "Creator": "bitlens"}
    dpi, figure.dpi = figure.dpi, 72
    vector = _SvgRenderer(width * 72, height * 72, text, image_dpi=dpi, metadata=metadata)  # type: ignore[no-untyped-call]
    renderer = MixedModeRenderer(figure, width, height, dpi, vector)  # type: ignore[no-untyped-call]
    figure.draw(renderer)  # type: ignore[arg-type]  # it hands everything on to a renderer
    renderer.finalize()
    file.write(text.getvalue().encode())


def _write_png(figure: Figure, file: io.BytesIO) -> None:
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": "bitlens"})  # type: ignore[no-untyped-call]


def _write_pdf(figure: Figure, file: io.BytesIO) -> None:
    metadata = {"CreationDate": None, "Creator": "bitlens"}
    FigureCanvasPdf(figure).print_pdf(file, metadata=metadata)  # type: ignore[no-untyped-call]


_WRITERS: dict[str, Callable[[Figure, io.BytesIO], None]] = {".png": _write_png, ".svg": _write_svg, ".pdf": _write_pdf}
