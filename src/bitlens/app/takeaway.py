"""The files of an answer: what the page shows of a photo is read from them, and what a visitor takes home."""

from pathlib import Path

from bitlens.app.answers import Shown
from bitlens.explaining.pictures import write_picture
from bitlens.explaining.shown import save_shown
from bitlens.explaining.summary import write_summary
from bitlens.reports import write_report
from bitlens.reports.explained import cards_of, ends_of
from bitlens.reports.found import read_results
from bitlens.view.card import Card

FILES = {
    "picture": "Picture (png)",
    "report": "Report (html)",
    "map": "Map (npy)",
    "full": "Attribution (safetensors)",
}
"""What can be taken home, and what its button says."""


def drawn(shown: Shown, network: str, folder: Path) -> Card:
    """Write the attributions of an answer into a folder, as `bitlens explain` does, and draw the photo with its maps.

    Args:
        shown: the answer.
        network: what it is called.
        folder: empty.
    """
    explained = shown.explained
    for one in explained.found:
        one.attribution.save(folder / f"{explained.stem}{one.ready.endings[0]}.safetensors")
    save_shown(explained.shown, folder / explained.seen)
    methods = {one.ready.label: one.ready.settings() for one in explained.found}
    write_summary(explained.rows(), {"model": network, "methods": methods}, folder / "summary.json")
    groups = read_results(folder).groups
    (card,) = cards_of(groups, ends_of(groups))
    return card


def finished(shown: Shown, folder: Path) -> list[Path]:
    """Write the rest of the files, after `drawn`, and return those of `FILES`, in order."""
    explained = shown.explained
    write_picture(explained, folder, "png")
    write_report([folder], folder / "report.html")
    stem = f"{explained.stem}{explained.found[0].ready.endings[0]}"
    return [folder / name for name in (f"{explained.stem}.png", "report.html", f"{stem}.npy", f"{stem}.safetensors")]
