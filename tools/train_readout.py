"""Train the readout that comes with the network of `scenes`: python tools/train_readout.py.

It can be asked for any class, and learns that on pairs of scenes. The statistics are per channel: it takes pictures of any
size.
"""

import argparse
import time
from pathlib import Path

import torch

from bitlens.bottlenecks.readout.readout import ReadoutIBA
from bitlens.data.scenes import CLASSES
from bitlens.models.builtin.scenes import LAYER, MEAN, READOUT, STD, scenes
from bitlens.training.examples import InMemory, Pairs
from bitlens.training.loop import Moment
from bitlens.training.settings import TrainingSettings
from train_scenes import draw_examples

__all__ = ["main", "train_readout"]

SCENES = 1000
BETA = 1.0
EPOCHS = 10


def train_readout(images: torch.Tensor, labels: torch.Tensor, epochs: int, seed: int) -> ReadoutIBA:
    """A readout of the bundled network, trained.

    Args:
        images: (N, 3, S, S) uint8.
        labels: (N,).
        epochs: how often each scene is looked at.
        seed: of weights, order and noise.
    """
    readout = ReadoutIBA(scenes()[0], LAYER, beta=BETA, conditional=True)
    settings = TrainingSettings(epochs=epochs, learning_rate=2e-3, patience=0, seed=seed)
    data = f"builtin:scenes-train ({len(labels)} scenes, in pairs, seed {seed})"
    began = time.perf_counter()

    def tell(moment: Moment) -> None:
        if moment.step == moment.steps:
            print(
                f"epoch {moment.epoch}/{epochs}  loss {moment.loss:.4f}  {time.perf_counter() - began:.0f} s",
                flush=True,
            )

    inputs = (images.float() / 255 - MEAN) / STD
    paired, how = Pairs(InMemory([(inputs, labels)]), seed), "96x96, normalised"
    readout.fit_statistics([inputs], data=data, preprocessing=how)
    done = readout.fit_weights(paired, settings, data=data, preprocessing=how, progress=tell)
    losses = ", ".join(f"{name} {value:.4f}" for name, value in done.rows[done.best_epoch - 1].held_out.items())
    print(f"epoch {done.best_epoch} of {len(done.rows)}, {done.held_out} held-out scenes: {losses}")
    return readout


def main() -> None:
    """Read the arguments, draw, train, and write the readout in one piece."""
    parser = argparse.ArgumentParser(description="Train the readout that comes with builtin/scenes.")
    parser.add_argument("--out", type=Path, default=READOUT, help="where the readout goes")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if min(arguments.epochs, arguments.scenes) < 1 or not arguments.out.parent.is_dir():
        parser.error("--epochs and --scenes must be 1 or more, and the folder of --out must exist")
    torch.set_num_threads(1)  # two threads that wait for each other crawl where other work shares the cores
    examples = draw_examples("train", arguments.scenes, arguments.seed)
    readout = train_readout(examples.images, examples.labels, arguments.epochs, arguments.seed)
    readout.save(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB, for {len(CLASSES)} classes")


if __name__ == "__main__":
    main()
