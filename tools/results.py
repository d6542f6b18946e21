"""Write the tables of docs/results that are made of stored rows: between `<!-- made: NAME -->` and `<!-- until here -->`.

    python tools/results.py            # or make results

No number in them is typed; `tests/docs/test_results.py` compares each page with what its rows give.
"""

import re
from collections.abc import Callable
from pathlib import Path

from areas import Areas, areas_table
from bitlens.system.files import write_text
from held import Held, fewest_table, held_table, proof_table
from judges import Scores, metrics_table, sets_table

ROOT = Path(__file__).parents[1]
PAGES = tuple(ROOT / "docs" / "results" / f"{name}.md" for name in ("guarantee", "judges", "keep"))
_ROWS = ROOT / "benchmarks" / "results"
_MARKED = re.compile(r"(<!-- made: (?P<name>[^>]+) -->\n).*?(\n<!-- until here -->)", re.DOTALL)
_SETS = (
    ("insertion", "deletion"),
    ("degradation-8",),
    ("degradation-8", "road"),
    ("degradation-8", "road", "kept-per-bit"),
)


def made(name: str) -> str:
    """Return a table by its name: `judges FOLDER`, `judges sets`, `areas`; `held FOLDER`, `proof FOLDER` or `fewest FOLDER`."""
    kind, _, folder = name.partition(" ")
    if name == "judges sets":
        return sets_table([Scores(place) for place in sorted((_ROWS / "judges").iterdir())], _SETS)
    if kind == "judges":
        return metrics_table(Scores(_ROWS / name.replace(" ", "/")))
    if kind == "areas":
        return areas_table([Areas(path) for path in sorted((_ROWS / "areas").glob("*.jsonl"))])
    tables: dict[str, Callable[[list[Held]], str]] = {"held": held_table, "proof": proof_table, "fewest": fewest_table}
    return tables[kind]([Held(path) for path in sorted((_ROWS / "keep" / folder).glob("*.json"))])


def written(page: str) -> str:
    """Return a page with every table made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{made(found['name'])}\n{found[3]}", page)


if __name__ == "__main__":
    for path in PAGES:
        write_text(path, written(path.read_text("utf-8")))
