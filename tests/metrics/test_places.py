"""Every metric on series, volumes and tables: closed forms of linear networks, and pictures of one row that are series."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.core.inputs import ModelInputs
from bitlens.core.places import Places
from bitlens.errors import BitlensWarning, InputError, SettingError
from bitlens.metrics import (
    bounding_box_ratio,
    degradation,
    effective_heat_ratio,
    insertion_deletion,
    mass_inside,
    pointing_game,
    rank_auc,
    remove_top,
    sensitivity_n,
    ssim,
)
from bitlens.metrics.ranking import Tiles

SHAPES = {"CT": (3, 24), "TC": (24, 3), "T": (24,), "CDHW": (2, 4, 6, 6), "D": (8,), "HW": (6, 8)}
ALL = pytest.mark.parametrize("axes", SHAPES)


class Linear(nn.Module):
    """One score that is linear in the input, and another that is its negative."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        weights = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        self.weights = nn.Parameter(torch.stack([weights, -weights]))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.flatten(1).T


def asked(axes: str) -> tuple[nn.Module, ModelInputs, Tensor]:
    """A network, inputs, and what each of their places adds to the score if zero takes its place: (N, ...)."""
    network = Linear(SHAPES[axes]).eval()
    x = torch.randn(3, *SHAPES[axes], generator=torch.Generator().manual_seed(1))
    inputs = ModelInputs.of(x, axes=axes)
    assert inputs.places is not None
    return network, inputs, inputs.places.first(x * network.weights.detach()[0]).sum(1)


def score(output: Tensor) -> Tensor:
    return output[:, 0]


@ALL
def test_tiles_go_in_the_order_of_what_they_add(axes: str) -> None:
    """With the exact relevance of a linear score, each step takes the tile that adds most of what is left."""
    network, inputs, adds = asked(axes)
    found = degradation(network, inputs, score, adds, 2, points=1000, replacement="zero", precision="float32")
    tiles = Tiles.over(inputs.placed("test"), 2)
    own = tiles.sums(adds)
    order = tiles.means(adds).argsort(dim=1, descending=True)
    left = own.sum(1, keepdim=True) - own.gather(1, order).cumsum(1)
    torch.testing.assert_close(found.morf[:, 1:].double(), left, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        found.lerf[:, 1].double(), own.sum(1) - own.gather(1, order[:, -1:])[:, 0], rtol=1e-4, atol=1e-4
    )
    assert tiles.count == {"CT": 12, "TC": 12, "T": 12, "CDHW": 18, "D": 8, "HW": 12}[axes]


@ALL
def test_sensitivity_of_exact_relevance_is_one(axes: str) -> None:
    network, inputs, adds = asked(axes)
    found = sensitivity_n(network, inputs, score, adds, 2, sizes=[1, 2, 4], sets=20)
    torch.testing.assert_close(found.correlations(), torch.ones(3, 3).double(), rtol=0, atol=1e-5)
    against = sensitivity_n(network, inputs, score, -adds, 2, sizes=[1, 2, 4], sets=20)
    torch.testing.assert_close(against.correlations(), -torch.ones(3, 3).double(), rtol=0, atol=1e-5)


