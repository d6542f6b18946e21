"""The probability of the tokens that a text ends with, against probabilities by the book."""

import math

import pytest
import torch

from bitlens.core.questions import LogOdds
from bitlens.core.spans import Span
from bitlens.errors import TargetError

VOCABULARY = 11


def logits(rows=3, length=9, scale=3.0, seed=0):
    return (
        torch.randn(rows, length, VOCABULARY, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        * scale
    )


def spans():
    """Spans of three, one and two tokens that end at positions 8, 5 and 6."""
    return Span(torch.tensor([[3, 4, 5], [1, -1, -1], [7, 8, -1]])).at(torch.tensor([8, 5, 6]))


def by_the_book(said):
    log_p = said.log_softmax(2)
    return [
        float(log_p[0, 5, 3] + log_p[0, 6, 4] + log_p[0, 7, 5]),
        float(log_p[1, 4, 1]),
        float(log_p[2, 4, 7] + log_p[2, 5, 8]),
    ]


def test_nats_value_and_loss_are_those_of_the_tokens_where_they_stand():
    said, asked = logits(), spans()
    expected = by_the_book(said)
    assert asked.nats(said).tolist() == pytest.approx(expected)
    assert asked.value(said).tolist() == pytest.approx(
        [math.exp(n / k) for n, k in zip(expected, (3, 1, 2), strict=True)]
    )
    assert asked.loss(said).tolist() == pytest.approx([math.log1p(-math.exp(n)) - n for n in expected])


def test_rows_are_copies_of_the_samples():
    said = torch.cat([logits(seed=1), logits(seed=2)])
    assert spans().nats(said).tolist() == pytest.approx(by_the_book(said[:3]) + by_the_book(said[3:]))
    chosen = spans().select(torch.tensor([2, 0]))
    assert chosen.nats(said[[2, 0]]).tolist() == pytest.approx([by_the_book(said[:3])[i] for i in (2, 0)])


def test_one_token_is_asked_about_as_a_class_is():
    said = logits(rows=2, length=4)
    asked, token = Span(torch.tensor([[3], [6]])).at(torch.tensor([3, 3])), LogOdds(torch.tensor([3, 6]))
    assert asked.loss(said).tolist() == pytest.approx(token.loss(said[:, 2]).tolist())
    assert asked.value(said).tolist() == pytest.approx(token.value(said[:, 2]).tolist())


@pytest.mark.parametrize("margin", [30.0, 90.0])
def test_what_is_all_but_certain_still_has_a_loss_and_a_slope(margin):
    said = torch.zeros(1, 3, VOCABULARY)
    said[0, :2, 4] = margin
    said.requires_grad_()
    loss = Span(torch.tensor([[4, 4]])).at(torch.tensor([2])).loss(said)
    assert loss.item() == pytest.approx(math.log(2 * (VOCABULARY - 1)) - margin, rel=1e-5)
    (slope,) = torch.autograd.grad(loss.sum(), said)
    assert slope[0, 0, 4].item() == pytest.approx(-0.5, rel=1e-4)


def test_a_decoder_beside_an_encoder_foresees_from_its_own_first_position():
    said = logits(rows=1, length=3)
    log_p = said.log_softmax(2)
    found = Span(torch.tensor([2, 9]), first=0).at(torch.tensor([40])).nats(said)
    assert float(found) == pytest.approx(float(log_p[0, 0, 2] + log_p[0, 1, 9]))


def test_the_context_ends_where_the_span_begins():
    assert spans().context(9).long().sum(1).tolist() == [6, 5, 5]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Span(torch.tensor([0.5])), "ids"),
        (lambda: Span(torch.tensor([[-1, 2]])), "begin with a token"),
        (lambda: Span(torch.tensor([[1, -1, 2]])), "behind its end"),
        (lambda: Span(torch.tensor([[1, 2]])).starts, "no texts"),
        (lambda: Span(torch.tensor([[1, 2]])).at(torch.tensor([1])).starts, "foresees no first token"),
        (lambda: spans().check(torch.zeros(3, 5)), "language model"),
        (lambda: spans().check(torch.zeros(3, 9, 6)), "token 8 does not exist"),
        (lambda: Span(torch.tensor([1, 2]), first=3).check(torch.zeros(1, 3, 9)), "ends behind"),
    ],
)
def test_what_cannot_be_asked_is_refused(make, said):
    with pytest.raises(TargetError, match=said):
        make()
