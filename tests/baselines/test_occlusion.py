from typing import Any

import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor, nn

from bitlens.baselines.masking import covered
from bitlens.baselines.occlusion import Occlusion
from bitlens.errors import SettingError
from networks import noise_images, quadrant_images, quadrant_net, small_net

REPLACEMENTS = pytest.mark.parametrize("replacement", ["mean-colour", "zero", 0.7])


def linear_net(size: tuple[int, int], seed: int = 0) -> nn.Sequential:
    """Two classes, linear in the pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], 2)).eval()


@REPLACEMENTS
@pytest.mark.parametrize(("size", "window"), [((16, 16), 4), ((16, 16), 5), ((9, 14), 4), ((8, 8), 20)])
def test_as_captum_does(replacement: Any, size: tuple[int, int], window: int) -> None:
    model, images, targets = small_net(), noise_images(3, size=size), [1, 0, 3]
    ours = Occlusion(model, window=window, replacement=replacement).explain(images, targets).map
    background = images.mean((2, 3), keepdim=True) if replacement == "mean-colour" else torch.tensor(0.7)
    background = torch.zeros(()) if replacement == "zero" else background
    patch = (3, min(window, size[0]), min(window, size[1]))
    theirs = CaptumOcclusion(model).attribute(
        images, patch, strides=patch, baselines=background.expand_as(images), target=torch.tensor(targets)
    )
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-6, rtol=1e-5)


def test_a_patch_has_the_difference_of_two_passes() -> None:
    model, images = small_net(), noise_images(1, size=(10, 13))
    falls = Occlusion(model, window=4).explain(images, 2).map[0]
    without = images.clone()
    without[:, :, 8:10, 12:13] = images.mean((2, 3))[:, :, None, None]  # what is left for the last patch
    fall = (model(images) - model(without))[0, 2].detach()
    torch.testing.assert_close(falls[8:10, 12:13], fall.expand(2, 1), atol=1e-6, rtol=1e-5)
    assert len(falls[8:10, 12:13].unique()) == 1
    assert not torch.isclose(falls[7, 12], fall)


@REPLACEMENTS
def test_falls_of_a_linear_network_sum_to_its_score(replacement: Any) -> None:
    size = (12, 10)
    model, images = linear_net(size), noise_images(2, size=size)
    falls = Occlusion(model, window=4, replacement=replacement).explain(images, 1).map
    colours = {"mean-colour": images.mean((2, 3), keepdim=True), "zero": torch.zeros(())}
    gone = colours.get(replacement, torch.tensor(0.7)).expand_as(images)
    contributions = (model[1].weight[1].view(3, *size) * (images - gone)).sum(1).detach()
    torch.testing.assert_close(falls[:, :4, :4].mean((1, 2)), contributions[:, :4, :4].sum((1, 2)))
    torch.testing.assert_close(falls[:, 8:, 8:].mean((1, 2)), contributions[:, 8:, 8:].sum((1, 2)))


def test_a_uniform_image_has_nothing_to_lose() -> None:
    images = torch.tensor([0.5, -1.0, 2.0])[:, None, None].expand(1, 3, 16, 16)
    falls = Occlusion(small_net(), window=4).explain(images).map
    torch.testing.assert_close(falls, torch.zeros_like(falls), atol=1e-5, rtol=0)


def test_the_patch_that_decides_is_found() -> None:
    images, classes = quadrant_images(8, seed=3)
    falls = Occlusion(quadrant_net(), window=8).explain(images, classes).map
    assert torch.equal(falls[:, ::8, ::8].flatten(1).argmax(1), classes)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_the_bound_on_rows_changes_nothing(rows: int) -> None:
    model, images, seen = small_net(), noise_images(3), []
    expected = Occlusion(model, window=5).explain(images).map
    model[0].register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    ours = Occlusion(model, window=5, internal_batch_size=rows).explain(images)
    torch.testing.assert_close(ours.map, expected, atol=1e-6, rtol=1e-5)
    assert max(seen[3:]) <= rows  # the first passes learn about the network


def test_progress_comes_after_every_image() -> None:
    steps: list[int] = []
    Occlusion(small_net(), window=8, internal_batch_size=16).explain(noise_images(3), progress=steps.append)
    assert steps == [1, 2, 3]


def test_other_arguments_follow_their_image() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear_net((8, 8))

        def forward(self, images: Tensor, factors: Tensor) -> Tensor:
            return self.inner(images) * factors[:, None]

    model, images, factors = Scaled().eval(), noise_images(3, size=(8, 8)), torch.tensor([1.0, -2.0, 5.0])
    scaled = Occlusion(model, window=4).explain((images, factors), 0).map
    plain = Occlusion(model.inner, window=4).explain(images, 0).map
    torch.testing.assert_close(scaled, plain * factors[:, None, None], atol=1e-5, rtol=1e-4)


def test_covered_images_come_mask_by_mask() -> None:
    images, colour = noise_images(2, size=(4, 4)), torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    masks = torch.stack([torch.ones(4, 4), torch.zeros(4, 4), torch.full((4, 4), 0.25)])[:, None]
    variants = covered(images, masks, colour)
    assert torch.equal(variants[:2], images)
    assert torch.equal(variants[2:4], colour.expand_as(images))
    torch.testing.assert_close(variants[4:], 0.25 * images + 0.75 * colour)


def test_lower_precision_is_near() -> None:
    images, classes = quadrant_images(4, seed=3)
    exact = Occlusion(quadrant_net()).explain(images, classes).map.flatten()
    ready = Occlusion(quadrant_net(), precision="bfloat16")
    rough = ready.explain(images, classes).map.flatten()
    assert not torch.equal(exact, rough)
    assert float(torch.corrcoef(torch.stack([exact, rough]))[0, 1]) > 0.99
    assert ready.settings()["precision"] == "bfloat16"


def test_the_name_says_the_patch() -> None:
    result = Occlusion(small_net(), window=6).explain(noise_images(1))
    assert result.method == "occlusion-6"
    assert result.settings == {"window": 6, "replacement": "mean-colour", "precision": "float32", "seed": 0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"window": (8, 0)}, "window must be at least 1, got 0"),
        ({"replacement": "grey"}, "replacement must be one of 'mean-colour', 'zero', got 'grey'"),
        ({"replacement": None}, "replacement must be 'mean-colour', 'zero' or a number, got None"),
        ({"precision": "float16"}, "precision must be one of"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Occlusion(small_net(), **settings)
