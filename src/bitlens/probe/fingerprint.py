"""Whether a network is the very one that something was learnt for, and whether it was written to since."""

import hashlib

import torch
from torch import Tensor, nn


def weights_hash(model: nn.Module) -> str:
    """A fingerprint of all parameters and buffers, in order: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def weights_versions(model: nn.Module) -> tuple[tuple[int, int], ...]:
    """What changes whenever a parameter or buffer is replaced or written to, found without reading any of them.

    PyTorch counts how often a tensor was written to; tensors of inference mode are not counted, and cannot be trained.
    """
    tensors = [*model.parameters(), *model.buffers()]
    return tuple((id(tensor), -1 if tensor.is_inference() else tensor._version) for tensor in tensors)
