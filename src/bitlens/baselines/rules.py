"""Other backward passes: an operation of the network becomes one node of the graph whose backward pass is a rule.

Every torch function, method and operator of a forward pass goes through a `torch.overrides` mode, whoever calls it: a
module, a module that is used twice, or code between modules. Nothing in the network is changed for that. In-place
operations still write where they wrote, so code that goes on with the old variable stays right.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar
from weakref import ReferenceType, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from bitlens.baselines.asking import ImageQuestion, gradient_of
from bitlens.baselines.baseline import ImageBaseline
from bitlens.core.inputs import tensors_of
from bitlens.core.targets import function_of
from bitlens.errors import SettingError
from bitlens.probe.modules import graph_held
from bitlens.probe.recording import memory_of

Back = Callable[[Tensor], Sequence[Tensor | None]]
"""From what arrives at an operation's output to what each of its activations is given (None: nothing)."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a torch function in a forward pass, as if it were not in place.

    An activation is an argument that depends on the explained input; all other arguments are constants.

    Attributes:
        name: of the function, the same for its in-place form, method and operator.
        function: what computes it, out of place.
        leaves: all arguments in order, without gradients; what the network overwrites later is copied before.
        structure: how they are nested.
        places: which of the leaves are activations.
        nodes: the activations' places in the graph.
    """

    name: str
    function: Callable[..., Any]
    leaves: list[Any]
    structure: TreeSpec
    places: Sequence[int]
    nodes: Sequence[Any]

    @property
    def call(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the keyword arguments."""
        args, kwargs = tree_unflatten(self.leaves, self.structure)
        return args, kwargs

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The activations' values."""
        return tuple(self.leaves[place] for place in self.places)

    def run(self, *activations: Tensor) -> Any:
        """Return what the function gives for other activations, all else being the same."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, activations, strict=True):
            leaves[place] = value
        args, kwargs = tree_unflatten(leaves, self.structure)
        return self.function(*args, **kwargs)


@dataclass(frozen=True)
class Ruled:
    """An operation's value, the rule of its backward pass, and what it returns besides (constants).

    The value must be a tensor of its own: neither an argument nor a view of one.
    """

    value: Tensor
    back: Back
    others: tuple[Any, ...] | None = None


class Interception(TorchFunctionMode, ABC):
    """Compute the operations of the block that have a rule by it.

    Args:
        method: whose rules these are, for errors.
    """

    rules: ClassVar[frozenset[str]]
    """Names of the operations that have one."""

    natural: ClassVar[frozenset[str] | None] = None
    """Those whose gradient is their rule; None for all others. Any other one that meets an activation is refused."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method
        self._holders: dict[int, list[ReferenceType[Operation]]] = {}

    @abstractmethod
    def replace(self, operation: Operation) -> Ruled | None:
        """Return what takes the place of an operation that has a rule; None to leave it as it is."""

    def refusal(self, name: str) -> SettingError:
        """Return what is said of a network that computes something without a rule."""
        return SettingError(
            f"{self.method} has no rule for the operation '{name}', which this network computes: choose a method that asks "
            "for its gradients alone (gradient, integrated-gradients, smoothgrad) or for its output (iba, occlusion, rise)"
        )

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, plain, in_place = _read(function)
        written = args[0] if in_place or kwargs.get("inplace") else None
        if name in self.rules:
            result = self._replaced(name, plain, written, args, kwargs)
            if result is not None:
                return result
        if isinstance(written, Tensor):
            self._copy_before_writing(written)
        result = function(*args, **kwargs)
        if self.natural is not None and name not in self.natural and name not in self.rules and _asks(result):
            raise self.refusal(name)
        return result

    def _replaced(self, name: str, function: Callable[..., Any], written: Tensor | None, args: Any, kwargs: Any) -> Any:
        """Return what the operation's rule makes of it, or None if it is left as it is."""
        if "inplace" in kwargs:
            kwargs = {**kwargs, "inplace": False}
        leaves, structure = tree_flatten((args, kwargs))
        activations = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad}
        nodes = [activation.grad_fn for activation in activations.values()]
        plain = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        replacement = self._ask(Operation(name, function, plain, structure, list(activations), nodes))
        if replacement is None:
            return None
        result = _node(replacement, list(activations.values()))
        if written is not None:
            self._copy_before_writing(written)
            return written.copy_(result)
        return result if replacement.others is None else (result, *replacement.others)

    def _ask(self, operation: Operation) -> Ruled | None:
        replacement = self.replace(operation)
        for leaf in tensors_of(operation.leaves):
            self._holders.setdefault(memory_of(leaf), []).append(ref(operation))
        return replacement

    def _copy_before_writing(self, written: Tensor) -> None:
        """Let operations that are still needed keep the values that they were computed from."""
        for holder in self._holders.pop(memory_of(written), ()):
            operation = holder()
            if operation is not None:
                for i, leaf in enumerate(operation.leaves):
                    if isinstance(leaf, Tensor) and memory_of(leaf) == memory_of(written):
                        operation.leaves[i] = leaf.clone()


