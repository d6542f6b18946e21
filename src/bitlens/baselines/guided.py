"""Guided backpropagation: the gradient, of which every ReLU hands back only what is positive; alone and with Grad-CAM.

Springenberg et al., Striving for simplicity: the all convolutional net (ICLR workshop 2015); algorithms F5 and F9.
"""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline
from bitlens.baselines.gradcam import GradCAM
from bitlens.baselines.gradient import REDUCTIONS, Reduction
from bitlens.baselines.operations import is_rectifier
from bitlens.baselines.rules import passed_back, read
from bitlens.core.passes import SeedAndRows
from bitlens.errors import SettingError, one_of


@final
class GuidedBackprop(ImageBaseline):
    """Take the gradient of the score, where every ReLU hands back what is positive, to where its output is positive.

    ReLU means ReLU, ReLU6, hardtanh and clamp from zero, and leaky ReLU: modules or functions, in place or not, used once
    or several times. Everything else has its gradient, smooth activations (SiLU, GELU, hardswish) too: the fewer ReLUs a
    network has, the nearer the map is to the gradient.

    Such a map hardly changes with the last layers or the target (Adebayo et al., Sanity checks for saliency maps, NeurIPS
    2018): it shows what the network sees rather than why it decides.

    Args:
        model: a network with ReLUs.
        reduce: over channels: "abs-max" or "mean" (signed).
        **run: as of `Baseline`.

    Raises:
        SettingError: for another reduction; from `explain`, if the network has no ReLU.
    """

    method = "guided-backprop"

    def __init__(self, model: nn.Module, *, reduce: Reduction = "abs-max", **run: Unpack[SeedAndRows]) -> None:
        super().__init__(model, **run)
        self.reduce = reduce
        self._reduced = one_of("reduce", reduce, REDUCTIONS)

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        rectifiers = _Rectifiers()
        gradient = passed_back(question, rectifiers, self)
        if not rectifiers.found:
            raise SettingError(
                f"{self.method} changes what ReLUs hand back, and {type(self.model).__name__} computes none: choose another "
                "method (gradient, smoothgrad, integrated-gradients)"
            )
        return self._reduced(gradient)


@final
class GuidedGradCAM(ImageBaseline):
    """Multiply Grad-CAM, divided by its maximum, by guided backpropagation; maps are at least 0.

    Selvaraju et al. 2017; algorithms F9.

    Args:
        model: a network with ReLUs, and a layer whose output has places.
        layer: for Grad-CAM, as there; by default the last with a grid.
        call: which call of the layer, if the network calls it several times in one pass.
        **run: as of `Baseline`.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: from `explain`, if the network has no ReLU.
    """

    method = "guided-grad-cam"
    folds = GradCAM.folds

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        call: int | None = None,
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(model, **run)
        self.coarse = GradCAM(model, layer, call=call)
        self.fine = GuidedBackprop(model)
        self.coarse.method = self.fine.method = self.method
        self.layer = self.coarse.layer

    def choices(self) -> dict[str, Any]:
        """Return those of Grad-CAM."""
        return self.coarse.choices()

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        coarse = self.coarse.maps(question)
        self.layer = self.coarse.layer
        highest = coarse.amax(tuple(range(1, coarse.dim())), keepdim=True)
        return coarse / torch.where(highest > 0, highest, 1) * self.fine.maps(question)


class _Rectifiers(TorchFunctionMode):
    """Let every ReLU of the block hand back what is positive, where its output is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if is_rectifier(read(function), args, kwargs or {}) and result.requires_grad:
            self.found = True
            active = result.detach() > 0
            result.register_hook(lambda gradient: gradient.clamp(min=0) * active)
        return result
