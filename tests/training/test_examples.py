"""Samples by number, from memory or from files."""

import pytest
import torch

from bitlens.data.datasets import open_dataset
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import DataError, InputError
from bitlens.models.builtin.scenes import preprocess
from bitlens.training.examples import Examples, InMemory, Pairs, Photos


def test_batches_become_one_set():
    images, labels = torch.randn(7, 3, 4, 4), torch.arange(7)
    examples = InMemory([(images[:3], labels[:3]), (images[3:], labels[3:])])
    assert isinstance(examples, Examples)
    assert len(examples) == 7
    batch = examples.take([5, 0, 2])
    assert torch.equal(batch.inputs.first, images[[5, 0, 2]])
    assert batch.labels.tolist() == [5, 0, 2]
    assert batch.names == ("sample 5", "sample 0", "sample 2")


def test_keywords_and_no_labels():
    ids, mask = torch.arange(12).reshape(4, 3), torch.ones(4, 3)
    examples = InMemory([{"ids": ids[:2], "mask": mask[:2]}, {"ids": ids[2:], "mask": mask[2:]}])
    batch = examples.take([3, 1])
    assert batch.labels is None
    assert torch.equal(batch.inputs.kwargs["ids"], ids[[3, 1]])


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "the batches are empty"),
        ([torch.randn(2, 3, 4, 4), torch.randn(2, 3, 5, 5)], "several sizes"),
        ([(torch.randn(2, 3), [0, 1]), torch.randn(2, 3)], "one label for each input"),
    ],
)
def test_what_does_not_fit_together_is_refused(batches, words):
    with pytest.raises(InputError, match=words):
        InMemory(batches)


def test_photos_are_read_when_they_are_taken(tmp_path):
    scenes = open_dataset("builtin:scenes")
    examples = Photos(scenes, Preprocessing(preprocess))
    assert isinstance(examples, Examples)
    batch = examples.take([4, 1])
    assert torch.equal(batch.inputs.first[1], preprocess(scenes[1].image))
    assert batch.labels.tolist() == [scenes[4].label, scenes[1].label]
    assert batch.names == ("test scene 4", "test scene 1")
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "table.csv").write_text("file,label\nbad.jpg,0\n")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        Photos(open_dataset(f"csv:{tmp_path / 'table.csv'}"), Preprocessing(preprocess)).take([0])


def test_pairs_stand_side_by_side_and_ask_for_their_own():
    images, labels = torch.randn(30, 3, 4, 5), torch.arange(30)
    pairs = Pairs(InMemory([(images, labels)]), seed=1)
    assert isinstance(pairs, Examples)
    batch = pairs.take(range(30))
    assert batch.inputs.first.shape == (30, 3, 4, 10)
    assert batch.labels.tolist() == list(range(30))
    sides, alone, others = [], [], []
    for row, halves in enumerate(batch.inputs.first.unflatten(3, (2, 5)).unbind()):
        left = torch.equal(halves[:, :, 0], images[row])
        own, other = (halves[:, :, 0], halves[:, :, 1]) if left else (halves[:, :, 1], halves[:, :, 0])
        assert torch.equal(own, images[row])
        sides.append(left)
        alone.append(torch.equal(other, own.flip(2)))
        if not alone[-1]:
            others.append(next(i for i in range(30) if torch.equal(other, images[i])))
            assert others[-1] != row
            assert batch.names[row] == f"sample {row} beside sample {others[-1]}"
        else:
            assert batch.names[row] == f"sample {row} beside itself"
    assert 8 < sum(sides) < 22
    assert 4 < sum(alone) < 16
    assert len(set(others)) == len(others)
    assert torch.equal(pairs.take([6, 3]).inputs.first, batch.inputs.first[[6, 3]])


def test_pairs_are_of_images():
    with pytest.raises(InputError, match="pairs are made of images"):
        Pairs(InMemory([(torch.randn(4, 6), torch.arange(4))])).take([0])
