"""The readout network: as specified, in whatever order it computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bottlenecks.readout.network import Normaliser, ReadoutNetwork, cut_off
from bitlens.core.layout import LAYOUTS
from bitlens.errors import LayerError


def as_published(network: ReadoutNetwork, reads: list[Tensor], grid: tuple[int, int]) -> Tensor:
    """Resize everything, concatenate, three 1x1 convolutions (algorithms C3): α (N, C, H, W)."""
    maps = []
    for read in reads:
        image = read.movedim(-1, 1) if read.dim() == 4 else read[:, :, None, None]
        flat = image.shape[2:] == (1, 1)
        maps.append(
            image.expand(-1, -1, *grid) if flat else F.interpolate(image, grid, mode="bilinear", align_corners=True)
        )
    x = torch.cat(maps, 1)
    for layer in (network.first, network.second):
        x = F.relu(F.conv2d(x, layer.weight[:, :, None, None], layer.bias))
    return F.conv2d(x, network.last.weight[:, :, None, None], network.last.bias).clamp(-5, 5)


def stirred(network: ReadoutNetwork) -> ReadoutNetwork:
    with torch.no_grad():
        network.last.weight.mul_(1000)
        network.last.bias.zero_()
    return network


def test_resizing_after_the_first_convolution_changes_nothing():
    channels = {"fine": 3, "coarse": 5, "finer": 2, "output": 7}
    network = stirred(ReadoutNetwork(channels, 4))
    reads = [torch.randn(2, *grid, c) for grid, c in zip([(6, 8), (3, 2), (11, 9), ()], channels.values(), strict=True)]
    with torch.no_grad():
        got = network(reads, torch.Size((6, 8)))
        expected = as_published(network, reads, (6, 8)).movedim(1, -1)
    assert got.shape == (2, 6, 8, 4)
    assert float(got.std()) > 0.05
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_widths_and_first_mask_are_those_of_the_paper():
    network = ReadoutNetwork({"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048, "output": 1000}, 256)
    assert [layer.out_features for layer in (network.first, network.second, network.last)] == [2420, 512, 256]
    assert bool((network.last.bias == 5).all())
    bound = 1e-3 / 512**0.5
    assert 0.9 * bound < float(network.last.weight.detach().abs().max()) <= bound
    assert float(network.first.weight.detach().abs().max()) <= 1 / 4840**0.5


def test_at_the_cut_off_only_the_way_out_is_shut():
    logits = torch.tensor([-9.0, -5.0, 0.0, 5.0, 9.0]).repeat(2, 1).requires_grad_()
    cut = cut_off(logits)
    assert cut[0].tolist() == [-5, -5, 0, 5, 5]
    downhill = torch.tensor([[1.0], [-1.0]])  # a step goes against it: down in the first row, up in the second
    (gradient,) = torch.autograd.grad(cut, logits, downhill.expand_as(cut))
    assert gradient.tolist() == [[0, 1, 1, 1, 1], [-1, -1, -1, -1, 0]]


def test_what_was_pushed_out_comes_back():
    network = ReadoutNetwork({"a": 2}, 1)
    with torch.no_grad():
        network.last.bias.fill_(9)
    read = torch.randn(1, 2, 2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        network([read], torch.Size((2, 2))).sum().backward()
        optimizer.step()
    assert float(network.last.bias.detach()) < 5


@pytest.mark.parametrize("grid", [(7,), ()])
def test_tokens_and_vectors(grid):
    network = ReadoutNetwork({"tokens": 3, "vector": 2}, 4)
    reads = [torch.randn(2, *((7,) if grid else ()), 3), torch.randn(2, 2)]
    assert network(reads, torch.Size(grid)).shape == (2, *grid, 4)


def test_a_vector_bottleneck_reads_the_mean_of_maps():
    network = stirred(ReadoutNetwork({"maps": 3}, 4))
    maps = torch.randn(2, 5, 6, 3)
    torch.testing.assert_close(network([maps], torch.Size()), network([maps.mean((1, 2))], torch.Size()))


def test_grids_that_do_not_match_are_refused():
    network = ReadoutNetwork({"layer9": 3}, 4)
    with pytest.raises(LayerError, match=r"'layer9' puts out a grid of 7, .*leave it out of read_layers"):
        network([torch.randn(2, 7, 3)], torch.Size((4, 4)))


def test_normalising_is_per_entry_and_brings_channels_last():
    features = torch.randn(4, 3, 5, 6)
    mean, std = torch.randn(3, 1, 1), torch.rand(3, 1, 1) + 0.5
    normaliser = Normaliser(LAYOUTS["CHW"], mean, std)
    torch.testing.assert_close(normaliser(features), ((features - mean) / std).permute(0, 2, 3, 1))
    assert normaliser.channels == 3


def test_it_is_a_module_that_can_be_saved():
    one, other = ReadoutNetwork({"a": 2}, 3), ReadoutNetwork({"a": 2}, 3)
    other.load_state_dict(one.state_dict())
    assert isinstance(one, nn.Module)
    read = torch.randn(1, 2, 2, 2)
    assert torch.equal(one([read], torch.Size((2, 2))), other([read], torch.Size((2, 2))))
