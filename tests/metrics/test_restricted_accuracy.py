"""Accuracy under the bottleneck: against targets that count hits themselves, and at both ends of β."""

import math

import pytest
import torch

from bitlens import IBA
from bitlens.core.targets import ClassTarget, logits_of
from bitlens.errors import TargetError
from bitlens.metrics import restricted_accuracy
from networks import LAYER, model_state, noise_images, quadrant_iba, quadrant_images, quadrant_net, small_net


class Among(ClassTarget):
    """Fitted like a class, measured by whether it is among the first few."""

    def __init__(self, classes, few):
        super().__init__(classes)
        self.few = few

    def value(self, output):
        first = logits_of(output).topk(self.few).indices
        labels = self.classes.repeat(len(first) // len(self.classes))
        return (first == labels[:, None]).any(1).float()

    def select(self, rows):
        return Among(self.classes[rows], self.few)


def test_a_class_that_ties_with_the_label_counts_as_ahead_of_it():
    """So that a network that says nothing, or NaN, is right about nothing."""
    model = small_net(classes=12)
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.copy_(torch.tensor([9.0, 8, 8, 7, 6, 6, 6, 5, 4, 3, 2, 1]))
    iba = IBA(model, LAYER, steps=1, precision="float32").fit_statistics([noise_images(1000, seed=9)])
    got = restricted_accuracy(iba, noise_images(5), [0, 1, 3, 4, 7], noise_samples=2)
    for top1, top5 in ((got.top1, got.top5), (got.clean_top1, got.clean_top5)):
        assert top1.tolist() == [1, 0, 0, 0, 0]
        assert top5.tolist() == [1, 1, 1, 0, 0]  # the fifth to seventh are one


@pytest.mark.parametrize("noise_samples", [1, 2, 32])
def test_both_shares_are_those_counted_one_by_one(noise_samples):
    iba = IBA(small_net(classes=12), LAYER, beta=1.0, steps=4, precision="float32", internal_batch_size=40)
    iba.fit_statistics([noise_images(1000, seed=9)])
    images, labels = noise_images(30), torch.arange(30) % 12
    got = restricted_accuracy(iba, images, labels, noise_samples=noise_samples)
    for few, shares, clean in ((1, got.top1, got.clean_top1), (5, got.top5, got.clean_top5)):
        counted = iba.explain(images, Among(labels, few), evidence_samples=noise_samples).evidence
        assert torch.equal(shares.float(), counted.under_noise)
        assert torch.equal(clean.float(), counted.before)
    assert got.top1.mean() < got.top5.mean()
    assert noise_samples == 1 or bool(((got.top5 > 0) & (got.top5 < 1)).any())


def test_open_masks_change_nothing_and_closed_ones_leave_chance():
    images, labels = quadrant_images(40)
    clean = (quadrant_net()(images).argmax(1) == labels).double()
    wide, tight = (restricted_accuracy(quadrant_iba(beta=beta), images, labels, noise_samples=8) for beta in (0.0, 1e6))
    assert torch.equal(wide.clean_top1, clean)
    assert wide.top1.mean() >= clean.mean() - 0.01
    assert abs(tight.top1.mean() - 0.25) < 4 * (0.25 * 0.75 / 40) ** 0.5 < 0.3  # one answer for all, mostly
    assert tight.information.max() < 0.01 < wide.information.min()
    assert bool((wide.top5 == 1).all())  # of four classes


def test_the_initial_mask_passes_five_nats_per_feature():
    images, labels = quadrant_images(200, seed=11)
    got = restricted_accuracy(quadrant_iba(steps=1), images, labels, noise_samples=1)
    assert float(got.information.mean()) * math.log(2) == pytest.approx(5.0, abs=0.05)


def test_labels_are_checked_and_the_network_left_alone():
    iba = quadrant_iba(steps=2)
    state, images, seen = model_state(iba.model), quadrant_images(3)[0], []
    assert restricted_accuracy(iba, images, [0, 1, 2], progress=seen.append).top1.shape == (3,)
    assert seen[-1] == 3
    assert model_state(iba.model) == state
    for labels in ([0, 1], [0, 1, 4]):
        with pytest.raises(TargetError):
            restricted_accuracy(iba, images, labels)
