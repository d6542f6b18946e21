import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from bitlens.data.batches import tensor_batches
from bitlens.data.datasets import open_dataset
from bitlens.data.kinds import Kind
from bitlens.errors import DataError, ModelError
from bitlens.models.builtin import BUILTIN
from bitlens.models.classes import read_classes
from bitlens.models.listing import available_models, check_model, short_name
from bitlens.models.load import load_model

DATA = os.environ.get("BITLENS_DATA")
real = pytest.mark.skipif(not DATA, reason="BITLENS_DATA is not set")
PHOTO = Image.new("RGB", (300, 260), (90, 120, 30))
SOURCE = """
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Settings:
    width: "int" = 4


def plain():
    return nn.Sequential(nn.Conv2d(3, Settings().width, 3), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def both():
    return plain(), lambda image: torch.full((3, 8, 8), image.width / 100)


def frozen():
    return plain().requires_grad_(False)


def number():
    return 3


def pair():
    return plain(), "no callable"


def fails():
    raise RuntimeError("two\\nlines")


def leaves():
    raise SystemExit(3)


def needs(argument):
    return plain()


value = 7
"""


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    path = tmp_path / "my zoo.py"
    path.write_text(SOURCE)
    return path


def test_a_callable_that_returns_a_module_gets_the_standard_preprocessing(zoo: Path) -> None:
    before = list(sys.path)
    loaded = load_model(f"{zoo}:plain")
    assert sys.path == before
    assert (loaded.name, loaded.classes, loaded.layer) == (f"{zoo}:plain", None, None)
    prepared = loaded.preprocess(PHOTO)
    assert prepared.shape == (3, 224, 224)
    expected = (torch.tensor([90, 120, 30]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(prepared[:, 0, 0], expected)
    assert not any(module.training for module in loaded.model.modules())
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_callable_that_returns_a_pair_brings_its_own(zoo: Path) -> None:
    loaded = load_model(f"{zoo}:both")
    torch.testing.assert_close(loaded.preprocess(PHOTO), torch.full((3, 8, 8), 3.0))


def test_parameters_are_left_alone(zoo: Path) -> None:
    assert not any(parameter.requires_grad for parameter in load_model(f"{zoo}:frozen").model.parameters())


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        ("nothing", "defines no callable 'nothing'"),
        ("value", "defines no callable 'value'"),
        ("number", "returned int, expected a module or"),
        ("pair", r"returned \(Sequential, str\)"),
        ("fails", r"failed: RuntimeError: two lines \(my zoo\.py, line 34\)"),
        ("leaves", "failed: SystemExit: 3"),
        ("needs", "failed: TypeError"),
    ],
)
def test_callables_that_do_not_fit(zoo: Path, attribute: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        load_model(f"{zoo}:{attribute}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["def build(:\n", "import no_such_module\n", "raise SystemExit\n", "1 / 0\n"])
def test_files_that_cannot_be_imported(tmp_path: Path, source: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    before = set(sys.modules)
    with pytest.raises(ModelError, match=r"cannot import .*broken\.py"):
        load_model(f"{path}:build")
    assert not {name for name in set(sys.modules) - before if name.startswith("bitlens_file")}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no file .*none\.py"):
        load_model(f"{tmp_path / 'none.py'}:build")


@pytest.mark.parametrize("spec", ["", "resnet50", "keras/x", "torchvision/", "builtin", "hf/"])
def test_unknown_forms_are_listed(spec: str) -> None:
    with pytest.raises(ModelError, match=r"torchvision/NAME, timm/NAME, hf/ORG/NAME, builtin/NAME, FILE\.py:CALLABLE"):
        load_model(spec)


def test_what_is_near_a_known_form_says_what_to_write(zoo: Path) -> None:
    for check in (load_model, check_model):
        with pytest.raises(
            ModelError,
            match=r"which function of the file makes the network: write .*my zoo\.py:NAME, where NAME is plain, ",
        ):
            check(str(zoo))
        with pytest.raises(ModelError, match=r"did you mean torchvision/resnet50\?"):
            check("resnet50")
        with pytest.raises(ModelError, match=r"name the network with --model, and these with --weights w\.pth"):
            check("w.pth")


@pytest.mark.parametrize("spec", ["builtin/scenes", "torchvision/resnet50@IMAGENET1K_V2", "torchvision/vgg16@random"])
def test_a_name_that_can_be_loaded_is_let_through(spec: str) -> None:
    check_model(spec)


def test_a_file_is_checked_without_being_run(zoo: Path, tmp_path: Path) -> None:
    for attribute in ("plain", "both", "value"):
        check_model(f"{zoo}:{attribute}")
    with pytest.raises(ModelError, match=r"defines no callable 'plane': did you mean .*my zoo\.py:plain\?"):
        check_model(f"{zoo}:plane")
    (tmp_path / "star.py").write_text("import os\nfrom elsewhere import *\nif os:\n    inner = 3\n1 / 0\n")
    check_model(f"{tmp_path / 'star.py'}:anything")
    (tmp_path / "broken.py").write_text("def build(:\n")
    with pytest.raises(ModelError, match=r"cannot import .*broken\.py: SyntaxError: .*line 1"):
        check_model(f"{tmp_path / 'broken.py'}:build")
    with pytest.raises(ModelError, match=r"no file .*none\.py"):
        check_model(f"{tmp_path / 'none.py'}:build")


@pytest.mark.parametrize(
    ("spec", "kind", "reason"),
    [
        ("builtin/cats", "image", "expected builtin/scenes"),
        ("builtin/reviews", "image", "reads texts, not photos"),
        ("builtin/scenes", "text", "expected builtin/reviews"),
        ("torchvision/resnet5O", "image", "did you mean .*resnet50"),
        ("torchvision/resnet50@V9", "image", "unknown weights 'V9' of resnet50: expected random, IMAGENET1K_V1"),
        ("timm/resnet1000tt", "image", "did you mean"),
        ("hf/./nowhere", "image", "no config.json"),
        ("nowhere", "text", "hf/NAME, DIR"),
    ],
)
def test_a_name_that_cannot_be_loaded_is_refused_by_its_name(spec: str, kind: Kind, reason: str) -> None:
    if spec.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(ModelError, match=reason):
        check_model(spec, kind)


def test_own_weights_fill_any_kind(zoo: Path, tmp_path: Path) -> None:
    state = load_model(f"{zoo}:plain").model.state_dict()
    changed = {key: torch.full_like(value, 0.5) for key, value in state.items()}
    save_file(changed, tmp_path / "w.safetensors")
    loaded = load_model(f"{zoo}:plain", tmp_path / "w.safetensors")
    assert all((value == 0.5).all() for value in loaded.model.state_dict().values())
    with pytest.raises(ModelError, match="do not fit SqueezeNet"):
        load_model("torchvision/squeezenet1_1", tmp_path / "w.safetensors")


def test_torchvision_by_name() -> None:
    loaded = load_model("torchvision/squeezenet1_1@random")
    assert loaded.name == "torchvision/squeezenet1_1@random"
    assert not loaded.model.training
    assert loaded.classes is not None


def test_builtin_networks() -> None:
    loaded = load_model("builtin/scenes")
    assert (loaded.classes, loaded.layer) == (BUILTIN["scenes"].classes, BUILTIN["scenes"].layer)
    assert dict(loaded.model.named_modules())[loaded.layer]
    with pytest.raises(ModelError, match="expected builtin/scenes"):
        load_model("builtin/cats")


def test_devices_that_are_not_there_are_refused(zoo: Path) -> None:
    with pytest.raises(ModelError, match="cannot put the network on device nonsense"):
        load_model(f"{zoo}:plain", device="nonsense")
    assert load_model(f"{zoo}:plain", device="meta").model[0].weight.is_meta


def test_the_list_of_models() -> None:
    entries = {entry.spec: entry for entry in available_models()}
    assert entries["builtin/scenes"].default_layer == BUILTIN["scenes"].layer
    assert (entries["builtin/scenes"].parameters or 0) > 1000
    assert entries["torchvision/resnet50"].parameters == 25557032
    assert len({entry.source for entry in entries.values()}) >= 2


def test_the_list_of_models_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert {entry.source for entry in available_models()} == {"bitlens", "torchvision"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "tench\nhen, really\nküken\n"),
        ("c.csv", '\ufeffindex,wnid,names\n2,n3,küken\n0,n1,tench\n1,n2,"hen, really"\n'),
        ("c.csv", 'name\ntench\n"hen, really"\nküken\n'),
    ],
)
def test_class_names(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    assert read_classes(tmp_path / name) == ("tench", "hen, really", "küken")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("c.txt", b"", "empty line"),
        ("c.txt", b"a\n\nb\n", "empty line"),
        ("c.txt", b"\xff\xfe", "cannot read"),
        ("c.csv", b"index,label\n0,a\n", "no column 'name' or 'names'"),
        ("c.csv", b"index,name\n0,a\n2,b\n", "each of 0 … 1 once"),
        ("c.csv", b"index,name\n0,a\n0,b\n", "each of 0 … 1 once"),
        ("c.csv", b"index,name\nx,a\n", "each of 0 … 0 once"),
        ("c.csv", b"name\n", "empty line"),
    ],
)
def test_bad_class_names(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_classes(tmp_path / name)
    assert name in str(caught.value)


def test_missing_class_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt"):
        read_classes(tmp_path / "none.txt")


@real
def test_a_real_network_knows_real_photos() -> None:
    loaded = load_model(f"{DATA}/zoo.py:mobilenet_edgetpu")
    samples = open_dataset(f"csv:{DATA}/imagenet/val.csv")[:48]
    right = 0
    with torch.inference_mode():
        for tensor, part in tensor_batches(samples, loaded.preprocess, 16):
            labels = torch.tensor([sample.label for sample in part])
            right += int((loaded.model(tensor).argmax(1) == labels).sum())
    assert right / len(samples) > 0.55  # 0.73 on 1,000 photos; 0.55 is 2.8 standard errors of 48 below


@real
def test_real_class_names() -> None:
    classes = read_classes(f"{DATA}/imagenet/classes.csv")
    assert len(classes) == 1000
    assert classes[0] == "tench, Tinca tinca"
    assert isinstance(load_model(f"{DATA}/zoo.py:cifar_resnet20").model, nn.Module)


def test_titles_are_names_and_not_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    for spec, name in {
        "torchvision/resnet50@IMAGENET1K_V2": "torchvision/resnet50@IMAGENET1K_V2",
        "builtin/reviews": "builtin/reviews",
        "hf/org/name": "hf/org/name",
        f"{tmp_path}/some where/net.py:build": "net.py:build",
        f"{tmp_path}/minilm/": "minilm",
        "minilm": "minilm",
        "hf/./minilm": "minilm",
    }.items():
        assert short_name(spec) == name


def test_nothing_is_left_beside_a_users_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "own.py").write_text("from torch import nn\n\ndef build():\n    return nn.Linear(2, 2).eval()\n")
    load_model(f"{tmp_path / 'own.py'}:build")
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]
    assert not sys.dont_write_bytecode
