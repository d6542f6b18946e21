"""Every method on series, volumes and tables: closed forms of linear networks, and pictures of one row that are series."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.baselines.surrogate import supervoxels
from bitlens.core.inputs import ModelInputs
from bitlens.errors import SettingError

SHAPES = {"CT": (3, 20), "TC": (20, 3), "T": (20,), "CDHW": (2, 4, 6, 5), "DHWC": (4, 6, 5, 2), "D": (7,), "HW": (6, 5)}
"""One sample of each kind; none as the network tells it, for it is linear: all of them are said."""


class Linear(nn.Module):
    """Scores that are linear in the input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(4, *shape, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.flatten(1).T + 0.7


def asked(axes: str) -> tuple[nn.Module, ModelInputs, Tensor, Tensor]:
    """A linear network, inputs, and these and the weights of their targets with channels first."""
    network = Linear(SHAPES[axes]).eval()
    x = torch.randn(3, *SHAPES[axes], generator=torch.Generator().manual_seed(1))
    inputs = ModelInputs.of(x, axes=axes)
    assert inputs.places is not None
    first = inputs.places.first
    return network, inputs, first(x), first(network.weights.detach()[[1, 0, 3]])


ALL = pytest.mark.parametrize("axes", SHAPES)


@ALL
@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("gradient", {}, lambda _, w: w.mean(1)),
        ("saliency", {}, lambda _, w: w.abs().amax(1)),
        ("gradient-x-input", {}, lambda x, w: (x * w).mean(1)),
        ("integrated-gradients", {"baseline": 0.5}, lambda x, w: ((x - 0.5) * w).mean(1)),
        ("smoothgrad", {"noise_samples": 3, "reduce": "mean"}, lambda _, w: w.mean(1)),
    ],
)
def test_closed_forms_of_a_linear_network(axes: str, name: str, settings: dict[str, Any], expected: Any) -> None:
    network, inputs, x, w = asked(axes)
    found = bitlens.method(name, network, **settings).explain(inputs, [1, 0, 3])
    torch.testing.assert_close(found.map, expected(x, w), rtol=1e-4, atol=1e-5)


@ALL
def test_occlusion_is_the_exact_drop_of_each_window(axes: str) -> None:
    network, inputs, x, w = asked(axes)
    found = bitlens.method("occlusion-14", network, window=3).explain(inputs, [1, 0, 3]).map
    dims = tuple(range(2, x.dim()))
    gone = torch.zeros(()) if axes == "D" else x.mean(dims, keepdim=True)
    drops = (w * (x - gone)).sum(1)
    for axis in range(1, drops.dim()):  # window by window along each axis; features of a table stand alone
        parts = drops.split(1 if axes == "D" else 3, axis)
        drops = torch.cat([part.sum(axis, keepdim=True).expand_as(part) for part in parts], axis)
    torch.testing.assert_close(found, drops, rtol=1e-4, atol=1e-5)


def test_a_window_may_have_a_length_for_each_axis() -> None:
    network, inputs, x, w = asked("CDHW")
    made = bitlens.method("occlusion-14", network, window=(2, 6, 5))
    found = made.explain(inputs, [1, 0, 3])
    drops = (w * (x - x.mean((2, 3, 4), keepdim=True))).sum(1)
    torch.testing.assert_close(found.map[:, 2, 0, 0], drops[:, 2:4].sum((1, 2, 3)), rtol=1e-4, atol=1e-5)
    assert found.method == "occlusion-2x6x5"
    with pytest.raises(
        SettingError, match=r"window=\(2, 6\) must be a whole number, or one for each of 3 axes of places"
    ):
        bitlens.method("occlusion-14", network, window=(2, 6)).explain(inputs)


