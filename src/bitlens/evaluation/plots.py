"""The pictures of an evaluation as files."""

from pathlib import Path

from bitlens.evaluation.plotted import plots_of
from bitlens.evaluation.tables import Selection, build_table
from bitlens.view.canvas import save_figure
from bitlens.view.curves import draw_plot


def draw_plots(folder: Path, out: Path, selection: Selection | None = None, suffix: str = "png") -> list[Path]:
    """Draw an evaluation: `scores`, and `curves-METRIC` for every metric with curves.

    Args:
        folder: of the results.
        out: where the pictures go.
        selection: which rows count.
        suffix: "png", "svg" or "pdf".

    Returns:
        The files, in order.
    """
    written = []
    for plot in plots_of(folder, build_table(folder, selection)):
        written.append(out / f"{plot.stem}.{suffix}")
        save_figure(draw_plot(plot), written[-1])
    return written
