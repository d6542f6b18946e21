from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.targets import (
    AnyOf,
    ClassTarget,
    LogOdds,
    NotClass,
    Regression,
    Score,
    Similarity,
    as_target,
    logits_of,
    permuted_targets,
    select_targets,
)
from bitlens.errors import TargetError


@dataclass
class ModelOutput:
    logits: Tensor


Inception = namedtuple("Inception", ["logits", "aux"])


def _logits(rows: int = 6, classes: int = 5) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


EXTREME = torch.tensor(
    [[100.0, -100, 0, 100], [-100, 100, -100, -100], [-100, -100, -100, -100], [100, 100, 100, 100]], requires_grad=True
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_are_float32_or_wider(dtype: torch.dtype) -> None:
    assert logits_of(torch.zeros(2, 3, dtype=dtype)).dtype == torch.float32
    assert logits_of(torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        ModelOutput,
        lambda t: (t, "attention"),
        lambda t: [t],
        lambda t: Inception(t, None),
    ],
    ids=["tensor", "model output", "tuple", "list", "named tuple"],
)
def test_scores_are_found_in_what_networks_return(wrap: Any) -> None:
    logits = _logits()
    assert torch.equal(logits_of(wrap(logits)), logits)


@pytest.mark.parametrize("output", ["text", None, {"logits": "text"}, ()])
def test_an_output_without_scores_is_refused(output: Any) -> None:
    with pytest.raises(TargetError, match=f"the network returns {type(output).__name__}: give a callable"):
        logits_of(output)


