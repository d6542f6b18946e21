"""Weights that are made ready once serve later calls, and never a call after somebody changed the network's own."""

import copy
import pickle

import pytest
import torch
from torch import nn

from bitlens import IBA
from bitlens.probe import Probe, prepared
from networks import noise_images


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 5),
    ).eval()


def map_of(iba):
    return iba.explain(noise_images(2), 2, evidence_samples=0).map


def explainer(model):
    return IBA(model, "2", precision="float32", beta=1.0)


def test_later_calls_make_nothing_anew(monkeypatch):
    made = []
    folded = prepared.folded
    monkeypatch.setattr(
        prepared, "folded", lambda folds, *rest, **how: made.extend(folds) or folded(folds, *rest, **how)
    )
    iba = explainer(network())
    first = map_of(iba)
    assert any(isinstance(fold.module, nn.Conv2d) for fold in made)
    made.clear()
    assert torch.equal(map_of(iba), first)
    assert all(isinstance(fold.module, nn.Linear) for fold in made)  # whose own weights serve


def scaled(model):
    with torch.no_grad():
        model[3].weight.mul_(1.5)


def scaled_unseen(model):
    model[3].weight.data.mul_(1.5)  # PyTorch does not count it


def mirrored_unseen(model):
    model[3].weight.data.copy_(model[3].weight.data.flip(0))  # the same numbers in another order


def replaced(model):
    model[3].weight = nn.Parameter(model[3].weight.detach() * 1.5)


def pointed_elsewhere(model):
    model[3].weight.data = model[3].weight.detach() * 1.5


def observed(model):
    model[4].running_mean.add_(0.3)


def steadied(model):
    model[4].eps = 0.5


def in_front(model):
    model[0].weight.data.mul_(1.5)


@pytest.mark.parametrize(
    "change",
    [scaled, scaled_unseen, mirrored_unseen, replaced, pointed_elsewhere, observed, steadied, in_front],
    ids=lambda change: change.__name__,
)
def test_changed_weights_are_made_anew(change):
    model = network()
    iba = explainer(model)
    before = map_of(iba)
    change(model)
    after = map_of(iba)
    assert torch.equal(after, map_of(explainer(model)))
    assert not torch.allclose(after, before, rtol=1e-3)


def test_a_single_bit_is_seen():
    model = network()
    probe = Probe(model, "2")
    probe.record(noise_images(2))
    weights = next(iter(probe._replays.values())).weights
    kept = dict(weights._made)
    assert kept
    model[3].weight.data.view(torch.int32)[3, 2, 1, 1] ^= 1
    probe.record(noise_images(2))
    assert {fold.module for (fold, *_), made in kept.items() if made is not weights._made.get((fold, None, False))} == {
        model[3]
    }


def test_copies_and_pickles_begin_empty():
    iba = explainer(network())
    first = map_of(iba)
    for copied in (copy.deepcopy(iba), pickle.loads(pickle.dumps(iba))):
        assert not next(iter(copied.probe._replays.values())).weights._made
        assert torch.equal(map_of(copied), first)
