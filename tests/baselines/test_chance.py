"""What is drawn without the network."""

import pytest
import torch

from bitlens.baselines.chance import Centre, Constant, Edges
from bitlens.errors import TargetError
from networks import noise_images, small_net


def test_the_centre_is_a_gaussian_of_a_quarter_of_each_side():
    maps = Centre(small_net()).explain(noise_images(2, size=(16, 32))).map
    assert torch.equal(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[0].flip(0).flip(1))
    rows, columns = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(32) - 15.5, indexing="ij")
    torch.testing.assert_close(maps[0], torch.exp(-(rows**2) / (2 * 4**2) - columns**2 / (2 * 8**2)))


def test_edges_of_a_step_and_of_a_slope():
    step = torch.zeros(1, 3, 16, 16)
    step[..., 8:] = 2
    found = Edges(small_net()).explain(step).map[0]
    assert found[:, [6, 9]].eq(0).all()
    assert found[:, [7, 8]].eq(1).all()
    slope = (3 * torch.arange(16.0)[:, None] + 4 * torch.arange(16.0)).expand(1, 3, 16, 16)
    torch.testing.assert_close(Edges(small_net()).explain(slope).map, torch.full((1, 16, 16), 5.0))


@pytest.mark.parametrize("method", [Centre, Constant, Edges])
def test_the_network_changes_nothing(method):
    images = noise_images(2)
    one, other = (method(small_net(seed=seed)).explain(images, 1).map for seed in (0, 1))
    assert torch.equal(one, other)
    with pytest.raises(TargetError):
        method(small_net()).explain(images, 9)
