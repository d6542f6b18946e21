"""Table of what `bitlens text layers` wrote of a text: bits that pass, and the probability that they keep, by layer and network.

python tools/text_layers.py FOLDER/layers.json
"""

import json
import sys
from pathlib import Path


def text_layers_table(path: Path) -> str:
    """Return a line for each layer, a column for each network and price."""
    rows = json.loads(path.read_text("utf-8"))
    cells = {
        (row["layer"], (row["model"], row["beta"])): f"{row['total_bits']:,.0f} · {row['probability_under_noise']:.2f}"
        for row in rows
    }
    columns = list(dict.fromkeys(column for _, column in cells))
    heads = ["layer", *(f"{model.rpartition(':')[2]}, β = {beta:g}" for model, beta in columns)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for layer in dict.fromkeys(layer for layer, _ in cells):
        lines.append(f"| `{layer}` | {' | '.join(cells[layer, column] for column in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(text_layers_table(Path(sys.argv[1])))
