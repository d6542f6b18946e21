"""Write the tables of docs/results that are made of stored rows: between `<!-- made: NAME -->` and `<!-- until here -->`.

    python tools/results.py            # or make results

No number in them is typed; `tests/docs/test_results.py` compares each page with what its rows give.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from areas import Areas, areas_table
from bitlens.evaluation.formats import as_markdown, means_grid
from bitlens.evaluation.tables import build_table
from bitlens.system.files import write_text
from held import Held, fewest_table, held_table, proof_table
from judges import Scores, metrics_table, sets_table
from regions import regions_table

ROOT = Path(__file__).parents[1]
PAGES = tuple(ROOT / "docs" / "results" / f"{name}.md" for name in ("guarantee", "images", "judges", "keep", "regions"))
_ROWS = ROOT / "benchmarks" / "results"
_MARKED = re.compile(r"(<!-- made: (?P<kind>[a-z]+) ?(?P<folder>[^>]*) -->\n).*?(\n<!-- until here -->)", re.DOTALL)
_SETS = (
    ("insertion", "deletion"),
    ("degradation-8",),
    ("degradation-8", "road"),
    ("degradation-8", "road", "kept-per-bit"),
)


def _held(folder: str) -> list[Held]:
    return [Held(path) for path in sorted((_ROWS / "keep" / folder).glob("*.json"))]


MADE: Mapping[str, Callable[[str], str]] = {
    "areas": lambda _: areas_table([Areas(path) for path in sorted((_ROWS / "areas").glob("*.jsonl"))]),
    "evaluation": lambda folder: as_markdown(means_grid(build_table(_ROWS / folder))).partition("\n\n")[2].rstrip(),
    "fewest": lambda folder: fewest_table(_held(folder)),
    "held": lambda folder: held_table(_held(folder)),
    "judges": lambda folder: metrics_table(Scores(_ROWS / "judges" / folder)),
    "proof": lambda folder: proof_table(_held(folder)),
    "regions": lambda half: regions_table(_ROWS / "regions", half),
    "sets": lambda _: sets_table([Scores(place) for place in sorted((_ROWS / "judges").iterdir())], _SETS),
}
"""What a page may ask for, by its kind: the rest of the name, a folder or a half → the table."""


def written(page: str) -> str:
    """Return a page with every table made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{MADE[found['kind']](found['folder'])}\n{found[4]}", page)


if __name__ == "__main__":
    for path in PAGES:
        write_text(path, written(path.read_text("utf-8")))
