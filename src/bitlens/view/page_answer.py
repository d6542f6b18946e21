"""An answer of the web page as a piece of HTML: maps over their photo, or shaded texts; what the network says; the proof."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bitlens.view.answer import Answer
from bitlens.view.card import Card
from bitlens.view.html import render_template
from bitlens.view.shaded import ShadedText, html_fragment


@dataclass(frozen=True)
class PageAnswer:
    """Contents of an answer.

    Attributes:
        answer: what was asked, and what the network says.
        card: a photo with its maps.
        texts: shaded, in place of a card.
        said: names of classes, the likeliest first, with their probabilities; empty where the network says no classes.
        numbers: each with what it means.
        meanings: what the numbers mean for the map.
        warnings: what must not be overlooked.
    """

    answer: Answer
    card: Card | None = None
    texts: Sequence[ShadedText] = ()
    said: Sequence[tuple[str, float]] = ()
    numbers: Sequence[tuple[str, str]] = ()
    meanings: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def html(self) -> str:
        """Write it. Style and behaviour are the page's."""
        texts = Markup(html_fragment(self.texts)) if self.texts else ""
        return render_template("page_answer.html.j2", page=self, card=self.card, texts=texts)
