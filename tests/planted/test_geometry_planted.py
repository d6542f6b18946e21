"""Networks whose decisive places are known: every method that takes them finds these, or says in one sentence why it cannot."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.errors import BitlensWarning, LayerError, SettingError
from bitlens.models.default_layer import default_layer, grid_layers
from bitlens.probe import Probe
from planted_networks import PLANTED, SHUFFLED, Axes, Decided, Patches, Planted, inside, peak, share

pytestmark = pytest.mark.filterwarnings("ignore:statistics:bitlens.errors.BitlensWarning")

BY_KIND = {planted.kind: planted for planted in PLANTED}
IMAGES = [planted for planted in PLANTED if len(planted.size) == 3]
SMALL = [planted for planted in PLANTED if max(planted.size) < 100]
UNITS = {2: "bits/sample", 3: "bits/pixel", 4: "bits/voxel"}
GRIDS = [planted for planted in SMALL if planted.shape == planted.size[1:]]


def named(cases: list[Planted] | tuple[Planted, ...]) -> Any:
    return pytest.mark.parametrize("planted", cases, ids=lambda planted: planted.kind)


def fitted(planted: Planted, network: nn.Module, **settings: Any) -> bitlens.IBA:
    iba = bitlens.IBA(network, planted.layer, smoothing=0.0, **settings)
    return iba.fit_statistics([planted.ordinary(4 if max(planted.size) > 100 else 32)], granularity="channel")


@named(PLANTED)
def test_bits_lie_in_the_decisive_place(planted: Planted) -> None:
    found = fitted(planted, planted.network()).explain(planted.inputs())
    assert tuple(found.map.shape[1:]) == planted.shape
    assert found.unit == (UNITS[len(planted.size)] if planted.shape == planted.size[1:] else "bits/token")
    assert inside(peak(found.map[0]), planted.decisive)
    assert share(found.map[0], planted.decisive) > 0.6
    assert found.total_bits is not None
    assert found.total_bits.item() > 3


@named(GRIDS)
@pytest.mark.parametrize("name", ["grad-cam", "layer-cam"])
def test_activation_maps_point_at_the_decisive_place(planted: Planted, name: str) -> None:
    found = bitlens.method(name, planted.network(), layer=planted.layer).explain(planted.inputs())
    assert inside(peak(found.map[0]), planted.decisive)
    if name == "layer-cam":  # what nothing reads has no gradient; Grad-CAM weighs channels wherever they are
        assert share(found.map[0], planted.decisive) > 0.99


@named(SMALL)
@pytest.mark.parametrize("name", ["occlusion-8", "saliency", "gradient", "integrated-gradients", "input-iba"])
def test_methods_that_look_at_pixels_find_the_same(planted: Planted, name: str) -> None:
    assert planted.pixels is not None
    settings = {"layer": planted.layer} if name == "input-iba" else {}
    method: Any = bitlens.method(name, planted.network(), **settings)
    if name == "input-iba":
        method.fit_statistics([planted.ordinary(32)], granularity="channel")
        if planted not in GRIDS:
            with pytest.raises(
                LayerError, match=r"has no grid over the pixels of the input .*: choose another layer, or prior='none'"
            ):
                method.explain(planted.inputs())
            return
    values = method.explain(planted.inputs()).map[0].abs()
    assert tuple(values.shape) == planted.size[1:]
    more = {"occlusion-8": 7, "input-iba": 2}.get(
        name, 0
    )  # tiles are larger than the decisive place, masks are blurred
    around = tuple(slice(max(part.start - more, 0), part.stop + more) for part in planted.pixels)
    assert inside(peak(values), around)
    if name == "input-iba":  # which leaves little where nothing is
        values = values - values.median()
    assert share(values, around) > 0.5


@named(PLANTED)
def test_a_readout_has_the_same_places(planted: Planted) -> None:
    pytest.importorskip("accelerate")
    from bitlens.training.settings import TrainingSettings

    readout = bitlens.ReadoutIBA(planted.network(), planted.layer)
    inputs, settings = planted.ordinary(4), TrainingSettings(epochs=1, batch=4, held_out=0.0)
    if planted.kind == "patches in another order":
        with pytest.raises(LayerError, match="come in another order than the image's, which a readout cannot read"):
            readout.fit_weights([(inputs, torch.arange(4) % 3)], settings)
        return
    readout.fit_weights([(inputs, torch.arange(4) % 3)], settings)
    assert tuple(readout.explain(planted.inputs()).map.shape[1:]) == planted.shape


@named([planted for planted in IMAGES if planted not in GRIDS])
def test_places_that_are_no_grid_are_refused_by_activation_maps(planted: Planted) -> None:
    with pytest.raises(SettingError, match=r"whose places are no grid over inputs of .* pixels: choose another"):
        bitlens.method("grad-cam", planted.network(), layer=planted.layer).explain(planted.inputs())


@pytest.mark.parametrize("kind", ["Conv1d over times", "Conv1d in a container"])
@pytest.mark.parametrize("layout", ["HWC", "CHW", "CDHW", "D"])
def test_a_layout_that_does_not_fit_is_one_sentence(kind: str, layout: str) -> None:
    planted = BY_KIND[kind]
    with pytest.raises(LayerError, match=rf"layout='{layout}' does not fit .* \(12, 64\) .*: expected one of TD, CT"):
        fitted(planted, planted.network(), layout=layout)


def test_a_layout_that_is_said_counts() -> None:
    planted = BY_KIND["Conv2d with strides 4 and 16"]
    for name in ("iba", "layer-cam"):
        said: Any = bitlens.method(name, planted.network(), layer="features", layout="CHW")
        if name == "iba":
            said = fitted(planted, planted.network(), layout="CHW")
        assert inside(peak(said.explain(planted.inputs()).map[0]), planted.decisive)
    with pytest.raises(LayerError, match="or layout='HWC' is not what its axes mean"):
        bitlens.method("layer-cam", planted.network(), layer="features", layout="HWC").explain(planted.inputs())


class Silent(nn.Module):
    """Features (N, 6, 6, 6) that everything went into: neither modules nor a measurement say what their axes are."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.weight, self.sizes = nn.Parameter(torch.randn(3 * 12 * 12, *sizes).flatten(1) / 20), sizes

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.weight).unflatten(1, self.sizes).tanh()


