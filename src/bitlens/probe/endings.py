"""What a network's output is: what its configuration says, what its last operation was, and what its values look like.

Nothing is run where the values alone tell: numbers outside [0, 1] come from no sigmoid and no softmax. Where they all lie
inside, one pass of two samples sees which operation made them, in a module or not; it is made once for each kind of inputs.
"""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bitlens.core.inputs import ModelInputs, tensors_of
from bitlens.core.outputs import Numbers, OutputChoice, OutputForm, answer_of
from bitlens.errors import TargetError
from bitlens.probe.modules import clean_pass, device_of
from bitlens.probe.recording import memory_of

_ENDINGS: "WeakKeyDictionary[nn.Module, dict[Any, str]]" = WeakKeyDictionary()

_MOVES = {
    "_reshape_alias", "_to_copy", "alias", "cat", "clone", "contiguous", "copy_", "detach", "expand", "index", "index_select",
    "permute", "select", "slice", "split", "squeeze", "stack", "t", "transpose", "unsqueeze", "view",
}  # fmt: skip
"""Operations whose results hold the numbers that they are given."""

_MIXES = {"amax", "amin", "clamp", "max", "mean", "min", "rsub"}
"""Operations that make probabilities of probabilities: the mean or the largest of several, 1 - p."""

_OWN_WORD = "bitlens_output"
"""The attribute by which a network says what its output is, as a user would."""

_LABELLED = (nn.BCELoss, nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss)
_VALUED = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.GaussianNLLLoss, nn.PoissonNLLLoss)
_PROBLEMS: dict[str, Numbers] = {
    "regression": "regression",
    "multi_label_classification": "multi-label",
    "single_label_classification": "logits",
}


def output_form(model: nn.Module, inputs: Any, output: Any, choice: OutputChoice = None) -> OutputForm:
    """Say how a network's output is read; a form that cannot be read says so when somebody reads it, not here.

    Args:
        model: the network.
        inputs: what it was called with.
        output: what it returned for them, clean.
        choice: what the user says of it, which is not doubted.

    Raises:
        SettingError: if the choice makes no sense.
    """
    form, said = OutputForm.chosen(getattr(model, _OWN_WORD, None) if choice is None else choice)
    if said:
        return form
    try:
        answer = form.answer(output)
        lost = _lost_samples(answer, ModelInputs.of(inputs).count)
        if lost or _seen_at_once(model, answer):
            return replace(form, refusal=lost) if lost else form
        columns = form.everywhere(output)
    except TargetError:
        return form  # whoever reads the output is told the same, with the remedy
    declared = _declared(model, columns.shape[1])
    if declared == "regression":
        return form.read_as(declared)
    inside, one = bool(((columns >= 0) & (columns <= 1)).all()), columns.shape[1] == 1
    exact = answer_of(output, form.part).dtype
    if inside and not one and declared != "multi-label" and _sums_to_one(columns, exact):
        return form.read_as("probabilities")
    made_by = _ending(model, inputs, form) if inside else ""
    return _of_one(form, declared, made_by, inside=inside) if one else _of_several(form, declared, made_by)


def _lost_samples(answer: Tensor, count: int) -> str:
    """Say what is wrong where the first axis of an answer counts no samples; nothing where it does."""
    if answer.dim() and len(answer) == count:
        return ""
    return (
        f"the network answers {count} sample{'s' if count > 1 else ''} with {tuple(answer.shape)}, whose first axis counts no "
        "samples: keep that axis (a squeeze() in the network, perhaps)"
    )


def _seen_at_once(model: nn.Module, answer: Tensor) -> bool:
    """Say whether one place of many tells that there are logits: a language model's answer is too large to be gone through."""
    if answer.dim() <= 2 or answer.shape[1] == 1 or not answer.numel() or _declared(model, answer.shape[1]) is not None:
        return False
    one = answer[(0,) * (answer.dim() - 1)]
    return not bool(((one >= 0) & (one <= 1)).all())


def _of_one(form: OutputForm, declared: Numbers | None, made_by: str, *, inside: bool) -> OutputForm:
    if made_by in ("sigmoid", "softmax"):  # of a softmax the one column that the network gives out
        return form.read_as("binary-probability")
    if declared is not None:
        return form.read_as("binary")
    likely = "'binary-probability' if it is the probability of a class" if inside else "'binary' if log-odds of a class"
    return replace(
        form,
        refusal=f"the network gives one number for each sample and does not say what it is: say output={likely}, "
        "output='regression' if it is a value (--target binary or --target regression in commands)",
    )


def _of_several(form: OutputForm, declared: Numbers | None, made_by: str) -> OutputForm:
    if made_by == "sigmoid":
        return form.read_as("multi-label-probabilities")
    if made_by == "softmax" and declared is None:
        return replace(
            form,
            refusal="the network's output comes out of a softmax, but its rows do not sum to 1: say what it is with "
            "output='logits' or output='multi-label-probabilities', or give a callable target",
        )
    return form.read_as(declared or "logits")


def _sums_to_one(columns: Tensor, given: torch.dtype) -> bool:
    """Say whether each row does, as far as the precision goes that it was given in."""
    return bool((columns.sum(1) - 1).abs().max() <= 8 * max(torch.finfo(given).eps, 1e-5))


def _declared(model: nn.Module, columns: int) -> Numbers | None:
    """Return what a configuration of transformers says, of the network or one within it with as many outputs; or its loss."""
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, "num_labels", None) != columns or not hasattr(config, "problem_type"):
            continue
        problem = _PROBLEMS.get(str(getattr(config, "problem_type", None)))
        if problem is not None or columns == 1:
            return problem or "regression"
    losses = [module for module in model.modules() if isinstance(module, _LABELLED + _VALUED)]
    if losses and all(isinstance(loss, _LABELLED) for loss in losses):
        return "multi-label" if columns > 1 else "binary"
    return "regression" if losses and columns == 1 and all(isinstance(loss, _VALUED) for loss in losses) else None


class _Origins(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operation made the numbers of each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, str] = {}
        self._kept: list[Any] = []

    def of(self, tensor: Tensor) -> str:
        """Return the name of the operation, empty where it is not known."""
        return self._made.get(memory_of(tensor), "")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        given = tensors_of((args, kwargs))
        origins = {self.of(leaf) for leaf in (given[1:] if name == "copy_" else given)}
        if name not in _MOVES and not (name in _MIXES and origins == {"sigmoid"}):
            made = name.strip("_")
        elif len(origins) == 1:
            (made,) = origins
        else:
            made = ""
        for leaf in tensors_of(output):
            self._made[memory_of(leaf)] = made
            self._kept.append(leaf.untyped_storage())  # an address that is free again would be another's
        return output


def _ending(model: nn.Module, inputs: Any, form: OutputForm) -> str:
    """Return the operation that made the answer's numbers: "sigmoid", "softmax", another, or nothing if it cannot be seen."""
    given = ModelInputs.of(inputs)
    known = _ENDINGS.setdefault(model, {})
    key = (given.signature, form.part)
    if key not in known:
        few, origins = given.select(slice(2)).to(device_of(model)), _Origins()
        with origins:
            output = clean_pass(model, few)
        known[key] = origins.of(answer_of(output, form.part))
    return known[key]
