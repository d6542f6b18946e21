"""What is measured of a network is measured once: later calls make next to no operation more than without the checks."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import pytest
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import bitlens
from bitlens.probe import Probe
from bitlens.probe.geometry import Geometry
from networks import noise_images, small_net, small_vit


class Counting(TorchDispatchMode):
    """Count the operations of PyTorch within the block."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return operation(*args, **(kwargs or {}))


@contextmanager
def without_checks(geometry: Geometry) -> Iterator[None]:
    with ExitStack() as away:
        for name in ("check_paths", "warn_if_unread"):
            away.enter_context(patch(f"bitlens.bottlenecks.at_layer.{name}", lambda *_, **__: None))
        away.enter_context(patch("bitlens.bottlenecks.at_layer.pictured", lambda _, inputs: inputs))
        away.enter_context(patch("bitlens.probe.probe.Probe.geometry", lambda *_: geometry))
        yield


@pytest.mark.parametrize(("network", "layer"), [(small_net(), "2"), (small_vit(), "encoder.layers.encoder_layer_0")])
@pytest.mark.filterwarnings("ignore:statistics:bitlens.errors.BitlensWarning")
def test_later_calls_check_nothing_again(network: nn.Module, layer: str) -> None:
    images = noise_images(2)
    iba = bitlens.IBA(network, layer, steps=2).fit_statistics([noise_images(8)], granularity="channel")
    geometry = Probe(network, layer).geometry(images)

    def operations(*, checks: bool = True) -> int:
        with nullcontext() if checks else without_checks(geometry), Counting() as counting:
            iba.explain(images, 1)
        return counting.count

    first, second, third = (operations() for _ in range(3))
    assert first > second == third
    assert second - operations(checks=False) <= 4
    assert operations() == second
