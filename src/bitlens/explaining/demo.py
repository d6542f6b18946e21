"""The bundled network explains bundled scenes, whose decisive pixels are known: nothing to download, nothing to believe.

Twice: by masks that are searched for each scene, and by the bundled readout, which reads them in the clean pass.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout.readout import ReadoutIBA
from bitlens.data.datasets import Sample, open_dataset
from bitlens.explaining.photos import Explained, Found, Ready
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.specs import Spec
from bitlens.methods.teaching import Source, Teacher
from bitlens.metrics import bounding_box_ratio
from bitlens.models.builtin import BUILTIN
from bitlens.models.classes import class_name
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.view.canvas import save_figure
from bitlens.view.card import caption
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.encoding import save_photo
from bitlens.view.heatmap import save_raw
from bitlens.view.scales import Ends
from bitlens.view.sheet import draw_grid

_STATISTICS_SCENES = 256
_DETAILS = {"iba": "searched for this scene", "readout": "read in the clean pass"}


@dataclass(frozen=True)
class DemoScene:
    """One scene, explained.

    Attributes:
        sample: the scene, with the exact mask of its objects.
        explained: by each method.
        on_object: by each method, the share of the n highest pixels of its map on the object, for an object of n pixels.
        object_share: share of the picture that the object takes, what a random map would score.
    """

    sample: Sample
    explained: Explained
    on_object: Sequence[float]
    object_share: float

    def rows(self) -> list[dict[str, Any]]:
        """Give plain values for the summary, one mapping for each method."""
        rows = []
        for row, hits in zip(self.explained.rows(), self.on_object, strict=True):
            del row["photo"]
            measured = {"top_pixels_on_object": hits, "object_share": self.object_share}
            rows.append({"scene": self.sample.name, **row, **measured})
        return rows


@dataclass(frozen=True)
class Demo:
    """Results of a demo.

    Attributes:
        scenes: that were explained.
        seconds: for the map of one scene, by method, all scenes in one call and without evidence.
    """

    scenes: Sequence[DemoScene]
    seconds: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """Say how many times cheaper the readout was."""
        return self.seconds["iba"] / self.seconds["readout"]


def run_demo(out: Path, count: int, *, device: str, seed: int, progress: Callable[[str], None]) -> Demo:
    """Explain the first `count` test scenes and write pictures, raw maps and attributions to `out`."""
    loaded = load_model("builtin/scenes", device=device)
    progress("statistics")
    methods = _methods(loaded, seed)
    samples = [open_dataset("builtin:scenes")[i] for i in range(count)]
    images = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    labels = [sample.label for sample in samples]
    on_device = images.to(methods[0].method.probe.device)
    progress("explaining")
    found = [ready.method.explain(on_device, labels) for ready in methods]
    seconds = {ready.label: _seconds(ready.method, on_device, labels) for ready in methods}
    masks = torch.stack([torch.from_numpy(sample.mask) for sample in samples if sample.mask is not None])
    with torch.no_grad():
        said = loaded.model(on_device).softmax(1)
    ratios = [bounding_box_ratio(one.map, masks) for one in found]
    scenes = []
    for i, sample in enumerate(samples):
        maps = [Found(r, replace(one[i], model=loaded.name), False) for r, one in zip(methods, found, strict=True)]
        proof, stem, name = (
            maps[0].attribution,
            sample.name.replace(" ", "-"),
            class_name(found[0].targets[i], loaded.classes),
        )
        before = float(proof.evidence.before[0]) if proof.evidence is not None else 0.0
        named = {"predicted": class_name(str(int(said[i].argmax())), loaded.classes), "label": name}
        explained = Explained(
            Path(stem), stem, loaded.preprocess.display(images[i]), name, before, tuple(maps),
            confidence=float(said[i].max()), **named,
        )  # fmt: skip
        hits = [float(ratio[i]) for ratio in ratios]
        scenes.append(DemoScene(sample, explained, hits, float(masks[i].float().mean())))
    progress("drawing")
    ends = Ends()
    for one in (one for scene in scenes for one in scene.explained.found):
        ends.count(one.ready.label, one.attribution)
    for scene in scenes:
        _write(scene, out, ends)
    _draw_sheet(scenes, out / "sheet.png")
    return Demo(scenes, seconds)


def _methods(loaded: Loaded, seed: int) -> list[Ready]:
    bundled = BUILTIN["scenes"]
    iba = IBA(loaded.model, bundled.layer, beta=bundled.beta, seed=seed)
    train = open_dataset("builtin:scenes-train")[:_STATISTICS_SCENES]
    Teacher(loaded, Source("builtin:scenes-train", train, len(train))).teach(STATISTICS, iba)
    readout = ReadoutIBA(loaded.model, weights=bundled.readout, seed=seed)
    return [Ready("iba", Spec("iba", {}), iba), Ready("readout", Spec("readout", {}), readout, alone=False)]


def _seconds(method: Any, images: Tensor, labels: Sequence[int | None]) -> float:
    """Time a method that has explained these images before, for the map of one of them; maps are on the CPU when it returns."""
    began = time.perf_counter()
    method.explain(images, labels, evidence_samples=0)
    return (time.perf_counter() - began) / len(images)


def _write(scene: DemoScene, out: Path, ends: Ends) -> None:
    explained = scene.explained
    maps = [one.attribution for one in explained.found]
    panels = [Panel(one.map[0].numpy(), ends.scale(one.method, one), one.method, _DETAILS[one.method]) for one in maps]
    proofs = "\n".join(f"{one.method}: {caption(one)}" for one in maps)
    figure = draw_comparison(explained.pixels, panels, title=explained.name, caption=proofs, outline=scene.sample.mask)
    save_figure(figure, out / f"{explained.stem}.png")
    save_photo(explained.pixels, out / explained.seen)
    for one in explained.found:
        save_raw(one.attribution.map[0], out / f"{explained.stem}{one.ready.endings[0]}.npy")
        one.attribution.save(out / f"{explained.stem}{one.ready.endings[0]}.safetensors")


def _draw_sheet(scenes: Sequence[DemoScene], path: Path) -> None:
    shown = [scene.explained for scene in scenes]
    sheet = draw_grid(
        [one.pixels for one in shown],
        [[one.attribution.map[0] for one in scene.found] for scene in shown],
        unit=shown[0].found[0].attribution.unit,
        row_titles=[one.name for one in shown],
        column_titles=[f"{name}, {details}" for name, details in _DETAILS.items()],
        captions=[[f"{share:.0%} of top pixels on the object" for share in scene.on_object] for scene in scenes],
    )
    save_figure(sheet, path)
