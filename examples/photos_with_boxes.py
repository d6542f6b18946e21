"""How well do maps point at the labelled object, and does the prediction survive the noise?

Explains photos for their labelled class and prints, with standard errors, the probability before and under noise, total
bits, and the top-n box ratio over the photos whose boxes cover less than a third of the picture; several layers can be
compared. Also writes the best and the worst of them as a contact sheet.

    python examples/photos_with_boxes.py --model FILE.py:CALLABLE --data csv:val.csv --statistics-from DIR \
        --limit 200 --layers layer2 --out DIR
"""

import argparse
import json
from pathlib import Path

import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.boxes import box_mask
from bitlens.data.datasets import open_dataset
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.teaching import Source, Teacher
from bitlens.metrics import bounding_box_ratio
from bitlens.models.classes import read_classes
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.system.files import write_text
from bitlens.view.heatmap import draw_grid, save_figure

MOST_BOX = 0.33  # of the picture, algorithms G2
BATCH = 8


def mean_and_error(values: torch.Tensor) -> dict[str, float]:
    """Mean and standard error."""
    return {"mean": float(values.mean()), "standard_error": float(values.std() / len(values) ** 0.5), "n": len(values)}


def measure(loaded: Loaded, layer: str, arguments: argparse.Namespace) -> tuple[dict, list[dict]]:
    """Numbers for one layer, and one row per photo."""
    iba = IBA(loaded.model, layer, beta=arguments.beta, quality=arguments.quality, seed=arguments.seed)
    source = Source.open(arguments.statistics_from, "image", arguments.statistics_count)
    Teacher(loaded, source).teach(STATISTICS, iba)
    samples = open_dataset(arguments.data)
    samples = samples[:: max(1, len(samples) // arguments.limit)][: arguments.limit]
    rows: list[dict] = []
    for start in range(0, len(samples), BATCH):
        batch = [samples[i] for i in range(start, min(start + BATCH, len(samples)))]
        photos = [sample.image for sample in batch]
        images = torch.stack([loaded.preprocess(photo) for photo in photos])
        made = iba.explain(images, [sample.label for sample in batch])
        masks = torch.stack(
            [box_mask(sample.boxes, photo.size, loaded.preprocess) for sample, photo in zip(batch, photos, strict=True)]
        )
        ratios = bounding_box_ratio(made.map, masks)
        for i, sample in enumerate(batch):
            counts = float(masks[i].mean()) <= MOST_BOX and bool((masks[i] > 0.5).any())
            rows.append(
                {
                    "name": sample.name,
                    "label": sample.label,
                    "before": float(made.evidence.before[i]),
                    "under_noise": float(made.evidence.under_noise[i]),
                    "bits": float(made.total_bits[i]),
                    "box_ratio": float(ratios[i]) if counts else None,
                    "box_share": float(masks[i].mean()),
                    "image": loaded.preprocess.display(images[i]),
                    "map": made.map[i],
                }
            )
        print(f"\r{loaded.name} {layer}: {len(rows)}/{len(samples)}", end="", flush=True)
    print()
    boxed = [row for row in rows if row["box_ratio"] is not None]
    result = {
        "before": mean_and_error(torch.tensor([row["before"] for row in rows])),
        "under_noise": mean_and_error(torch.tensor([row["under_noise"] for row in rows])),
        "bits": mean_and_error(torch.tensor([row["bits"] for row in rows])),
        "box_ratio": mean_and_error(torch.tensor([row["box_ratio"] for row in boxed])),
        "box_share": mean_and_error(torch.tensor([row["box_share"] for row in boxed])),
    }
    return result, rows


def sheet(rows: list[dict], names: tuple[str, ...] | None, path: Path) -> None:
    """The five photos with the highest and the five with the lowest box ratio."""
    ranked = sorted((row for row in rows if row["box_ratio"] is not None), key=lambda row: -row["box_ratio"])
    chosen = ranked[:5] + ranked[-5:]
    figure = draw_grid(
        [row["image"] for row in chosen],
        [[row["map"]] for row in chosen],
        unit="bits/pixel",
        row_titles=[names[row["label"]] if names else str(row["label"]) for row in chosen],
        column_titles=["information used"],
        captions=[
            [f"box ratio {row['box_ratio']:.2f} · p {row['before']:.2f} → {row['under_noise']:.2f}"] for row in chosen
        ],
        shared_scale=False,
    )
    save_figure(figure, path)


def main() -> None:
    """Read the arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--statistics-from", required=True)
    parser.add_argument("--statistics-count", type=int, default=200)
    parser.add_argument("--layers", nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--beta", type=float, default=10.0)
    parser.add_argument("--quality", default="paper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model)
    names = read_classes(arguments.classes) if arguments.classes else loaded.classes
    results = {}
    for layer in arguments.layers:
        results[layer], rows = measure(loaded, layer, arguments)
        print(json.dumps({layer: results[layer]}, indent=2))
        sheet(rows, names, arguments.out / f"best-and-worst-{layer}.png")
        plain = [{k: v for k, v in row.items() if k not in ("image", "map")} for row in rows]
        write_text(arguments.out / f"{layer}.json", json.dumps({"result": results[layer], "rows": plain}, indent=1))


if __name__ == "__main__":
    main()
