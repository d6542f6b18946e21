"""Texts layer by layer as a page of HTML that carries all it needs: each layer's row has the text, its words shaded."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bitlens.version import __version__
from bitlens.view.html import asset, render_template
from bitlens.view.shaded import ShadedText, number


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    Attributes:
        name: of the layer.
        text: with the words' bits.
        total: bits that pass the layer.
        rest: bits of it on tokens that belong to no word.
        kept: value of the target with noise in place of everything else.
    """

    name: str
    text: ShadedText
    total: float
    rest: float
    kept: float

    @property
    def bits(self) -> str:
        """Write the bits as people read them: whole."""
        return f"{self.total:,.0f}"

    @property
    def aside(self) -> str:
        """Say how many of the bits no word shows; nothing where there are none to speak of."""
        return f"{number(self.rest)} on special tokens" if self.rest >= max(1.0, 0.01 * self.total) else ""


@dataclass(frozen=True)
class LayerTable:
    """One network at one price of information.

    Attributes:
        title: which.
        rows: from the input to the output.
        shown: whether it is open at first.
    """

    title: str
    rows: Sequence[LayerRow]
    shown: bool = True


@dataclass(frozen=True)
class LayeredText:
    """One text.

    Attributes:
        title: its name and what was asked.
        tables: of each network and price.
    """

    title: str
    tables: Sequence[LayerTable]


def layers_html(texts: Sequence[LayeredText], title: str, measure: str) -> str:
    """Return the texts as a whole page; `measure` is what was asked about: "probability" or "score"."""
    style = Markup(asset("text.css") + asset("layers.css"))
    page = render_template(
        "layers.html.j2", texts=texts, title=title, measure=measure, style=style, version=__version__
    )
    return page.strip() + "\n"
