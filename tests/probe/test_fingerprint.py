"""The fingerprint of weights is theirs after every change, and is not made anew without one."""

import pytest
import torch
from torch import nn

from bitlens.probe import fingerprint
from bitlens.probe.fingerprint import Fingerprint, sums_of_bits, weights_hash


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def swap_channels(model):
    model[0].weight.data[[0, 1]] = model[0].weight.data[[1, 0]]


def replace_bias(model):
    model[3].bias = nn.Parameter(model[3].bias.detach() + 1)


CHANGES = {
    "in place": lambda model: model[3].weight.detach().mul_(2),
    "behind PyTorch's back": lambda model: model[3].weight.data.mul_(2),
    "channels swapped": swap_channels,
    "a buffer": lambda model: model[1].running_mean.data.add_(1),
    "a counter": lambda model: model[1].num_batches_tracked.data.add_(1),
    "replaced": replace_bias,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_follows_every_change(change):
    model = network()
    known = Fingerprint(model)
    before = known()
    assert before == weights_hash(model)
    change(model)
    assert known() == weights_hash(model) != before


def test_it_is_made_once(monkeypatch):
    made, known = [], Fingerprint(network())
    monkeypatch.setattr(fingerprint, "weights_hash", lambda model: made.append(model) or "found")
    assert [known(), known()] == ["found", "found"]
    assert len(made) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 3, 3), (4, 2, 2, 2)])
def test_every_number_is_in_its_sum(dtype, shape):
    values = torch.arange(4 * torch.Size(shape[1:]).numel()).reshape(shape).to(dtype)
    known = sums_of_bits(values)
    assert known.shape == (4,)
    for place in range(values.numel()):
        changed = values.clone()
        changed.view(-1)[place] += 1
        assert (sums_of_bits(changed) != known).sum() == 1
