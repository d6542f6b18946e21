"""An answer of the web page as a piece of HTML: maps over their photo, or shaded texts; what the network says; the proof."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bitlens.view.card import Card
from bitlens.view.html import render_template
from bitlens.view.shaded import ShadedText, html_fragment


@dataclass(frozen=True)
class Answer:
    """Contents of an answer.

    Attributes:
        title: what was asked about.
        card: a photo with its maps.
        texts: shaded, in place of a card.
        said: names of classes, the likeliest first, with their probabilities; empty where the network says no classes.
        asked: of these names, the one that is asked about.
        first: said below the title.
        numbers: each with what it means.
        meanings: what the numbers mean for the map.
        warnings: what must not be overlooked.
    """

    title: str
    card: Card | None = None
    texts: Sequence[ShadedText] = ()
    said: Sequence[tuple[str, float]] = ()
    asked: str = ""
    first: Sequence[str] = ()
    numbers: Sequence[tuple[str, str]] = ()
    meanings: Sequence[str] = ()
    warnings: Sequence[str] = field(default=())

    def html(self) -> str:
        """Write it. Style and behaviour are the page's."""
        texts = Markup(html_fragment(self.texts)) if self.texts else ""
        return render_template(
            "answer.html.j2",
            title=self.title,
            card=self.card,
            texts=texts,
            said=self.said,
            asked=self.asked,
            said_first=self.first,
            numbers=self.numbers,
            meanings=self.meanings,
            warnings=self.warnings,
        )
