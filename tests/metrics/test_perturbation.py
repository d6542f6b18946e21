"""What all metrics that change images share: groups, precision, replacements, and that nothing is left behind."""

from typing import Any

import pytest
import torch
from torch import nn

from bitlens.core.passes import Passes
from bitlens.core.targets import ClassTarget, Score
from bitlens.errors import BitlensError, BitlensWarning, InputError, SettingError, TargetError
from bitlens.metrics import degradation, insertion_deletion, sensitivity_n
from bitlens.metrics.perturbation import ImageGroup, in_groups, replaced
from bitlens.probe import Network
from networks import model_state, noise_images, small_net

MAPS = torch.randn(5, 16, 16, generator=torch.Generator().manual_seed(1))


def curves(model: Any, images: Any, targets: Any, maps: torch.Tensor, **settings: Any) -> dict[str, torch.Tensor]:
    """Everything that the three metrics measure, with few steps; in float32 unless told otherwise."""
    settings = {"precision": "float32", **settings}
    degraded = degradation(model, images, targets, maps, 4, points=5, **settings)
    inserted = insertion_deletion(model, images, targets, maps, points=3, start="zero", **settings)
    sensitive = sensitivity_n(model, images, targets, maps, 4, sizes=[1, 5], sets=7, **settings)
    return {
        "morf": degraded.morf,
        "lerf": degraded.lerf,
        "insertion": inserted.insertion,
        "deletion": inserted.deletion,
        "dropped": sensitive.dropped,
        "attributed": sensitive.attributed,
    }


@pytest.mark.parametrize("rows", [1, 2, 3, 16, "auto"])
def test_neither_the_batch_nor_the_rows_change_a_sample(rows):
    model, images, classes = small_net(), noise_images(5), [0, 1, 2, 3, 0]
    expected = curves(model, images, classes, MAPS)
    for name, got in curves(model, images, classes, MAPS, internal_batch_size=rows).items():
        torch.testing.assert_close(got, expected[name], atol=1e-5, rtol=1e-5)
    for name, got in curves(model, images[3:4], [3], MAPS[3:4], internal_batch_size=rows).items():
        torch.testing.assert_close(got, expected[name][3:4], atol=1e-5, rtol=1e-5)


