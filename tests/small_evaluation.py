"""A small network and a few photos with boxes, on disk as a user has them."""

from pathlib import Path

import numpy as np
from PIL import Image

from bitlens.evaluation.context import Context, open_context
from bitlens.evaluation.measures import read_metrics
from bitlens.evaluation.plan import Plan
from bitlens.methods.naming import read_methods

NETWORK = """
import torch
from torch import nn
from torchvision.transforms import v2

def build():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
    head = [nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)]
    steps = [v2.Resize(48), v2.CenterCrop(48), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return nn.Sequential(first, *head), v2.Compose([*steps, v2.Normalize([0.5] * 3, [0.25] * 3)])

def other():
    model, prepare = build()
    with torch.no_grad():
        model[-1].bias += 1
    return model, prepare
"""


def write_photos(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize((72, 54), Image.Resampling.BICUBIC).save(folder / f"{i}.png")


def write_table(folder: Path, count: int) -> None:
    """Photos 0 to count - 1; the second has no box, the third one that is too large, the fourth no label."""
    boxes = {1: "", 2: "0 0 72 54"}
    rows = [f"photos/{i}.png,{'' if i == 3 else i % 4},{boxes.get(i, f'{14 + i} 9 {38 + i} 30')}" for i in range(count)]
    (folder / "table.csv").write_text("file,label,boxes\n" + "\n".join(rows) + "\n")


def make_home(folder: Path) -> Path:
    """A folder with net.py, eight photos and table.csv."""
    (folder / "net.py").write_text(NETWORK)
    write_photos(folder / "photos", 8)
    write_table(folder, 8)
    return folder


def plan_for(home: Path, methods: str, metrics: str, **others) -> Plan:
    return Plan(
        **{
            "model": f"{home / 'net.py'}:build",
            "data": f"csv:{home / 'table.csv'}",
            "methods": read_methods(methods),
            "metrics": read_metrics(metrics),
            "layer": "0",
            **others,
        }
    )


def context_for(home: Path, methods: str, metrics: str, out: str = "out", *, keep_maps=False, **others) -> Context:
    plan = plan_for(home, methods, metrics, **others)
    return open_context(plan, home / out, "cpu", lambda *_: None, keep_maps=keep_maps)