def read(function: Any) -> str:
    """Return the name of a torch function, the same for its in-place form, method and operator."""
    return _read(function)[0]


@lru_cache(maxsize=4096)
def _read(function: Any) -> tuple[str, Callable[..., Any], bool]:
    """Return name, out-of-place form, and whether it is in place."""
    name = str(getattr(function, "__name__", function)).partition(".")[0]  # an operator is called "relu.default"
    if name.startswith("_") and not name.startswith("__"):
        name = name[1:]  # F.threshold calls itself "_threshold"
    if name.endswith("__") or not name.endswith("_"):
        return name, function, name == "__setitem__"
    name = name[:-1]
    for place in (Tensor, torch, F):
        if hasattr(place, name):
            return name, getattr(place, name), True
    return name, function, True


def _asks(result: Any) -> bool:
    return any(leaf.requires_grad for leaf in tensors_of(result))


class _Replaced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, replacement: Ruled, *_activations: Tensor) -> Tensor:
        ctx.back = replacement.back
        return replacement.value

    @staticmethod
    def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.back(arriving)


def _node(replacement: Ruled, activations: Sequence[Tensor]) -> Tensor:
    result: Tensor = _Replaced.apply(replacement, *activations)  # type: ignore[no-untyped-call]
    return result


def times_value(output: Any) -> Any:
    """Multiply the gradient of each of the output's values by the value: relevance begins as score, not as slope."""

    def start(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.requires_grad:
            return leaf
        value = leaf.detach().clone()
        return _node(Ruled(value.clone(), lambda arriving: (arriving * value,)), [leaf])

    return tree_map(start, output)


def refuse_probabilities(question: ImageQuestion, method: str) -> None:
    """Refuse probabilities of classes and labels: the score that these rules hand back begins before the squashing.

    Raises:
        SettingError: if the network ends in a sigmoid or a softmax, and is asked about a class or a label.
    """
    if "probabilit" in question.target.form.numbers and function_of(question.target) is None:
        raise SettingError(
            f"{method} hands back the score as it is before the last sigmoid or softmax, but this network gives probabilities: "
            "give the network without it, or choose another method (iba, integrated-gradients, occlusion)"
        )


def passed_back(
    question: ImageQuestion,
    rules: TorchFunctionMode,
    asks: ImageBaseline,
    start: Callable[[Any], Any] = lambda output: output,
) -> Tensor:
    """Return what arrives at the images when the score of each goes back by other rules than the gradient's.

    Args:
        question: the images.
        rules: active during the forward pass.
        asks: the method whose rules these are.
        start: what is done to the network's output before the score is read from it.

    Returns:
        (n, C, H, W).

    Raises:
        SettingError: if the network computes what no rule can reach, or the score does not depend on the images.
    """

    def score(images: Tensor) -> Tensor:
        given = images.clone()  # a network may overwrite what it is given
        with rules:
            output = question.run(given)
        refuse_hidden(asks.model, output, asks.method)
        return question.target.score(start(output))

    return gradient_of(score, question.images, "input")


def refuse_hidden(model: nn.Module, output: Any, method: str) -> None:
    """Refuse networks that compute something where no rule can reach it.

    Raises:
        SettingError: if a module is TorchScript, or the output came through an autograd function of the network's own.
    """
    script = graph_held(*(module for module in model.modules() if isinstance(module, torch.jit.ScriptModule)))
    if script:
        raise SettingError(f"{method} cannot look into {type(model).__name__}: {script}")
    for node in ancestors([leaf.grad_fn for leaf in tensors_of(output)]):
        own = getattr(type(node), "_forward_cls", _Replaced)
        if own is not _Replaced:
            raise SettingError(
                f"{method} cannot look into {type(model).__name__}: it computes {own.__name__}, an autograd function of its "
                "own; switch that off in the network, or choose a method that needs no rules"
            )


def ancestors(nodes: Sequence[Any]) -> Iterator[Any]:
    """Go through the autograd graph behind some nodes (None: nothing), each node once."""
    waiting, seen = list(nodes), {None}
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting.extend(following for following, _ in node.next_functions)
