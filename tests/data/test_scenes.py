"""Scenes: the same bytes every time, an exact answer, and no way to the class but the shape."""

import numpy as np
import numpy.typing as npt
import pytest

from bitlens.data.scenes import CLASSES, Scene, Scenes, scene
from bitlens.errors import DataError
from drawn_scenes import drawn_scenes

COUNT = 400


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return drawn_scenes("test", COUNT)


def bounds(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def same(a: Scene, b: Scene) -> bool:
    return a.image.tobytes() == b.image.tobytes() and a.mask.tobytes() == b.mask.tobytes() and a.boxes == b.boxes


def test_same_bytes_in_any_order(drawn: list[Scene]) -> None:
    for index in (7, 3, 0):
        assert same(scene(index), drawn[index])


@pytest.mark.parametrize("other", [{"split": "train"}, {"seed": 1}])
def test_splits_and_seeds_share_nothing(drawn: list[Scene], other: dict[str, str | int]) -> None:
    assert not any(np.array_equal(scene(i, **other).image, drawn[i].image) for i in range(3))


@pytest.mark.parametrize("size", [32, 96, 160])
def test_shapes_and_types(size: int) -> None:
    drawn = scene(5, size=size)
    assert drawn.image.shape == (size, size, 3)
    assert drawn.image.dtype == np.uint8
    assert drawn.mask.shape == (size, size)
    assert drawn.mask.dtype == np.bool_
    assert 0 <= drawn.label < len(CLASSES)


def test_sequence() -> None:
    scenes = Scenes("train", 4, seed=3)
    assert len(scenes) == 4
    assert same(scenes[-1], scene(3, split="train", seed=3))
    assert [s.label for s in scenes[1:3]] == [scenes[1].label, scenes[2].label]
    with pytest.raises(IndexError):
        scenes[4]


@pytest.mark.parametrize("wrong", [{"index": -1}, {"index": 0, "size": 8}, {"index": 0, "split": "val"}])
def test_arguments_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"index=|split="):
        scene(**wrong)


def test_negative_count() -> None:
    with pytest.raises(DataError, match="count=-1"):
        Scenes(count=-1)


def test_boxes_are_the_tight_bounds_of_visible_objects(drawn: list[Scene]) -> None:
    for s in drawn:
        x0, y0, x1, y1 = np.array(s.boxes).T
        assert (x0.min(), y0.min(), x1.max(), y1.max()) == bounds(s.mask)
        outside = s.mask.copy()
        for left, top, right, bottom in s.boxes:
            inside = s.mask[top:bottom, left:right]
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
            outside[top:bottom, left:right] = False
        assert not outside.any()


def test_areas_and_numbers_of_objects(drawn: list[Scene]) -> None:
    areas = np.array([s.mask.mean() for s in drawn])
    assert areas.min() > 0.035
    assert areas.max() < 0.2
    numbers = np.array([len(s.boxes) for s in drawn])
    assert set(numbers) == {1, 2}
    assert 0.27 < (numbers == 2).mean() < 0.4
    assert np.bincount([s.label for s in drawn]).min() > 0.06 * COUNT


def histogram(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(64,) share of each of 4 x 4 x 4 colours among (P, 3) pixels."""
    return np.bincount(pixels.astype(int) // 64 @ [16, 4, 1], minlength=64) / len(pixels)


def probe(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Accuracy on the second half of a ridge regression fitted to the first."""
    x = np.column_stack([features / (features.std(axis=0) + 1e-6), np.ones(COUNT)])
    half = COUNT // 2
    gram = x[:half].T @ x[:half] + 50 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[:half].T @ np.eye(len(CLASSES))[labels[:half]])
    return float(((x[half:] @ weights).argmax(axis=1) == labels[half:]).mean())


def test_colours_and_distractors_say_nothing_about_the_class(drawn: list[Scene]) -> None:
    labels = np.array([s.label for s in drawn])
    everything = np.array([histogram(s.image.reshape(-1, 3)) for s in drawn])
    around = np.array([histogram(s.image[~s.mask]) for s in drawn])
    edges = np.array([histogram(np.abs(np.diff(s.image.astype(int), axis=0))[~s.mask[1:]]) for s in drawn])
    chance, error = 1 / len(CLASSES), 0.015  # standard error of a share of 0.1 among 400
    for features in (everything, around, edges):
        assert probe(features, labels) < chance + 4 * error
    tinted = everything + 0.1 * np.eye(64)[labels]
    assert probe(tinted, labels) > 0.5, "the probe is too weak to find anything"


def test_area_says_little_about_the_class(drawn: list[Scene]) -> None:
    labels = np.array([s.label for s in drawn])
    areas = np.array([s.mask.mean() for s in drawn])
    means = np.array([areas[labels == k].mean() for k in range(len(CLASSES))])
    assert np.ptp(means) < areas.std()