def test_scores_at_every_pixel_are_refused() -> None:
    with pytest.raises(TargetError, match=r"shape \(2, 3, 8, 8\), not \(samples, classes\)"):
        logits_of(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_score_is_the_log_odds_of_class_one(shape: tuple[int, ...]) -> None:
    odds = torch.tensor([-100.0, -1.0, 0.5, 100.0])
    output = odds.reshape(shape)
    for index in (0, 1):
        target = as_target(index, output, 4)
        expected = torch.sigmoid(odds if index else -odds)
        torch.testing.assert_close(target.value(output), expected)
        torch.testing.assert_close(target.loss(output), F.softplus(-odds if index else odds))
    assert as_target(None, output, 4).describe() == ("0", "0", "1", "1")


def test_class_loss_is_the_cross_entropy_and_value_the_probability() -> None:
    logits, classes = _logits(), torch.tensor([0, 4, 2, 1, 1, 3])
    target = ClassTarget(classes)
    torch.testing.assert_close(target.loss(logits), F.cross_entropy(logits, classes, reduction="none"))
    torch.testing.assert_close(target.value(logits), torch.softmax(logits, 1)[torch.arange(6), classes])
    assert target.describe() == ("0", "4", "2", "1", "1", "3")
    assert target.measure == "probability"


def test_copies_are_counted_samples_first() -> None:
    logits, classes = _logits(6), torch.tensor([3, 1])
    expected = F.cross_entropy(logits, torch.tensor([3, 1, 3, 1, 3, 1]), reduction="none")
    torch.testing.assert_close(ClassTarget(classes).loss(logits), expected)
    values = torch.tensor([1.0, -2.0])
    got = Regression(values, scale=2.0, column=1).loss(logits)
    torch.testing.assert_close(got, ((logits[:, 1].float() - values.repeat(3)) / 2).square() / 2)
    embeddings = torch.randn(2, 5)
    got = Similarity(embeddings).value(logits.float())
    torch.testing.assert_close(got, F.cosine_similarity(logits.float(), embeddings.repeat(3, 1)))


@pytest.mark.parametrize("classes", [[2], [0, 3], [0, 1, 2, 3, 4]])
def test_any_of_sums_probabilities(classes: list[int]) -> None:
    logits = _logits()
    expected = torch.softmax(logits, 1)[:, classes].sum(1)
    target = AnyOf(classes)
    torch.testing.assert_close(target.value(logits), expected)
    torch.testing.assert_close(target.loss(logits), -expected.log(), rtol=1e-9, atol=1e-12)


def test_a_class_named_twice_counts_once() -> None:
    logits = _logits()
    torch.testing.assert_close(AnyOf([2, 2, 0]).value(logits), AnyOf([0, 2]).value(logits))


def test_not_class_is_the_rest() -> None:
    logits = _logits()
    expected = 1 - torch.softmax(logits, 1)[:, 3]
    target = NotClass(3)
    torch.testing.assert_close(target.value(logits), expected)
    torch.testing.assert_close(target.loss(logits), -expected.log())
    torch.testing.assert_close(NotClass(0).value(logits[:, :1]), torch.sigmoid(logits[:, 0]))  # one log-odds column


def test_log_odds_are_those_of_the_probability_and_grow_where_the_class_is_certain() -> None:
    logits, classes = _logits(), torch.tensor([0, 4, 2, 1, 1, 3])
    target = LogOdds(classes)
    p = torch.softmax(logits, 1)[torch.arange(6), classes]
    torch.testing.assert_close(target.loss(logits), -(p / (1 - p)).log())
    torch.testing.assert_close(target.value(logits), p)
    certain = torch.tensor([[80.0, 0, 0]], requires_grad=True)
    (slope,) = torch.autograd.grad(LogOdds(torch.tensor([0])).loss(certain).sum(), certain)
    torch.testing.assert_close(slope, torch.tensor([[-1.0, 0.5, 0.5]]))  # that of the cross-entropy would vanish


@pytest.mark.parametrize("rows", [6, 12])
def test_scores_are_logits_and_log_sums_of_them(rows: int) -> None:
    logits, classes = _logits(rows), torch.tensor([0, 4, 2, 1, 1, 3])
    index = classes.repeat(rows // 6)
    for target in (ClassTarget(classes), LogOdds(classes)):
        assert torch.equal(target.score(logits), logits[torch.arange(rows), index])
    torch.testing.assert_close(AnyOf([1, 3]).score(logits), (logits[:, 1].exp() + logits[:, 3].exp()).log())
    torch.testing.assert_close(NotClass(2).score(logits), logits[:, [0, 1, 3, 4]].exp().sum(1).log())
    assert torch.equal(Score(lambda out: out[:, 0]).score(logits), logits[:, 0].float())


def test_the_score_of_one_column_is_the_log_odds_of_either_class() -> None:
    odds = torch.tensor([[-2.0], [0.5], [3.0]])
    assert ClassTarget(torch.tensor([1, 1, 1])).score(odds).tolist() == [-2.0, 0.5, 3.0]
    assert ClassTarget(torch.tensor([0, 1, 0])).score(odds).tolist() == [2.0, 0.5, -3.0]
    for index in (0, 1):
        p = ClassTarget(torch.full((3,), index)).value(odds)
        torch.testing.assert_close(ClassTarget(torch.full((3,), index)).score(odds), (p / (1 - p)).log())
        torch.testing.assert_close(LogOdds(torch.full((3,), index)).loss(odds), -(p / (1 - p)).log())


@pytest.mark.parametrize("target", [ClassTarget(torch.tensor([1, 0, 2, 3])), AnyOf([1, 2]), NotClass(1), NotClass(0)])
def test_extreme_scores_stay_finite(target: ClassTarget | AnyOf | NotClass) -> None:
    loss = target.loss(EXTREME)
    (slope,) = torch.autograd.grad(loss.sum(), EXTREME)
    value = target.value(EXTREME)
    assert bool(torch.isfinite(loss).all())
    assert bool(torch.isfinite(slope).all())
    assert bool(((value >= 0) & (value <= 1.000001)).all())


def test_score_is_any_function() -> None:
    def margin(output: Tensor) -> Tensor:
        return output[:, 0] - output[:, 1]

    logits = _logits()
    target = as_target(margin, logits, 6)
    torch.testing.assert_close(target.value(logits), margin(logits).float())
    torch.testing.assert_close(target.loss(logits), -margin(logits).float())
    assert (target.describe(), target.measure) == (("margin",), "score")
    assert Score(margin, "difference").describe() == ("difference",)


@pytest.mark.parametrize(
    ("function", "shape"), [(lambda out: out, r"\(6, 5\)"), (lambda out: out.sum(), r"\(\)"), (lambda _: 3.0, "float")]
)
def test_a_score_of_the_wrong_shape_is_refused(function: Any, shape: str) -> None:
    with pytest.raises(TargetError, match=rf"must return one number per row, shape \(rows,\); it returned {shape}"):
        Score(function, "mine").loss(_logits())


def test_regression_reads_one_column_or_a_plain_vector() -> None:
    logits = _logits().float()
    target = Regression(logits[:, 2].clone(), column=2)
    assert target.loss(ModelOutput(logits)).tolist() == [0] * 6
    torch.testing.assert_close(target.loss(logits[:, 2] + 3), torch.full((6,), 4.5))
    assert Regression(torch.tensor([0.12345678])).describe() == ("value 0.1235",)
    assert target.measure == "score"


def test_similarity_is_the_cosine() -> None:
    output = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    target = Similarity(torch.tensor([[5.0, 0.0]]))
    assert target.value(output).tolist() == [1, 0, -1]
    assert target.loss((output, "more")).tolist() == [-1, 0, 1]
    assert target.count is None


@pytest.mark.parametrize(
    "target",
    [3, np.int64(3), torch.tensor(3), [3, 3], (3, 3), np.array([3, 3]), torch.tensor([3, 3], dtype=torch.uint8)],
)
def test_ways_to_name_classes(target: Any) -> None:
    read = as_target(target, _logits(2), 2)
    assert read.describe() == ("3", "3")
    torch.testing.assert_close(read.value(_logits(2)), torch.softmax(_logits(2), 1)[:, 3])


def test_none_is_the_predicted_class() -> None:
    assert as_target(None, _logits(), 6).describe() == tuple(str(int(i)) for i in _logits().argmax(1))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (5, "class 5 does not exist: the network has classes 0 to 4"),
        (-1, "class -1 does not exist: the network has classes 0 to 4"),
        ([0, 7], "class 7 does not exist"),
        ([0, 1, 2], "there are 3 targets for 2 samples"),
        ([], "target must hold whole class indices"),
        (1.0, "target must hold whole class indices, got torch.float32"),
        (True, "target must hold whole class indices, got torch.bool"),
        ([True, False], "target must hold whole class indices, got torch.bool"),
        ("cat", "target must be a class index, 2 indices, or a callable; got 'cat'"),
        (["cat", "dog"], "target must be a class index"),
        ({"class": 1}, "target must be a class index"),
        (torch.zeros(2, 1, dtype=torch.long), r"target has shape \(2, 1\) for 2 samples"),
        (AnyOf([1, 9]), "class 9 does not exist"),
        (NotClass(5), "class 5 does not exist"),
        (NotClass(-1), "class -1 does not exist"),
        (ClassTarget(torch.tensor([0, 8])), "class 8 does not exist"),
        (ClassTarget(torch.tensor([0, 1, 2])), "there are 3 targets for 2 samples"),
        (Regression(torch.zeros(3)), "there are 3 targets for 2 samples"),
        (Similarity(torch.zeros(3, 5)), "there are 3 targets for 2 samples"),
    ],
)
def test_targets_that_do_not_fit_are_refused(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        as_target(target, _logits(2), 2)


def test_any_of_nothing_is_refused() -> None:
    with pytest.raises(TargetError, match="at least one class"):
        AnyOf([])


def _of_four(embeddings: Tensor) -> list[Any]:
    classes = torch.tensor([0, 1, 2, 3])
    return [
        ClassTarget(classes),
        LogOdds(classes),
        Regression(torch.arange(4.0), scale=0.5, column=2),
        Similarity(embeddings),
    ]


def test_targets_in_another_order_belong_to_the_same_samples() -> None:
    order, logits = torch.tensor([2, 0, 3, 1]), _logits(4)
    for several in ([4, 5, 6, 7], (4, 5, 6, 7), torch.tensor([4, 5, 6, 7]), range(4, 8)):
        assert [int(index) for index in permuted_targets(several, order, 4)] == [6, 4, 7, 5]
    for same in (None, 3, torch.tensor(3), NotClass(1), AnyOf([1, 2]), Similarity(torch.ones(1, 5))):
        assert permuted_targets(same, order, 4) is same
    for target in _of_four(torch.randn(4, 5)):
        turned = permuted_targets(target, order, 4)
        torch.testing.assert_close(turned.loss(logits[order]), target.loss(logits)[order])
    with pytest.raises(TargetError, match="targets for 4 samples"):
        permuted_targets([1, 2], order, 4)
    with pytest.raises(TargetError, match="targets for 4 samples"):
        permuted_targets(ClassTarget(torch.tensor([1])), order, 4)


def test_targets_of_a_part_of_the_samples() -> None:
    assert select_targets([4, 5, 6, 7], 1, 3, 4) == [5, 6]
    assert select_targets(torch.tensor([4, 5, 6, 7]), 1, 3, 4).tolist() == [5, 6]
    for same in (None, 3, torch.tensor(3), NotClass(1), Score(len)):
        assert select_targets(same, 1, 3, 4) is same
    logits = _logits(4)
    embeddings = torch.randn(4, 5)
    for target in _of_four(embeddings):
        part = select_targets(target, 1, 3, 4)
        torch.testing.assert_close(part.loss(logits[1:3]), target.loss(logits)[1:3])
        torch.testing.assert_close(part.value(logits[1:3]), target.value(logits)[1:3])
    one = Similarity(embeddings[:1])
    assert select_targets(one, 1, 3, 4) is one


@pytest.mark.parametrize("target", [[1, 2, 3], torch.tensor([1]), ClassTarget(torch.tensor([0, 1])), range(5)])
def test_a_wrong_number_of_targets_is_refused(target: Any) -> None:
    with pytest.raises(TargetError, match="targets for 4 samples: give one for all, or one for each"):
        select_targets(target, 0, 2, 4)
