"""Two passes agree up to rounding, whatever they return, and no further."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bitlens.probe.agreement import agree

LOGITS = torch.tensor([[3.0, -40.0, 0.5], [0.0, 1.0, 2.0]])


@dataclass
class Output:
    logits: Tensor
    name: str = "output"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("dtype", "rounding", "difference"),
    [(torch.float32, 2e-5, 5e-4), (torch.float64, 1e-14, 1e-12), (torch.bfloat16, 2e-2, 0.1)],
)
def test_rounding_is_measured_by_the_largest_value(
    scale: float, dtype: torch.dtype, rounding: float, difference: float
) -> None:
    expected = (scale * LOGITS).to(dtype)
    for change, same in ((rounding, True), (difference, False)):
        got = expected.clone()
        got[1, 0] += 40 * scale * change
        assert agree(expected, got) is same


def test_every_tensor_must_agree() -> None:
    other = LOGITS + 1
    assert agree((LOGITS, [LOGITS]), (LOGITS, [LOGITS]))
    assert not agree((LOGITS, [LOGITS]), (LOGITS, [other]))
    assert not agree((LOGITS, [LOGITS]), (other, [LOGITS]))
    assert not agree((LOGITS, LOGITS), (LOGITS,))
    assert not agree(LOGITS, (LOGITS, LOGITS))


def test_shapes_must_be_the_same_even_where_they_broadcast() -> None:
    assert not agree(torch.ones(2, 3), torch.ones(1, 3))
    assert not agree(torch.ones(3), torch.ones(()))
    assert agree(torch.ones(0, 3), torch.ones(0, 3))
    assert not agree(torch.ones(2), None)


def test_whole_numbers_are_equal_or_not() -> None:
    whole = torch.tensor([10**9, 1])
    assert agree(whole, whole.clone())
    assert not agree(whole, whole + torch.tensor([0, 1]))


def test_masked_places_must_be_masked_in_both() -> None:
    masked = torch.tensor([1.0, -torch.inf, torch.nan])
    assert agree(masked, masked.clone())
    assert not agree(masked, torch.tensor([1.0, -1e9, torch.nan]))
    assert not agree(masked, torch.tensor([1.0, -torch.inf, 0.0]))
    assert not agree(masked, torch.tensor([1.5, -torch.inf, torch.nan]))


def test_objects_are_looked_into() -> None:
    assert agree(Output(LOGITS), Output(LOGITS.clone()))
    assert not agree(Output(LOGITS), Output(LOGITS + 1))
    assert not agree(Output(LOGITS), LOGITS)
