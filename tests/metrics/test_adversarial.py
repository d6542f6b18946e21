"""Adversarial counterparts: exact for linear networks, near the image, and blind to the target."""

import pytest
import torch
from torch import nn

from bitlens.errors import InputError, SettingError
from bitlens.metrics import adversarial, degradation
from networks import model_state, noise_images, quadrant_images, quadrant_net, small_net


def test_a_linear_network_is_fooled_exactly():
    """The steps go the same way until the radius is reached: x - r · sign(w)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    images = noise_images(2)
    reach = 0.1 * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    found = adversarial(model, images, lambda output: output[:, 1], radius=0.1, steps=6)
    weight = model[1].weight[1].view(1, 3, 16, 16)
    torch.testing.assert_close(found, images - reach * weight.sign(), atol=1e-6, rtol=0)


def test_it_stays_near_and_hides_the_target():
    images, classes = quadrant_images(6)
    model = quadrant_net()
    before, given = model_state(model), images.clone()
    found = adversarial(model, images, classes, radius=0.15)
    assert model_state(model) == before
    assert torch.equal(images, given)
    reach = 0.15 * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))
    assert ((found - images).abs().amax((1, 2, 3)) <= reach + 1e-6).all()
    with torch.no_grad():
        was, now = (model(some).softmax(1).gather(1, classes[:, None])[:, 0] for some in (images, found))
    assert (now < 0.5 * was).all()
    alone = torch.cat([adversarial(model, images[i : i + 1], classes[i : i + 1], radius=0.15) for i in range(6)])
    torch.testing.assert_close(found, alone)


def test_masking_with_it_is_the_published_score():
    """ABC = mean over k of (LeRF - MoRF), over what the whole counterpart takes: equation 9 with another replacement."""
    images, classes = quadrant_images(4)
    model, maps = quadrant_net(), torch.randn(4, 16, 16)
    other = adversarial(model, images, classes, radius=0.15)
    found = degradation(model, images, classes, maps, 1, points=5, replacement=other, precision="float32")
    orders = {descending: maps.flatten(1).argsort(1, descending=descending) for descending in (True, False)}
    areas = []
    for count in (64, 128, 192):
        values = []
        for descending in (False, True):
            gone = torch.zeros(4, 256, dtype=torch.bool).scatter_(1, orders[descending][:, :count], value=True)
            mixed = torch.where(gone.view(4, 1, 16, 16), other, images)
            with torch.no_grad():
                values.append(model(mixed).softmax(1).gather(1, classes[:, None])[:, 0])
        areas.append(values[0] - values[1])
    torch.testing.assert_close(found.areas(), 0.25 * torch.stack(areas).sum(0).double(), atol=1e-5, rtol=0)


def test_refusals():
    with pytest.raises(SettingError, match="radius"):
        adversarial(small_net(), noise_images(1), 0, radius=0)
    with pytest.raises(SettingError, match="steps"):
        adversarial(small_net(), noise_images(1), 0, steps=0)
    with pytest.raises(InputError, match="real numbers"):
        adversarial(nn.Embedding(5, 3).eval(), torch.zeros(2, dtype=torch.long), lambda output: output[:, 0])
