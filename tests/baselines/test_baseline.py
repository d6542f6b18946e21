"""What all baselines share: groups, memory, arguments, refusals, seed, progress."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import Baseline, ImageBaseline
from bitlens.baselines.gradient import Gradient, IntegratedGradients, Saliency, SmoothGrad
from bitlens.errors import InputError, SettingError, TargetError
from networks import model_state, noise_images, small_net


class Brightness(ImageBaseline):
    """The image times the target's score, which keeps what it was given."""

    method = "brightness"

    def __init__(self, *args: Any, copies: int = 1, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.copies = copies
        self.groups: list[ImageQuestion] = []

    def choices(self) -> dict[str, Any]:
        return {"copies": self.copies}

    def maps(self, question: ImageQuestion) -> Tensor:
        self.groups.append(question)
        return question.images.mean(1) * question.score(question.images)[:, None, None]


class Draws(Brightness):
    """Random numbers from the global stream."""

    def maps(self, question: ImageQuestion) -> Tensor:
        return torch.rand(len(question.images), *question.size)


class Batches(nn.Module):
    """A network that writes down how many rows came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_net()
        self.rows: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.rows.append(len(images))
        return self.inner(images)


@pytest.mark.parametrize(
    ("rows", "copies", "sizes"), [(4, 1, [4, 3]), (4, 2, [2, 2, 2, 1]), (2, 5, [1] * 7), (50, 1, [7])]
)
def test_images_are_explained_in_groups_whose_copies_fit(rows: int, copies: int, sizes: list[int]) -> None:
    images, model, done = noise_images(7), small_net(), []
    ready = Brightness(model, copies=copies, internal_batch_size=rows)
    result = ready.explain(images, [0, 1, 2, 3, 0, 1, 2], progress=done.append)
    assert [len(group.images) for group in ready.groups] == sizes
    assert done == torch.tensor(sizes).cumsum(0).tolist()
    assert all(group.rows == rows for group in ready.groups)
    with torch.no_grad():
        scores = model(images)[torch.arange(7), torch.tensor([0, 1, 2, 3, 0, 1, 2])]
    torch.testing.assert_close(result.map, images.mean(1) * scores[:, None, None])


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients, SmoothGrad])
def test_no_pass_has_more_rows_than_allowed(method: type[Baseline]) -> None:
    model = Batches().eval()
    expected = method(small_net()).explain(noise_images(5), 1).map
    got = method(model, internal_batch_size=3).explain(noise_images(5), 1).map
    assert max(model.rows) == 3
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_rows_know_their_sample_and_its_target() -> None:
    model, images = small_net(), noise_images(3)
    ready = Brightness(model)
    ready.explain(images, [2, 0, 1])
    logits, (group,) = model(images), ready.groups
    variants = torch.cat([images, images])
    torch.testing.assert_close(group.score(variants), logits[[0, 1, 2] * 2, [2, 0, 1] * 2])
    torch.testing.assert_close(group.value(images), logits.softmax(1)[[0, 1, 2], [2, 0, 1]])


class Scaled(nn.Module):
    """Takes pixels and a factor for each of them, both by name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_net()

    def forward(self, *, pixels: Tensor, factor: Tensor) -> Tensor:
        return self.inner(pixels) * factor[:, None]


def test_other_arguments_follow_their_image() -> None:
    images, factor = noise_images(5), torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0])
    plain = Gradient(small_net()).explain(images, 1).map
    for ready in (
        Gradient(Scaled().eval(), internal_batch_size=2),
        SmoothGrad(Scaled().eval(), noise=0.0, reduce="mean"),
    ):
        got = ready.explain({"pixels": images, "factor": factor}, 1).map
        torch.testing.assert_close(got, plain * factor[:, None, None])


def test_attribute_has_the_shape_of_captum() -> None:
    images, factor = noise_images(2), torch.tensor([1.0, -2.0])

    class Two(nn.Module):
        def forward(self, images: Tensor, factor: Tensor) -> Tensor:
            return images.mean((2, 3)) * factor[:, None]

    ready = Gradient(Two().eval())
    got = ready.attribute(images, target=torch.tensor([0, 2]), additional_forward_args=factor)
    assert got.shape == (2, 1, 16, 16)
    torch.testing.assert_close(got[:, 0], (factor / 256 / 3)[:, None, None].expand(2, 16, 16))


@pytest.mark.parametrize("inputs", [torch.zeros(2, dtype=torch.long), torch.zeros(2, 3, 16, 16, dtype=torch.long)])
def test_what_has_no_places_is_refused(inputs: Tensor) -> None:
    with pytest.raises(InputError, match=r"gradient needs images \(N, C, H, W\), series .* or tables \(N, D\), got"):
        Gradient(small_net()).explain(inputs)


@pytest.mark.parametrize("size", [0, -1, 2.0, "all"])
def test_an_impossible_batch_size_is_refused(size: Any) -> None:
    with pytest.raises(SettingError, match="internal_batch_size"):
        Gradient(small_net(), internal_batch_size=size)


def test_a_target_must_give_one_number_per_row() -> None:
    with pytest.raises(TargetError, match="one number per row, shape \\(3,\\); it gave \\(1,\\)"):
        Gradient(small_net()).explain(noise_images(3), lambda output: output[:1, 0])


def test_random_numbers_come_from_the_seed() -> None:
    images = noise_images(2)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = torch.rand(2, 16, 16)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(Draws(small_net(), seed=5).explain(images).map, expected)
    assert not torch.equal(Draws(small_net(), seed=6).explain(images).map, expected)
    assert torch.equal(torch.get_rng_state(), before)


class Overwrites(nn.Module):
    """Normalises its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_net()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.mul_(0.5).add_(1))


@pytest.mark.parametrize("method", [Gradient, IntegratedGradients, SmoothGrad])
def test_networks_may_overwrite_their_input(method: type[Baseline]) -> None:
    images, model = noise_images(2), Overwrites().eval()
    copies, state = images.clone(), model_state(model)
    got = method(model).explain(images, 1).map
    assert torch.equal(images, copies)
    assert model_state(model) == state
    honest = nn.Sequential(Affine(), model.inner).eval()
    torch.testing.assert_close(got, method(honest).explain(images, 1).map)


class Affine(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * 0.5 + 1


def test_the_attribution_says_how_it_was_made() -> None:
    result = Brightness(small_net(), copies=3, seed=4).explain(noise_images(2), 1)
    assert result.settings == {"copies": 3, "seed": 4}
    assert (result.unit, result.method, result.model, result.targets) == (
        "score",
        "brightness",
        "Sequential",
        ("1", "1"),
    )
