"""A batch that went through the prefix once, ready for the suffix at any number of noisy copies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from bitlens.core.inputs import tensors_of
from bitlens.core.outputs import OutputForm
from bitlens.errors import LayerError
from bitlens.probe.modules import Forward, Wrapper, frozen, putting_out, wrapped
from bitlens.probe.replaying import ARGUMENTS, LAYER, REPLACED, Read, Replay, TensorKey, feature_slot


class Touched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which of the watched tensors any operation reads or writes, and how many bytes of results there are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watched: dict[int, set[TensorKey]] = {}
        self.read: set[TensorKey] = set()
        self.written: set[TensorKey] = set()
        self.bytes = 0

    def watch(self, key: TensorKey, tensor: Tensor) -> None:
        """Note from now on what happens to this tensor."""
        self._watched.setdefault(memory_of(tensor), set()).add(key)

    def note(self, value: Any, found: set[TensorKey]) -> None:
        """Add the watched tensors in `value` to `found`."""
        for leaf in tensors_of(value):
            found |= self._watched.get(memory_of(leaf), set())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.note((args, kwargs), self.read)
        parameters = func._schema.arguments
        given_to = dict(zip((p.name for p in parameters), args, strict=False)) | kwargs
        for parameter in parameters:
            if parameter.alias_info is not None and parameter.alias_info.is_write:
                self.note(given_to.get(parameter.name), self.written)
        output = func(*args, **kwargs)
        given = set(map(memory_of, tensors_of((args, kwargs))))
        self.bytes += sum(
            leaf.numel() * leaf.element_size() for leaf in tensors_of(output) if memory_of(leaf) not in given
        )
        return output


def memory_of(tensor: Tensor) -> int:
    """Tell apart where tensors lie, as long as they are held: views share a place."""
    return int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True)
class Value:
    """One recorded value, a tensor or a structure of tensors, that can be given out at any number of copies."""

    number: int
    leaves: Sequence[Any]
    structure: TreeSpec
    axes: Sequence[int | None]

    @classmethod
    def of(cls, number: int, value: Any, replay: Replay) -> "Value":
        """Keep what is read later, and of everything else the shape."""
        leaves, structure = tree_flatten(value)
        kept = [_detached(leaf) if replay.keeps(number, i) else _hollow(leaf) for i, leaf in enumerate(leaves)]
        return cls(number, kept, structure, replay.axes[number])

    def own(self) -> "Value":
        """Return it with leaves that nothing else can overwrite (an in-place ReLU further on would)."""
        return replace(self, leaves=[leaf.clone() if _solid(leaf) else leaf for leaf in self.leaves])

    def first(self, samples: int) -> "Value":
        """Return it for the first samples alone."""
        pairs = zip(self.leaves, self.axes, strict=True)
        return replace(self, leaves=[leaf if axis is None else leaf.narrow(axis, 0, samples) for leaf, axis in pairs])

    def chosen(self, samples: Tensor) -> "Value":
        """Return it for some samples, in the order of their indices."""
        pairs = zip(self.leaves, self.axes, strict=True)
        return replace(self, leaves=[_chosen(leaf, axis, samples) for leaf, axis in pairs])

    def tiled(self, copies: int) -> list[Any]:
        """Return the leaves for `copies` noisy copies of every sample."""
        return [_tile(leaf, axis, copies) for leaf, axis in zip(self.leaves, self.axes, strict=True)]


def _chosen(leaf: Any, axis: int | None, samples: Tensor) -> Any:
    if axis is None or not isinstance(leaf, Tensor):
        return leaf
    return leaf.index_select(axis, samples) if _solid(leaf) else leaf.narrow(axis, 0, len(samples))


def _one_for_each(leaf: Any, samples: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == samples


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _hollow(leaf: Any) -> Any:
    """Return a stand-in of the same shape and no size, for a tensor that nothing reads but code may ask for its shape."""
    return leaf.new_zeros(()).expand(leaf.shape) if isinstance(leaf, Tensor) else leaf


def _solid(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.numel() <= 1 or any(leaf.stride()))


def _tile(leaf: Any, axis: int | None, copies: int) -> Any:
    """Return copy-major repetition along the samples' axis; for a hollow leaf without using memory."""
    if axis is None or copies == 1 or not isinstance(leaf, Tensor):
        return leaf
    repeats = [copies if i == axis else 1 for i in range(leaf.dim())]
    if not _solid(leaf):
        return leaf.narrow(axis, 0, 1).expand([n * r for n, r in zip(leaf.shape, repeats, strict=True)])
    return leaf.repeat(repeats)


