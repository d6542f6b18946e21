"""What explain leaves in a folder, made without any network."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Curve, Evidence
from bitlens.view.encoding import save_photo

SETTINGS = {
    "name": "iba",
    "layer": "layer2",
    "beta": 10.0,
    "steps": 10,
    "noise_samples": 10,
    "antithetic": False,
    "rising": False,
    "seed": 0,
    "statistics": "per channel, 40 inputs",
    "statistics_data": "folder:some photos (40 photos)",
}

SHARES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
RISING = (100.0, 130.0, 170.0, 250.0, 300.0, 400.0, 600.0, 2000.0)


def photo_of(number: int, height: int = 40, width: int = 60) -> torch.Tensor:
    """A smooth photo, another one for each number."""
    rng = np.random.default_rng(number)
    small = torch.from_numpy(rng.random((1, 3, 5, 6), dtype=np.float32))
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")[0]


def in_bits(number: int, height: int = 40, width: int = 60, under: float = 0.8) -> Attribution:
    """A map with all its bits around one place."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    bits = torch.exp(-8 * ((x - 0.6) ** 2 + (y - 0.6) ** 2))[None] * (1 + number)
    proof = Evidence(torch.tensor([0.9]), torch.tensor([under]), torch.tensor([0.05]))
    total = bits.sum((1, 2))
    return Attribution(
        bits, "bits/pixel", "iba", ("7",), SETTINGS, layer="layer2", total_bits=total, evidence=proof, version="0.1.0"
    )


def with_curve(bits: tuple[float, ...], kept: tuple[float, ...] = SHARES, keep: float = 0.9) -> Attribution:
    """An attribution with a curve made by hand."""
    one = in_bits(0)
    given = torch.tensor([bits])
    maps = one.map[:, None] * given[..., None, None] / one.map.sum()
    number = torch.tensor([0.9])
    proof = Evidence(number, number - 0.1, number * 0, floor=number - 0.8, floor_std=number * 0, floor_error=number * 0)
    curve = Curve(torch.tensor([kept]), given, maps)
    return replace(one, evidence=proof, curve=curve, settings={**one.settings, "keep": keep})


def in_scores(number: int, height: int = 40, width: int = 60) -> Attribution:
    """A map for and against."""
    scores = torch.randn((1, height, width), generator=torch.Generator().manual_seed(number))
    return Attribution(scores, "score", "gradient", ("7",), {"name": "gradient"})


def write_results(folder: Path, photos: int = 2, name: str = "class {}", stem: str = "photo-{}", **size: int) -> Path:
    """A folder with photos explained by iba and gradient."""
    rows = []
    for number in range(photos):
        file = stem.format(number)
        save_photo(photo_of(number, **size), folder / f"{file}.seen.jpg")
        for made in (in_bits(number, **size), in_scores(number, **size)):
            made.save(folder / f"{file}.{made.method}.safetensors")
            rows.append(
                {
                    "photo": f"some/where/{file}.jpg",
                    "name": name.format(number),
                    "files": f"{file}.{made.method}",
                    "seen": f"{file}.seen.jpg",
                    "probability_before": 0.9 - 0.1 * number,
                    **made.summary()[0],
                }
            )
    settings = {
        "command": ["explain", "some/where", "--model", "builtin/scenes", "--method", "iba,gradient"],
        "model": "builtin/scenes",
        "seed": 0,
        "methods": {"iba": SETTINGS, "gradient": {"name": "gradient", "seed": 0}},
    }
    summary = {"settings": settings, "photos": rows, "skipped": {}, "refused": {}}
    (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    return folder
