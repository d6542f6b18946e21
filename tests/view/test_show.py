"""An attribution draws itself: photos beside maps, shaded tokens, and a few lines of text in place of tensors."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import bitlens
import small_results
from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.core.seen import MOST_SEEN, Seen, seen_of
from bitlens.data.datasets import open_dataset
from bitlens.errors import InputError
from bitlens.view.card import Proof


def texts_of(figure: Figure) -> str:
    """All that is written on a figure, axes included."""
    written = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in figure.texts]
    return " ".join([*written, *(axes.get_ylabel() + axes.get_xlabel() for axes in figure.axes)])


def images_on(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


@pytest.fixture(scope="module")
def explained() -> Attribution:
    photos = [open_dataset("builtin:scenes")[i].image for i in range(2)]
    return bitlens.explain("builtin/scenes", photos)


def test_the_photo_stands_beside_its_map_with_unit_and_caption(explained: Attribution) -> None:
    figure = explained[0].show()
    photo, over = images_on(figure)
    wanted = np.asarray(open_dataset("builtin:scenes")[0].image.convert("RGB"), np.float32) / 255
    assert np.abs(photo - wanted).mean() < 0.01
    assert over.shape == photo.shape
    said = texts_of(figure)
    assert "heart" in said
    assert "bits/pixel" in said
    assert re.search(r"of the decision is held · [\d,]+ bits in total · layer2, keep = 0.9", said.replace("\n", " "))
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_several_share_a_page_and_a_scale(explained: Attribution) -> None:
    figure = explained.show()
    assert len(images_on(figure)) == 4
    assert texts_of(figure).count("held") == 2


def test_what_is_seen_is_in_memory_only_and_follows_its_sample(explained: Attribution, tmp_path: Path) -> None:
    explained.save(tmp_path / "a.safetensors")
    again = Attribution.load(tmp_path / "a.safetensors")
    assert again.seen is None
    assert explained[1].seen is not None
    assert explained.seen is not None
    assert explained[1].seen == explained.seen[1:]
    joined = Attribution.join([explained[1], explained[0]])
    assert joined.seen == explained.seen[::-1]
    assert Attribution.join([explained, again]).seen is None
    photo = open_dataset("builtin:scenes")[0].image
    beside = images_on(again[0].show(photo))[0]
    assert np.abs(beside - images_on(explained[0].show())[0]).mean() < 0.01


def test_inputs_can_be_handed_over_in_any_form(tmp_path: Path) -> None:
    found = small_results.in_bits(0)
    photo = small_results.photo_of(0)
    picture = Image.fromarray((photo.permute(1, 2, 0) * 255).round().byte().numpy())
    picture.save(tmp_path / "a.png")
    drawn = [
        images_on(found.show(given))[0] for given in (photo, photo[None], photo.numpy(), picture, tmp_path / "a.png")
    ]
    assert all(np.abs(one - drawn[0]).max() < 0.01 for one in drawn)
    assert "stretched" in texts_of(found.show(photo * 4 - 2))
    with pytest.raises(InputError, match="2 images for 1 maps"):
        found.show([photo, photo])
    with pytest.raises(InputError, match="same aspect"):
        found.show(torch.rand(3, 64, 64))
    with pytest.raises(InputError, match="no map to draw"):
        found[:0].show()


def test_without_the_photo_maps_lie_over_grey() -> None:
    photo, _ = images_on(small_results.in_bits(0).show())
    assert float(photo.std()) == 0
    row, _ = images_on(Attribution(torch.rand(1, 36), "bits/feature", "iba", ("1",)).show())
    assert row.shape[:2] == (3, 36)
    volume = Attribution(torch.rand(1, 4, 8, 8), "bits/voxel", "iba", ("1",))
    assert "summed over depth" in texts_of(volume.show())
    assert "1 map" in volume._repr_html_()


def test_tokens_of_texts_are_shaded() -> None:
    found = bitlens.explain("builtin/reviews", ["a wonderful film,\nso moving", "a dull story " * 30])
    figure = found.show()
    said = texts_of(figure)
    assert "wonderful" in said
    assert "bits of each token" in said
    shades = [patch.get_facecolor() for axes in figure.axes for patch in axes.patches]
    assert len(set(shades)) > 3
    width, _ = figure.get_size_inches()
    assert all(0 <= text.get_position()[0] * width < 7 for text in figure.texts)
    shown = found._repr_html_()
    assert 'class="word"' in shown
    assert "positive" in shown


def test_a_notebook_shows_the_photo_beside_the_map(explained: Attribution) -> None:
    assert explained._repr_html_().count("data:image/webp") == 4
    assert "target heart" in explained._repr_html_()
    assert "of the decision is held" in explained._repr_html_()


def test_a_few_lines_tell_what_was_found(explained: Attribution) -> None:
    many = Attribution.join([explained] * 10)
    for one in (explained, explained[0], many, many[:0], small_results.in_scores(0)):
        assert len(repr(one).splitlines()) <= 5
        assert "tensor" not in repr(one)
    assert "iba at layer2 of SceneNetwork, keep = 0.9" in repr(explained)
    assert "of the decision held" in repr(explained)
    assert "and 17 more" in repr(many)


def test_where_nothing_is_needed_it_is_said() -> None:
    none = torch.tensor([0.5])
    proof = Evidence(none, none, none * 0, floor=none, floor_std=none * 0 + 0.1, floor_error=none * 0 + 0.05)
    found = replace(small_results.in_bits(0), evidence=proof)
    assert "nothing of the input was needed" in texts_of(found.show()).replace("\n", " ")
    assert "nothing of the input was needed" in found._repr_html_()


def test_where_noise_says_more_it_is_not_said_that_it_says_the_same() -> None:
    number = torch.tensor([0.1])
    proof = Evidence(number, number, number * 0, floor=number + 0.3, floor_std=number * 0, floor_error=number * 0)
    found = replace(small_results.in_bits(0), evidence=proof)
    assert "nothing of the input speaks for it" in texts_of(found.show()).replace("\n", " ")
    shown = Proof.of(found)
    assert shown is not None
    assert "says more of it" in shown.meaning
    assert "says the same" in replace(shown, floor=0.12).meaning
    assert "says the same" in replace(shown, spread=0.4).meaning  # it may by chance
    less = replace(shown, measure="score", before=-2.0, floor=-0.5)
    assert "says more of it" in less.meaning
    assert "says the same" in replace(less, floor=-1.9).meaning


def test_what_is_kept_of_inputs_is_small() -> None:
    kept = seen_of(torch.rand(2, 3, 8, 8))
    assert kept is not None
    assert kept[0].picture is not None
    assert kept[0].picture.dtype == torch.uint8
    assert kept[0].picture.untyped_storage().nbytes() == 3 * 8 * 8
    assert seen_of(torch.rand(MOST_SEEN + 1, 3, 2, 2)) is None
    assert seen_of({"ids": torch.zeros(1, 3)}) is None
    assert Seen.of_input(torch.rand(5, 4, 4)).note.startswith("the input's values")
