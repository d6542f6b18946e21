"""How sure proofs are, from the rows of benchmarks/proofs.py, one for each photo."""

import json
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev

_TITLE = ("network", "map", "photos", "rule", "noises", "off by", "interval right")


def proofs_table(folder: Path) -> str:
    """Return, for each network, map and rule: noises, root mean square error of what is kept, how often its interval is right."""
    lines = [f"| {' | '.join(_TITLE)} |", f"|{' --- |' * len(_TITLE)}"]
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for (named, rule), group in groupby(rows, lambda row: (row["map"], row["rule"])):
            found = list(group)
            right = [row["right"] for row in found]
            off = fmean(row["off"] ** 2 for row in found) ** 0.5
            lines.append(
                f"| {path.stem} | {named} | {len(found)} | {rule} | {fmean(row['noises'] for row in found):.1f} | {off:.3f} | "
                f"{fmean(right):.3f} ± {stdev(right) / len(right) ** 0.5:.3f} |"
            )
    return "\n".join(lines)
