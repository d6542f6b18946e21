"""A report: one page of HTML that carries everything within itself and asks no server for anything.

Everything that comes from outside (names of files, classes, settings) is escaped by the template; a content security
policy lets the page run its own script and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bitlens.version import __version__
from bitlens.view.answer import Answer
from bitlens.view.card import Card, Proof
from bitlens.view.charts import Plot
from bitlens.view.html import asset, policy, render_template
from bitlens.view.plot_page import plot_html
from bitlens.view.shaded import ShadedText


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        title: of the column.
        better: "higher" or "lower" where one is better, or nothing.
        number: whether it holds numbers.
    """

    title: str
    better: str = ""
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is read.
        key: what rows are sorted by; None comes last.
        best: whether it is the best of its column.
        link: anchor on the page.
    """

    text: str
    key: float | str | None = None
    best: bool = False
    link: str = ""


@dataclass(frozen=True)
class DataTable:
    """A table that a reader can sort.

    Attributes:
        title: what it shows.
        columns: at least one; the first holds names.
        rows: of as many cells.
        foot: rows that stay below.
        notes: what must be known to read it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Sequence[Cell]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A picture of an evaluation.

    Attributes:
        title: what it shows.
        picture: data URI.
        alt: what it shows, in words.
    """

    title: str
    picture: str
    alt: str


@dataclass(frozen=True)
class Passage:
    """One text as a method explains it.

    Attributes:
        anchor: unique on the page.
        name: of the text.
        answer: what was asked, and what the network says.
        method: its name, and how it was set.
        shaded: the text with its words' values.
        total_bits: that pass the layer.
        total_against: bits against the answer, of a signed map.
        proof: of a method that uses noise.
    """

    anchor: str
    name: str
    answer: Answer
    method: str
    shaded: ShadedText
    total_bits: float | None = None
    total_against: float | None = None
    proof: Proof | None = None


@dataclass(frozen=True)
class Recipe:
    """Recipe for making a part of the report again.

    Attributes:
        title: what is made.
        command: of the command line, or nothing.
        python: the same in Python, or nothing.
        settings: of each method by its label: names and values as text.
    """

    title: str
    command: str = ""
    python: str = ""
    settings: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading of its own: tables, plots and pictures.

    Attributes:
        title: heading.
        about: one line under it.
        tables: in order.
        plots: in order.
        pictures: in order.
    """

    title: str
    about: str
    tables: Sequence[DataTable] = ()
    plots: Sequence[Plot] = ()
    pictures: Sequence[Picture] = ()


@dataclass
class Report:
    """Contents of the page.

    Attributes:
        title: of the page.
        facts: what all of it has in common: network, layer, methods.
        cards: explained photos.
        passages: explained texts.
        sections: evaluations.
        recipes: how to make it again.
        problems: what could not be shown, and why.
        what: one of what the cards are about is called.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    recipes: list[Recipe] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    what: str = "photo"

    @property
    def in_bits(self) -> bool:
        """Say whether any map is in bits."""
        return any(unit.startswith("bits") for unit in self._units())

    @property
    def in_scores(self) -> bool:
        """Say whether any map is in scores without a unit."""
        return any(unit.startswith("score") for unit in self._units())

    @property
    def signed(self) -> bool:
        """Say whether any map has values that speak against the answer."""
        shown = [figure.signed for card in self.cards for figure in card.figures]
        return any([*shown, *(passage.shaded.scale.signed for passage in self.passages)])

    def _units(self) -> list[str]:
        figures = [figure.unit for card in self.cards for figure in card.figures]
        return figures + [passage.shaded.scale.unit for passage in self.passages]

    @property
    def classes(self) -> list[str]:
        """List the classes that samples can be filtered by; none where there is nothing to choose."""
        names = sorted({name for answer in self.answers for name in answer.classes}, key=str.casefold)
        return names if len(names) > 1 and len(self.answers) > 1 else []

    @property
    def judged(self) -> bool:
        """Say whether there are right and wrong answers to choose from."""
        return len({answer.right for answer in self.answers} - {None}) > 1

    @property
    def answers(self) -> list[Answer]:
        """List what was asked and answered."""
        return [card.answer for card in self.cards] + [passage.answer for passage in self.passages]

    def overview(self) -> DataTable | None:
        """Give a line to each photo, where there are several."""
        if len(self.cards) < 2:
            return None
        answers = [card.answer for card in self.cards]
        own = all(answer.predicted == answer.asked for answer in answers)
        methods = dict.fromkeys(f.method for card in self.cards for f in card.figures if f.proof is not None)
        columns = [Column(self.what, number=False), Column("predicted" if own else "asked about", number=False)]
        columns += [Column("probability"), *(Column(f"{method}: under noise") for method in methods)]
        told = {
            "the network predicts": [answer.predicted for answer in answers] if not own else [],
            "label": [answer.label for answer in answers],
            "right": [{True: "right", False: "wrong", None: ""}[answer.right] for answer in answers],
        }
        told = {name: texts for name, texts in told.items() if any(texts)}
        columns += [Column(name, number=False) for name in told]
        rows = []
        for number, (card, answer) in enumerate(zip(self.cards, answers, strict=True)):
            proofs = {figure.method: figure.proof for figure in card.figures}
            row = [Cell(card.name, card.name.casefold(), link=card.anchor), Cell(answer.asked, answer.asked.casefold())]
            row.append(_probability(answer.probability))
            row += [_probability(proof.under if proof else None) for proof in map(proofs.get, methods)]
            row += [Cell(texts[number], texts[number].casefold() or None) for texts in told.values()]
            rows.append(row)
        return DataTable(f"All {self.what}s", columns, rows)


def render(report: Report) -> str:
    """Return the page, as text. The same report always gives the same page."""
    style, script = "".join(map(asset, ("report.css", "plot.css", "tradeoff.css"))), asset("report.js")
    return render_template(
        "report.html.j2",
        report=report,
        overview=report.overview(),
        plot_html=plot_html,
        style=Markup(style),
        script=Markup(script),
        policy=policy(script),
        version=__version__,
    )


def _probability(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(f"{value:.2f}", value)
