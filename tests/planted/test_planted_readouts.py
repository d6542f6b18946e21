"""Readouts that learnt for a second where marks matter: on other inputs they find the mark that decides, wherever it lies."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import bitlens
from bitlens.errors import BitlensWarning
from planted_marks import MARKED, Marked, taught
from planted_networks import inside, peak, share

pytestmark = pytest.mark.slow  # each of them trains a readout

COUNT = 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks are so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


every_kind = pytest.mark.parametrize("marked", MARKED, ids=lambda marked: marked.kind)


@every_kind
def test_the_mark_that_decides_has_the_maximum_and_most_bits(marked: Marked) -> None:
    pytest.importorskip("accelerate")
    inputs, classes, places = marked.draw(COUNT, seed=9)
    assert marked.network()(inputs).argmax(1).equal(classes)
    found = taught(marked).explain(inputs)
    for map_, (mark, other) in zip(found.map, places, strict=True):
        assert inside(peak(map_), mark)
        assert share(map_, mark) > 0.5
        assert share(map_, other) < 0.15  # as loud, but nobody reads it; enlarging gives a neighbour an eighth at most
    assert found.evidence is not None
    assert found.evidence.kept.mean() > 0.7


@every_kind
def test_bits_of_a_fitted_mask_lie_there_too(marked: Marked) -> None:
    iba = bitlens.IBA(marked.network(), "features", smoothing=0.0)
    iba.fit_statistics([marked.draw(128, seed=1)[0]], granularity="channel")
    inputs, _, places = marked.draw(COUNT, seed=9)
    assert all(inside(peak(m), mark) for m, (mark, _) in zip(iba.explain(inputs).map, places, strict=True))


@every_kind
def test_a_conditional_readout_finds_the_mark_of_the_class_that_is_asked_for(marked: Marked) -> None:
    pytest.importorskip("accelerate")
    readout: Any = taught(marked, conditional=True)
    inputs, classes, places = marked.draw(COUNT, seed=9, rivals=True)
    for which, asked in enumerate((classes, 1 - classes)):
        found = readout.explain(inputs, asked).map
        assert all(inside(peak(map_), marks[which]) for map_, marks in zip(found, places, strict=True))


def test_another_readout_answers_for_the_prediction_whatever_is_asked() -> None:
    pytest.importorskip("accelerate")
    marked = MARKED[1]
    inputs, classes, places = marked.draw(COUNT, seed=9)
    readout = taught(marked)
    with pytest.warns(BitlensWarning, match="are not the prediction, which is all that this readout explains"):
        found = readout.explain(inputs, 1 - classes, evidence_samples=0)
    assert all(inside(peak(map_), mark) for map_, (mark, _) in zip(found.map, places, strict=True))
