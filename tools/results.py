"""Write what docs/results shows of stored rows: tables between `<!-- made: KIND NAME -->` and `<!-- until here -->`, and figures.

    python tools/results.py            # or make results

Settings of a table follow the name, each behind a semicolon: `<!-- made: paired regions; half=odd; order=best -->`. No number is
typed; `tests/docs/test_results.py` compares each page with what its rows give.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from areas import Areas, areas_table
from bitlens.evaluation.formats import as_markdown, comparison_grid, means_grid
from bitlens.evaluation.plotted import plots_of
from bitlens.evaluation.tables import Selection, Table
from bitlens.system.files import write_text
from bitlens.view.canvas import save_figure
from bitlens.view.charts import Plot
from bitlens.view.curves import draw_plot
from covered import coverage_table
from held import Held, fewest_table, held_table, proof_table
from judges import Scores, metrics_table, sets_table, summary_table
from paired import paired_table
from planted_found import planted_table
from seeded import seeded, standing_table
from text_layers import text_layers_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = tuple(sorted(RESULTS.glob("*.md")))
_ROWS = ROOT / "benchmarks" / "results"
_MARKED = re.compile(r"(<!-- made: (?P<kind>[a-z]+) ?(?P<named>[^>]*) -->\n).*?(\n<!-- until here -->)", re.DOTALL)
_SETS = (
    ("insertion", "deletion"),
    ("degradation-8",),
    ("degradation-8", "road"),
    ("degradation-8", "road", "kept-per-bit"),
)
_FEWEST = 4  # photos: of a half with one alone there is no error to tell
FIGURES: Mapping[str, tuple[str, str, str]] = {
    "degradation-edgetpu.png": ("photos/MobileNet-EdgeTPU", "curves-degradation-14-points-17", "iba"),
    "sensitivity-scenes.png": ("scenes", "curves-sensitivity-n-8-sets-20", "iba[beta=1]"),
    "sanity-edgetpu.png": (
        "sanity-edgetpu",
        "curves-sanity-layers-fc-head-layer4-layer3-layer2-layer1-stem",
        "iba[beta=10,quality=fast]",
    ),
    "sanity-scenes.png": ("sanity", "curves-sanity", "iba[beta=1]"),
}
"""Name of a picture → folder of its rows, which of their plots it is, and the method that stands out."""


def _held(folder: str) -> list[Held]:
    return [Held(path) for path in sorted((_ROWS / "keep" / folder).glob("*.json"))]


def _judged(folder: str = "judges") -> list[Scores]:
    every = [Scores(place) for place in sorted((_ROWS / folder).iterdir())]
    return [scores for scores in every if len(scores.photos) >= _FEWEST]


def _table(folder: str, reference: str | None = None, metrics: str | None = None) -> Table:
    return seeded(_ROWS / folder, Selection(metrics=metrics and metrics.split(", "), reference=reference))


def _means(folder: str, **chosen: str) -> str:
    return as_markdown(means_grid(_table(folder, **chosen))).partition("\n\n")[2].rstrip()


def _differences(folder: str, **chosen: str) -> str:
    told = as_markdown(comparison_grid(_table(folder, **chosen))).rstrip()
    return told.replace("\n* p <", "\n\\* p <")  # a line that begins with a star would be a list


MADE: Mapping[str, Callable[..., str]] = {
    "areas": lambda _: areas_table([Areas(path) for path in sorted((_ROWS / "areas").glob("*.jsonl"))]),
    "coverage": lambda folder: coverage_table(sorted((_ROWS / folder).glob("*.safetensors"))),
    "differences": _differences,
    "evaluation": _means,
    "fewest": lambda folder: fewest_table(_held(folder)),
    "held": lambda folder: held_table(_held(folder)),
    "judges": lambda folder: metrics_table(Scores(_ROWS / folder)),
    "layers": lambda file: text_layers_table(_ROWS / file),
    "paired": lambda folder, **chosen: paired_table(_ROWS / folder, **chosen),
    "planted": lambda folder: planted_table(_ROWS / folder),
    "proof": lambda folder: proof_table(_held(folder)),
    "sets": lambda _: sets_table(_judged(), _SETS),
    "summary": lambda _: summary_table([*_judged(), *_judged("judges-more")]),
    "standing": lambda _: standing_table(sorted((_ROWS / "photos").iterdir())),
}
"""What a page may ask for, by its kind: the name behind it, mostly of a folder, and settings → the table."""


def written(page: str) -> str:
    """Return a page with every table made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{_made(found['kind'], found['named'])}\n{found[4]}", page)


def _made(kind: str, named: str) -> str:
    name, *settings = named.split("; ")
    return MADE[kind](name, **dict(one.split("=", 1) for one in settings))


def plot_of(figure: str) -> Plot:
    """Return what a picture shows."""
    folder, stem, reference = FIGURES[figure]
    (plot,) = (plot for plot in plots_of(_ROWS / folder, _table(folder, reference)) if plot.stem == stem)
    return plot


if __name__ == "__main__":
    for path in PAGES:
        write_text(path, written(path.read_text("utf-8")))
    for name in FIGURES:
        save_figure(draw_plot(plot_of(name)), RESULTS / name)
