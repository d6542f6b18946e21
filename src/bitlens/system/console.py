"""What the command line shows a person: answers on standard output, everything else on the error stream."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from bitlens.errors import BitlensWarning

messages = Console(stderr=True)
answers = Console()


class Debugging:
    """Choice of the user, by --debug, to see tracebacks."""

    wanted = False


_original_showwarning = warnings.showwarning


def note(text: str) -> None:
    """Say something worth knowing that does not stop the work."""
    messages.print(f"note: {text}", style="yellow", highlight=False, soft_wrap=True, markup=False)


class _Speed(ProgressColumn):
    """Speed: how many a second, or how many seconds one takes."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Show nothing until it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g} {self.unit}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress_bars(unit: str = "", *, hidden: bool = False) -> Iterator[Callable[[str, int], Callable[..., None]]]:
    """Show bars on the error stream: watch(what, total) adds one, and gives what is told how much is done, and of what."""
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()]
    columns += [_Speed(unit), TimeElapsedColumn(), TextColumn("left")] if unit else []
    columns.append(TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True, disable=hidden, speed_estimate_period=600) as progress:

        def watch(what: str, total: int) -> Callable[..., None]:
            task = progress.add_task(what, total=total)

            def done(number: int | None = None, text: str = what) -> None:
                progress.update(task, completed=number, advance=1 if number is None else None, description=text)

            return done

        yield watch


@contextmanager
def progress_bar(text: str, total: int, unit: str = "") -> Iterator[Any]:
    """Show a bar; advance() moves it by one, advance(n) to n. A unit adds how many there are a second."""
    with progress_bars(unit) as watch:
        yield watch(text, total)


_GAP = 2  # between columns of a table
_NAME = 8  # letters that a name is broken into lines of, at least
_COLUMNS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "scene": ("scene", lambda row: row["scene"]),
    "photo": ("photo", lambda row: Path(row["photo"]).name),
    "name": ("target", lambda row: row["name"]),
    "method": ("method", lambda row: row["method"]),
    "probability_before": ("p before", lambda row: f"{row['probability_before']:.3f}"),
    "probability_under_noise": (
        "p under noise",
        lambda row: f"{row['probability_under_noise']:.3f} ± {row['probability_under_noise_std']:.3f}",
    ),
    "kept": ("kept", lambda row: "nothing needed" if row["kept"] is None else f"{row['kept']:.2f}"),
    "score_before": ("value before", lambda row: f"{row['score_before']:.4g}"),
    "score_under_noise": (
        "value under noise",
        lambda row: f"{row['score_under_noise']:.4g} ± {row['score_under_noise_std']:.2g}",
    ),
    "total_bits": ("bits", lambda row: _bits(row, "total_bits")),
    "total_against": ("bits against", lambda row: _bits(row, "total_against")),
    "extra_bits": ("not in the picture", lambda row: f"{row['extra_bits']:,.0f}"),
    "top_agreed": ("seeds agree", lambda row: f"{row['top_agreed']:.0%}"),
    "top_pixels_on_object": ("top pixels on object", lambda row: f"{row['top_pixels_on_object']:.0%}"),
}
"""By the name of a value in a row: the column's title, and how the value is written."""


def _bits(row: dict[str, Any], name: str) -> str:
    """Write bits, and of those that are no bits that pass which they are."""
    gained = " gained" if row.get("unit", "").startswith("bits gained") else ""
    return f"{row[name]:,.0f}{gained}"


_TITLES_OF_NUMBERS = {"scene": "input", "photo": "input", "top_pixels_on_object": "top places planted"}
"""What columns are called of inputs that are no photos."""


