"""Train the network of `scenes` on generated scenes: python tools/train_scenes.py.

Besides flips, quarter turns and colour changes, training hides tiles. Where the ground is hidden the class stays;
where every object is hidden the answer is "every class alike". So the network stands by its answer when metrics
cover parts of a picture, and gives it up when what it depends on is gone. The first scenes show objects alone, and
the ground appears by and by: among distractors from the start, epochs pass before anything is learned.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from bitlens.data.scenes import CLASSES, Split, scene
from bitlens.models.builtin.scenes import MEAN, SIZE, STD, WEIGHTS, SceneNetwork
from bitlens.system.arrays import write_arrays

__all__ = ["Examples", "augment", "draw_examples", "evaluate", "make_weights", "train"]

TRAIN_SCENES, TEST_SCENES = 20_000, 2_000
BATCH = 64
TILE = 8
CHUNK = 500


@dataclass(frozen=True)
class Examples:
    """Scenes ready for training.

    Attributes:
        images: (N, 3, S, S) uint8.
        labels: (N,) int64.
        tiles: (N, 1, S / 8, S / 8) bool, True where a tile touches an object or its rim of two pixels.
    """

    images: torch.Tensor
    labels: torch.Tensor
    tiles: torch.Tensor


def _draw(
    start: int, *, count: int, split: Split, seed: int
) -> tuple[npt.NDArray[np.uint8], list[int], npt.NDArray[np.bool_]]:
    chunk = range(start, min(start + CHUNK, count))
    drawn = [scene(index, split=split, seed=seed, size=SIZE) for index in chunk]
    return np.stack([s.image for s in drawn]), [s.label for s in drawn], np.stack([s.mask for s in drawn])


def draw_examples(split: Split, count: int, seed: int) -> Examples:
    """Draw the first `count` scenes of a split with two processes."""
    images, labels, tiles = [], [], []
    draw = partial(_draw, count=count, split=split, seed=seed)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for pictures, names, masks in pool.map(draw, range(0, count, CHUNK)):
            images.append(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())
            labels.append(torch.tensor(names))
            rims = F.max_pool2d(torch.from_numpy(masks)[:, None].float(), 5, stride=1, padding=2)
            tiles.append(F.max_pool2d(rims, TILE).bool())
    return Examples(torch.cat(images), torch.cat(labels), torch.cat(tiles))


def _normalised(images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255 - MEAN) / STD


def _chance(n: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """(n, 1, 1, 1) bool, each True with `probability`."""
    return torch.rand(n, 1, 1, 1, generator=generator) < probability


def augment(
    batch: Examples, ease: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vary a batch; `ease` goes from 1 (objects alone) to 0 (the ground hidden in part of the pictures only).

    Returns:
        (N, 3, S, S) float32 normalised pictures, (N, classes) target probabilities, and the tiles of the varied pictures.
    """
    n = len(batch.labels)
    x = _normalised(batch.images)
    x = x * torch.empty(n, 1, 1, 1).uniform_(0.7, 1.3, generator=generator)
    x = x + torch.empty(n, 3, 1, 1).normal_(0, 0.2, generator=generator)
    grain = torch.randn(x.shape, generator=generator)
    x = x + grain * torch.rand(n, 1, 1, 1, generator=generator) * 0.2
    x = torch.where(_chance(n, 0.5, generator), x, x.roll(1, dims=1))

    emptied = _chance(n, 0.06, generator)
    rate = torch.rand(n, 1, 1, 1, generator=generator).clamp(min=ease)
    rate = rate * _chance(n, 0.4 + 0.6 * ease, generator)
    hidden = (torch.rand(batch.tiles.shape, generator=generator) < rate) & ~batch.tiles
    hidden = hidden | (emptied & batch.tiles)
    cover = 0.7 * grain.flip(0) * _chance(n, 0.2, generator)
    cover = cover + x.mean(dim=(2, 3), keepdim=True) * _chance(n, 0.5, generator)
    x = torch.where(hidden.repeat_interleave(TILE, 2).repeat_interleave(TILE, 3), cover, x)

    tiles = batch.tiles
    for turn in (
        partial(torch.flip, dims=(2,)),
        partial(torch.flip, dims=(3,)),
        partial(torch.transpose, dim0=2, dim1=3),
    ):
        stays = _chance(n, 0.5, generator)
        x, tiles = (torch.where(stays, each, turn(each)) for each in (x, tiles))
    sure = F.one_hot(batch.labels, len(CLASSES)) * 0.98 + 0.02 / len(CLASSES)
    return x, torch.where(emptied[:, 0, 0], 1 / len(CLASSES), sure), tiles


def train(examples: Examples, epochs: int, seed: int) -> SceneNetwork:
    """Fit a fresh network, printing the mean loss of every epoch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = SceneNetwork(len(CLASSES)).train()
    steps = len(examples.labels) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * steps, pct_start=0.15)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        order = torch.randperm(len(examples.labels), generator=generator)
        for step, chosen in enumerate(torch.split(order[: steps * BATCH], BATCH)):
            ease = max(0.0, 1 - 3 * (epoch + step / steps) / epochs)
            batch = Examples(examples.images[chosen], examples.labels[chosen], examples.tiles[chosen])
            x, target, _ = augment(batch, ease, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(x.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - began
        print(f"epoch {epoch + 1}/{epochs}  train loss {total / steps:.4f}  {seconds:.0f} s", flush=True)
    return network.eval()


@torch.no_grad()
def evaluate(network: torch.nn.Module, examples: Examples) -> dict[str, float]:
    """Accuracy, mean confidence, and the share of scenes with a confidence above 0.9."""
    batches = [network(_normalised(images)) for images in torch.split(examples.images, 250)]
    confidence, predicted = torch.cat(batches).softmax(dim=1).max(dim=1)
    return {
        "accuracy": (predicted == examples.labels).float().mean().item(),
        "mean confidence": confidence.mean().item(),
        "confidence above 0.9": (confidence > 0.9).float().mean().item(),
    }


def make_weights(
    name: str, weights: Path, scenes: int, epochs: int, train: Callable[[Examples, int, int], nn.Module]
) -> None:
    """Read the arguments, draw, train, write the weights in one piece, and test what was written.

    Args:
        name: of the bundled network.
        weights: where they go unless told otherwise.
        scenes: how many are drawn to train on.
        epochs: how many unless told otherwise.
        train: examples, epochs, seed → the trained network.
    """
    parser = argparse.ArgumentParser(description=f"Train the network {name} on generated scenes.")
    parser.add_argument("--out", type=Path, default=weights, help="where the weights go")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.epochs < 1 or not arguments.out.parent.is_dir():
        parser.error("--epochs must be 1 or more, and the folder of --out must exist")
    torch.set_num_threads(1)  # two threads that wait for each other crawl where other work shares the cores
    began = time.perf_counter()
    examples = draw_examples("train", scenes, arguments.seed)
    print(f"{scenes} scenes drawn in {time.perf_counter() - began:.0f} s", flush=True)
    network = train(examples, arguments.epochs, arguments.seed).half()
    write_arrays(arguments.out, network.state_dict(), {})
    measured = evaluate(network.float(), draw_examples("test", TEST_SCENES, arguments.seed))
    print(f"{TEST_SCENES} test scenes: " + ", ".join(f"{what} {value:.4f}" for what, value in measured.items()))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB, {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    make_weights("builtin/scenes", WEIGHTS, TRAIN_SCENES, 12, train)
