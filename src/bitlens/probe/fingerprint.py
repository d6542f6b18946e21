"""Whether a network is the very one that something was learnt for, and whether it was written to since."""

import hashlib

import torch
from torch import Tensor, nn

from bitlens.core.inputs import tensors_of
from bitlens.core.statistics import Provenance
from bitlens.errors import ModelError
from bitlens.probe.modules import plain_name
from bitlens.version import __version__

_WIDTHS = (torch.int64, torch.int32, torch.int16, torch.uint8)


class Fingerprint:
    """The fingerprint of a network's weights, which is made anew only when somebody has written to them.

    PyTorch counts what is written to a tensor, but not through its `.data`, so the sums of the bits are compared as well: that
    takes a tenth of the time.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._known: tuple[str, tuple[tuple[int, int], ...], dict[torch.device, Tensor]] | None = None

    def __call__(self) -> str:
        """Return what `weights_hash` does now."""
        values = [*self._model.parameters(), *self._model.buffers()]
        if any(value.is_meta or value.is_quantized for value in values):
            return weights_hash(self._model)
        versions, known = weights_versions(self._model), self._known
        places = {value.device for value in values}
        sums = {place: torch.cat([sums_of_bits(v) for v in values if v.device == place]) for place in places}
        if (
            known is None
            or known[1] != versions
            or not all(torch.equal(known[2][place], sums[place]) for place in places)
        ):
            known = self._known = weights_hash(self._model), versions, sums
        return known[0]


def sums_of_bits(tensor: Tensor) -> Tensor:
    """Return a sum of the bits of each entry of the first axis, modulo 2^64: it changes with any of its numbers."""
    rows = tensor.detach().reshape(len(tensor) if tensor.dim() else 1, -1)
    width = rows.shape[1] * rows.element_size()
    return rows.view(next(kind for kind in _WIDTHS if width % kind.itemsize == 0)).sum(1, dtype=torch.int64)


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
