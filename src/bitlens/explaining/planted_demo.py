"""Bundled networks explain generated signals, volumes and rows of tables, whose decisive places are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.datasets import Sample, open_dataset
from bitlens.explaining.photo import read_photo
from bitlens.explaining.photos import Explained, Found, Ready
from bitlens.explaining.pictures import draw_reading
from bitlens.explaining.shown import save_shown, shown_of
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.specs import Spec
from bitlens.methods.teaching import Source, Teacher
from bitlens.metrics import bounding_box_ratio
from bitlens.models.classes import class_name
from bitlens.models.load import load_model
from bitlens.probe import Network
from bitlens.view.canvas import save_figure
from bitlens.view.heatmap import save_raw
from bitlens.view.scales import Ends

KINDS = {"signal": "signals", "volume": "volumes", "table": "table"}
"""Names of the bundled network and data set of each kind."""
_STATISTICS = {"signal": 128, "volume": 32, "table": 1000}
"""From how many inputs statistics are made: a signal has hundreds of places, a volume thousands, a row one of each feature."""


@dataclass(frozen=True)
class PlantedDemo:
    """Results of a demo.

    Attributes:
        model: name of the network.
        ready: the method.
        rows: plain values for the summary, one mapping for each input.
    """

    model: str
    ready: Ready
    rows: Sequence[dict[str, Any]]


def run_planted_demo(
    out: Path, kind: str, count: int, *, device: str, seed: int, progress: Callable[[str], None]
) -> PlantedDemo:
    """Explain the first `count` test inputs of a kind, one of `KINDS`; write pictures, raw maps and attributions to `out`."""
    name = KINDS[kind]
    loaded = load_model(f"builtin/{name}", device=device)
    progress("statistics")
    method = IBA(loaded.model, loaded.layer or "", beta=loaded.beta or 1.0, seed=seed)
    train = open_dataset(f"builtin:{name}-train")[: _STATISTICS[kind]]
    Teacher(loaded, Source(f"builtin:{name}-train", train, len(train))).teach(STATISTICS, method)
    ready, network = Ready("iba", Spec("iba", {}), method), Network(loaded.model)
    rows = []
    for number in range(count):
        sample = open_dataset(f"builtin:{name}")[number]
        progress(f"explaining {sample.name}")
        photo = read_photo(sample, network, loaded.preprocess)
        made = replace(method.explain(photo.image, photo.target), model=loaded.name)
        explained = Explained(
            Path(sample.name.replace(" ", "-")),
            sample.name.replace(" ", "-"),
            shown_of(photo),
            class_name(photo.asked, loaded.classes),
            photo.probability,
            (Found(ready, made, False),),
        )
        _write(explained, sample, out)
        rows.append(_row(explained, sample))
    return PlantedDemo(loaded.name, ready, rows)


def _write(explained: Explained, sample: Sample, out: Path) -> None:
    made = explained.found[0].attribution
    save_figure(draw_reading(explained, Ends(), sample.mask), out / f"{explained.stem}.png")
    save_raw(made.map[0], out / f"{explained.stem}.npy")
    save_shown(explained.shown, out / explained.seen)
    made.save(out / f"{explained.stem}.safetensors")


def _row(explained: Explained, sample: Sample) -> dict[str, Any]:
    """Return plain values of an input, with the share of the n highest places that are planted, where n places are."""
    assert sample.mask is not None
    mask, found = torch.from_numpy(sample.mask), explained.found[0].attribution.map[0]
    hits = float(bounding_box_ratio(found.reshape(1, 1, -1), mask.reshape(1, 1, -1)))
    (row,) = explained.rows()
    del row["photo"]
    return {"scene": sample.name, **row, "top_pixels_on_object": hits, "object_share": float(mask.float().mean())}