def test_nothing_is_left_behind():
    model, images = small_net().train(), noise_images(5)
    before, kept, state = model_state(model), images.clone(), torch.random.get_rng_state()
    with pytest.warns(BitlensWarning, match="train mode"):
        curves(model, images, 1, MAPS)
    model[0].register_forward_hook(lambda _module, _args, output: output * (2 - (len(output) < 5)))
    before = model_state(model)
    with pytest.warns(BitlensWarning), pytest.raises(TargetError):
        degradation(model, images, 9, MAPS, 4)
    calls = []

    def stop(done: int) -> None:
        calls.append(done)
        raise KeyboardInterrupt

    with pytest.warns(BitlensWarning), pytest.raises(KeyboardInterrupt):
        degradation(model, images, 1, MAPS, 4, points=3, progress=stop)
    assert model_state(model) == before
    assert torch.equal(images, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_progress_counts_images():
    done: list[int] = []
    degradation(small_net(), noise_images(5), 0, MAPS, 4, points=3, internal_batch_size=4, progress=done.append)
    assert done == [4, 5]


def test_every_kind_of_target_is_read():
    model, images = small_net(), noise_images(5)
    own = model(images).detach()
    predicted = degradation(model, images, None, MAPS, 4, points=3, precision="float32")
    asked = ClassTarget(own.argmax(1))
    named = degradation(model, images, asked, MAPS, 4, points=3, precision="float32", internal_batch_size=2)
    torch.testing.assert_close(predicted.morf, named.morf)
    torch.testing.assert_close(predicted.morf[:, 0], own.softmax(1).amax(1))
    logit = sensitivity_n(model, images, 2, MAPS, 4, sizes=[2], sets=3)
    torch.testing.assert_close(logit.scores, own[:, 2])
    twice = Score(lambda output: output[:, 1] * 2)
    second = degradation(model, images, twice, MAPS, 4, points=3, precision="float32")
    torch.testing.assert_close(second.lerf[:, 0], own[:, 1] * 2)


class Scaled(nn.Module):
    """Takes a second argument that belongs to the samples, and overwrites the first."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()
        self.eval()

    def forward(self, images: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.net(images.mul_(scale[:, None, None, None]))


@pytest.mark.parametrize("rows", [2, 16])
def test_further_arguments_follow_their_samples(rows):
    images, scale = noise_images(5), torch.tensor([1.0, 2.0, 0.5, -1.0, 3.0])
    got = curves(Scaled(), {"images": images, "scale": scale}, 1, MAPS, internal_batch_size=rows)
    expected = curves(small_net(), images * scale[:, None, None, None], 1, MAPS)
    assert images.equal(noise_images(5))
    for name, wanted in expected.items():
        torch.testing.assert_close(got[name], wanted, atol=1e-5, rtol=1e-5)


def test_a_network_that_was_learnt_once_serves_again():
    network, images = Network(small_net()), noise_images(5)
    first = degradation(network, images, 0, MAPS, 4, points=3)
    assert torch.equal(degradation(network, images, 0, MAPS, 4, points=3).morf, first.morf)


def test_lower_precision_is_close():
    model, images = small_net(), noise_images(5)
    exact = curves(model, images, 1, MAPS, precision="float32")
    for name, got in curves(model, images, 1, MAPS, precision="bfloat16").items():
        torch.testing.assert_close(got, exact[name], atol=0.02, rtol=0.02)
    assert not torch.equal(exact["morf"], curves(model, images, 1, MAPS, precision="bfloat16")["morf"])


def fills(images: torch.Tensor, replacement: Any, rows: int = 16) -> torch.Tensor:
    def measure(group: ImageGroup) -> torch.Tensor:
        return replaced(group, replacement).expand_as(group.images).permute(0, 3, 1, 2)

    size = images.shape[-2:]
    passes = Passes(precision="float32", internal_batch_size=rows)
    return torch.cat(in_groups(small_net(), images, 0, torch.zeros(len(images), *size), measure, passes, None))


def test_replacements():
    scipy_filters = pytest.importorskip("scipy.ndimage")
    images = noise_images(3, size=(20, 24))
    assert fills(images, "zero").eq(0).all()
    torch.testing.assert_close(fills(images, "mean"), images.mean((2, 3), keepdim=True).expand_as(images))
    own = noise_images(3, size=(20, 24), seed=4)
    assert torch.equal(fills(images, own, rows=2), own)
    assert torch.equal(fills(images, own[:1], rows=2), own[:1].expand_as(own))
    blurred = scipy_filters.gaussian_filter(images.double().numpy(), 15, axes=(2, 3), radius=14, mode="mirror")
    torch.testing.assert_close(fills(images, "blur").double(), torch.from_numpy(blurred), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"images": torch.randn(5, 12)}, BitlensError, "takes 4 axes"),
        ({"maps": MAPS[:4]}, InputError, r"\(5, 16, 16\)"),
        ({"maps": MAPS.where(MAPS < 2, torch.nan)}, InputError, "NaN or infinite"),
        ({"targets": 7}, TargetError, "class 7"),
        ({"targets": [0, 1]}, TargetError, "2 targets for 5"),
        ({"tile": 17}, SettingError, "tile"),
        ({"points": 2}, SettingError, "points"),
        ({"tile": 16}, SettingError, "1 tiles"),
        ({"precision": "float8"}, SettingError, "precision"),
        ({"internal_batch_size": 0}, SettingError, "internal_batch_size"),
        ({"replacement": "grey"}, SettingError, "replacement"),
        ({"replacement": "blur"}, None, ""),
        ({"replacement": torch.zeros(5, 3, 8, 8)}, InputError, "replacement"),
        ({"replacement": torch.zeros(3, 3, 16, 16)}, InputError, "one image for each sample"),
        ({"schedule": "other"}, SettingError, "schedule"),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, words):
    settings = {"images": noise_images(5), "targets": 0, "maps": MAPS, "tile": 4, "points": 3, **change}
    if error is None:
        assert degradation(small_net(), **settings).morf.isfinite().all()
        return
    with pytest.raises(error, match=words):
        degradation(small_net(), **settings)


def test_an_image_too_small_to_blur_is_refused():
    with pytest.raises(InputError, match="too small"):
        fills(noise_images(1, size=(14, 20)), "blur")
