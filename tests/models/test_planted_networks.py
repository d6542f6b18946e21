"""The networks for planted signals, volumes and rows: accurate, small, and dependent on the planted places alone."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bitlens.core.layout import BY_CHANNEL
from bitlens.data.planted_table import MEAN, STD
from bitlens.models.builtin import BUILTIN
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from train_planted import COVERED, RECIPES, draw_examples, evaluate, main, train, varied

FEW = 64
COUNT = {"signals": 200, "volumes": 60, "table": 400}


@pytest.fixture(scope="module", params=[name for name in RECIPES if name in BUILTIN])
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def loaded(name: str) -> Loaded:
    return load_model(f"builtin/{name}")


def blank(x: Tensor) -> Tensor:
    """Return what covers a place: another row's usual values, or the mean of what is not there."""
    return torch.tensor(MEAN, dtype=torch.float32).expand_as(x) if x.dim() == 2 else torch.zeros_like(x)


def test_accuracy_and_dependence_on_the_planted_places_alone(name: str, loaded: Loaded) -> None:
    examples = draw_examples(RECIPES[name].draw, "test", COUNT[name], seed=0)
    assert evaluate(loaded.model, examples)["accuracy"] >= 0.97
    x, masks = examples.inputs, examples.masks
    masks = masks if x.dim() == 2 else masks[:, None]
    with torch.no_grad():
        alone = loaded.model(torch.where(masks, x, blank(x))).argmax(1)
        without = loaded.model(torch.where(masks, blank(x), x)).softmax(1)
    assert (alone == examples.labels).float().mean() > 0.9
    assert without.gather(1, examples.labels[:, None]).mean() < 0.45


def test_the_entry_says_what_the_network_is(name: str, loaded: Loaded) -> None:
    entry = BUILTIN[name]
    assert entry.parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert (loaded.form, loaded.classes, loaded.layer) == (entry.form, entry.classes, entry.layer)
    shapes: list[torch.Size] = []
    x = draw_examples(RECIPES[name].draw, "train", 1, seed=0).inputs
    loaded.model.get_submodule(entry.layer).register_forward_hook(lambda _m, _a, output: shapes.append(output.shape))
    assert loaded.model(x).shape == (1, len(entry.classes))
    assert BY_CHANNEL[len(shapes[0]) - 1, 0].places == tuple(range(1, x.dim() - 1))
    if name == "table":
        torch.testing.assert_close(loaded.model.scaled(x), (x - torch.tensor(MEAN).float()) / torch.tensor(STD).float())


@pytest.mark.parametrize(("layer", "channels", "stride"), [("layer1", 8, 2), ("layer2", 16, 4), ("layer3", 32, 4)])
def test_cells_of_the_network_for_volumes_look_at_the_voxels_that_they_are_spread_over(
    layer: str, channels: int, stride: int
) -> None:
    network, found = load_model("builtin/volumes").model, {}
    network.get_submodule(layer).register_forward_hook(lambda _m, _a, output: found.update(features=output))
    x = torch.randn(8, 1, 40, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network(x)
    middle = 40 // stride // 2
    (slope,) = torch.autograd.grad(found["features"][:, :, middle, middle, middle].sum(), x)
    assert found["features"].shape[1] == channels
    for axis in range(3):
        looked_at = slope.abs().sum([0, 1, *(other + 2 for other in range(3) if other != axis)]).nonzero().flatten()
        assert float(looked_at[0] + looked_at[-1]) / 2 == (middle + 0.5) * stride - 0.5


def test_weights_are_small_and_half_precision() -> None:
    size = 0
    for recipe in (RECIPES[name] for name in RECIPES if name in BUILTIN):
        size += recipe.weights.stat().st_size
        stored = load_file(recipe.weights)
        assert {one.dtype for key, one in stored.items() if "num_batches" not in key} == {torch.float16}
    assert size < 1e6


def test_training_is_repeatable_and_covers_what_it_says(name: str) -> None:
    recipe = RECIPES[name]
    examples = draw_examples(recipe.draw, "train", FEW, seed=0)
    first, second = (train(recipe, examples, epochs=1, seed=0).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    x, target = varied(examples, recipe.block, torch.Generator().manual_seed(1))
    assert x.shape == examples.inputs.shape
    torch.testing.assert_close(target.sum(1), torch.ones(FEW))
    emptied = target.std(1) < 1e-6
    assert 0 < emptied.sum() < 4 * COVERED * FEW
    assert torch.equal(target.argmax(1)[~emptied], examples.labels[~emptied])
    if name == "signals":
        changed = (x != examples.inputs).any(1)
        assert bool((changed & examples.masks).any(1)[emptied].all())
        assert not bool((changed & examples.masks)[~emptied].any())


def test_the_command_writes_what_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, threads = tmp_path / "table.safetensors", torch.get_num_threads()
    monkeypatch.setattr("train_planted.TEST", 200)
    monkeypatch.setattr(sys, "argv", ["train", "table", "--out", str(place), "--epochs", "3", "--count", "640"])
    try:
        main()
    finally:
        torch.set_num_threads(threads)
    network = RECIPES["table"].network()
    network.load_state_dict(load_file(place))
    accuracy = evaluate(network.eval(), draw_examples(RECIPES["table"].draw, "test", 200, seed=0))["accuracy"]
    assert f"200 test inputs: accuracy {accuracy:.4f}" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["train", "table", "--count", "3"])
    with pytest.raises(SystemExit):
        main()
