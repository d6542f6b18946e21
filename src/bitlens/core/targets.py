"""What is asked of the network: a class, a label, a value, a region, a box, a span, a similarity, anything differentiable.

What users may give for all or for each of their samples, and how it becomes a question (`bitlens.core.questions`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitlens.core.detections import Box as Box
from bitlens.core.detections import Boxes as Boxes
from bitlens.core.outputs import OutputForm
from bitlens.core.questions import AnyOf as AnyOf
from bitlens.core.questions import Binary as Binary
from bitlens.core.questions import ClassTarget as ClassTarget
from bitlens.core.questions import LogOdds as LogOdds
from bitlens.core.questions import NotClass as NotClass
from bitlens.core.questions import Target as Target
from bitlens.core.regions import AtPlaces, commonest
from bitlens.core.regions import Keypoint as Keypoint
from bitlens.core.regions import Region as Region
from bitlens.core.scores import MultiLabel as MultiLabel
from bitlens.core.scores import Regression as Regression
from bitlens.core.scores import Score as Score
from bitlens.core.scores import Similarity as Similarity
from bitlens.core.scores import TextScore as TextScore
from bitlens.core.scores import last_token as last_token
from bitlens.core.scores import takes_last as takes_last
from bitlens.core.spans import Span as Span
from bitlens.errors import TargetError

_TEXT_AXES = 3
"""An output with so many may be a language model's, (texts, tokens, vocabulary): no class stands on its axis 1."""


def logits_of(output: Any) -> Tensor:
    """Return the tensor of class scores (N, classes) in what a network returns, where nothing is known of the network.

    A tensor, the `logits` of a model output, or the only tensor of a tuple. One column (or none) is the log-odds of class 1
    of two. Always float32 or wider.

    Raises:
        TargetError: if there is no such tensor, or several.
    """
    return OutputForm().scores(output)


def function_of(target: Any) -> Callable[[Any], Any] | None:
    """Return the function of the output that a target is, as the user gave it; None if it is no function."""
    if isinstance(target, TextScore):
        return None  # it wants to know where texts end, too
    if isinstance(target, Score):
        return target.function
    return target if callable(target) and not isinstance(target, Target) and not takes_last(target) else None


def as_target(
    target: Any, output: Any, count: int, form: OutputForm | None = None, *, last: Tensor | None = None
) -> Target:
    """Read what a user gave as a target.

    Args:
        target: None (the predicted class, the label with the highest score, or the value), a class index for all, (N,)
            indices (of labels or values where the columns are those; of a network that answers at the places of images or
            volumes each means a `Region`, the class where it is predicted), a `Target`, or a callable (`Score`). A callable that
            must be given two arguments gets the output and, of each row, the index of the last token that is no padding
            (`TextScore`): `lambda output, last: output.logits[range(len(last)), last, word]`.
        output: the network's clean output for the N samples, which says what classes there are.
        count: N.
        form: how the output is read; as class scores where nobody knows.
        last: of texts, the index of each one's last token (N,).

    Raises:
        TargetError: for an index that is no class, a wrong number of indices, an output that nobody can read, or anything
            else.
    """
    form = form if form is not None else OutputForm()
    chosen = _read(target, output, count, form).at(last)
    _check_count(chosen.count, count)
    chosen = _suited(chosen, form, output).asked_of(form, output, count)
    chosen.check(output)
    return chosen


def finds_places(target: Any) -> bool:
    """Say whether a target may be about places that a network's own answer chooses: a `Region`, or an index that means one."""
    return isinstance(target, AtPlaces) or not (isinstance(target, Target) or callable(target))


def settled(target: Any, output: Any, count: int, form: OutputForm) -> Any:
    """Return a target as other networks are to be asked in the place of one: at the places that this one's answer chooses.

    Where a class is predicted, or a keypoint seen, another network would look elsewhere, or find none. Other targets stay.

    Args:
        target: that `finds_places`, see `as_target`.
        output: the network's clean output for the N samples.
        count: N.
        form: how the output is read.

    Raises:
        TargetError: see `as_target`.
    """
    question = as_target(target, output, count, form)
    return question.settled() if isinstance(question, AtPlaces) else target


def _read(target: Any, output: Any, count: int, form: OutputForm) -> Target:
    if isinstance(target, Target):
        return target
    if callable(target):
        return TextScore(target) if takes_last(target) else Score(target)
    at_places = form.answer(output).dim() > _TEXT_AXES
    if target is None:
        return _without_class(form, output) if at_places else _predicted(form.scores(output), form)
    answer = form.answer(output) if at_places else form.scores(output)
    try:
        classes = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(f"target must be a class index, {count} indices, or a callable; got {target!r}") from error
    if classes.is_floating_point() or classes.dtype == torch.bool or classes.is_complex():
        raise TargetError(f"target must hold whole class indices, got {classes.dtype}")
    if classes.dim() > 1:
        raise TargetError(
            f"target has shape {tuple(classes.shape)} for {count} samples: give one index, or one for each sample"
        )
    classes = classes.long().to(answer.device)
    if at_places:
        return Region(classes)
    return ClassTarget(classes if classes.dim() else classes.expand(count))


def _suited(target: Target, form: OutputForm, output: Any) -> Target:
    """Return a class of a network whose columns are labels or values is the label or the value with that index."""
    if type(target) not in (ClassTarget, LogOdds) or form.refusal:
        return target
    assert isinstance(target, ClassTarget)
    if form.labels:
        return MultiLabel(target.classes)
    if form.numbers != "regression":
        return target
    column = _only_column(target.classes)
    return Regression(column=None if column == 0 and form.columns(output).shape[1] == 1 else column)


def _only_column(indices: Tensor) -> int:
    columns = sorted(set(indices.tolist()))
    if len(columns) != 1:
        raise TargetError(f"targets name the values {columns[:5]} of a regression: ask about one at a time")
    return int(columns[0])


def _predicted(scores: Tensor, form: OutputForm) -> Target:
    return Regression() if form.numbers == "regression" else ClassTarget(scores.argmax(1))


def _without_class(form: OutputForm, output: Any) -> Target:
    """Refuse to choose a class where the network answers at many places: most of them may well be background."""
    shape, said = tuple(form.answer(output).shape), ", ".join(map(str, commonest(form.everywhere(output))))
    raise TargetError(
        f"the network answers at places, {shape}, most often {said}, so that no class is the predicted one: name a class, which "
        "asks about it wherever it is predicted (a Region); a Keypoint; or give a callable target"
    )


def _check_count(targets: int | None, samples: int) -> None:
    if targets not in (None, samples):
        raise TargetError(f"there are {targets} targets for {samples} samples: give one for all, or one for each")


def select_targets(target: Any, start: int, stop: int, count: int) -> Any:
    """Return what a user gave as a target for `count` samples, for samples start..stop-1 of them.

    Raises:
        TargetError: if there are several targets, but not one for each sample.
    """
    return permuted_targets(target, slice(start, stop), count)


def permuted_targets(target: Any, rows: slice | Tensor, count: int) -> Any:
    """Return what a user gave as a target for `count` samples, for some of them: a slice, or indices in another order.

    Raises:
        TargetError: if there are several targets, but not one for each sample.
    """
    if isinstance(target, Target):
        _check_count(target.count, count)
        return target.select(rows)
    several = isinstance(target, list | tuple | range) or getattr(target, "ndim", 0) > 0
    if not several:
        return target
    _check_count(len(target), count)
    return target[rows] if isinstance(rows, slice) else [target[i] for i in rows.tolist()]
