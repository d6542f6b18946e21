"""Weights made ready for many passes, kept from one call to the next as long as they are those of the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.probe.fingerprint import sums_of_bits
from bitlens.probe.folding import Fold, folded
from bitlens.probe.modules import Wrapper

_SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode", "eps")


@dataclass(frozen=True, eq=False)
class _Origin:
    """Tensors that something was made from, as they were."""

    tensors: Sequence[Tensor]
    state: Sequence[Any]
    sums: Sequence[Tensor]

    @classmethod
    def of(cls, fold: Fold) -> "_Origin":
        tensors = _tensors(fold)
        return cls(tensors, _state(fold, tensors), [sums_of_bits(tensor) for tensor in tensors])

    def is_that_of(self, fold: Fold) -> bool:
        """Say, without reading a weight, whether nothing was replaced or written to in a way that PyTorch counts."""
        tensors = _tensors(fold)
        same = len(tensors) == len(self.tensors) and all(a is b for a, b in zip(tensors, self.tensors, strict=True))
        return same and _state(fold, tensors) == self.state

    def is_unchanged(self) -> bool:
        """Say whether the tensors hold what they held."""
        return all(
            torch.equal(sums_of_bits(tensor), known) for tensor, known in zip(self.tensors, self.sums, strict=True)
        )


class PreparedWeights:
    """Folded, cast and packed weights on CPUs, made anew when somebody has written to the network's own.

    A call would make the same ones as the last. PyTorch counts what is written to a tensor, but
    not through its `.data`, so the sums of every output channel's bits are compared as well. Copies and pickles begin empty:
    oneDNN's own order has no other form.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Fold, torch.dtype | None, bool], tuple[_Origin, Mapping[nn.Module, Wrapper]]] = {}

    def __reduce__(self) -> tuple[type["PreparedWeights"], tuple[()]]:
        return type(self), ()

    def refresh(self, folds: Sequence[Fold]) -> None:
        """Let go of what was made of weights that have changed; reads all of them once."""
        changed = {fold for fold in folds if any(not origin.is_unchanged() for origin in self._origins(fold))}
        self._made = {key: made for key, made in self._made.items() if key[0] not in changed}

    def folded(
        self, folds: Sequence[Fold], dtype: torch.dtype | None, *, packed: bool = False
    ) -> Mapping[nn.Module, Wrapper]:
        """Return what `folding.folded` does, made once; for use after `refresh`."""
        wrappers: dict[nn.Module, Wrapper] = {}
        for fold in folds:
            wrappers.update(self._of(fold, dtype, packed) if _is_kept(fold, dtype) else folded([fold], dtype))
        return wrappers

    def _of(self, fold: Fold, dtype: torch.dtype | None, packed: bool) -> Mapping[nn.Module, Wrapper]:
        origin, wrappers = self._made.get((fold, dtype, packed), (None, {}))
        if origin is None or not origin.is_that_of(fold):
            known = next((one for one in self._origins(fold) if one.is_that_of(fold)), None)
            wrappers = folded([fold], dtype, packed=packed)
            self._made[fold, dtype, packed] = known or _Origin.of(fold), wrappers
        return wrappers

    def _origins(self, fold: Fold) -> list[_Origin]:
        """Return what the things that are kept of a fold were made from, each once."""
        return list({id(origin): origin for key, (origin, _) in self._made.items() if key[0] == fold}.values())


def _is_kept(fold: Fold, dtype: torch.dtype | None) -> bool:
    """Say whether making it takes time: not on a GPU, nor where a module's own weights serve as they are."""
    weight = fold.module.weight
    as_they_are = isinstance(fold.module, nn.Linear) and dtype in (None, weight.dtype)
    return weight.device.type == "cpu" and not as_they_are


def _tensors(fold: Fold) -> list[Tensor]:
    module, norm = fold.module, fold.norm
    found = [module.weight, module.bias]
    if norm is not None:
        found += [norm.running_mean, norm.running_var, norm.weight, norm.bias]
    return [tensor for tensor in found if tensor is not None]


def _state(fold: Fold, tensors: Sequence[Tensor]) -> Sequence[Any]:
    settings = [getattr(module, name, None) for module in (fold.module, fold.norm) for name in _SETTINGS]
    return [*settings, *((t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors)]
