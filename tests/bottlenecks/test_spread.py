"""How far maps of other seeds differ: against maps that are fitted one by one with those seeds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import bitlens
from bitlens.bottlenecks.layered import LayeredTokenIBA
from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Spread
from bitlens.data.datasets import open_dataset
from bitlens.errors import DataError, InputError, SettingError
from bitlens.models.loaded import Loaded
from bitlens.system.arrays import read_arrays, write_arrays

SEEDS = 3
TEXTS = ["a wonderful film, and moving", "what a dull and boring story it is, without an end"]


@pytest.fixture(scope="module")
def scenes() -> tuple[Loaded, Tensor]:
    loaded = bitlens.load_model("builtin/scenes")
    return loaded, torch.stack([loaded.preprocess(sample.image) for sample in open_dataset("builtin:scenes")[:2]])


def alike(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def by_hand(makers: list[Any], inputs: Any) -> Tensor:
    return torch.stack([made.explain(inputs, evidence_samples=8).map for made in makers])


@pytest.mark.parametrize("settings", [{"keep": 0.9}, {"beta": 1.0}, {"bits": 300.0}], ids=str)
def test_it_is_that_of_maps_fitted_with_the_seeds_that_follow(
    scenes: tuple[Loaded, Tensor], settings: dict[str, float]
) -> None:
    loaded, images = scenes
    known: dict[str, Any] = {"quality": "fast", "precision": "float32", **settings}
    found = bitlens.IBA(loaded.model, "layer2", seed=5, **known).explain(images, spread=SEEDS, evidence_samples=8)
    maps = by_hand([bitlens.IBA(loaded.model, "layer2", seed=5 + i, **known) for i in range(SEEDS)], images)
    alike(found.map, maps[0])
    assert found.spread is not None
    alike(found.spread.std, maps.std(0))
    flat = maps.flatten(2)
    count = round(0.1 * flat.shape[2])
    tops = [[set(one.topk(count).indices.tolist()) for one in row] for row in flat]
    agreed = [len(set.intersection(*(row[i] for row in tops))) / count for i in range(2)]
    assert found.spread.agreed.tolist() == pytest.approx(agreed, abs=0.005)
    assert min(agreed) > 0.3
    (first, _) = found.summary()
    assert (first["seeds"], first["top_agreed"]) == (SEEDS, pytest.approx(agreed[0], abs=0.005))


def test_one_pass_in_front_of_the_layer_serves_all_seeds(scenes: tuple[Loaded, Tensor]) -> None:
    loaded, images = scenes
    passes: list[int] = []
    inside = next(one for one in loaded.model.get_submodule("layer1").modules() if isinstance(one, torch.nn.Conv2d))
    hook = inside.register_forward_hook(lambda *_: passes.append(1))
    counts = []
    try:
        for seeds in (0, 2, 4):
            method = bitlens.IBA(loaded.model, "layer2", quality="fast", keep=0.9)
            method.explain(images)  # what is measured once
            passes.clear()
            method.explain(images, spread=seeds)
            counts.append(len(passes))
    finally:
        hook.remove()
    assert counts[0] == counts[1] == counts[2]


def test_texts_layers_and_one_mask_for_several() -> None:
    loaded = bitlens.load_model("builtin/reviews")
    batch = loaded.tokenizer(TEXTS)
    known: dict[str, Any] = {"statistics": loaded.statistics, "precision": "float32"}
    makers = (
        lambda seed: bitlens.TokenIBA(loaded.model, "embedding", seed=seed, **known),
        lambda seed: bitlens.TokenIBA(loaded.model, "embedding", deeper=("rnn_1",), seed=seed, **known),
        lambda seed: LayeredTokenIBA(loaded.model, ["embedding", "rnn_2"], seed=seed, **known),
        lambda seed: bitlens.TokenInputIBA(
            loaded.model, "rnn_3", "embedding", prior="none", steps=3, seed=seed, **known
        ),
    )
    for make in makers:
        found = make(2).explain(batch, spread=SEEDS, evidence_samples=8)
        maps = by_hand([make(2 + i) for i in range(SEEDS)], batch)
        assert found.spread is not None
        assert found.spread.std.shape == found.map.shape
        alike(found.spread.std, maps.std(0))


def test_inputs_have_it_too(scenes: tuple[Loaded, Tensor]) -> None:
    loaded, images = scenes
    known: dict[str, Any] = {"prior": "none", "steps": 3, "noise_samples": 2, "precision": "float32"}
    found = bitlens.InputIBA(loaded.model, "layer2", **known).explain(images, spread=2, evidence_samples=8)
    maps = by_hand([bitlens.InputIBA(loaded.model, "layer2", seed=i, **known) for i in range(2)], images)
    assert found.spread is not None
    alike(found.spread.std, maps.std(0))


def test_the_top_that_all_agree_on() -> None:
    maps = torch.zeros(2, 3, 10)
    maps[0, 0, :4], maps[1, 0, 1:5] = 1.0, 1.0  # three of four
    maps[0, 1, 3] = 1.0  # the other says nothing there
    found = Spread.of(maps, torch.tensor([10, 10, 10]), 0.4)
    assert found.agreed.tolist() == [pytest.approx(3 / 4), 0.0, 1.0]  # of maps of nothing, nothing differs
    padded = torch.zeros(2, 1, 20)
    padded[:, 0, :2] = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    assert Spread.of(padded, torch.tensor([2]), 0.5).agreed.tolist() == [0.0]  # one of two, whatever the padding


def test_it_survives_a_file_and_is_checked(scenes: tuple[Loaded, Tensor], tmp_path: Path) -> None:
    loaded, images = scenes
    found = bitlens.IBA(loaded.model, "layer2", quality="fast", keep=0.9).explain(
        images, spread=2, spread_top=0.2, evidence_samples=0
    )
    place = tmp_path / "a.safetensors"
    found.save(place)
    again = Attribution.load(place)
    assert found.spread is not None
    assert again.spread is not None
    assert torch.equal(again.spread.std, found.spread.std)
    assert (again.spread.seeds, again.spread.top) == (2, 0.2)
    assert again[1].spread is not None
    assert again[1].spread.agreed.tolist() == found.spread.agreed[1:].tolist()
    arrays, metadata = read_arrays(place, "an attribution", lambda _: True)
    for name, values in (("spread.agreed", arrays["spread.agreed"] + 2), ("spread.std", arrays["spread.std"][:, 1:])):
        write_arrays(place, {**arrays, name: values.contiguous()}, metadata)
        with pytest.raises(DataError, match=r"agreed|spread\.std"):
            Attribution.load(place)


def test_it_is_drawn_on_demand(scenes: tuple[Loaded, Tensor]) -> None:
    loaded, images = scenes
    found = bitlens.explain(loaded, images, spread=2)
    for figure in (found.show(spread=True), found[0].show(spread=True)):
        said = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
        assert "over 2 seeds" in said.replace("\N{NO-BREAK SPACE}", " ")
    assert sum(len(axes.images) > 0 for axes in found[0].show(spread=True).axes) == 3
    texts = bitlens.explain("builtin/reviews", TEXTS[0], spread=2).show(spread=True)
    assert any("2 seeds agree on" in text.get_text() for text in texts.texts)
    signed = bitlens.explain("builtin/reviews", TEXTS[0], spread=2, signed=True).show(spread=True)
    assert any("standard deviation of the bits for it" in text.get_text() for text in signed.texts)
    with pytest.raises(InputError, match="spread=4"):
        bitlens.explain(loaded, images[:1]).show(spread=True)


def test_one_seed_has_no_spread(scenes: tuple[Loaded, Tensor]) -> None:
    loaded, images = scenes
    with pytest.raises(SettingError, match="at least two seeds"):
        bitlens.IBA(loaded.model, "layer2").explain(images, spread=1)
    with pytest.raises(SettingError, match="spread_top"):
        bitlens.IBA(loaded.model, "layer2").explain(images, spread=2, spread_top=1.0)
