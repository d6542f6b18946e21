"""bitlens's methods in the shapes that other libraries call.

Captum's metrics take `method.attribute` as it is; Quantus's metrics take `quantus_explain_func`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bitlens.core.statistics import FeatureStatistics
from bitlens.errors import SettingError
from bitlens.methods import entry_of, method
from bitlens.methods.lessons import STATISTICS

_BATCH = 16


def quantus_explain_func(
    model: nn.Module,
    inputs: NDArray[Any] | Tensor,
    targets: NDArray[Any] | Tensor,
    *,
    name: str = "iba",
    statistics: FeatureStatistics | str | Path | None = None,
    statistics_inputs: NDArray[Any] | Tensor | None = None,
    device: str | None = None,
    **settings: Any,
) -> NDArray[np.float32]:
    """Return what Quantus's metrics take as `explain_func`; everything else goes into `explain_func_kwargs`.

    Args:
        model: the network, as Quantus hands it over.
        inputs: (N, C, H, W) images, already preprocessed.
        targets: (N,) class indices.
        name: of the method, one of `bitlens methods`.
        statistics: of the layer, or the file they lie in; only for the very weights they were made with.
        statistics_inputs: (M, C, H, W) inputs to make statistics of, per channel, for every network anew: what the metrics
            need that change the weights (MPRT). A few dozen are enough.
        device: where the network runs; where it is if not given.
        **settings: of the method: `layer`, `beta`, ...

    Returns:
        (N, 1, H, W) maps; bits per pixel for bottlenecks.

    Raises:
        SettingError: if there is no such method or setting, or the method must learn and was given nothing to learn from.
    """
    lesson = entry_of(name).lesson
    if lesson is STATISTICS and (statistics is None) == (statistics_inputs is None):
        raise SettingError(
            f"{name} needs statistics of its layer: give either statistics= (of these very weights) or statistics_inputs= "
            "(for any weights, made anew each time) in explain_func_kwargs"
        )
    if device is not None:
        model = model.to(device)
    explainer: Any = method(name, model, **settings)
    if isinstance(statistics, FeatureStatistics):
        explainer.statistics = statistics
    elif statistics is not None:
        explainer.statistics = FeatureStatistics.load(statistics)
    elif statistics_inputs is not None:
        explainer.fit_statistics(torch.split(_tensor(statistics_inputs), _BATCH), granularity="channel")
    maps: Tensor = explainer.attribute(_tensor(inputs), torch.as_tensor(targets).long())
    return maps.cpu().numpy().astype(np.float32)


def _tensor(array: NDArray[Any] | Tensor) -> Tensor:
    """Convert to single precision: NumPy's default is double, networks' is not."""
    return torch.as_tensor(array).float()
