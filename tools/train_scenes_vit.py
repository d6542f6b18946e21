"""Train the network of `scenes_vit` on generated scenes: python tools/train_scenes_vit.py.

The pictures are varied as for `scenes`, and objects stand alone at first for the same reason. The first convolutions are
those of `scenes` and stay as they are: what edges look like need not be learnt twice. At first the transformer sees a third
of the patches, those of objects and some of the others, which costs a fraction of the time; then ever more, and all at last.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.data.scenes import CLASSES
from bitlens.models.builtin.scenes import scenes
from bitlens.models.builtin.scenes_vit import WEIGHTS, SceneTransformer
from train_scenes import (
    BATCH,
    Examples,
    augment,
    make_weights,
)

__all__ = ["patches_at", "some_patches", "train"]

_STEM = ("conv1.", "bn1.", "layer1.")
TRAIN_SCENES = 6_000
FEWEST, ALL = 48, 144
GROWS = (0.4, 0.85)
"""When the number of patches begins and ends to grow, as shares of the training."""


def patches_at(done: float) -> int:
    """How many patches are seen when a share `done` of the training is done."""
    begin, end = GROWS
    return FEWEST + round((ALL - FEWEST) * min(max((done - begin) / (end - begin), 0.0), 1.0))


def some_patches(patches: Tensor, tiles: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Those of objects and, at random, of the ground.

    Args:
        patches: (N, T, D), one for each tile.
        tiles: (N, 1, h, w) bool, True where a tile touches an object.
        count: how many.
        generator: of the random choice.

    Returns:
        (N, count, D).
    """
    rank = torch.rand(tiles.shape, generator=generator) + tiles
    chosen = rank.flatten(1).topk(count).indices
    return patches.gather(1, chosen[..., None].expand(-1, -1, patches.shape[-1]))


def _known_stem() -> dict[str, Tensor]:
    return {name: value for name, value in scenes()[0].state_dict().items() if name.startswith(_STEM)}


def train(examples: Examples, epochs: int, seed: int) -> SceneTransformer:
    """Fit a fresh network, printing the mean loss of every epoch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = SceneTransformer(len(CLASSES)).eval()  # the stem's batch norm keeps what it knows
    network.load_state_dict(_known_stem(), strict=False)
    steps = len(examples.labels) // BATCH
    learnt = [parameter for name, parameter in network.named_parameters() if not name.startswith(_STEM)]
    optimizer = torch.optim.AdamW(learnt, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, epochs * steps, pct_start=0.15)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        order = torch.randperm(len(examples.labels), generator=generator)
        for step, chosen in enumerate(torch.split(order[: steps * BATCH], BATCH)):
            done = (epoch + step / steps) / epochs
            batch = Examples(examples.images[chosen], examples.labels[chosen], examples.tiles[chosen])
            x, target, tiles = augment(batch, max(0.0, 1 - 3 * done), generator)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    features = network.stem(x.contiguous(memory_format=torch.channels_last))
                patches = some_patches(network.embed(features), tiles, patches_at(done), generator)
                logits = network.classify(patches)
            loss = F.cross_entropy(logits.float(), target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(learnt, 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - began
        print(f"epoch {epoch + 1}/{epochs}  train loss {total / steps:.4f}  {seconds:.0f} s", flush=True)
    return network


if __name__ == "__main__":
    make_weights("builtin/scenes-vit", WEIGHTS, TRAIN_SCENES, 24, train)
