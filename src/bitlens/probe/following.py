"""Which arguments of a network follow its samples, where their lengths do not tell, and which of a batch are arguments at all.

An argument that happens to be as long as there are samples (the texts that each image is compared with, a matrix of as many
classes) may belong to the samples, or to all of them. The network says which: what it gives for a sample must not depend on
how many others there are. It is asked for two samples and for three under each hypothesis, once for each kind of inputs.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bitlens.core.inputs import Key, ModelInputs, tensors_of
from bitlens.core.outputs import OutputChoice, OutputForm, Part, answer_of
from bitlens.core.targets import function_of
from bitlens.errors import TargetError, warn_caller
from bitlens.probe.agreement import agree
from bitlens.probe.axes import placed
from bitlens.probe.modules import device_of, frozen, in_precision_of

_FOLLOWING: "WeakKeyDictionary[nn.Module, dict[Any, frozenset[Key]]]" = WeakKeyDictionary()

_MOST_GROUPS = 4  # of arguments that may follow by themselves: sixteen hypotheses


def prepared(model: nn.Module, inputs: Any, choice: OutputChoice = None, targets: Any = None) -> ModelInputs:
    """Return the inputs, read, moved to the network's device and in its precision, see `following` and `placed`.

    A network in train mode is warned of.
    """
    if model.training:
        warn_caller(
            f"{type(model).__name__} is in train mode; it is explained in eval mode (model.eval() silences this)"
        )
    given = following(model, ModelInputs.of(inputs), choice, targets)
    return in_precision_of(model, placed(model, given.to(device_of(model))))


def following(model: nn.Module, inputs: ModelInputs, choice: OutputChoice = None, targets: Any = None) -> ModelInputs:
    """Return the same arguments, of which those follow the samples that belong to them.

    Args:
        model: the network.
        inputs: as they were read; what the user said of them is not doubted.
        choice: what the user says of the output, of which the answer alone counts.
        targets: what is asked; of a function of the output, its score is what counts.
    """
    doubtful = () if inputs.decided else inputs.doubtful
    if not doubtful:
        return inputs
    known = _FOLLOWING.setdefault(model, {})
    part, function = OutputForm.chosen(choice)[0].part, function_of(targets)
    key = (inputs.signature, frozenset(doubtful), inputs.lead, inputs.count == 1, part)
    if function is not None:  # another may come by the same name
        known, part = {}, None
    if key not in known:
        known[key] = _measured(model, inputs, doubtful, function or partial(_told, part=part))
    return replace(inputs, carriers=inputs.carriers - frozenset(doubtful) | known[key], decided=True)


def _told(output: Any, part: Part | None) -> Any:
    """Return the answer, or all that the network gives where nobody says which that is."""
    try:
        return answer_of(output, part)
    except TargetError:
        return output


def _measured(
    model: nn.Module, inputs: ModelInputs, doubtful: tuple[Key, ...], read: Callable[[Any], Any]
) -> frozenset[Key]:
    """Return which of the doubtful arguments follow; all of them, as their lengths say, where no hypothesis holds."""
    inputs = in_precision_of(model, inputs.to(device_of(model)))
    two = torch.arange(2, device=inputs.first.device) % inputs.count
    with frozen(model), torch.no_grad():
        for follows in _hypotheses(inputs, doubtful):
            supposed = replace(inputs, carriers=inputs.carriers - frozenset(doubtful) | follows)
            if _holds(model, supposed, two, read):
                return follows
    return frozenset(doubtful)


def _hypotheses(inputs: ModelInputs, doubtful: tuple[Key, ...]) -> Iterator[frozenset[Key]]:
    """Yield sets of arguments that may follow, the largest first; a text's tokens and their mask belong together."""
    groups: dict[Any, list[Key]] = {}
    for key in doubtful:
        words = not inputs[key].is_floating_point() or "mask" in str(key)
        groups.setdefault(tuple(inputs[key].shape[:2]) if words else key, []).append(key)
    sizes = range(len(groups), -1, -1) if len(groups) <= _MOST_GROUPS else (len(groups), 0)
    for size in sizes:
        for chosen in itertools.combinations(groups.values(), size):
            yield frozenset(itertools.chain(*chosen))


def _holds(model: nn.Module, inputs: ModelInputs, two: Tensor, read: Callable[[Any], Any]) -> bool:
    """Say whether two samples, and three made of them, are told the same."""
    again = torch.tensor([0, 1, 0], device=two.device)
    outputs = []
    for rows in (two, two[again]):
        try:
            outputs.append(read(inputs.select(rows).passed_to(model)))
        except Exception:
            return False
    rows_of = (
        [leaf for leaf in tensors_of(output) if leaf.dim() > 0] for output in outputs
    )  # losses are those of a batch
    pairs = list(zip(*rows_of, strict=False))
    return bool(pairs) and all(_same(a, b, again) for a, b in pairs)


def _same(two: Tensor, three: Tensor, again: Tensor) -> bool:
    """Say whether samples along some axis are told the same, or the values are those of no sample."""
    axes = [axis for axis, size in enumerate(two.shape) if size == 2 and two.dim() == three.dim()]
    return agree(two, three) or any(agree(two.index_select(axis, again), three) for axis in axes)


def arguments_of(model: nn.Module, batch: Any) -> tuple[ModelInputs, Any]:
    """Return what of a batch the network is called with, and the labels that come with it, None if there are none.

    A mapping or a tensor is taken as it is. Of a tuple, as data sets give it, the network takes as many tensors as its
    `forward` has room for; whole numbers at the end, one for each sample, are labels unless `forward` cannot do without.

    Args:
        model: the network.
        batch: inputs as `explain` takes them, or a tuple or list of these and labels.
    """
    if isinstance(batch, ModelInputs) or not isinstance(batch, tuple | list):
        return following(model, ModelInputs.of(batch)), None
    count = len(list(itertools.takewhile(lambda entry: isinstance(entry, Tensor), batch)))
    if count > 1 and _are_labels(batch[count - 1]) and _takes(model, batch[: count - 1]):
        count -= 1
    while count > 1 and not _takes(model, batch[:count]):
        count -= 1
    inputs = tuple(batch[:count]) if count > 1 else batch[0]
    return following(model, ModelInputs.of(inputs)), next(iter(batch[max(count, 1) :]), None)


def _are_labels(entry: Tensor) -> bool:
    return entry.dim() == 1 and not entry.is_floating_point()


def _takes(model: nn.Module, arguments: Sequence[Any]) -> bool:
    """Say whether the network says that it can be called with so many arguments."""
    try:
        inspect.signature(model.forward).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True
