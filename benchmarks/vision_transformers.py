"""IBA on the bundled vision transformer by layer, β and what happens to the class token, judged by exact masks.

    python benchmarks/vision_transformers.py FOLDER --first 6000 --scenes 40
    python tools/paired.py FOLDER

Of each scene: the share of bits on the object, the area under the ROC curve, bits in the picture and of the class token, and the
class's probability before and under the noise.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from stored import Stored
from torch import Tensor

import bitlens
from bitlens.data.scenes import Scene, Scenes
from bitlens.metrics.localization import mass_inside, rank_auc

STATISTICS = 200  # scenes of the training split, from its beginning


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the rows; what it has is not measured again")
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--layers", nargs="+", default=[f"blocks.{i}" for i in range(6)])
    parser.add_argument("--betas", nargs="+", type=float, default=[0.1, 1.0, 10.0])
    parser.add_argument("--tokens", nargs="+", default=["restricted", "mean", "whole"])
    parser.add_argument("--quality", choices=("fast", "paper", "best"), default="fast")
    return parser.parse_args()


def main() -> None:
    """Measure each combination."""
    asked = arguments()
    stored = Stored(asked.out)
    loaded = bitlens.load_model("builtin/scenes-vit")

    def prepared(scenes: list[Scene]) -> Tensor:
        return torch.stack([loaded.preprocess(Image.fromarray(one.image)) for one in scenes])

    before = prepared(Scenes("train", STATISTICS)[:])
    chosen = Scenes(asked.split, asked.first + asked.scenes)[asked.first :]
    images, labels = prepared(chosen), torch.tensor([one.label for one in chosen])
    masks = torch.stack([torch.from_numpy(one.mask) for one in chosen])
    for layer in asked.layers:
        statistics = bitlens.IBA(loaded.model, layer).fit_statistics([before], granularity="channel").statistics
        for beta in asked.betas:
            for how in asked.tokens:
                name = f"{layer}, β = {beta:g}, class token {how}"
                if stored.has(name, len(images) - 1):
                    continue
                iba = bitlens.IBA(
                    loaded.model, layer, beta=beta, quality=asked.quality, statistics=statistics, extra_tokens=how
                )
                found = iba.explain(images, labels, evidence_samples=8)
                assert found.total_bits is not None
                assert found.extra_bits is not None
                assert found.evidence is not None
                beside = found.extra_bits.sum(1)
                scores = {"mass inside": mass_inside(found.map, masks), "rank AUC": rank_auc(found.map, masks)}
                bits = {"bits in the picture": found.total_bits - beside, "of the class token": beside}
                proof = {"p before": found.evidence.before, "p under noise": found.evidence.under_noise}
                stored.add_all(name, scores | bits | proof)
                print(name, flush=True)


if __name__ == "__main__":
    main()