class Convolved(nn.Module):
    """A convolutional network over any number of axes of places, whose weights lie along the last one alone."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)

        def layer(channels: int, out: int, stride: int) -> nn.Module:
            kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
            made = kind(
                channels, out, (1,) * (axes - 1) + (5,), (1,) * (axes - 1) + (stride,), (0,) * (axes - 1) + (2,)
            )
            weight = torch.randn(out, channels, 5, generator=generator) / 3
            made.weight.data = weight.reshape(made.weight.shape)
            made.bias.data = torch.randn(out, generator=generator) / 3
            return made

        self.features = nn.Sequential(layer(2, 6, 2), nn.ReLU(), layer(6, 8, 1), nn.ReLU())
        self.head = nn.Linear(8 * 16, 3)
        self.head.weight.data = torch.randn(3, 8 * 16, generator=generator) / 8
        self.head.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


SERIES = torch.randn(2, 2, 32, generator=torch.Generator().manual_seed(6))

NAMES = {
    "gradient": {}, "saliency": {}, "gradient-x-input": {}, "integrated-gradients": {}, "guided-backprop": {},
    "grad-cam": {}, "layer-cam": {}, "guided-grad-cam": {}, "lrp-alpha1-beta0": {}, "lrp-alpha0-beta-1-eps5": {},
    "deep-shap": {}, "random": {},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_series_is_a_picture_of_one_row_and_a_volume_of_one_column(name: str) -> None:
    maps = [
        bitlens.method(name, Convolved(axes).eval(), **NAMES[name]).explain(
            SERIES.reshape(2, 2, *[1] * (axes - 1), 32), 1
        )
        for axes in (1, 2, 3)
    ]
    assert [found.map.shape for found in maps] == [(2, 32), (2, 1, 32), (2, 1, 1, 32)]
    for found in maps[1:]:
        torch.testing.assert_close(found.map.flatten(1), maps[0].map, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_bits_of_a_series_are_those_of_a_picture_of_one_row(smoothing: float) -> None:
    found = []
    for axes in (1, 2, 3):
        iba = bitlens.IBA(Convolved(axes).eval(), "features", smoothing=smoothing, precision="float32")
        found.append(iba.explain(SERIES.reshape(2, 2, *[1] * (axes - 1), 32), 1))
    assert [one.unit for one in found] == ["bits/sample", "bits/pixel", "bits/voxel"]
    assert [one.map.shape for one in found] == [(2, 32), (2, 1, 32), (2, 1, 1, 32)]
    for one in found[1:]:
        torch.testing.assert_close(one.map.flatten(1), found[0].map, rtol=1e-3, atol=1e-4)
    assert found[0].total_bits is not None
    torch.testing.assert_close(found[0].map.sum(1), found[0].total_bits)


def test_maps_are_given_as_captum_does() -> None:
    series = bitlens.method("saliency", Convolved(1).eval())
    assert series.attribute(SERIES, target=1).shape == (2, 1, 32)
    assert bitlens.method("saliency", Convolved(3).eval()).attribute(SERIES[:, :, None, None], target=1).shape == (
        2,
        1,
        1,
        1,
        32,
    )
    network, inputs, *_ = asked("D")
    assert bitlens.method("gradient", network).attribute(inputs.first, target=1).shape == (3, 7)
    assert bitlens.IBA(Convolved(1).eval(), "features").attribute(SERIES, target=1).shape == (2, 1, 32)


def parts_of(axes: str, drops: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Each place's sum over its cell of a grid; features of a table are cells of their own."""
    for axis, count in enumerate(cells, 1):
        size = drops.shape[axis]
        numbers = torch.arange(size) if axes == "D" else torch.arange(size) * count // size
        shape = list(drops.shape)
        shape[axis] = int(numbers.max()) + 1
        summed = torch.zeros(shape).index_add(axis, numbers, drops)
        drops = summed.index_select(axis, numbers)
    return drops


CELLS = {"CT": (4,), "TC": (4,), "T": (4,), "CDHW": (1, 2, 2), "DHWC": (1, 2, 2), "D": (7,), "HW": (2, 2)}


@ALL
@pytest.mark.parametrize(
    ("name", "settings"), [("lime", {"ridge": 0.0, "samples": 200}), ("kernel-shap", {"samples": 200})]
)
def test_a_linear_model_of_a_linear_network_is_exact(axes: str, name: str, settings: dict[str, Any]) -> None:
    network, inputs, x, w = asked(axes)
    found = bitlens.method(name, network, segments=4, replacement=0.25, **settings).explain(inputs, [1, 0, 3]).map
    torch.testing.assert_close(found, parts_of(axes, (w * (x - 0.25)).sum(1), CELLS[axes]), rtol=1e-3, atol=1e-4)


@ALL
def test_supervoxels_are_segments_too(axes: str) -> None:
    network, inputs, x, w = asked(axes)
    if x.dim() == 3:  # SLIC takes pictures and volumes
        given = (torch.arange(x.shape[2]) % 3)[None].expand(3, -1)
        made = bitlens.method("kernel-shap", network, segments=given[0], replacement="zero")
    else:
        divide = supervoxels(5, compactness=100.0)  # of noise, nearly a grid
        given = divide(x)
        assert given.shape == (3, *x.shape[2:])
        assert len(given.unique()) > 1
        made = bitlens.method("kernel-shap", network, segments=divide, replacement="zero")
        assert made.settings()["segments"] == "5 supervoxels"
    found = made.explain(inputs, [1, 0, 3]).map.flatten(1)
    drops, numbers = (w * x).sum(1).flatten(1), given.flatten(1)
    for one, own, parts in zip(found, drops, numbers, strict=True):
        summed = torch.zeros(int(parts.max()) + 1).index_add(0, parts, own)
        torch.testing.assert_close(one, summed[parts], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("axes", ["D", "CT", "CDHW"])
def test_rise_finds_what_adds_to_a_linear_score(axes: str) -> None:
    """Its map's expectation grows with w·x, smoothed by the masks; of a table by (1 - share) · w·x exactly."""
    network, inputs, x, _ = asked(axes)
    maps = torch.stack([
        bitlens.method("rise", network, samples=2000, grid=3, seed=seed).explain(inputs, lambda output: output[:, 1]).map
        for seed in range(4)
    ])  # fmt: skip
    drops = (inputs.places.first(network.weights.detach()[[1] * 3]) * x).sum(1)
    if axes == "D":
        apart = maps - maps.mean(2, keepdim=True) - 0.5 * (drops - drops.mean(1, keepdim=True))
        error = apart.std(0) / 2
        assert (apart.mean(0).abs() < 5 * error + 0.02).all()
        return
    again = torch.stack(
        [torch.corrcoef(torch.stack([maps[0, i].flatten(), maps[1, i].flatten()]))[0, 1] for i in range(3)]
    )
    assert again.min() > 0.8
    assert maps.shape[2:] == x.shape[2:]
