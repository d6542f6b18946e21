import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bitlens.errors import ModelError
from bitlens.models.weight_files import load_weights, read_weights


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


class Hostile:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("form", ["safetensors", "pth", "wrapped", "parallel", "half"])
def test_weights_arrive(tmp_path: Path, form: str) -> None:
    source, target = network(), network()
    state = {key: value.clone() for key, value in source.state_dict().items()}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "half":
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.copy_(parameter.half())
        torch.save({key: v.half() if v.is_floating_point() else v for key, v in state.items()}, path)
    elif form == "pth":
        torch.save(state, path)
    else:
        parallel = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 3, "state_dict": parallel} if form == "wrapped" else parallel, path)
    load_weights(target, path)
    assert same(source, target)
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in target.parameters())


def test_what_does_not_fit_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    state = network().state_dict()
    state["extra.weight"] = torch.zeros(1)
    state["2.weight"] = torch.zeros(5, 4)
    del state["0.bias"]
    torch.save(state, tmp_path / "w.pt")
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(target, tmp_path / "w.pt")
    message = str(caught.value)
    assert "do not fit Sequential" in message
    assert "1 missing: 0.bias" in message
    assert "1 unexpected: extra.weight" in message
    assert "2.weight is (5, 4) instead of (2, 4)" in message
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def test_only_the_first_few_names_are_shown(tmp_path: Path) -> None:
    torch.save({f"layer{index}": torch.zeros(1) for index in range(50)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="50 unexpected: layer0, layer1, layer2, layer3, …"):
        load_weights(network(), tmp_path / "w.pt")


def test_files_older_than_batch_norm_counters_are_read(tmp_path: Path) -> None:
    state = {key: value for key, value in network().state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    load_weights(network(), tmp_path / "w.pt")


def test_old_densenet_names_are_understood(tmp_path: Path) -> None:
    from torchvision.models.densenet import DenseNet

    def build() -> nn.Module:
        return DenseNet(4, (2,), 8, num_classes=3)

    source, target = build(), build()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in key else key: value
        for key, value in source.state_dict().items()
    }
    assert any("denselayer1.norm.1." in key for key in old)
    torch.save(old, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert same(source, target)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    torch.save({"weight": Hostile(marker)}, tmp_path / "zip.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Hostile(marker), protocol=2))
    torch.save(network(), tmp_path / "module.pth")
    for name in ("zip.pth", "raw.pth", "module.pth"):
        with pytest.raises(ModelError, match="state dict of tensors alone"):
            read_weights(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"cannot read the weights .*{name}"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [torch.zeros(3), {}, {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="no state dict"):
        read_weights(tmp_path / "w.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file .*none\.pt"):
        read_weights(tmp_path / "none.pt")
