"""Answers of language models beside their prompts: choosing a part of an answer shades the words that it used.

One page that carries all it needs and asks no server for anything, or a piece of one for notebooks and the page. Parts are
radio buttons, so that keyboards and screen readers know them, each answer's in a form of its own, which goes nowhere; without
scripts the first part of each answer is shaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bitlens.version import __version__
from bitlens.view.html import asset, policy, render_template
from bitlens.view.shaded import ShadedText

BEHAVIOUR = asset("answer.js")
"""What shades the words when a part is chosen, wherever on a page answers stand."""


@dataclass(frozen=True)
class ShownAnswer:
    """An answer, and its prompt as each part shades it.

    Attributes:
        text: the answer.
        spans: of each part in order, its characters.
        prompts: the prompt with the values that each part gives its pieces: the same pieces, one `ShadedText` for each part.
    """

    text: str
    spans: Sequence[tuple[int, int]]
    prompts: Sequence[ShadedText]

    @property
    def said(self) -> list[tuple[str, int | None]]:
        """Return the answer in pieces: the text of each, and which part it is; None between parts."""
        pieces: list[tuple[str, int | None]] = []
        done = 0
        for number, (start, end) in enumerate(self.spans):
            pieces += [(self.text[done:start], None)] if start > done else []
            pieces.append((self.text[start:end], number))
            done = end
        return [*pieces, (self.text[done:], None)] if done < len(self.text) else pieces

    @property
    def shades(self) -> list[list[list[Any]]]:
        """Return, of each part, the strength in percent (below 0 where it speaks against) and the words of each piece."""
        return [
            [
                [float(one.share(piece.value)) * (-1 if piece.value < 0 else 1), one.described(piece.value)]
                for piece in one.pieces
                if piece.value is not None
            ]
            for one in self.prompts
        ]


def answer_page(answers: Sequence[ShownAnswer], title: str) -> str:
    """Return answers as a page of HTML; light or dark as the reader's system is."""
    return _render(answers, title, BEHAVIOUR, whole=True)


def answer_fragment(answers: Sequence[ShownAnswer], *, behaviour: bool = True) -> str:
    """Return answers as a piece of HTML with its own style, for notebooks; `behaviour` where the page has none of its own."""
    return _render(answers, "", BEHAVIOUR if behaviour else "", whole=False)


def _render(answers: Sequence[ShownAnswer], title: str, script: str, *, whole: bool) -> str:
    page = render_template(
        "answer.html.j2",
        answers=answers,
        title=title,
        style=Markup(asset("text.css") + asset("answer.css")),
        script=Markup(script),
        policy=policy(script),
        version=__version__,
        whole=whole,
    )
    return page.strip() + "\n"
