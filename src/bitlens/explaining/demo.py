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
from bitlens.core.attribution import Attribution
from bitlens.data.datasets import Sample, open_dataset
from bitlens.explaining.photos import class_name
from bitlens.explaining.pictures import caption
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.teaching import Source, Teacher
from bitlens.metrics import bounding_box_ratio
from bitlens.models.builtin import BUILTIN
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.view.canvas import save_figure
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.encoding import save_photo
from bitlens.view.heatmap import save_raw
from bitlens.view.sheet import draw_grid

_STATISTICS_SCENES = 256
_DETAILS = {"iba": "searched for this scene", "readout": "read in the clean pass"}


@dataclass(frozen=True)
class DemoMap:
    """One method's map of one scene.

    Attributes:
        method: its name.
        attribution: of this scene alone.
        on_object: share of the n highest pixels of the map on the object, for an object of n pixels.
    """

    method: str
    attribution: Attribution
    on_object: float

    def settings(self) -> dict[str, Any]:
        """Everything that decides what the map looks like, as plain values."""
        return {"name": self.method, "layer": self.attribution.layer, **self.attribution.settings}

    @property
    def ending(self) -> str:
        """What its files are called after the scene."""
        return "" if self.method == "iba" else f".{self.method}"


@dataclass(frozen=True)
class DemoScene:
    """One scene, explained.

    Attributes:
        sample: the scene, with the exact mask of its objects.
        name: of the class that was asked for.
        maps: of the methods.
        object_share: share of the picture that the object takes, what a random map would score.
        shown: (3, H, W) in [0, 1].
    """

    sample: Sample
    name: str
    maps: Sequence[DemoMap]
    object_share: float
    shown: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """Plain values for the summary, one mapping for each method."""
        return [
            {
                "scene": self.sample.name,
                "name": self.name,
                "files": f"{self.stem}{one.ending}",
                "seen": f"{self.stem}.seen.jpg",
                **one.attribution.summary()[0],
                "top_pixels_on_object": one.on_object,
                "object_share": self.object_share,
            }
            for one in self.maps
        ]

    @property
    def stem(self) -> str:
        """What its files are called."""
        return self.sample.name.replace(" ", "-")


@dataclass(frozen=True)
class Demo:
    """What a demo did.

    Attributes:
        scenes: that were explained.
        seconds: for the map of one scene, by method, all scenes in one call and without evidence.
    """

    scenes: Sequence[DemoScene]
    seconds: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """How many times cheaper the readout was."""
        return self.seconds["iba"] / self.seconds["readout"]


def run_demo(out: Path, count: int, *, device: str, seed: int, progress: Callable[[str], None]) -> Demo:
    """Explain the first `count` test scenes and write pictures, raw maps and attributions to `out`."""
    loaded = load_model("builtin/scenes", device=device)
    progress("statistics")
    methods = _methods(loaded, seed)
    samples = [open_dataset("builtin:scenes")[i] for i in range(count)]
    images = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    labels = [sample.label for sample in samples]
    on_device = images.to(methods["iba"].probe.device)
    progress("explaining")
    found = {name: method.explain(on_device, labels) for name, method in methods.items()}
    seconds = {name: _seconds(method, on_device, labels) for name, method in methods.items()}
    scenes = _scenes(samples, loaded, images, found)
    progress("drawing")
    for scene in scenes:
        _write(scene, out)
    _draw_sheet(scenes, out / "sheet.png")
    return Demo(scenes, seconds)


def _methods(loaded: Loaded, seed: int) -> dict[str, IBA | ReadoutIBA]:
    bundled = BUILTIN["scenes"]
    iba = IBA(loaded.model, bundled.layer, beta=bundled.beta, seed=seed)
    train = open_dataset("builtin:scenes-train")[:_STATISTICS_SCENES]
    Teacher(loaded, Source("builtin:scenes-train", train, len(train))).teach(STATISTICS, iba)
    return {"iba": iba, "readout": ReadoutIBA(loaded.model, weights=bundled.readout, seed=seed)}


def _seconds(method: IBA | ReadoutIBA, images: Tensor, labels: Sequence[int | None]) -> float:
    """Of a method that has explained these images before, for the map of one of them; maps are on the CPU when it returns."""
    began = time.perf_counter()
    method.explain(images, labels, evidence_samples=0)
    return (time.perf_counter() - began) / len(images)


def _scenes(
    samples: Sequence[Sample], loaded: Loaded, images: Tensor, found: Mapping[str, Attribution]
) -> list[DemoScene]:
    masks = torch.stack([torch.from_numpy(sample.mask) for sample in samples if sample.mask is not None])
    ratios = {name: bounding_box_ratio(one.map, masks) for name, one in found.items()}
    return [
        DemoScene(
            sample,
            class_name(found["iba"].targets[i], loaded.classes),
            [DemoMap(name, replace(one[i], model=loaded.name), float(ratios[name][i])) for name, one in found.items()],
            float(masks[i].float().mean()),
            loaded.preprocess.display(images[i]),
        )
        for i, sample in enumerate(samples)
    ]


def _write(scene: DemoScene, out: Path) -> None:
    stem = out / scene.stem
    maps = [one.attribution.map[0].numpy() for one in scene.maps]
    scale = Scale.over(maps, scene.maps[0].attribution.unit)
    panels = [
        Panel(values, scale, one.method, _DETAILS[one.method]) for values, one in zip(maps, scene.maps, strict=True)
    ]
    proofs = "\n".join(f"{one.method}: {caption(one.attribution)}" for one in scene.maps)
    figure = draw_comparison(scene.shown, panels, title=scene.name, caption=proofs, outline=scene.sample.mask)
    save_figure(figure, stem.with_suffix(".png"))
    save_photo(scene.shown, stem.with_suffix(".seen.jpg"))
    for one in scene.maps:
        save_raw(one.attribution.map[0], stem.with_suffix(f"{one.ending}.npy"))
        one.attribution.save(stem.with_suffix(f"{one.ending}.safetensors"))


def _draw_sheet(scenes: Sequence[DemoScene], path: Path) -> None:
    sheet = draw_grid(
        [scene.shown for scene in scenes],
        [[one.attribution.map[0] for one in scene.maps] for scene in scenes],
        unit=scenes[0].maps[0].attribution.unit,
        row_titles=[scene.name for scene in scenes],
        column_titles=[f"{one.method}, {_DETAILS[one.method]}" for one in scenes[0].maps],
        captions=[[f"{one.on_object:.0%} of top pixels on the object" for one in scene.maps] for scene in scenes],
    )
    save_figure(sheet, path)
