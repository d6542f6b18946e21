import numpy as np
import pytest
import torch

from bitlens.data.small import SmallImages, read_small_images
from bitlens.errors import DataError


def test_bytes_become_numbers_of_one_size(tmp_path):
    pixels = np.full((4, 8, 8, 3), 51, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.array([0, 1, 0, 1]))
    read = read_small_images(f"npz:{tmp_path}/a.npz", 16)
    assert read.images.shape == (4, 3, 16, 16)
    torch.testing.assert_close(read.images, torch.full_like(read.images, 0.2))
    assert read.labels.tolist() == [0, 1, 0, 1]


def test_scenes_have_labels():
    read = read_small_images("builtin:scenes", 24, limit=12)
    assert read.images.shape == (12, 3, 24, 24)


def test_a_split_keeps_proportions_and_loses_nothing():
    labels = torch.arange(100) % 4
    images = torch.arange(100.0).reshape(100, 1, 1, 1)
    parts = SmallImages(images, labels, 4).split((0.7, 0.1, 0.2), seed=3)
    assert [torch.bincount(part.labels).tolist() for part in parts] == [[18] * 4, [2] * 4, [5] * 4]
    assert sorted(torch.cat([part.images for part in parts]).flatten().tolist()) == list(map(float, range(100)))


def test_too_few_for_a_part():
    with pytest.raises(DataError, match="too few"):
        SmallImages(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), 2).split((0.7, 0.1, 0.2), 0)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((2, 4, 4, 3), np.float32), "labels": np.array([0, 1])},
        {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.array([0])},
        {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.array([0, 0])},
        {"pictures": np.zeros((2, 4, 4, 3), np.uint8)},
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError):
        read_small_images(f"npz:{tmp_path}/a.npz", 4)
