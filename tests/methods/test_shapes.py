"""Every method on series, volumes and tables: closed forms of linear networks, and pictures of one row that are series."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.baselines.extremal import MaskGrid
from bitlens.baselines.surrogate import supervoxels
from bitlens.core.inputs import ModelInputs
from bitlens.errors import BitlensWarning, LayerError, SettingError

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
    method = bitlens.method("occlusion-14", network, window=3)
    told = pytest.warns(BitlensWarning, match="zero takes their place") if axes == "D" else nullcontext()
    with told:
        found = method.explain(inputs, [1, 0, 3]).map
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
        bitlens.method("rise", network, samples=600, grid=3, seed=seed).explain(inputs, lambda output: output[:, 1]).map
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


@pytest.mark.parametrize(("prior", "readout"), [("none", "information"), ("feature-map", "mask")])
def test_the_input_bottleneck_takes_a_series_for_a_picture_of_one_row(prior: str, readout: str) -> None:
    found = []
    for axes in (1, 2, 3):
        settings = {"prior": prior, "readout": readout, "steps": 5, "precision": "float32"}
        made = bitlens.InputIBA(Convolved(axes).eval(), "features", **settings)
        found.append(made.explain(SERIES.reshape(2, 2, *[1] * (axes - 1), 32), 1))
    wanted = {"mask": ["mask"] * 3, "information": ["bits/sample", "bits/pixel", "bits/voxel"]}
    assert [one.unit for one in found] == wanted[readout]
    for one in found[1:]:
        torch.testing.assert_close(one.map.flatten(1), found[0].map, rtol=1e-3, atol=1e-4)
    assert found[0].cells is not None
    torch.testing.assert_close(found[0].cells.sum(1), found[0].total_bits)


def test_times_first_are_explained_as_channels_first() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Convolved(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.mT)

    exact: dict[str, Any] = {"precision": "float32"}
    for name, settings in (("input-iba", {"steps": 3, **exact}), ("iba", exact), ("grad-cam", {})):
        one: Any = bitlens.method(name, Convolved(1).eval(), layer="features", **settings)
        other: Any = bitlens.method(name, Turned().eval(), layer="inner.features", **settings)
        if name == "iba":  # with 16 places each, inputs of noise would say what noise looks like
            ordinary = torch.randn(64, 2, 32, generator=torch.Generator().manual_seed(8))
            one.fit_statistics([ordinary], granularity="channel")
            other.fit_statistics([ordinary.mT], granularity="channel")
        first, last = one.explain(SERIES, 1), other.explain(SERIES.mT, 1)
        torch.testing.assert_close(last.map, first.map)
        assert last.unit == first.unit


class Pump(nn.Module):
    """Two of seven features decide, in units of their own."""

    MEAN, STD = torch.tensor([300.0, 2, 0, -5, 70, 1, 9]), torch.tensor([20.0, 0.1, 1, 3, 0.5, 1, 4])

    def __init__(self, *, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled
        self.mix = nn.Linear(7, 2)
        weights = torch.tensor([0.0, 3, 0, 0, -3, 0, 0])
        self.mix.weight.data, self.mix.bias.data = torch.stack([weights, -weights]), torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix((x - self.MEAN) / self.STD if self.scaled else x)


def test_a_table_is_told_in_bits_of_its_features() -> None:
    rows = torch.randn(4, 7, generator=torch.Generator().manual_seed(0)).sign() * 1.5
    rows[:, 4] = -rows[:, 1]
    settings: dict[str, Any] = {"prior": "none", "readout": "information", "keep": 0.9, "precision": "float32"}
    plain = bitlens.InputIBA(Pump(scaled=False).eval(), "mix", **settings).explain(rows)
    assert (plain.unit, plain.map.shape) == ("bits/feature", (4, 7))
    decisive = torch.tensor([1, 4])
    assert (plain.map.topk(2).indices.sort(1).values == decisive).all()
    assert plain.evidence is not None
    assert (plain.evidence.kept > 0.9).all()
    units = {"noise_mean": Pump.MEAN, "noise_std": Pump.STD}
    own = bitlens.InputIBA(Pump(scaled=True).eval(), "mix", **settings, **units).explain(rows * Pump.STD + Pump.MEAN)
    torch.testing.assert_close(own.map, plain.map, rtol=1e-2, atol=1e-3)
    known = bitlens.InputIBA(Pump(scaled=False).eval(), "mix", precision="float32")
    known.fit_statistics([torch.randn(4000, 7)], granularity="channel")
    with pytest.raises(LayerError, match=r"has no grid over the features of the input .* or prior='none'"):
        known.explain(rows)
    with pytest.raises(SettingError, match=r"noise_std has shape \(3,\), one input \(7,\)"):
        bitlens.InputIBA(Pump(scaled=False).eval(), "mix", prior="none", noise_std=torch.ones(3)).explain(rows)


@pytest.mark.parametrize("axes", [1, 3])
def test_extremal_masks_of_a_series_and_a_volume_are_those_of_a_picture(axes: int) -> None:
    """Along the axes that have one place nothing is smoothed; mirroring, which pictures alone have, is off."""
    settings: dict[str, Any] = {"areas": 0.3, "iterations": 12, "flip": False}
    size = (1, 32), (32,) if axes == 1 else (1, 1, 32)
    grids = [MaskGrid(torch.zeros(1, 2, *own), 4.0, 6.0) for own in size]
    cells = torch.rand(2, 8, generator=torch.Generator().manual_seed(1))
    masks = [grid.mask(cells.reshape(2, *grid.shape)).flatten(1) for grid in grids]
    torch.testing.assert_close(
        masks[1], masks[0], rtol=0, atol=2e-3
    )  # its points lie a quarter pixel beside a single row
    made = bitlens.method("extremal-perturbation", Convolved(axes).eval(), **settings)
    found = made.explain(SERIES.reshape(2, 2, *[1] * (axes - 1), 32), 1).map
    assert found.shape == (2, *[1] * (axes - 1), 32)
    assert 0.1 < float(found.mean()) < 0.9


@pytest.mark.parametrize(("width", "beside"), [(4, 0.0), (3, 0.5), (5, 0.5)])
def test_maps_lie_where_kernels_of_even_width_look(width: int, beside: float) -> None:
    """Cells share the input evenly; those of odd kernels with stride 2 look half a voxel before that, and maps lie behind it."""
    convolution = nn.Conv3d(1, 1, width, 2, (width - 1) // 2, bias=False)
    nn.init.ones_(convolution.weight)
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(8**3, 2)).eval()
    nn.init.ones_(network[3].weight)
    voxels = torch.tensor([[6, 6, 6], [7, 8, 9], [9, 7, 8], [8, 9, 7]])  # along each axis as many even as odd
    volumes = torch.zeros(4, 1, 16, 16, 16)
    volumes[(torch.arange(4), torch.zeros(4, dtype=torch.long), *voxels.T)] = 1
    maps = bitlens.method("layer-cam", network, layer="1").explain(volumes, 0).map
    share = maps / maps.flatten(1).sum(1).reshape(-1, 1, 1, 1)
    for axis in range(3):
        along = share.sum([other + 1 for other in range(3) if other != axis])
        middle = along @ torch.arange(16.0)
        assert float((middle - voxels[:, axis]).mean()) == pytest.approx(beside, abs=1e-3)


def test_a_volume_of_masks_is_symmetric_in_its_axes() -> None:
    cells = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    found = MaskGrid(torch.zeros(1, 1, 6, 8, 10), 2.0, 3.0).mask(cells)
    turned = MaskGrid(torch.zeros(1, 1, 10, 6, 8), 2.0, 3.0).mask(cells.permute(0, 3, 1, 2))
    torch.testing.assert_close(turned, found.permute(0, 3, 1, 2))


def test_a_table_has_no_smooth_masks_and_no_patches() -> None:
    network, inputs, *_ = asked("D")
    with pytest.raises(SettingError, match="the features of a table have no neighbours: choose kernel-shap"):
        bitlens.method("extremal-perturbation", network).explain(inputs)
    with pytest.raises(SettingError, match=r"tokens are laid out as patches of images|computes no attention"):
        bitlens.method("attention-rollout", network).explain(inputs)


@ALL
def test_what_covers_may_be_an_input(axes: str) -> None:
    network, inputs, x, w = asked(axes)
    cover = torch.rand(SHAPES[axes], generator=torch.Generator().manual_seed(2))
    assert inputs.places is not None
    gone = inputs.places.first(cover[None])
    made = bitlens.method("kernel-shap", network, segments=4, samples=200, replacement=cover)
    torch.testing.assert_close(
        made.explain(inputs, [1, 0, 3]).map, parts_of(axes, (w * (x - gone)).sum(1), CELLS[axes]), rtol=1e-3, atol=1e-4
    )
    assert made.settings()["replacement"].startswith("image ")
    found = bitlens.method("deep-shap", network, baselines=cover[None]).explain(inputs, [1, 0, 3]).map
    torch.testing.assert_close(found, (w * (x - gone)).mean(1), rtol=1e-4, atol=1e-5)
    with pytest.raises(SettingError, match=r"replacement has shape .*: give one input of that shape"):
        bitlens.method("occlusion-14", network, replacement=torch.zeros(1, 9, 9)).explain(inputs)


def test_a_layer_is_found_in_series_and_volumes() -> None:
    assert bitlens.default_layer(Convolved(1).eval(), SERIES) == "features"
    deep = nn.Sequential(
        nn.Conv3d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv3d(4, 4, 3, 2, 1), nn.Flatten(), nn.Linear(256, 2)
    ).eval()
    assert bitlens.default_layer(deep, torch.randn(1, 1, 16, 16, 16)) == "1"
    found = bitlens.explain(Convolved(1).eval(), SERIES, 1)
    assert (found.unit, found.layer, found.map.shape) == ("bits/sample", "features", (2, 32))
    with pytest.raises(LayerError, match="or ask input-iba with prior='none' for bits of the table's features"):
        bitlens.explain(Pump(scaled=False).eval(), torch.randn(2, 7))
