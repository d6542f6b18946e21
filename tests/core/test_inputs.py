"""Arguments of a network follow their samples; everything else is passed on as it is."""

import math
from collections import UserDict

import pytest
import torch

from bitlens.core.inputs import ModelInputs
from bitlens.errors import InputError

X = torch.arange(12.0).reshape(3, 4)


def test_tensor_tuple_mapping_and_additional_arguments() -> None:
    mask = torch.ones(3, 2)
    assert ModelInputs.of(X).args == (X,)
    assert ModelInputs.of((X, mask)).args == (X, mask)
    assert ModelInputs.of(UserDict(ids=X)).kwargs == {"ids": X}
    assert ModelInputs.of(X, mask).args == (X, mask)
    assert ModelInputs.of(X, {"mask": mask}).kwargs == {"mask": mask}
    assert ModelInputs.of(ModelInputs.of(X)).count == 3


def test_samples_are_selected_repeated_and_cloned_together() -> None:
    inputs = ModelInputs.of((X, 2.5), {"mask": X + 1, "table": torch.ones(5, 2)})
    some = inputs.select(slice(1, 9))
    assert some.count == 2
    assert torch.equal(some.first, X[1:])
    assert torch.equal(some.kwargs["mask"], X[1:] + 1)
    assert some.kwargs["table"].shape == (5, 2)
    twice = some.tile(2)
    assert twice.count == 4
    assert torch.equal(twice.first, torch.cat([X[1:], X[1:]]))
    assert twice.args[1] == 2.5
    copy = inputs.clone()
    copy.first.zero_()
    assert inputs.first.sum() > 0


def test_rows_are_chosen_in_any_order_and_more_than_once() -> None:
    some = ModelInputs.of((X, 2.5), {"mask": X + 1, "table": torch.ones(5, 2)}).select(torch.tensor([2, 0, 2, 1]))
    assert some.count == 4
    assert torch.equal(some.first, X[[2, 0, 2, 1]])
    assert torch.equal(some.kwargs["mask"], X[[2, 0, 2, 1]] + 1)
    assert some.kwargs["table"].shape == (5, 2)
    assert some.tile(2).count == 8


def test_texts_are_cut_at_their_end_with_all_that_belongs_to_them() -> None:
    inputs = ModelInputs.of({"ids": X, "mask": X > 5, "table": torch.ones(5, 7), "flag": True})
    short = inputs.cut(3)
    assert torch.equal(short.kwargs["ids"], X[:, :3])
    assert torch.equal(short.kwargs["mask"], X[:, :3] > 5)
    assert short.kwargs["table"].shape == (5, 7)
    assert (short.kwargs["flag"], short.count) == (True, 3)


@pytest.mark.parametrize("inputs", [X, (X, X + 1), {"x": X, "y": X + 1}])
def test_another_first_tensor_takes_the_place_of_the_first_alone(inputs: object) -> None:
    changed = ModelInputs.of(inputs).with_first(X * 2)
    first, *others = (value for value, _ in changed.items())
    assert torch.equal(first, X * 2)
    assert all(torch.equal(other, X + 1) for other in others)
    assert torch.equal(changed.first, X * 2)


def test_a_tensor_that_belongs_to_no_sample_never_starts_to() -> None:
    """A selection of two samples must not adopt a table with two rows."""
    inputs = ModelInputs.of((X, torch.ones(2, 5)))
    assert inputs.select(slice(2)).tile(3).args[1].shape == (2, 5)
    assert inputs.select(slice(1)).tile(2).select(slice(1)).args[1].shape == (2, 5)


def test_signature_tells_kinds_of_input_not_values_or_counts() -> None:
    def signature(*args: object, **kwargs: object) -> object:
        return ModelInputs.of(args, kwargs).signature

    assert signature(X, a=1, b=X) == signature(X[:2] * 2, b=X[:2], a=1)
    different = [
        signature(X.double()),
        signature(X[:, :2]),
        signature(X, 1),
        signature(X, 2),
        signature(x=X),
        signature(X),
    ]
    assert len(set(different)) == len(different)


def test_image_size() -> None:
    assert ModelInputs.of(torch.zeros(2, 3, 8, 9)).image_size == (8, 9)
    assert ModelInputs.of(X).image_size is None
    assert ModelInputs.of(torch.zeros(2, 3, 8, 9, dtype=torch.long)).image_size is None


@pytest.mark.parametrize("empty", [(), {}, "text", 3, torch.tensor(1.0)])
def test_inputs_without_a_tensor_are_refused(empty: object) -> None:
    with pytest.raises(InputError, match="must hold a tensor with samples"):
        ModelInputs.of(empty)


def test_inputs_without_a_sample_are_refused() -> None:
    with pytest.raises(InputError, match=r"no sample: the first tensor has shape \(0, 4\)"):
        ModelInputs.of(X[:0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_and_the_sample_is_named(value: float) -> None:
    bad = X.clone()
    bad[1, 2] = value
    with pytest.raises(InputError, match=r"in sample 1: check"):
        ModelInputs.of(bad)
    bad[2] = value
    with pytest.raises(InputError, match=r"in samples 1, 2: check"):
        ModelInputs.of(bad)


def test_a_mask_may_hold_minus_infinity_but_not_nan() -> None:
    assert ModelInputs.of((X, torch.full((3, 3), -math.inf))).count == 3
    with pytest.raises(InputError, match="NaN values in samples 0, 1, 2"):
        ModelInputs.of((X, torch.full((3, 3), math.nan)))


def test_to_detaches_and_leaves_inference_mode() -> None:
    with torch.inference_mode():
        inner = X * 2
    moved = ModelInputs.of((X.clone().requires_grad_(), inner)).to(torch.device("cpu"))
    assert not moved.args[0].requires_grad
    assert not moved.args[1].is_inference()
