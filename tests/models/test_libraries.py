import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models as vision
from torchvision.models import get_model_weights, resnet18, squeezenet1_1

from bitlens.errors import DependencyError, ModelError
from bitlens.models.libraries import from_hub, from_timm, from_torchvision
from bitlens.models.offered import in_timm, timm_architectures, timm_names, torchvision_classifiers, torchvision_names

PHOTO = Image.new("RGB", (300, 260), (90, 120, 30))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache of torch: its folder of checkpoints."""

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    return checkpoints


def test_torchvision_without_weights() -> None:
    network, preprocess, classes = from_torchvision("squeezenet1_1@random", None)
    assert classes is not None
    assert (len(classes), classes[0]) == (1000, "tench")
    with torch.no_grad():
        assert network.eval()(preprocess(PHOTO)[None]).shape == (1, 1000)
    assert "crop_size=[224]" in preprocess.description
    assert "IMAGENET1K_V1" in preprocess.description
    shown = preprocess.display(preprocess(PHOTO))
    torch.testing.assert_close(shown[:, 0, 0] * 255, torch.tensor([90.0, 120, 30]), atol=1e-3, rtol=0)


def test_the_named_weights_choose_the_preprocessing(tmp_path: Path) -> None:
    torch.save(resnet18().state_dict(), tmp_path / "w.pth")
    _, preprocess, _ = from_torchvision("resnet18@IMAGENET1K_V1", tmp_path / "w.pth")
    assert "IMAGENET1K_V1" in preprocess.description
    with pytest.raises(ModelError, match="expected random, IMAGENET1K_V1"):
        from_torchvision("resnet18@V9", None)


def test_own_weights_fill_a_torchvision_network(tmp_path: Path) -> None:
    source = squeezenet1_1()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    network, _, _ = from_torchvision("squeezenet1_1", tmp_path / "w.pth")
    expected = source.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_pretrained_weights_come_from_the_cache(offline: Path) -> None:
    source = squeezenet1_1()
    torch.save(source.state_dict(), offline / "squeezenet1_1-b8a52dc0.pth")
    network, _, _ = from_torchvision("squeezenet1_1", None)
    assert torch.equal(network.state_dict()["classifier.1.weight"], source.state_dict()["classifier.1.weight"])


def test_a_failed_download_says_how_to_go_on(offline: Path) -> None:  # noqa: ARG001 - a fixture
    with pytest.raises(ModelError, match=r"cannot download .*--weights FILE.*squeezenet1_1@random") as caught:
        from_torchvision("squeezenet1_1", None)
    assert get_model_weights("squeezenet1_1")["DEFAULT"].url in str(caught.value)


def test_a_hostile_file_in_the_cache_is_not_run(offline: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "was here",)

    torch.save({"weight": Hostile()}, offline / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(ModelError, match="not safe"):
        from_torchvision("squeezenet1_1", None)
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize("name", ["googlenet", "vit_h_14"])
def test_networks_that_pretraining_shaped_are_built_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, *_, **__: tensor)  # minutes for 600 M parameters
    with torch.device("meta"):
        network, preprocess, _ = from_torchvision(f"{name}@random", None)
    assert network.transform_input if name == "googlenet" else network.image_size == preprocess(PHOTO).shape[-1]


def test_unknown_names_suggest_known_ones() -> None:
    with pytest.raises(ModelError, match=r"did you mean .*resnet50"):
        from_torchvision("resnet5O", None)
    with pytest.raises(ModelError, match="bitlens models"):
        from_torchvision("zzzzzz", None)


def test_what_is_read_off_torchvisions_files_is_what_it_says_itself() -> None:
    names = vision.list_models(module=vision)
    sets = {name: vision.get_model_weights(name) for name in names}
    assert torchvision_classifiers() == {
        name: (one["DEFAULT"].meta["num_params"], tuple(one.__members__)) for name, one in sets.items()
    }
    assert torchvision_names() == tuple(names)
    assert "fasterrcnn_resnet50_fpn" not in torchvision_classifiers()


def test_what_is_read_off_timms_files_is_what_it_says_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    assert set(timm.list_models()) <= set(timm_architectures())
    assert all(map(in_timm, timm.list_models()))
    assert not in_timm("resnet10tt")
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path))
    assert timm_names() == timm.list_models(pretrained=True)
    monkeypatch.setattr(timm, "list_models", lambda **_: pytest.fail("asked again"))
    assert timm_names()


def test_timm_without_weights() -> None:
    pytest.importorskip("timm")
    network, preprocess, classes = from_timm("resnet10t.c3_in1k@random", None)
    assert classes is not None
    assert classes[0].startswith("tench")
    with torch.no_grad():
        assert network.eval()(preprocess(PHOTO)[None]).shape == (1, 1000)
    with pytest.raises(ModelError, match=r"did you mean .*resnet10t"):
        from_timm("resnet10tt", None)
    with pytest.raises(ModelError, match="unknown weights 'V1'"):
        from_timm("resnet10t@V1", None)


def test_own_weights_fill_a_timm_network(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    source = timm.create_model("resnet10t")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    network, _, _ = from_timm("resnet10t", tmp_path / "w.pth")
    assert torch.equal(network.state_dict()["fc.weight"], source.state_dict()["fc.weight"])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny vision transformer as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "ape"},
        label2id={"cat": 0, "dog": 1, "ape": 2},
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_transformers_folder(classifier: Path) -> None:
    network, preprocess, classes = from_hub(str(classifier), None)
    assert classes == ("cat", "dog", "ape")
    prepared = preprocess(PHOTO)
    assert prepared.shape == (3, 32, 32)
    with torch.no_grad():
        logits = network.eval()(prepared[None])
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (1, 3)
    torch.testing.assert_close(
        preprocess.display(prepared)[:, 0, 0] * 255, torch.tensor([90.0, 120, 30]), atol=0.5, rtol=0
    )
    assert dict(network.named_modules())["classifier"] is network.classifier


def test_own_weights_fill_a_transformers_network(classifier: Path, tmp_path: Path) -> None:
    state = from_hub(str(classifier), None)[0].state_dict()
    state["classifier.bias"] = torch.tensor([1.0, 2, 3])
    torch.save(state, tmp_path / "w.pth")
    network, _, _ = from_hub(str(classifier), tmp_path / "w.pth")
    assert network.state_dict()["classifier.bias"].tolist() == [1, 2, 3]


def test_a_transformers_network_without_a_trained_head_is_refused(classifier: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.ViTModel.from_pretrained(classifier).save_pretrained(tmp_path)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no trained image classifier.*classifier\.bias"):
        from_hub(str(tmp_path), None)


def test_folders_that_hold_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        from_hub(str(tmp_path), None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot load hf/") as caught:
        from_hub(str(tmp_path), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "load", "extra"), [("timm", from_timm, "timm"), ("transformers", from_hub, "text")]
)
def test_missing_packages_name_their_extra(
    package: str, load: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"bitlens\[{extra}\]"):
        load("some/name", None)