@ALL
def test_deletion_of_exact_relevance_falls_as_it_must(axes: str) -> None:
    network, inputs, adds = asked(axes)
    found = insertion_deletion(
        network, inputs, score, adds, points=6, start="zero", replacement="zero", precision="float32"
    )
    highest = adds.flatten(1).sort(1, descending=True).values.cumsum(1)
    counts = (found.share * adds[0].numel()).round().long()
    reached = torch.cat([torch.zeros(3, 1), highest], 1).gather(1, counts)
    torch.testing.assert_close(found.insertion, reached, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.deletion, highest[:, -1:] - reached, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("replacement", ["mean", "zero", "blur"])
def test_a_series_is_a_picture_of_one_row(replacement: Any) -> None:
    series, maps = torch.randn(2, 3, 40), torch.randn(2, 40)

    def answer(x: Tensor) -> Tensor:
        return x.flatten(2).cumsum(2).square().mean((1, 2)).sqrt()

    class Answer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([answer(x), -answer(x)], 1)

    found = []
    for shape, tile, axes in (((40,), (5,), "CT"), ((1, 40), (1, 5), "CHW"), ((1, 40, 1), (1, 5, 1), "CDHW")):
        inputs = ModelInputs.of(series.reshape(2, 3, *shape), axes=axes)
        given = replacement
        if replacement == "blur" and axes != "CT":  # two axes and three are too short for it along all of them
            given = Places("CT", (40,)).first(_blurred(series)).reshape(2, 3, *shape)
        found.append(degradation(Answer().eval(), inputs, score, maps.reshape(2, *shape), tile, replacement=given))
    for one in found[1:]:
        torch.testing.assert_close(one.morf, found[0].morf, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.lerf, found[0].lerf, rtol=1e-4, atol=1e-5)


def _blurred(series: Tensor) -> Tensor:
    """The blur written out: 29 taps, σ = 15, mirrored without the border's place."""
    taps = torch.exp(-0.5 * ((torch.arange(29) - 14) / 15.0).square())
    padded = nn.functional.pad(series, (14, 14), mode="reflect")
    return (padded.unfold(2, 29, 1) * (taps / taps.sum())).sum(3)


def test_a_table_has_no_neighbours_and_no_colour() -> None:
    network, inputs, adds = asked("D")
    exact = degradation(network, inputs, score, adds, 1, replacement="zero")
    assert torch.equal(degradation(network, inputs, score, adds, 4, replacement="zero").morf, exact.morf)
    for tile, replacement in ((1, "mean"), (7, "blur")):
        with pytest.warns(BitlensWarning, match=f"replacement is '{replacement}', which features of a table"):
            found = degradation(network, inputs, score, adds, tile, replacement=replacement)
        assert torch.equal(found.morf, exact.morf)


def test_what_does_not_fit_is_one_sentence() -> None:
    network, inputs, adds = asked("CDHW")
    with pytest.raises(
        SettingError, match=r"tile must be a whole number from 1 to 4, the shortest side of inputs of \(4, 6, 6\)"
    ):
        degradation(network, inputs, score, adds, 6)
    with pytest.raises(SettingError, match=r"or one for each axis; got \(2, 2\)"):
        degradation(network, inputs, score, adds, (2, 2))
    with pytest.raises(InputError, match=r"inputs of \(4, 6, 6\) places are too small for a blur of 29"):
        degradation(network, inputs, score, adds, 2, replacement="blur")
    with pytest.raises(InputError, match=r"maps must have the inputs' samples and size, \(3, 4, 6, 6\)"):
        degradation(network, inputs, score, adds[:, 0], 2)
    with pytest.raises(InputError, match=r"replacement must be inputs \(N, 2, 4, 6, 6\)"):
        degradation(network, inputs, score, adds, 2, replacement=torch.zeros(1, 2, 4, 6))


@pytest.mark.parametrize("size", [(24,), (6, 4), (2, 3, 4)])
def test_masks_of_any_dimension_are_pixels_in_a_row(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps, masks = torch.randn(5, 24, generator=generator), torch.rand(5, 24, generator=generator) > 0.7
    for metric in (bounding_box_ratio, effective_heat_ratio, mass_inside, pointing_game, rank_auc):
        wanted = metric(maps[:, None], masks[:, None])
        torch.testing.assert_close(metric(maps.reshape(5, *size), masks.reshape(5, *size)), wanted, equal_nan=True)


@pytest.mark.parametrize("size", [(20,), (9, 11), (7, 6, 8)])
@pytest.mark.parametrize("tolerance", [1, 3])
def test_tolerance_is_a_distance(size: tuple[int, ...], tolerance: int) -> None:
    inside = torch.zeros(size, dtype=torch.bool)
    middle = tuple(length // 2 for length in size)
    inside[middle] = True
    place = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"), -1)
    near = (place - torch.tensor(middle)).square().sum(-1) <= tolerance**2
    for index in place.reshape(-1, len(size)).tolist()[::3]:
        values = torch.zeros(size)
        values[tuple(index)] = 1
        found = pointing_game(values[None], inside[None], tolerance=tolerance)
        assert found.item() == float(near[tuple(index)])


def test_maps_of_any_dimension_are_compared_and_removed() -> None:
    maps = torch.randn(2, 7, 8, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ssim(maps, maps), torch.ones(2).double())
    assert (ssim(maps, -maps) < 0.2).all()
    series = torch.randn(2, 3, 10)
    gone = remove_top(series, series[:, 0], 0.3, torch.full((3,), -9.0))
    assert (gone == -9).all(1).sum(1).tolist() == [3, 3]
    assert not (gone[:, 0] > series[:, 0].sort(1).values[:, 6:7]).any()
