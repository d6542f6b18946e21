"""The bundled network explains bundled scenes, whose decisive pixels are known: nothing to download, nothing to believe."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bitlens.attribution import Attribution
from bitlens.bottlenecks.per_sample import IBA
from bitlens.cache import statistics_from
from bitlens.data.datasets import Sample, open_dataset
from bitlens.metrics import bounding_box_ratio
from bitlens.models.builtin import BUILTIN
from bitlens.models.load import load_model
from bitlens.photos import class_name
from bitlens.pictures import caption
from bitlens.view.encoding import save_photo
from bitlens.view.heatmap import draw_explanation, draw_grid, save_figure, save_raw

__all__ = ["DemoScene", "run_demo"]

_STATISTICS_SCENES = 256


@dataclass(frozen=True)
class DemoScene:
    """One scene, explained.

    Attributes:
        sample: the scene, with the exact mask of its objects.
        name: of the class that was asked for.
        attribution: of this scene alone.
        on_object: share of the n highest pixels of the map on the object, for an object of n pixels.
        object_share: share of the picture that the object takes, what a random map would score.
        shown: (3, H, W) in [0, 1].
    """

    sample: Sample
    name: str
    attribution: Attribution
    on_object: float
    object_share: float
    shown: torch.Tensor

    def row(self) -> dict[str, Any]:
        """Plain values for the summary."""
        shares = {"top_pixels_on_object": self.on_object, "object_share": self.object_share}
        files = {"files": self.stem, "seen": f"{self.stem}.seen.jpg"}
        return {"scene": self.sample.name, "name": self.name, **files, **self.attribution.summary()[0], **shares}

    @property
    def stem(self) -> str:
        """What its files are called."""
        return self.sample.name.replace(" ", "-")


def run_demo(out: Path, count: int, *, device: str, seed: int, progress: Callable[[str], None]) -> list[DemoScene]:
    """Explain the first `count` test scenes and write pictures, raw maps and attributions to `out`."""
    loaded, bundled = load_model("builtin/scenes", device=device), BUILTIN["scenes"]
    iba = IBA(loaded.model, bundled.layer, beta=bundled.beta, seed=seed)
    progress("statistics")
    train = open_dataset("builtin:scenes-train")[:_STATISTICS_SCENES]
    statistics_from(train, "builtin:scenes-train", loaded, iba, len(train), "channel")
    samples = [open_dataset("builtin:scenes")[i] for i in range(count)]
    images = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    progress("explaining")
    attribution = iba.explain(images.to(iba.probe.device), [sample.label for sample in samples])
    attribution = replace(attribution, model=loaded.name)
    masks = torch.stack([torch.from_numpy(sample.mask) for sample in samples if sample.mask is not None])
    ratios = bounding_box_ratio(attribution.map, masks)
    scenes = [
        DemoScene(
            sample,
            class_name(attribution.targets[i], loaded.classes),
            attribution[i],
            float(ratios[i]),
            float(masks[i].float().mean()),
            loaded.preprocess.display(images[i]),
        )
        for i, sample in enumerate(samples)
    ]
    progress("drawing")
    _draw(scenes, out)
    return scenes


def _draw(scenes: list[DemoScene], out: Path) -> None:
    for scene in scenes:
        stem = out / scene.stem
        figure = draw_explanation(
            scene.shown,
            scene.attribution.map[0],
            unit=scene.attribution.unit,
            title=scene.name,
            caption=caption(scene.attribution),
            outline=scene.sample.mask,
        )
        save_figure(figure, stem.with_suffix(".png"))
        save_raw(scene.attribution.map[0], stem.with_suffix(".npy"))
        save_photo(scene.shown, stem.with_suffix(".seen.jpg"))
        scene.attribution.save(stem.with_suffix(".safetensors"))
    sheet = draw_grid(
        [scene.shown for scene in scenes],
        [[scene.attribution.map[0]] for scene in scenes],
        unit=scenes[0].attribution.unit,
        row_titles=[scene.name for scene in scenes],
        column_titles=["information used"],
        captions=[[f"{scene.on_object:.0%} of top pixels on the object"] for scene in scenes],
    )
    save_figure(sheet, out / "sheet.png")
