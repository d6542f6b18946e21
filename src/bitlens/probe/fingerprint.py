"""Whether a network is the very one that something was learnt for, and whether it was written to since."""

import hashlib

import torch
from torch import nn

from bitlens.core.inputs import tensors_of
from bitlens.core.statistics import Provenance
from bitlens.errors import ModelError
from bitlens.probe.modules import plain_name
from bitlens.version import __version__


def weights_hash(model: nn.Module) -> str:
    """Return a fingerprint of all parameters and buffers, in order: 16 hexadecimal digits.

    Raises:
        ModelError: if one has no numbers.
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        for tensor in tensors_of(value):  # quantised modules keep weight and bias in one entry
            digest.update(f"{plain_name(name)}{tuple(tensor.shape)}{tensor.dtype}".encode())
            there = _offloaded(model, name) if tensor.is_meta else tensor
            plain = there.dequantize() if there.is_quantized else there
            digest.update(plain.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _offloaded(model: nn.Module, name: str) -> torch.Tensor:
    """Return weights that accelerate keeps elsewhere (`device_map` with layers on disk), and brings in for each pass.

    Raises:
        ModelError: if nobody keeps them.
    """
    owner, _, own = name.rpartition(".")
    kept = getattr(getattr(model.get_submodule(owner), "_hf_hook", None), "weights_map", None)
    if kept is None:
        raise ModelError(f"the weights {name} of {type(model).__name__} have no numbers (device meta): load them first")
    weights: torch.Tensor = kept[own]
    return weights


def provenance_of(model: nn.Module, layer: str = "", *, data: str, preprocessing: str) -> Provenance:
    """Return where something comes from that is learnt of a network now."""
    return Provenance(type(model).__name__, weights_hash(model), layer, data, preprocessing, __version__)


def weights_versions(model: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return what changes whenever a parameter or buffer is replaced or written to, found without reading any of them.

    PyTorch counts how often a tensor was written to; tensors of inference mode are not counted, and cannot be trained.
    """
    tensors = [*model.parameters(), *model.buffers()]
    return tuple((id(tensor), -1 if tensor.is_inference() else tensor._version) for tensor in tensors)