class Recording:
    """One batch that went through the prefix: its clean output, its features R, and the suffix ready to run.

    `reads` holds what else was kept of the pass, by the names of the modules, samples first; `sources` the one of them, by its
    name, that `slopes` gives gradients for, if any; `form` says how its output is read.
    """

    def __init__(
        self,
        model: nn.Module,
        replay: Replay,
        count: int,
        values: Mapping[int, Value],
        output: Any,
        reads: Mapping[str, Tensor],
        sources: Mapping[str, Tensor],
    ) -> None:
        self._model, self._replay, self._values = model, replay, values
        self.count, self.reads = count, reads
        self.form = OutputForm()
        self._graph = output if sources else None
        self.sources = sources
        self._slot = feature_slot(replay.axes[LAYER])
        self._cache: dict[tuple[int, int], list[Any]] = {}
        self._parts: dict[tuple[int, ...], Recording] = {}
        self.output: Any = tree_map(_detached, output) if sources else output
        self.features: Tensor = values[LAYER].leaves[self._slot].movedim(self._axis, 0).contiguous()

    @property
    def _axis(self) -> int:
        axis = self._replay.axes[LAYER][self._slot]
        assert axis is not None  # a slot is chosen because it has an axis
        return axis

    def first(self, samples: int) -> "Recording":
        """Return it for the first samples alone, as far as the output can be told apart by samples; else the same."""
        leaves, structure = tree_flatten(self.output)
        if samples >= self.count or not all(_one_for_each(leaf, self.count) for leaf in leaves):
            return self
        values = {number: value.first(samples) for number, value in self._values.items()}
        output = tree_unflatten([leaf[:samples] for leaf in leaves], structure)
        return Recording(self._model, self._replay, samples, values, output, {}, {})

    def chosen(self, samples: Tensor) -> "Recording":
        """Return it for some samples, for passes behind the layer; the output is still that of all."""
        key = tuple(samples.tolist())
        if key not in self._parts:
            values = {number: value.chosen(samples) for number, value in self._values.items()}
            part = Recording(self._model, self._replay, len(samples), values, self.output, {}, {})
            self._parts = {key: part}
        return self._parts[key]

    @property
    def nbytes(self) -> int:
        """Memory that the recorded tensors take."""
        leaves = [leaf for value in self._values.values() for leaf in value.leaves if _solid(leaf)]
        tensors = [self.features, *self.reads.values(), *leaves]
        return sum(
            {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values()
        )

    def slopes(self, measure: Callable[[Any], Tensor]) -> Tensor:
        """Return gradient of a measure of the clean output, one number for each sample, with respect to the one of `sources`.

        Args:
            measure: the network's output → (N,).

        Returns:
            (N, ...) like the source.

        Raises:
            LayerError: if no gradients were kept, or the output does not depend on the source in a differentiable way.
        """
        if self._graph is None:
            raise LayerError("this pass kept no gradients: it was recorded without them, or has let go of them")
        (name, source) = next(iter(self.sources.items()))
        try:
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(measure(self._graph).sum(), source, retain_graph=True)
        except RuntimeError as error:
            raise LayerError(f"the network's output has no gradient with respect to layer {name!r}: {error}") from error
        return slope

    def forget(self) -> None:
        """Let go of what `slopes` needs, and of its memory."""
        self._graph, self.sources = None, {}

    def given(self, copies: int) -> list[Tensor]:
        """Return the recorded tensors that a pass over this many copies is given, for `giving`."""
        leaves = (leaf for value in self._by_number() for leaf in self._leaves(value, copies))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    @contextmanager
    def giving(self, copies: int, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Give passes over this many copies, within the block, these tensors in place of the recorded ones."""
        before, source = dict(self._cache), iter(tensors)
        try:
            for value in self._by_number():
                leaves = self._leaves(value, copies)
                given = [next(source) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
                self._cache[value.number, copies] = given
            yield
        finally:
            self._cache = before

    def _by_number(self) -> list[Value]:
        return [self._values[number] for number in sorted(self._values)]

    @contextmanager
    def suffix(
        self,
        dtype: torch.dtype | None = None,
        touched: Touched | None = None,
        changes: Mapping[nn.Module, Callable[[Tensor], Tensor]] | None = None,
        *,
        packed: bool = False,
    ) -> Iterator[Callable[..., Any]]:
        """Give the block run(z), the network's output for noised features z.

        z: (copies * N, ...), row b*N + i being copy b of sample i; any number of copies, changing between calls. With
        run(z, samples) it holds copies of these samples alone.

        Args:
            dtype: what convolutions and linear layers hold their weights in, for use under autocast; None for their own.
            touched: notes what is read and written.
            changes: by module behind the layer, what is done to the first tensor that it puts out.
            packed: whether many passes are to come, so that weights are brought into the hardware's order first. Such passes
                are differentiable once, and not for tracing.
        """
        position: dict[nn.Module, int] = {}
        current: list[Tensor] = []
        active = [self]

        def wrap(module: nn.Module, forward: Forward) -> Forward:
            script = self._replay.script[module]

            def scripted(*args: Any, **kwargs: Any) -> Any:
                turn = position.get(module, 0)
                position[module] = turn + 1
                action = script[turn] if turn < len(script) else "run"
                if action == "run":
                    return forward(*args, **kwargs)
                own = active[0]
                copies = current[0].shape[0] // own.count
                if action == "splice":
                    return own._splice(current[0], copies, touched)
                return own._give(own._values[int(action)], copies, touched)

            return scripted

        def run(z: Tensor, samples: Tensor | None = None) -> Any:
            position.clear()
            current[:] = [z]
            active[:] = [self if samples is None else self.chosen(samples)]
            own = active[0]
            args, kwargs = own._give(own._values[ARGUMENTS], z.shape[0] // own.count, touched)
            return self._model(*args, **kwargs)

        with frozen(self._model):
            wrappers = {
                **self._replay.weights.folded(self._replay.folds, dtype, packed=packed),
                **dict.fromkeys(self._replay.script, wrap),
            }
            with wrapped(wrappers), wrapped({module: _changing(change) for module, change in (changes or {}).items()}):
                yield run

    def _give(self, value: Value, copies: int, touched: Touched | None) -> Any:
        return tree_unflatten(self._tiled(value, copies, touched), value.structure)

    def _splice(self, z: Tensor, copies: int, touched: Touched | None) -> Any:
        value = self._values[LAYER]
        leaves = list(self._tiled(value, copies, touched))
        given = z.movedim(0, self._axis).contiguous() if self._axis else z  # what comes next may call `view`
        if touched is not None:
            touched.watch(REPLACED, given)
        leaves[self._slot] = given.clone() if REPLACED in self._replay.written else given
        return tree_unflatten(leaves, value.structure)

    def _leaves(self, value: Value, copies: int) -> list[Any]:
        key = (value.number, copies)
        if key not in self._cache:
            self._cache[key] = value.tiled(copies)
        return self._cache[key]

    def _tiled(self, value: Value, copies: int, touched: Touched | None) -> list[Any]:
        leaves = self._leaves(value, copies)
        if touched is not None:
            for i, leaf in enumerate(leaves):
                if isinstance(leaf, Tensor):
                    touched.watch((value.number, i), leaf)
        written = [i for i in range(len(leaves)) if (value.number, i) in self._replay.written]
        return [leaf.clone() if i in written else leaf for i, leaf in enumerate(leaves)] if written else leaves


def begin_graph(output: Any, read: Read) -> tuple[Tensor, Any]:
    """Let autograd see the rest of a pass: what is read of an output, samples first, its source, and the output on from it.

    It stays on until the enclosing `no_grad` ends and puts back what was before.
    """
    leaves, structure = tree_flatten(output)
    source = leaves[read.leaf].detach().movedim(read.axis, 0).clone().requires_grad_()
    torch.set_grad_enabled(True)
    leaves[read.leaf] = source.movedim(0, read.axis).clone()  # what comes next may write into it
    return source, tree_unflatten(leaves, structure)


def _changing(change: Callable[[Tensor], Tensor]) -> Wrapper:
    """Return a module that does the same, but for what it puts out first."""

    def changed(_: nn.Module, output: Any) -> Any:
        leaves, structure = tree_flatten(output)
        first = next(i for i, leaf in enumerate(leaves) if _solid(leaf))
        leaves[first] = change(leaves[first])
        return tree_unflatten(leaves, structure)

    return putting_out(changed)
