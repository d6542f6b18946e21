"""IBA on the bundled vision transformer by layer, β and what happens to the class token, judged by exact masks.

    python benchmarks/vision_transformers.py --split train --scenes 40         # to choose by
    python benchmarks/vision_transformers.py --split test --betas 1 --tokens restricted

Each line: means over scenes ± standard errors of the share of bits on the object, of the pointing game and of the area under
the ROC curve; bits in the picture, bits of the class token, and the class's probability before and under the noise.
"""

import argparse

import torch
from PIL import Image
from torch import Tensor

import bitlens
from bitlens.data.scenes import Scene, Scenes
from bitlens.metrics.localization import mass_inside, pointing_game, rank_auc

STATISTICS = 200  # scenes of the training split, from its beginning


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--layers", nargs="+", default=[f"blocks.{i}" for i in range(6)])
    parser.add_argument("--betas", nargs="+", type=float, default=[0.1, 1.0, 10.0])
    parser.add_argument("--tokens", nargs="+", default=["restricted", "mean", "whole"])
    parser.add_argument("--quality", choices=("fast", "paper", "best"), default="fast")
    return parser.parse_args()


def mean_and_error(values: Tensor) -> str:
    """As text."""
    known = values[~values.isnan()].double()
    return f"{float(known.mean()):.3f} ± {float(known.std() / len(known) ** 0.5):.3f}"


def main() -> None:
    """Print one line for each combination."""
    asked = arguments()
    loaded = bitlens.load_model("builtin/scenes-vit")

    def prepared(scenes: list[Scene]) -> Tensor:
        return torch.stack([loaded.preprocess(Image.fromarray(one.image)) for one in scenes])

    before = prepared(Scenes("train", STATISTICS)[:])
    chosen = Scenes(asked.split, asked.first + asked.scenes)[asked.first :]
    images, labels = prepared(chosen), torch.tensor([one.label for one in chosen])
    masks = torch.stack([torch.from_numpy(one.mask) for one in chosen])
    print("layer beta class-token mass-inside pointing-game rank-auc bits class-token-bits p-before p-under-noise")
    for layer in asked.layers:
        statistics = bitlens.IBA(loaded.model, layer).fit_statistics([before], granularity="channel").statistics
        for beta in asked.betas:
            for how in asked.tokens:
                iba = bitlens.IBA(
                    loaded.model, layer, beta=beta, quality=asked.quality, statistics=statistics, extra_tokens=how
                )
                found = iba.explain(images, labels, evidence_samples=8)
                assert found.total_bits is not None
                assert found.extra_bits is not None
                assert found.evidence is not None
                scores = [mean_and_error(f(found.map, masks)) for f in (mass_inside, pointing_game, rank_auc)]
                beside = found.extra_bits.sum(1)
                bits = f"{float((found.total_bits - beside).mean()):.0f} {float(beside.mean()):.0f}"
                proof = f"{float(found.evidence.before.mean()):.3f} {float(found.evidence.under_noise.mean()):.3f}"
                print(layer, f"{beta:g}", how, *scores, bits, proof, sep="  ", flush=True)


if __name__ == "__main__":
    main()
