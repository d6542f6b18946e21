"""The built-in scene network: accurate, small, and dependent on the object's pixels."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from bitlens.core.layout import detect_layout
from bitlens.data.scenes import CLASSES, Scene, scene
from bitlens.errors import ModelError
from bitlens.models.builtin import BUILTIN
from bitlens.models.builtin import scenes as scenes_module
from bitlens.models.builtin.scenes import MEAN, STD, WEIGHTS, SceneNetwork, preprocess, scenes
from drawn_scenes import drawn_scenes
from train_scenes import TILE, Examples, augment, draw_examples, evaluate, make_weights, train

COUNT = 500


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return drawn_scenes("test", COUNT)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return scenes()[0]


@pytest.fixture(scope="module")
def inputs(drawn: list[Scene]) -> torch.Tensor:
    return torch.stack([preprocess(Image.fromarray(s.image)) for s in drawn])


@pytest.fixture(scope="module")
def labels(drawn: list[Scene]) -> torch.Tensor:
    return torch.tensor([s.label for s in drawn])


@torch.no_grad()
def probabilities(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return network(inputs).softmax(dim=1)


def test_accuracy_and_confidence(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    confidence, predicted = probabilities(network, inputs).max(dim=1)
    accuracy = (predicted == labels).float().mean().item()
    assert accuracy >= 0.97
    assert (confidence > 0.9).float().mean() > 0.85
    assert abs(confidence.mean().item() - accuracy) < 0.03


def test_the_class_hangs_on_the_object(
    network: nn.Module, drawn: list[Scene], inputs: torch.Tensor, labels: torch.Tensor
) -> None:
    n = 200
    masks = torch.from_numpy(np.stack([s.mask for s in drawn[:n]]))[:, None].float()
    rims = F.max_pool2d(masks, 9, stride=1, padding=4).bool()
    tiles = F.max_pool2d(masks, TILE).repeat_interleave(TILE, 2).repeat_interleave(TILE, 3).bool()
    mean_colour = torch.zeros(())
    only_objects = probabilities(network, torch.where(rims, inputs[:n], mean_colour)).argmax(dim=1)
    no_objects = probabilities(network, torch.where(rims | tiles, mean_colour, inputs[:n])).argmax(dim=1)
    assert (only_objects == labels[:n]).float().mean() > 0.9
    assert (no_objects == labels[:n]).float().mean() < 0.2


def test_weights_are_small_and_half_precision() -> None:
    assert WEIGHTS.stat().st_size < 3e6
    stored = load_file(WEIGHTS)
    assert {t.dtype for name, t in stored.items() if "num_batches" not in name} == {torch.float16}


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes_module, "WEIGHTS", WEIGHTS.with_name("gone.safetensors"))
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        scenes()


def test_registry() -> None:
    for builtin in (entry for entry in BUILTIN.values() if entry.form == "photo"):
        network, to_input = builtin.build()
        assert not network.training
        assert builtin.classes == CLASSES
        assert builtin.parameters == sum(parameter.numel() for parameter in network.parameters())
        x = to_input(Image.new("RGB", (120, 100)))
        shapes: list[torch.Size] = []
        handle = network.get_submodule(builtin.layer).register_forward_hook(
            lambda _module, _args, output, shapes=shapes: shapes.append(output.shape)
        )
        assert network(x[None]).shape == (1, len(builtin.classes))
        handle.remove()
        assert detect_layout(tuple(shapes[0][1:]), (96, 96)).grid(tuple(shapes[0][1:])) == (12, 12)


def test_every_relu_is_called_once_and_not_in_place(network: nn.Module, inputs: torch.Tensor) -> None:
    relus = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    called: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda m, _args, _output: called.append(m)) for m in relus]
    probabilities(network, inputs[:1])
    for handle in handles:
        handle.remove()
    assert len(called) == len(set(called)) == len(relus)
    assert not any(relu.inplace for relu in relus)


@pytest.mark.parametrize("size", [(96, 96), (40, 300), (500, 97), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_preprocess_takes_any_picture(size: tuple[int, int], mode: str) -> None:
    x = preprocess(Image.new(mode, size))
    assert type(x) is torch.Tensor
    assert x.shape == (3, 96, 96)
    assert x.dtype == torch.float32


def test_preprocess_cuts_the_centre_and_normalises() -> None:
    pixels = np.zeros((96, 192, 3), np.uint8)
    pixels[:, 48:144] = scene(0).image
    expected = (torch.from_numpy(scene(0).image).permute(2, 0, 1) / 255 - MEAN) / STD
    torch.testing.assert_close(preprocess(Image.fromarray(pixels)), expected)


def examples(count: int) -> Examples:
    drawn = drawn_scenes("train", count)
    masks = torch.from_numpy(np.stack([s.mask for s in drawn]))[:, None].float()
    return Examples(
        torch.from_numpy(np.stack([s.image for s in drawn])).permute(0, 3, 1, 2),
        torch.tensor([s.label for s in drawn]),
        F.max_pool2d(masks, TILE).bool(),
    )


def test_augmented_targets_are_the_class_or_every_class_alike() -> None:
    batch = examples(128)
    x, target, tiles = augment(batch, 0.0, torch.Generator().manual_seed(0))
    assert (x.shape, tiles.shape) == (batch.images.shape, batch.tiles.shape)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(128))
    emptied = target.std(dim=1) < 1e-6
    assert 0 < emptied.sum() < 30
    assert torch.equal(target.argmax(dim=1)[~emptied], batch.labels[~emptied])


def test_training_is_repeatable() -> None:
    batch = examples(64)
    first, second = (train(batch, epochs=1, seed=0).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["fc.weight"], train(batch, epochs=1, seed=1).state_dict()["fc.weight"])


@pytest.mark.slow
def test_examples_are_the_scenes_and_evaluation_counts_right(network: nn.Module, drawn: list[Scene]) -> None:
    loaded = draw_examples("test", COUNT, seed=0)
    assert loaded.labels.tolist() == [s.label for s in drawn]
    assert np.array_equal(loaded.images[9].permute(1, 2, 0).numpy(), drawn[9].image)
    hits = probabilities(network, torch.stack([preprocess(Image.fromarray(s.image)) for s in drawn]))
    expected = (hits.argmax(dim=1) == loaded.labels).float().mean().item()
    assert evaluate(network, loaded)["accuracy"] == pytest.approx(expected, abs=0.003)


def test_the_training_command_writes_what_it_measures(tmp_path, monkeypatch, capsys):
    place, asked = tmp_path / "weights.safetensors", []

    def trained(examples: Examples, epochs: int, seed: int) -> SceneNetwork:
        asked.append((len(examples.labels), epochs, seed))
        return SceneNetwork()

    monkeypatch.setattr("train_scenes.TEST_SCENES", 4)
    monkeypatch.setattr("train_scenes.ProcessPoolExecutor", lambda count, **_: ThreadPoolExecutor(count))
    monkeypatch.setattr(sys, "argv", ["train", "--out", str(place), "--seed", "3"])
    threads = torch.get_num_threads()
    try:
        make_weights("builtin/none", tmp_path / "elsewhere", 6, 2, trained)
    finally:
        torch.set_num_threads(threads)
    assert asked == [(6, 2, 3)]
    SceneNetwork().load_state_dict(load_file(place))
    assert "4 test scenes: accuracy 0." in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["train", "--epochs", "0"])
    with pytest.raises(SystemExit):
        make_weights("builtin/none", place, 6, 2, trained)