@pytest.mark.parametrize(
    ("sizes", "said"),
    [((6, 6, 6), "layout='CHW' or layout='HWC'"), ((8, 9), "layout='TD' or layout='CT'"), ((4, 4, 4, 4), "'CDHW' or")],
)
def test_what_nothing_tells_is_asked_for(sizes: tuple[int, ...], said: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Silent(*sizes), nn.Flatten(), nn.LazyLinear(3)).eval()
    network(torch.randn(1, 3, 12, 12))
    with pytest.raises(LayerError, match=rf"of layer '0' counts channels cannot be told: say .*{said}"):
        bitlens.IBA(network, "0").fit_statistics([torch.randn(8, 3, 12, 12)], granularity="channel")


class Mixer(nn.Module):
    """Tokens turned by hand, so that a linear layer works along them, as in MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = Patches(3, 12, 4), nn.LayerNorm(12)
        self.along, self.head = nn.Sequential(nn.Linear(64, 20), nn.GELU(), nn.Linear(20, 64)), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.along(self.norm(self.patches(x)).transpose(1, 2))
        return self.head(tokens[:, :, 42])


def test_a_linear_layer_along_tokens_has_its_channels_before_them() -> None:
    torch.manual_seed(0)
    network = Mixer().eval()
    for layer in ("along", "along.2"):
        layout = Probe(network, layer).geometry(torch.randn(1, 3, 32, 32)).layout
        assert (layout.name, layout.channel) == ("CT", 0)
    layout = Probe(network, "norm").geometry(torch.randn(1, 3, 32, 32)).layout
    assert layout.patches == (8, 8)


def test_a_shuffled_order_is_found_exactly() -> None:
    planted = BY_KIND["patches in another order"]
    for seed in range(3):
        torch.manual_seed(seed)
        geometry = Probe(planted.network(), "features").geometry(torch.randn(1, *planted.size))
        assert geometry.order is not None
        assert SHUFFLED[list(geometry.order)].tolist() == list(range(64))
        tokens = torch.randn(2, 64, 5)
        assert torch.equal(geometry.as_found(geometry.arranged(tokens)), tokens)


def test_a_turn_behind_the_layer_changes_nothing() -> None:
    planted = BY_KIND["Conv1d over times"]
    network = Decided(nn.Sequential(nn.Conv1d(2, 12, 5, padding=2), Axes(0, 2, 1)), (slice(40, 48),), (2, 64)).eval()
    for layer in ("features.0", "features"):
        iba = bitlens.IBA(network, layer).fit_statistics([planted.ordinary(32)], granularity="channel")
        found = iba.explain(planted.inputs())
        assert found.map.shape == (1, 64)
        assert 40 <= int(found.map.argmax()) < 48
        assert share(found.map[0], planted.decisive) > 0.6


@pytest.mark.parametrize(("layer", "cells"), [("blocks.0", 56), ("blocks.2", 28)])
def test_the_tokens_of_hiera_lie_where_the_image_has_them(layer: str, cells: int) -> None:
    """They are in the order of mask units; what is behind a pooling of queries is the first quarter of what was before it."""
    timm = pytest.importorskip("timm")
    network = timm.create_model("hiera_tiny_224").eval()
    geometry = Probe(network, layer).geometry(torch.randn(1, 3, 224, 224))
    assert geometry.layout.patches == (cells, cells)
    assert geometry.order is not None
    units = network.unroll(torch.arange(56.0 * 56).reshape(1, -1, 1)).flatten().long()[: cells * cells]
    side = 56 // cells
    places = (units // 56 // side) * cells + units % 56 // side
    assert places[list(geometry.order)].tolist() == list(range(cells * cells))
    image = torch.randn(1, 3, 224, 224)
    changed = image.clone()
    changed[..., 96:120, 160:184] += 1
    probe = Probe(network, layer)
    apart = (geometry.arranged(probe.features(changed)) - geometry.arranged(probe.features(image))).norm(dim=2)[0]
    row, column = divmod(int(apart.argmax()), cells)
    pixels = 224 // cells
    assert 96 - pixels <= row * pixels < 120 + pixels
    assert 160 - pixels <= column * pixels < 184 + pixels


def test_windows_of_nest_are_no_grid() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("nest_tiny", img_size=224).eval()
    probe = Probe(network, "levels.0.transformer_encoder.0")
    with pytest.raises(LayerError, match="counts channels cannot be told: say layout='CHW' or layout='HWC'"):
        probe.geometry(torch.randn(1, 3, 224, 224))
    assert Probe(network, "levels.0").geometry(torch.randn(1, 3, 224, 224)).layout.name == "CHW"


def test_patches_that_nobody_reads_are_no_default_and_are_named() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("xcit_nano_12_p16_224").eval()
    image = torch.randn(1, 3, 224, 224)
    layer = default_layer(network, image)
    assert layer.startswith("blocks.")
    for name in (layer, "cls_attn_blocks.1"):
        iba = bitlens.IBA(network, name, quality="fast").fit_statistics(
            [torch.randn(2, 3, 224, 224)], granularity="channel"
        )
        if name == layer:
            iba.explain(image)
        else:
            with pytest.warns(BitlensWarning, match="nothing behind layer 'cls_attn_blocks.1' reads its patches"):
                iba.explain(image)
    assert layer in grid_layers(network, image)
