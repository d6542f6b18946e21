"""Weights from a file into a network: tensors only, every one of them accounted for."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bitlens.errors import ModelError
from bitlens.models.weight_values import check_values, refuse_all_but_tensors
from bitlens.system.reading import check_archive

_SHOWN = 4


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file, or of a state dict that `torch.save` wrote.

    Nothing in the file is executed (`weights_only=True`). A dictionary under the key `state_dict` is unpacked, and the
    prefix `module.` that parallel training leaves is removed.

    Raises:
        ModelError: the file is missing, damaged, or holds anything but tensors by name.
    """
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}")
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else _load_pickled(path)
        if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
            state = state["state_dict"]
        refuse_all_but_tensors(state)
    except Exception as error:  # a damaged or hostile file can raise anything while it is parsed
        reason = str(error).strip().split("\n", 1)[0]
        raise ModelError(
            f"cannot read the weights {path}: expected a .safetensors file or a state dict of tensors alone "
            f"({type(error).__name__}: {reason[:300]})"
        ) from error
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    tensors: dict[str, Tensor] = state
    return tensors


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a network with the weights of a file; names and shapes must agree exactly.

    Raises:
        ModelError: as `read_weights`, or names or shapes differ; the message shows the first few. The network is then
            as it was.
    """
    expected = model.state_dict()
    state = {key if key in expected else _modern(key): value for key, value in read_weights(path).items()}
    # PyTorch fills in these counters itself, for files older than they are
    missing = [key for key in expected if key not in state and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} is {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    problems = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    if any(found for _, found in problems):
        told = "; ".join(f"{len(found)} {what}: {_some(found)}" for what, found in problems if found)
        raise ModelError(f"the weights {path} do not fit {type(model).__name__}: {told}")
    try:
        check_values(model, state)
    except ValueError as error:
        raise ModelError(f"the weights {path} do not fit {type(model).__name__}: {error}") from error
    model.load_state_dict(state)


def _load_pickled(path: Path) -> Any:
    if zipfile.is_zipfile(path):  # of those older than PyTorch 1.6 no part is packed
        check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _modern(key: str) -> str:
    """Rename what torchvision's DenseNet files call `denselayer1.norm.1`: it is `denselayer1.norm1` in the network."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
