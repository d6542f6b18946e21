"""How the losses went: one row for each epoch, as JSON and as a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bitlens.system.files import replacing, write_text

_TRAIN, _HELD = "#0072b2", "#d55e00"


@dataclass(frozen=True)
class EpochRow:
    """One epoch.

    Attributes:
        epoch: from 1.
        steps: of the optimiser, from the beginning.
        train: mean losses over the epoch's batches, as the weights were then; by name, "loss" among them.
        held_out: mean losses over the held-out samples after the epoch; empty if there are none.
        seconds: of this epoch, as far as it was not interrupted.
    """

    epoch: int
    steps: int
    train: Mapping[str, float]
    held_out: Mapping[str, float]
    seconds: float

    @property
    def judged(self) -> float:
        """Return what decides whether it got better: the held-out loss, or the training loss where nothing is held out."""
        return (self.held_out or self.train)["loss"]


def write_curve(rows: Sequence[EpochRow], path: Path, about: Mapping[str, Any]) -> None:
    """Write the rows as JSON.

    Args:
        rows: of the epochs.
        path: of the file.
        about: what was trained and how.
    """
    content = {**about, "epochs": [asdict(row) for row in rows]}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def draw_curve(rows: Sequence[EpochRow], path: Path, title: str) -> None:
    """Draw one panel for each loss that held-out samples have, training against held-out.

    Args:
        rows: at least one.
        path: of the picture (png, svg, pdf).
        title: above it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(rows[-1].held_out or rows[-1].train)
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for which, colour, style in (("train", _TRAIN, "-"), ("held_out", _HELD, "--")):
            points = [(row.epoch, getattr(row, which)[name]) for row in rows if name in getattr(row, which)]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=colour, label=which.replace("_", "-"), marker=".")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.tick_params(labelsize=7)
        axes.grid(color="#e8e8e8")
    figure.axes[0].legend(fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
