"""Write what methods and metrics may be set with into the files that the command line reads: after a signature changed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bitlens
from bitlens.evaluation.measures import METRICS
from bitlens.methods import METHODS
from bitlens.methods.settings import as_row, settings_of
from bitlens.system.files import write_text


def files() -> dict[Path, str]:
    """Return what the files should hold, by their places."""
    methods = {kind: {e.name: as_row(settings_of(e.build)) for e in known.values()} for kind, known in METHODS.items()}
    metrics = {
        kind: {m.name: as_row(settings_of(m.compute)) for m in known.values()} for kind, known in METRICS.items()
    }
    package = Path(bitlens.__file__).parent
    rooms = (("methods", methods), ("evaluation", metrics))
    return {package / room / "settings.json": "".join(_lines(content, depth=4)) + "\n" for room, content in rooms}


def _lines(content: Any, depth: int, indent: str = "") -> Iterator[str]:
    """Write JSON with mappings spread over lines down to a depth: one line for each setting."""
    if not depth or not isinstance(content, Mapping) or not content:
        yield json.dumps(content, ensure_ascii=False)
        return
    yield "{\n"
    for number, (name, value) in enumerate(content.items()):
        yield (",\n" if number else "") + f"{indent} {json.dumps(name)}: "
        yield from _lines(value, depth - 1, f"{indent} ")
    yield f"\n{indent}}}"


if __name__ == "__main__":
    for place, content in files().items():
        write_text(place, content)