def results_table(rows: Sequence[dict[str, Any]], *, photos: bool = True) -> Table:
    """Show the values that people look at, of those that the rows have; the method where there are several.

    Args:
        rows: of a summary.
        photos: whether the inputs are; else signals, volumes or rows of a table.
    """
    known = {name for row in rows for name in row}
    if len({row["method"] for row in rows}) == 1:
        known.discard("method")

    def said(name: str, row: dict[str, Any]) -> str:
        return _COLUMNS[name][1](row) if name in row else ""

    titles = {name: title for name, (title, _) in _COLUMNS.items()} | ({} if photos else _TITLES_OF_NUMBERS)
    columns = {titles[name]: partial(said, name) for name in _COLUMNS if name in known}
    texts = ("scene", "photo", "input", "target")
    once, whole = (*texts, "p before", "value before"), ("method", "p under noise", "value under noise")
    return aligned(rows, columns, (*texts, "method"), once, whole=whole)


def aligned(
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, Callable[[dict[str, Any]], str]],
    left: Collection[str],
    once: Collection[str],
    whole: Collection[str] = (),
) -> Table:
    """Lay rows out under titles, or where a terminal is too narrow for that, value below value.

    Numbers are never broken, and their titles only between words, where room is wanting.

    Args:
        rows: one for each line.
        columns: by title, how the cell of a row is written.
        left: titles of what stands on the left of its column.
        once: titles of what is said once where several rows are about the same photo.
        whole: titles of what else is not broken into lines.
    """
    written = [{title: text(row) for title, text in columns.items()} for row in rows]
    longest = {title: max((len(cells[title]) for cells in written), default=0) for title in columns}
    for row, following, cells in zip(rows, rows[1:], written[1:], strict=False):
        photo = following.get("photo") or following.get("scene")
        if photo is not None and photo == (row.get("photo") or row.get("scene")):
            cells.update({title: "" for title in once if title in cells})
    folded = set(left) - set(whole)
    broken = {title: max(longest[title], *map(len, title.split())) for title in columns}  # titles between words alone
    least = {title: min(room, _NAME) if title in folded else room for title, room in broken.items()}
    if _wide(least) > answers.width:
        return _below(written)
    narrow = _wide({title: max(len(title), longest[title]) for title in columns}) > answers.width
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in columns:
        if title in left:
            table.add_column(title, overflow="fold", no_wrap=title in whole)
        else:
            room = broken[title] if narrow else len(title)
            table.add_column(fill(title, room), justify="right", overflow="fold", no_wrap=True)
    for cells in written:
        table.add_row(*map(Text, cells.values()))
    return table


def _wide(rooms: Mapping[str, int]) -> int:
    return sum(room + _GAP for room in rooms.values()) - _GAP


def _below(written: Sequence[Mapping[str, str]]) -> Table:
    """Show each row as lines of a title and a value."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for number, cells in enumerate(written):
        if number:
            table.add_row()
        for title, text in cells.items():
            if text:
                table.add_row(title, Text(text))
    return table


def warn_of_limits(rows: Sequence[dict[str, Any]]) -> None:
    """Say so where the noise destroyed the prediction, or where bits bound nothing: such maps show only a part of it."""
    measured = [row for row in rows if "probability_under_noise" in row and row.get("kept", 0) is not None]
    lost = sum(row["probability_under_noise"] < 0.5 * row["probability_before"] for row in measured)
    if lost:
        note(
            f"for {lost} of {len(measured)} the probability under noise is less than half of that before: these maps show too "
            "little; --keep 0.9 in place of --beta holds more"
        )
    if failing := sum(row.get("holds") is False for row in rows):
        note(f"{failing} of {len(rows)} maps hold less than was asked for: no map was found that holds more")
    if around := sum("bypass_allowed" in row for row in rows):
        note(
            f"for {around} of {len(rows)} more may go round the layer (allow_bypass=True): their bits do not bound what the "
            "network uses"
        )


def show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    """Take the place of `warnings.showwarning`: bitlens's own warnings are notes of one line."""
    if issubclass(category, BitlensWarning):
        note(str(message))
    else:
        _original_showwarning(message, category, *rest, **more)
