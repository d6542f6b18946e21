"""The built-in scene transformer: accurate enough, small, its training repeatable."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from bitlens.data.scenes import Scene
from bitlens.errors import ModelError
from bitlens.models.builtin import scenes_vit as vit_module
from bitlens.models.builtin.scenes import preprocess, scenes
from bitlens.models.builtin.scenes_vit import PATCH, WEIGHTS, SceneTransformer, scenes_vit
from drawn_scenes import drawn_scenes
from train_scenes import TILE, Examples
from train_scenes_vit import ALL, FEWEST, patches_at, some_patches, train

COUNT = 200


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return drawn_scenes("test", COUNT)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return scenes_vit()[0]


def answers(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(inputs).argmax(1)
    return found


def test_accuracy_hangs_on_the_object(network: nn.Module, drawn: list[Scene]) -> None:
    inputs = torch.stack([preprocess(Image.fromarray(s.image)) for s in drawn])
    labels = torch.tensor([s.label for s in drawn])
    masks = torch.from_numpy(np.stack([s.mask for s in drawn]))[:, None].float()
    rims = F.max_pool2d(masks, 9, stride=1, padding=4).bool()
    tiles = F.max_pool2d(masks, TILE).repeat_interleave(TILE, 2).repeat_interleave(TILE, 3).bool()
    assert (answers(network, inputs) == labels).float().mean() > 0.6
    without = answers(network, torch.where(rims | tiles, torch.zeros(()), inputs))
    assert (without == labels).float().mean() < 0.25


def test_weights_are_small_and_half_precision() -> None:
    assert WEIGHTS.stat().st_size < 3e6
    stored = load_file(WEIGHTS)
    assert {t.dtype for name, t in stored.items() if "num_batches" not in name} == {torch.float16}


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit_module, "WEIGHTS", WEIGHTS.with_name("gone.safetensors"))
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        scenes_vit()


def examples(count: int) -> Examples:
    drawn = drawn_scenes("train", count)
    masks = torch.from_numpy(np.stack([s.mask for s in drawn]))[:, None].float()
    images = torch.from_numpy(np.stack([s.image for s in drawn])).permute(0, 3, 1, 2)
    return Examples(images, torch.tensor([s.label for s in drawn]), F.max_pool2d(masks, PATCH).bool())


def test_some_patches_are_those_of_objects_and_others() -> None:
    tiles = torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.2
    patches = torch.arange(144.0).expand(5, 144)[..., None].repeat(1, 1, 2)
    chosen = some_patches(patches, tiles, FEWEST, torch.Generator().manual_seed(1))
    assert chosen.shape == (5, FEWEST, 2)
    for kept, all_tiles in zip(chosen[..., 0].long(), tiles.flatten(1), strict=True):
        assert len(set(kept.tolist())) == FEWEST
        assert set(all_tiles.nonzero()[:, 0].tolist()) <= set(kept.tolist())


def test_ever_more_patches_are_seen() -> None:
    counts = [patches_at(done / 20) for done in range(21)]
    assert (counts[0], counts[8], counts[17], counts[-1]) == (FEWEST, FEWEST, ALL, ALL)
    assert counts == sorted(counts)


def test_training_is_repeatable_and_leaves_the_stem() -> None:
    batch = examples(64)
    first, second = (train(batch, epochs=1, seed=0).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = train(batch, epochs=1, seed=1).state_dict()
    known = scenes()[0].state_dict()
    stem = [name for name in first if name.split(".")[0] in ("conv1", "bn1", "layer1")]
    assert len(stem) > 10
    assert all(torch.equal(first[name], known[name]) for name in stem)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_all_patches_and_some_of_them() -> None:
    network = SceneTransformer().eval()
    x = torch.randn(2, 3, 96, 96)
    patches = network.embed(network.stem(x))
    assert patches.shape == (2, 144, 96)
    torch.testing.assert_close(network.classify(patches), network(x))
    order = torch.randperm(144)
    torch.testing.assert_close(network.classify(patches[:, order]), network(x))
