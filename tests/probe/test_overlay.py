"""Layers whose cells do not lie over the input as a map is drawn are refused; all others are let through."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.errors import LayerError
from bitlens.probe import Probe


class Before(nn.Module):
    """Convolutions behind something that is done to the input."""

    def __init__(self, change: Callable[[Tensor], Tensor], dims: int = 2) -> None:
        super().__init__()
        self.change = change
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.stages = nn.Sequential(
            nn.Sequential(conv(2, 6, 3, 2, 1), nn.ReLU()), nn.Sequential(conv(6, 8, 3, 2, 1), nn.ReLU())
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.change(x)).flatten(2).mean(2))


TURNED = {
    "mirrored": lambda x: x.flip(3),
    "upside down": lambda x: x.flip(2),
    "turned": lambda x: torch.rot90(x, 1, (2, 3)),
    "transposed": lambda x: x.transpose(2, 3),
}
CUT = {
    "the middle": (lambda x: x[:, :, 8:40, 8:40], "first 8 and the last 8 of the input's 48 places along axis 1 of 2"),
    "the middle, enlarged": (lambda x: F.interpolate(x[:, :, 8:40, 8:40], (48, 48)), "first 8 and the last 8"),
    "all but the end": (lambda x: x[:, :, :, :40], "first 0 and the last 8 .* along axis 2 of 2"),
}
WIDENED = {
    "on all sides": lambda x: F.pad(x, (16, 16, 16, 16)),
    "at the end": lambda x: F.pad(x, (0, 16)),
    "at the beginning, mirrored": lambda x: F.pad(x, (0, 0, 16, 0), mode="reflect"),
}
AS_IT_IS = {
    "nothing": lambda x: x,
    "smaller": lambda x: F.interpolate(x, (32, 32), mode="bilinear", antialias=True),
    "another shape": lambda x: F.interpolate(x, (32, 64), mode="bilinear"),
    "standardised": lambda x: (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True),
    "cut off": lambda x: x.clamp(0, 1),
    "one pixel less": lambda x: x[:, :, 1:, 1:],
    "every second pixel": lambda x: x[:, :, ::2, ::2],
    "no slope": lambda x: torch.from_numpy(x.numpy() * 2),
    "written over": lambda x: x.relu().add_(1).sigmoid().mul_(2),
    "a little wider": lambda x: F.pad(x, (1, 1, 1, 1)),
    "whole numbers": lambda x: (x * 255).round() / 255,
}


def images() -> Tensor:
    return torch.rand(2, 2, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_grid_that_is_turned_is_refused(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    network = Before(TURNED[name]).eval()
    for layer in ("stages.0", "stages.1"):
        with pytest.raises(LayerError, match=f"turns or mirrors its input before layer '{layer}'"):
            bitlens.IBA(network, layer, layout="CHW").explain(images(), 0)


@pytest.mark.parametrize("name", CUT)
def test_a_grid_over_a_part_is_refused(name: str) -> None:
    torch.manual_seed(0)
    change, told = CUT[name]
    network = Before(change).eval()
    for explain in (
        lambda: bitlens.explain(network, images(), 0),
        lambda: bitlens.method("grad-cam", network).explain(images(), 0),
    ):
        with pytest.raises(LayerError, match=told):
            explain()
    assert bitlens.method("saliency", network).explain(images(), 0).map.shape == (2, 48, 48)


@pytest.mark.parametrize("name", WIDENED)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_grid_that_reaches_beyond_the_input_is_refused(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    for layer in ("stages.0", "stages.1"):
        with pytest.raises(LayerError, match=f"cells of layer '{layer}' reach beyond the input"):
            Probe(Before(WIDENED[name]).eval(), layer).geometry(images())


@pytest.mark.parametrize("name", AS_IT_IS)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_lies_over_the_input_is_let_through(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    network = Before(AS_IT_IS[name]).eval()
    for layer in ("stages.0", "stages.1"):
        assert Probe(network, layer).geometry(images()).layout.name == "CHW"


@pytest.mark.parametrize("dims", [1, 3])
def test_series_and_volumes_likewise(dims: int) -> None:
    torch.manual_seed(0)
    values, shape = torch.randn(1, 2, *[24] * dims), tuple(range(2, 2 + dims))
    assert Probe(Before(lambda x: x, dims).eval(), "stages.1").geometry(values).layout.places
    with pytest.raises(LayerError, match="turns or mirrors"):
        Probe(Before(lambda x: x.flip(shape[-1]), dims).eval(), "stages.1").geometry(values)
    with pytest.raises(LayerError, match="last 8"):
        Probe(Before(lambda x: x[:, :, :16], dims).eval(), "stages.1").geometry(values)
