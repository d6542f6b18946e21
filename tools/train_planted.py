"""Train a network of planted signals, volumes or rows: python tools/train_planted.py signals|volumes|table.

In some examples the places that decide are covered, and the answer is "every class alike"; in others part of the rest is. So the
network gives its answer up when what it depends on is gone, and stands by it otherwise.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.data.planted import Draw, PlantedSet, Split
from bitlens.data.planted_signals import planted_signal
from bitlens.data.planted_table import MEAN, STD, planted_row
from bitlens.data.planted_volumes import planted_volume
from bitlens.models.builtin import signals, table, volumes
from bitlens.system.arrays import write_arrays

__all__ = ["RECIPES", "Examples", "Recipe", "draw_examples", "evaluate", "train", "varied"]

TEST = 1_000
COVERED, HIDDEN = 0.1, 0.5
"""Shares of the examples whose decisive places are covered, and of those of which part of the rest is."""


@dataclass(frozen=True)
class Examples:
    """Inputs ready for training.

    Attributes:
        inputs: (N, C, ...) as the network takes them; (N, D) of rows.
        labels: (N,) int64.
        masks: (N, ...) bool, the places that decide.
    """

    inputs: Tensor
    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Recipe:
    """Everything that one network is trained with.

    Attributes:
        draw: of one input.
        network: makes a fresh one.
        weights: where they go unless told otherwise.
        count: how many inputs are drawn.
        epochs: how many unless told otherwise.
        block: places along each axis that are covered together.
        rate: the highest learning rate.
        batch: how many inputs a step looks at.
        alone: share of the training at whose beginning nothing but the decisive places is seen; the rest appears by and by.
    """

    draw: Draw
    network: Callable[[], nn.Module]
    weights: Path
    count: int
    epochs: int
    block: int
    rate: float
    batch: int = 64
    alone: float = 0.0


RECIPES = {
    "signals": Recipe(planted_signal, signals.SignalNetwork, signals.WEIGHTS, 8_000, 10, 16, 4e-3),
    "volumes": Recipe(planted_volume, volumes.VolumeNetwork, volumes.WEIGHTS, 4_000, 30, 4, 5e-3, 32, 0.4),
    "table": Recipe(planted_row, table.TableNetwork, table.WEIGHTS, 12_000, 16, 1, 4e-3),
}


def draw_examples(draw: Draw, split: Split, count: int, seed: int) -> Examples:
    """Draw the first `count` inputs of a split."""
    drawn = PlantedSet(draw, split, count, seed)[:]
    inputs = torch.from_numpy(np.stack([one.numbers.values for one in drawn]))
    masks = torch.from_numpy(np.stack([one.mask for one in drawn]))
    return Examples(inputs, torch.tensor([one.label for one in drawn]), masks)


def varied(batch: Examples, block: int, generator: torch.Generator, ease: float = 0.0) -> tuple[Tensor, Tensor]:
    """Cover the decisive places of some examples and part of the rest of others, of all at least `ease`; turn volumes.

    Returns:
        The inputs, and (N, classes) target probabilities.
    """
    x, masks, count = batch.inputs, batch.masks, len(batch.labels)
    places = masks.shape[1:]
    wide = (count, *[1] * len(places))
    covered = torch.rand(wide, generator=generator) < COVERED
    blocks = torch.rand((count, *[-(-side // block) for side in places]), generator=generator)
    for axis in range(len(places)):
        blocks = blocks.repeat_interleave(block, axis + 1).narrow(axis + 1, 0, places[axis])
    rate = torch.rand(wide, generator=generator) * (torch.rand(wide, generator=generator) < HIDDEN)
    rate = rate.clamp(min=ease)
    hidden = torch.where(covered, masks, (blocks < rate) & ~masks)
    if x.dim() == 2:  # a row: what is covered gets what another row has there
        usual = torch.tensor(MEAN, dtype=torch.float32)
        away = torch.randn(x.shape, generator=generator) * torch.tensor(STD, dtype=torch.float32)
        x = torch.where(hidden, usual + away * torch.rand(wide, generator=generator), x)
    else:
        cover = torch.randn(x.shape, generator=generator) * 0.3 * torch.rand((count, 1, *wide[1:]), generator=generator)
        x = torch.where(hidden[:, None], cover, x)
    if len(places) == 3:
        order = torch.randperm(3, generator=generator) + 2
        x = x.permute(0, 1, *order.tolist())
        x = x.flip([axis + 2 for axis in range(3) if torch.rand((), generator=generator) < 0.5])
    classes = int(batch.labels.max()) + 1
    sure = F.one_hot(batch.labels, classes) * 0.98 + 0.02 / classes
    return x, torch.where(covered.reshape(-1, 1), 1 / classes, sure)


def train(recipe: Recipe, examples: Examples, epochs: int, seed: int) -> nn.Module:
    """Fit a fresh network, printing the mean loss of every epoch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = recipe.network().train()
    if examples.inputs.dim() == 5:
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # half the time
    steps = len(examples.labels) // recipe.batch
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, epochs * steps, pct_start=0.2)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        order = torch.randperm(len(examples.labels), generator=generator)
        for step, chosen in enumerate(torch.split(order[: steps * recipe.batch], recipe.batch)):
            done = (epoch + step / steps) / epochs
            ease = max(0.0, 1 - done / recipe.alone) if recipe.alone else 0.0
            batch = Examples(examples.inputs[chosen], examples.labels[chosen], examples.masks[chosen])
            x, target = varied(batch, recipe.block, generator, ease)
            x = x.contiguous(memory_format=torch.channels_last_3d) if x.dim() == 5 else x
            loss = F.cross_entropy(network(x), target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - began
        print(f"epoch {epoch + 1}/{epochs}  train loss {total / steps:.4f}  {seconds:.0f} s", flush=True)
    return network.eval()


@torch.no_grad()
def evaluate(network: nn.Module, examples: Examples) -> dict[str, float]:
    """Accuracy, mean confidence, and the share of inputs with a confidence above 0.9."""
    answers = torch.cat([network(x) for x in torch.split(examples.inputs, 100)])
    confidence, predicted = answers.softmax(dim=1).max(dim=1)
    return {
        "accuracy": (predicted == examples.labels).float().mean().item(),
        "mean confidence": confidence.mean().item(),
        "confidence above 0.9": (confidence > 0.9).float().mean().item(),
    }


def main() -> None:
    """Read the arguments, draw, train, write the weights in one piece, and test what was written."""
    parser = argparse.ArgumentParser(description="Train a bundled network of planted inputs.")
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, help="where the weights go (default: into the package)")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--count", type=int, help="how many inputs are drawn")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recipe = RECIPES[given.name]
    out, epochs, count = given.out or recipe.weights, given.epochs or recipe.epochs, given.count or recipe.count
    if epochs < 1 or count < recipe.batch or not out.parent.is_dir():
        parser.error(f"--epochs must be 1 or more, --count {recipe.batch} or more, and the folder of --out must exist")
    torch.set_num_threads(1)  # two threads that wait for each other crawl where other work shares the cores
    began = time.perf_counter()
    examples = draw_examples(recipe.draw, "train", count, given.seed)
    print(f"{count} inputs drawn in {time.perf_counter() - began:.0f} s", flush=True)
    network = train(recipe, examples, epochs, given.seed)
    stored = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    write_arrays(out, stored, {})
    network.load_state_dict(stored)
    measured = evaluate(network, draw_examples(recipe.draw, "test", TEST, given.seed))
    print(f"{TEST} test inputs: " + ", ".join(f"{what} {value:.4f}" for what, value in measured.items()))
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
