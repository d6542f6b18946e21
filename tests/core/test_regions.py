"""Questions about places of an answer, against means by the book."""

import pytest
import torch
from torch import nn

import bitlens
from bitlens.core.outputs import OutputForm
from bitlens.core.regions import Keypoint, Region
from bitlens.core.targets import as_target, finds_places, settled
from bitlens.errors import TargetError
from bitlens.probe.endings import output_form

CLASSES, SIZE = 4, (5, 6)


def answer(rows=3, seed=0, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(rows, classes, *SIZE, generator=generator, dtype=torch.float64)


def test_a_region_is_the_mean_over_the_places_where_the_class_is_predicted():
    said, classes = answer(), torch.tensor([2, 0, 2])
    asked = as_target(classes, said, 3)
    assert isinstance(asked, Region)
    p = said.softmax(1)
    for row, index in enumerate(classes.tolist()):
        inside = said[row].argmax(0) == index
        chance = p[row, index][inside]
        assert float(asked.value(said)[row]) == pytest.approx(float(chance.mean()))
        assert float(asked.loss(said)[row]) == pytest.approx(-float((chance / (1 - chance)).log().mean()))
        assert float(asked.score(said)[row]) == pytest.approx(float(said[row, index][inside].mean()))
    assert asked.measure == "probability"
    assert asked.describe() == ("2 where it is predicted", "0 where it is predicted", "2 where it is predicted")


def test_a_region_stays_where_the_clean_answer_put_it_and_rows_are_copies_of_the_samples():
    said, noisy = answer(2), torch.cat([answer(2, seed=1), answer(2, seed=2)])
    asked = Region(1).asked_of(OutputForm(), said, 2)
    expected = [noisy[row].softmax(0)[1][said[row % 2].argmax(0) == 1].mean() for row in range(4)]
    assert torch.allclose(asked.value(noisy), torch.stack(expected))
    chosen = asked.select(torch.tensor([1]))
    assert torch.allclose(chosen.value(noisy[[1, 3]]), torch.stack(expected)[[1, 3]])


@pytest.mark.parametrize("target", [1, torch.tensor([1, 2]), Region(1), Region([1, 2])])
def test_another_network_is_asked_at_the_places_that_the_first_one_chose(target):
    said, other, form = answer(2), answer(2, seed=4), OutputForm()
    index = torch.as_tensor(getattr(target, "classes", target)).expand(2)
    other[:, 0] = 99.0  # it predicts these classes nowhere
    with pytest.raises(TargetError, match="at no place"):
        as_target(target, other, 2)
    asked = as_target(settled(target, said, 2, form), other, 2)
    for row, own in enumerate(index.tolist()):
        inside = said[row].argmax(0) == own
        assert float(asked.value(other)[row]) == pytest.approx(float(other[row].softmax(0)[own][inside].mean()))
    second = as_target(settled(target, said, 2, form).select(slice(1, 2)), other[1:], 1)
    assert torch.allclose(second.value(other[1:]), asked.value(other)[1:])
    with pytest.raises(TargetError, match="some of \\(5, 6\\) places, but the network answers at \\(4, 6\\)"):
        as_target(settled(target, said, 2, form), other[:, :, :4], 2)


def test_what_is_not_about_places_stays_as_it_was():
    one = torch.randn(2, CLASSES)
    for target in (1, [1, 2], torch.tensor([1, 2])):
        assert settled(target, one, 2, OutputForm()) is target
    assert not any(finds_places(target) for target in (as_target(1, one, 2), lambda output: output[:, 0]))


def test_a_mask_says_which_places_are_meant_and_how_much():
    said = answer(2)
    weights = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(3))
    each = Region([3, 1], weights).asked_of(OutputForm(), said, 2)
    shares = weights.double() / weights.double().sum((1, 2), keepdim=True)
    chance = said.softmax(1)[torch.arange(2), torch.tensor([3, 1])]
    assert torch.allclose(each.value(said), (chance * shares).sum((1, 2)))
    window = torch.zeros(SIZE, dtype=torch.bool)
    window[1:3, 2:] = True
    every = Region(0, window).asked_of(OutputForm(), said, 2)
    assert torch.allclose(every.value(said), said.softmax(1)[:, 0, 1:3, 2:].mean((1, 2)))
    again = every.select(slice(1, 2)).asked_of(OutputForm(), said[1:], 1)
    assert torch.allclose(again.value(said[1:]), every.value(said)[1:])
    assert every.describe() == ("0 in its region",) * 2


@pytest.mark.parametrize("numbers", ["probabilities", "multi-label", "multi-label-probabilities", "binary"])
def test_the_answer_at_a_place_is_read_as_that_of_a_sample(numbers):
    said = answer(2, classes=1 if numbers == "binary" else CLASSES)
    given = {"probabilities": said.softmax(1), "multi-label-probabilities": said.sigmoid()}.get(numbers, said)
    own = said.softmax(1) if numbers == "probabilities" else said.sigmoid()
    place = 0 if numbers == "binary" else 1
    chance = own[:, place]
    inside = (said.argmax(1) == 1) if numbers == "probabilities" else chance > 0.5
    asked = Region(1).asked_of(OutputForm(numbers), given, 2)
    expected = [chance[row][inside[row]].mean() for row in range(2)]
    assert torch.allclose(asked.value(given), torch.stack(expected))


