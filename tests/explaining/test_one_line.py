"""One network, one input, one line."""

from pathlib import Path

import pytest
import torch
from torch import nn

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.errors import DataError, InputError, LayerError, SettingError


def test_photos_of_a_loaded_network(tmp_path: Path) -> None:
    sample = open_dataset("builtin:scenes")[0]
    sample.image.save(tmp_path / "a.png")
    by_name = bitlens.explain("builtin/scenes", tmp_path / "a.png")
    loaded = bitlens.load_model("builtin/scenes")
    by_picture = bitlens.explain(loaded, [sample.image], "heart")
    assert by_name.settings["keep"] == by_picture.settings["keep"] == 0.9
    assert by_name.settings["statistics_data"] == "own"
    assert by_picture.targets == (str((loaded.classes or ()).index("heart")),)
    assert bitlens.default_layer(loaded) == by_name.layer == "layer2"


def test_tensors_of_any_module() -> None:
    loaded = bitlens.load_model("builtin/scenes")
    images = torch.stack([loaded.preprocess(open_dataset("builtin:scenes")[1].image)])
    found = bitlens.explain(loaded.model, images)
    assert found.layer == bitlens.default_layer(loaded.model, images)
    assert found.evidence is not None
    assert float(found.evidence.kept[0]) > 0.85
    assert bitlens.explain(loaded.model, images, method="saliency").unit == "score"
    assert "keep" not in bitlens.explain(loaded.model, images, beta=1.0).settings


def test_what_is_found_besides_the_map() -> None:
    photo = open_dataset("builtin:scenes")[0].image
    found = bitlens.explain("builtin/scenes", photo, curve=True, spread=2)
    assert found.curve is not None
    assert found.spread is not None
    with pytest.raises(SettingError, match="'curve': it is of bottlenecks"):
        bitlens.explain("builtin/scenes", photo, method="gradient", curve=True)


def test_texts_of_a_loaded_network() -> None:
    found = bitlens.explain("builtin/reviews", "a wonderful film", "negative")
    assert (found.unit, found.settings["keep"]) == ("bits/token", 0.9)


def test_what_cannot_be_known_is_said() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).eval()
    with pytest.raises(LayerError, match="layer="):
        bitlens.explain(model, torch.randn(2, 4))
    with pytest.raises(DataError, match=r"missing\.png"):
        bitlens.explain("builtin/scenes", "missing.png")
    with pytest.raises(InputError, match="reads texts, not"):
        bitlens.explain("builtin/reviews", Path("photo.png"))
