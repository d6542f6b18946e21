"""Stages that a person chooses a layer from: in order of depth, each with its grid, nothing measured left to guess."""

import pytest
import torch
from torch import nn

from bitlens.models.stages import grid_stages
from networks import small_vit


def block(channels: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, stride, 1), nn.ReLU())


class Staged(nn.Module):
    """Three stages, named so that the order of names is not that of depth."""

    def __init__(self) -> None:
        super().__init__()
        self.z_stem, self.relu = nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()
        self.deep, self.a_middle, self.first = block(4), block(4, 1), block(4)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.z_stem(x))
        answer: torch.Tensor = self.head(self.deep(self.a_middle(self.first(x))))
        return answer


def test_stages_come_in_the_order_in_which_the_network_calls_them() -> None:
    found = grid_stages(Staged(), torch.zeros(1, 3, 48, 32), "a_middle")
    assert list(found.items()) == [("relu", (24, 16)), ("first", (12, 8)), ("a_middle", (12, 8)), ("deep", (6, 4))]


def test_a_wrapped_network_has_the_same_stages() -> None:
    wrapped = nn.Sequential(Staged())
    found = grid_stages(wrapped, torch.zeros(1, 3, 48, 48), "0.deep")
    assert list(found) == ["0.relu", "0.first", "0.a_middle", "0.deep"]


def test_of_single_operations_the_last_at_each_resolution_counts_and_the_layer_that_must_be_there() -> None:
    chain = [one for stride in (2, 1, 2, 1, 2, 1) for one in (nn.Conv2d(3, 3, 3, stride, 1), nn.ReLU())]
    model = nn.Sequential(*chain, nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    stages = grid_stages(model, torch.zeros(1, 3, 32, 32), "5")
    assert list(stages.items()) == [("3", (16, 16)), ("5", (8, 8)), ("7", (8, 8)), ("11", (4, 4))]


@pytest.mark.parametrize("stride", [1, 2])
def test_few_operations_are_all_listed(stride: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, stride, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, 1, 1), nn.Flatten())
    assert list(grid_stages(model, torch.zeros(1, 3, 8, 8), "1")) == ["0", "1", "2"]


def test_a_transformer_has_its_blocks_with_the_grid_of_its_patches() -> None:
    found = grid_stages(small_vit(), torch.zeros(1, 3, 16, 16), "encoder.layers.encoder_layer_0")
    assert list(found) == ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"]
    assert len(set(found.values())) == 1
    assert len(next(iter(found.values()))) == 2


def test_a_layer_without_a_grid_is_listed_without_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1), nn.Flatten(), nn.Linear(12, 2))
    assert grid_stages(model, torch.zeros(1, 3, 8, 8), "3") == {"3": (), "0": (4, 4), "1": (2, 2)}
    table = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    assert grid_stages(table, torch.zeros(1, 12), "1") == {"1": ()}


def test_stages_of_a_network_for_series_have_grids_along_time() -> None:
    stem, rest = nn.Conv1d(2, 4, 3, 2, 1), nn.Sequential(nn.Conv1d(4, 4, 3, 2, 1), nn.ReLU())
    model = nn.Sequential(stem, nn.ReLU(), rest, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    assert grid_stages(model.eval(), torch.zeros(1, 2, 32), "2") == {"0": (16,), "1": (16,), "2": (8,)}
