"""Class activation maps: the features of one layer, weighted by the gradient of the score."""

from abc import abstractmethod
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import LAYOUTS
from bitlens.core.maps import covers, enlarged
from bitlens.core.passes import SeedAndRows
from bitlens.core.places import Places
from bitlens.errors import SettingError, one_of
from bitlens.probe import Probe
from bitlens.probe.blocks import last_spatial_call
from bitlens.probe.geometry import Geometry
from bitlens.probe.modules import graph_held
from bitlens.probe.pictured import pictured
from bitlens.probe.trace import all_calls, trace_calls


class ActivationMap(ImageBaseline):
    """A map made of one layer's features and the gradient of the score there.

    Args:
        model: the network.
        layer: a module whose output has places: (N, C, h, w), (N, h, w, C), or the tokens (N, T, D) of a vision
            transformer, or (N, C, t) of a series and (N, C, d, h, w) of a volume; by default the last with a grid (see
            `last_spatial_call`), in a vision transformer with a class token what comes first in its last block: behind the last
            attention no patch matters any more.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: what the axes of the features are, one of `LAYOUTS`, where neither modules nor a measurement tell.
        **run: as of `Baseline`.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a call or layout is named, but no layer.
    """

    folds = False  # a convolution before a folded batch norm would put out something else

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        call: int | None = None,
        layout: str | None = None,
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(model, **run)
        for name, value in (("call", call), ("layout", layout)):
            if layer is None and value is not None:
                raise SettingError(f"{name}={value!r} needs a layer: name it, or leave both to {self.method}")
        self.layout = one_of("layout", layout, LAYOUTS) if layout is not None else None
        self._named = Probe(self.model, layer, call=call) if layer is not None else None
        self._found: dict[Any, Probe] = {}
        self.layer = self._named.name if self._named is not None else ""

    @abstractmethod
    def weighted(self, features: Tensor, gradient: Tensor) -> Tensor:
        """Make maps (n, h, w) of features (n, C, h, w) and the gradient of the score there; or of times, or voxels."""

    def choices(self) -> dict[str, Any]:
        """Return which call of the layer, and the layout if it was said; the layer itself stands in the attribution."""
        said = {"layout": self.layout.name} if self.layout is not None else {}
        return {"call": self._named.call if self._named is not None else None, **said}

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W), at least 0."""
        probe = self._named or self._default(question.inputs)
        self.layer = probe.name
        places = pictured(probe, question.inputs).placed(self.method)
        recording = probe.record(question.inputs)
        features = recording.features.detach().requires_grad_()
        with recording.suffix() as run:
            score = question.target.score(run(features))
            if not score.requires_grad:
                raise SettingError(
                    f"the score has no gradient at layer {probe.name!r}: choose a layer that it depends on"
                )
            (gradient,) = torch.autograd.grad(score.sum(), features)
        geometry = probe.geometry(question.inputs, self.layout)
        cells = self.weighted(*(_as_grid(t, geometry, probe.name, places) for t in (features.detach(), gradient)))
        return enlarged(cells.clamp_min(0)[:, None], places.size)[:, 0]

    def _default(self, inputs: ModelInputs) -> Probe:
        if inputs.signature not in self._found:
            root = trace_calls(self.model, inputs.select(slice(2)))
            call = last_spatial_call(root, inputs)
            if call is None:
                remedy = graph_held(*self.model.modules()) or "name a layer"
                raise SettingError(
                    f"{self.method} finds no layer of {type(self.model).__name__} that ends in a grid (N, C, h, w): {remedy}"
                )
            times = sum(other.module is call.module for other in all_calls(root))
            self._found[inputs.signature] = Probe(self.model, call.module, call=call.index if times > 1 else None)
        return self._found[inputs.signature]


@final
class GradCAM(ActivationMap):
    """Weight channels by the mean of their gradient (Selvaraju et al. 2017; algorithms F8), and take the positive part."""

    method = "grad-cam"

    def weighted(self, features: Tensor, gradient: Tensor) -> Tensor:
        """Return Σ over channels of the gradient's mean times the feature."""
        return (gradient.mean(tuple(range(2, gradient.dim())), keepdim=True) * features).sum(1)


@final
class LayerCAM(ActivationMap):
    """Weight every feature by its own gradient where that is positive (Jiang et al. 2021, equations 3 to 5)."""

    method = "layer-cam"

    def weighted(self, features: Tensor, gradient: Tensor) -> Tensor:
        """Return Σ over channels of the gradient's positive part times the feature."""
        return (gradient.clamp_min(0) * features).sum(1)


def _as_grid(values: Tensor, geometry: Geometry, layer: str, places: Places) -> Tensor:
    """Return features (n, ...) of a layer whose places form a grid as (n, C, h, w)."""
    layout = geometry.layout.over(tuple(values.shape[1:]), places.size)
    if not covers(layout, places):
        raise SettingError(
            f"layer {layer!r} puts out {tuple(values.shape)}, whose places are no grid over inputs of {places.size} "
            f"{places.one}s: choose another"
        )
    values = geometry.arranged(values).movedim(layout.channel + 1, 1)
    return values if layout.patches is None else values[..., layout.extra :].reshape(*values.shape[:2], *layout.patches)
