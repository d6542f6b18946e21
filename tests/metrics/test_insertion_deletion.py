"""Insertion and deletion: closed forms, a plain loop, Quantus, and the released rule for areas."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from bitlens.core.targets import Score
from bitlens.errors import InputError, SettingError
from bitlens.metrics import InsertionDeletion, insertion_deletion
from bitlens.metrics.insertion_deletion import step_counts
from networks import noise_images, quadrant_images, quadrant_net, small_net

BRIGHTNESS = Score(lambda images: images.mean((1, 2, 3)))


def test_the_points_of_the_specification():
    assert len(step_counts(224 * 224, step=10)) == 5019  # 5,018 after the one at 0
    assert step_counts(224 * 224) == step_counts(224 * 224, step=224)
    assert step_counts(7, step=3) == [0, 3, 6, 7]
    assert step_counts(6, step=3) == [0, 3, 6]
    assert step_counts(3, points=100) == [0, 1, 2, 3]


@pytest.mark.parametrize("settings", [{"points": 32}, {"step": 10}])
def test_pixels_that_count_alike_give_a_straight_line(settings):
    maps = torch.randn(2, 64, 64)
    result = insertion_deletion(
        nn.Identity().eval(), torch.ones(2, 3, 64, 64), BRIGHTNESS, maps, start="zero", precision="float32", **settings
    )
    torch.testing.assert_close(result.insertion.double(), result.share, atol=1e-6, rtol=0)
    torch.testing.assert_close(result.deletion.double(), 1 - result.share, atol=1e-6, rtol=0)
    for area in (result.insertion_areas(), result.deletion_areas()):
        torch.testing.assert_close(area, torch.full_like(area, 0.5))
    points = 410 if "step" in settings else 32
    assert result.share.shape == (2, points + 1)
    assert len(set(result.deletion[0].tolist())) == points + 1  # every step is a picture of its own


def test_the_released_area_leaves_out_the_first_point():
    share = torch.tensor([[0, 0.5, 1.0]]).double()
    result = InsertionDeletion(share, torch.tensor([[0.0, 0.4, 1.0]]), torch.tensor([[1.0, 0.4, 0.0]]))
    assert result.insertion_areas().item() == pytest.approx(0.1 + 0.35)
    assert result.insertion_areas("released").item() == pytest.approx(0.7 / 2)
    assert result.deletion_areas("released").item() == pytest.approx(0.2 / 2)
    assert result.insertion_score().count == 1


def test_areas_of_curves_that_end_early_are_means_over_what_they_cover():
    share = torch.tensor([[0, 0.1, 0.4], [0, 0.5, 1.0]]).double()
    flat = torch.tensor([[0.7, 0.7, 0.7], [0.2, 0.2, 0.2]]).double()
    rising = torch.tensor([[0, 0.25, 1.0], [0, 0.5, 1.0]]).double()
    result = InsertionDeletion(share, rising, flat)
    torch.testing.assert_close(result.deletion_areas(), flat[:, 0])
    torch.testing.assert_close(result.insertion_areas(), torch.full((2,), 0.5).double())


def test_against_a_plain_loop():
    model, images, maps = small_net(), noise_images(2), torch.randn(2, 16, 16)
    result = insertion_deletion(model, images, [3, 1], maps, step=40, precision="float32")
    blurred = gaussian_blur(images, [29, 29], [15.0, 15.0])
    for sample, label in enumerate([3, 1]):
        order = maps[sample].flatten().argsort(descending=True)
        for point, count in enumerate([0, 40, 80, 120, 160, 200, 240, 256]):
            chosen = torch.zeros(256, dtype=torch.bool)
            chosen[order[:count]] = True
            chosen = chosen.view(16, 16)
            inserted = torch.where(chosen, images[sample], blurred[sample])
            deleted = images[sample] * ~chosen
            expected = model(torch.stack([inserted, deleted])).softmax(1)[:, label]
            assert result.share[sample, point].item() == count / 256
            got = torch.stack([result.insertion[sample, point], result.deletion[sample, point]])
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_against_quantus():
    quantus = pytest.importorskip("quantus")
    model, images, maps = small_net(), noise_images(4, size=(16, 12)), torch.randn(4, 16, 12)
    labels = np.array([0, 1, 2, 3])
    result = insertion_deletion(model, images, labels.tolist(), maps, step=8, start="zero", precision="float32")
    metric = quantus.PixelFlipping(
        features_in_step=3 * 8, perturb_baseline=0.0, normalise=False, abs=False, disable_warnings=True
    )
    curves = metric(model, images.numpy(), labels, maps[:, None].numpy(), softmax=True, channel_first=True)
    np.testing.assert_allclose(result.deletion[:, 1:].numpy(), np.array(curves), atol=1e-5)


def test_the_right_pixels_matter():
    model, (images, classes) = quadrant_net(), quadrant_images(16, seed=3)
    maps = torch.zeros(16, 16, 16)
    for sample, quadrant in enumerate(classes.tolist()):
        row, column = 2 + 8 * (quadrant // 2), 2 + 8 * (quadrant % 2)
        maps[sample, row : row + 4, column : column + 4] = 1
    right = insertion_deletion(model, images, classes, maps, points=16, start="zero")
    wrong = insertion_deletion(model, images, classes, -maps, points=16, start="zero")
    assert right.insertion_score().value > wrong.insertion_score().value + 0.3
    assert right.deletion_score().value < wrong.deletion_score().value - 0.3


def test_joined_curves_stay_at_their_last_point():
    long = InsertionDeletion(
        torch.tensor([[0, 0.5, 1.0]]), torch.tensor([[0.0, 0.2, 0.8]]), torch.tensor([[1.0, 0, 0]])
    )
    short = InsertionDeletion(torch.tensor([[0, 1.0]]), torch.tensor([[0.0, 0.6]]), torch.tensor([[0.9, 0.1]]))
    both = InsertionDeletion.join([long, short])
    assert both.share.shape == (2, 3)
    for area in ("trapezoid", "released"):
        for name in ("insertion_areas", "deletion_areas"):
            alone = torch.cat([getattr(part, name)(area) for part in (long, short)])
            torch.testing.assert_close(getattr(both, name)(area), alone)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(SettingError, match="step"):
        insertion_deletion(small_net(), noise_images(1), 0, torch.rand(1, 16, 16), step=0)
    with pytest.raises(SettingError, match="points"):
        insertion_deletion(small_net(), noise_images(1), 0, torch.rand(1, 16, 16), points=0)
    with pytest.raises(InputError, match="no part"):
        InsertionDeletion.join([])
    with pytest.raises(InputError, match=r"\(N, points\)"):
        InsertionDeletion(torch.zeros(3), torch.zeros(2, 3), torch.zeros(2, 3))