def test_a_keypoint_is_asked_about_where_its_heat_map_is_highest_or_where_it_is_said():
    said, noisy = answer(2), answer(2, seed=5)
    asked = Keypoint(3).asked_of(OutputForm("multi-label"), said, 2)
    peaks = said[:, 3].flatten(1).argmax(1)
    there = noisy[:, 3].flatten(1).gather(1, peaks[:, None])[:, 0]
    assert torch.allclose(asked.score(noisy), there)
    assert torch.allclose(asked.value(noisy), there.sigmoid())
    elsewhere = Keypoint(3, at=(4, 1)).asked_of(OutputForm("multi-label"), said, 2)
    assert torch.allclose(elsewhere.score(noisy), noisy[:, 3, 4, 1])
    assert asked.describe() == ("3 where it is seen",) * 2


def test_a_heat_map_is_read_as_it_is_said_and_never_guessed():
    class Heights(nn.Module):
        def forward(self, x):
            return x.clamp(0, 1)

    class Chances(nn.Module):
        def forward(self, x):
            return x.sigmoid()

    x = answer(2)
    for network in (Heights(), Chances()):
        said = network(x)
        form = output_form(network, x, said)
        if isinstance(network, Heights):
            with pytest.raises(TargetError, match="does not say what the numbers"):
                Keypoint(1).asked_of(form, said, 2)
        else:
            assert torch.allclose(Keypoint(1).asked_of(form, said, 2).value(said), said[:, 1].amax((1, 2)))
    with pytest.raises(TargetError, match="outside the heat maps"):
        Keypoint(0, at=(5, 0)).asked_of(OutputForm("multi-label"), x, 2)


@pytest.mark.parametrize(
    ("target", "said", "told"),
    [
        (Region(1), torch.zeros(2, 4), r"answers at places, .* gives \(2, 4\)"),
        (Region(7), answer(2), "class 7 does not exist: the network has classes 0 to 3"),
        (Region(1, torch.ones(3, 3)), answer(2), r"the mask of a Region has shape \(3, 3\)"),
        (Region([1, 2], torch.ones(SIZE)), answer(2), r"give \(2, 5, 6\)"),
        (Region(1, torch.zeros(SIZE)), answer(2), "marks no place"),
        (Keypoint(0), answer(2), "does not say what the numbers of its heat maps are"),
        (None, answer(2), "no class is the predicted one"),
        (1, answer(2)[..., 0], r"ask about some of its places \(Region, Keypoint\)"),
        ([1, 2, 3], answer(2), "3 targets for 2 samples"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(target, said, told):
    with pytest.raises(TargetError, match=told):
        as_target(target, said, 2)


def test_a_class_that_is_predicted_nowhere_is_refused_with_those_that_are():
    said = answer(2)
    said[1, 2] = -9.0
    said[1, 3] = 9.0
    with pytest.raises(TargetError, match="class 2 at no place of sample 1, but 3: ask about one of these"):
        as_target(2, said, 2)


def test_values_have_no_region():
    with pytest.raises(TargetError, match="the network gives values"):
        Region(0).asked_of(OutputForm("regression"), answer(1), 1)


@pytest.mark.parametrize("wrong", [1.5, [True, False], [[1, 2]]])
def test_classes_are_whole_numbers(wrong):
    with pytest.raises(TargetError, match="takes one index"):
        Region(wrong)


def test_bits_lie_where_a_region_looks():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()
    image = torch.randn(1, 2, 16, 16)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[2:7, 3:8] = True
    found = bitlens.explain(network, image, Region(1, mask), layer="0", beta=0.1)
    reach = torch.zeros(16, 16, dtype=torch.bool)
    reach[0:11, 0:13] = True  # the convolution behind the layer, and the blur of the mask
    assert float(found.map[0][~reach].max()) < float(found.map[0][mask].mean())
    assert found.targets == ("1 in its region",)
    assert found.evidence.measure == "probability"


@pytest.mark.parametrize(
    ("ending", "numbers"), [(None, "logits"), ("softmax", "probabilities"), ("sigmoid", "multi-label-probabilities")]
)
def test_what_an_answer_at_places_is_is_seen_as_of_a_classifier(ending, numbers):
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.look = nn.Conv2d(2, CLASSES, 1)

        def forward(self, images):
            said = self.look(images)
            return {"softmax": said.softmax(1), "sigmoid": said.sigmoid(), None: said}[ending]

    torch.manual_seed(0)
    network, images = Dense().eval(), torch.randn(2, 2, *SIZE)
    with torch.no_grad():
        said = network(images)
    assert output_form(network, images, said).numbers == numbers
