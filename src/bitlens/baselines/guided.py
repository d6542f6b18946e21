"""Guided backpropagation: the gradient, of which every ReLU hands back only what is positive; alone and with Grad-CAM.

Springenberg et al., Striving for simplicity: the all convolutional net (ICLR workshop 2015); algorithms F5 and F9.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bitlens.baselines.baseline import Baseline, Group
from bitlens.baselines.gradcam import GradCAM
from bitlens.baselines.gradient import REDUCTIONS, Reduction
from bitlens.baselines.operations import is_rectifier
from bitlens.baselines.rules import passed_back, read
from bitlens.core.inputs import ModelInputs
from bitlens.errors import SettingError, one_of

__all__ = ["GuidedBackprop", "GuidedGradCAM"]


class GuidedBackprop(Baseline):
    """The gradient of the score, where every ReLU hands back what is positive, to where its output is positive.

    ReLU means ReLU, ReLU6, hardtanh and clamp from zero, and leaky ReLU: modules or functions, in place or not, used once
    or several times. Everything else has its gradient, smooth activations (SiLU, GELU, hardswish) too: the fewer ReLUs a
    network has, the nearer the map is to the gradient.

    Such a map hardly changes with the last layers or the target (Adebayo et al., Sanity checks for saliency maps, NeurIPS
    2018): it shows what the network sees rather than why it decides.

    Args:
        model: a network with ReLUs.
        reduce: over channels: "abs-max" or "mean" (signed).
        seed: kept with the map; nothing is random here.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: for another reduction; from `explain`, if the network has no ReLU.
    """

    method = "guided-backprop"

    def __init__(
        self,
        model: nn.Module,
        *,
        reduce: Reduction = "abs-max",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(model, seed=seed, internal_batch_size=internal_batch_size)
        self.reduce = reduce
        self._reduced = one_of("reduce", reduce, REDUCTIONS)

    def settings(self) -> dict[str, Any]:
        """How channels become one."""
        return {"reduce": self.reduce}

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        rectifiers = _Rectifiers()
        gradient = passed_back(group, rectifiers, self.model, self.method)
        if not rectifiers.found:
            raise SettingError(
                f"{self.method} changes what ReLUs hand back, and {type(self.model).__name__} computes none: choose another "
                "method (gradient, smoothgrad, integrated-gradients)"
            )
        return self._reduced(gradient)


class GuidedGradCAM(Baseline):
    """Grad-CAM, divided by its maximum, times guided backpropagation (Selvaraju et al. 2017; algorithms F9); at least 0.

    Args:
        model: a network with ReLUs, and a layer whose output has places.
        layer: for Grad-CAM, as there; by default the last with a grid.
        call: which call of the layer, if the network calls it several times in one pass.
        seed: kept with the map; nothing is random here.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense; from `explain`, if the network has no ReLU.
    """

    method = "guided-grad-cam"

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        call: int | None = None,
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(model, seed=seed, internal_batch_size=internal_batch_size)
        self.coarse = GradCAM(model, layer, call=call)
        self.fine = GuidedBackprop(model)
        self.coarse.method = self.fine.method = self.method
        self.layer = self.coarse.layer

    def settings(self) -> dict[str, Any]:
        """Those of Grad-CAM."""
        return self.coarse.settings()

    def running(self, inputs: ModelInputs, dtype: torch.dtype | None) -> AbstractContextManager[Callable[..., Any]]:
        """As Grad-CAM needs the network: with batch norm folded, its layer may put out something else."""
        return self.coarse.running(inputs, dtype)

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        coarse = self.coarse.maps(group)
        self.layer = self.coarse.layer
        highest = coarse.amax((1, 2), keepdim=True)
        return coarse / torch.where(highest > 0, highest, 1) * self.fine.maps(group)


class _Rectifiers(TorchFunctionMode):
    """Within the block, every ReLU lets through what is positive, where its output is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if is_rectifier(read(function), args, kwargs or {}) and result.requires_grad:
            self.found = True
            active = result.detach() > 0
            result.register_hook(lambda gradient: gradient.clamp(min=0) * active)
        return result
