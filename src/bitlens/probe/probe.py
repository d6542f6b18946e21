"""The way into one layer of a network: find it, record what comes before it, check that the replay is exact."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import LAYOUTS, Layout
from bitlens.core.outputs import OutputChoice
from bitlens.errors import BitlensWarning, LayerError
from bitlens.probe.agreement import agree
from bitlens.probe.around import MOSTLY, ROUNDING, Around, beside, left_over, pair_of, unread
from bitlens.probe.behaviour import check_behaviour
from bitlens.probe.declared import declared_channel
from bitlens.probe.endings import output_form
from bitlens.probe.folding import foldable, folded
from bitlens.probe.following import prepared
from bitlens.probe.geometry import Answers, Geometry, answers_of, geometry_of
from bitlens.probe.modules import (
    Forward,
    Wrapper,
    call_of,
    device_of,
    find_layer,
    frozen,
    names_of,
    unwrapped,
    wrapped,
)
from bitlens.probe.recording import Recording, Touched, Value, begin_graph
from bitlens.probe.replaying import ARGUMENTS, LAYER, REPLACED, Plan, Read, feature_slot, replay_script, sample_axes
from bitlens.probe.trace import Call, all_calls, trace_calls

_CHECKED = 2  # samples of each batch: enough to see another way through the network, and little beside its passes


class Reached(BaseException):
    """Ends a forward pass at the layer; not an Exception, so that no network can catch it by accident."""


class Probe:
    """The way into one layer of a network.

    Args:
        model: any module; it is left exactly as it was after every call, also after an error.
        layer: the module whose output is restricted, or its dotted name.
        call: which call of the layer, counted from 0, if the network calls it several times in one pass; `NAME#2` says it too.
        reads: further modules whose output a recording keeps, in the same pass; each must be called once in it.
        slopes: whether recordings also give gradients, of the same pass, with respect to the last of `reads` in it.
        output: what a user says of the network's output, for the `form` of recordings.

    Raises:
        LayerError: if there is no such layer, or `call` and the name say different calls.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        *,
        call: int | None = None,
        reads: Sequence[str | nn.Module] = (),
        slopes: bool = False,
        output: OutputChoice = None,
    ) -> None:
        self.model = unwrapped(model)
        self.name, self.layer = find_layer(self.model, layer)
        self.call = call_of(self.name) if call is None else call
        if call_of(self.name) not in (None, self.call):
            raise LayerError(f"layer {self.name!r} and call={call} name different calls: leave out call=")
        self._reads = dict(find_layer(self.model, read) for read in reads)
        self._slopes, self.output = slopes, output
        self._plans: dict[Any, Plan] = {}
        self._geometries: dict[Any, Geometry] = {}
        self._arounds: dict[Any, Around] = {}
        self._unread: dict[Any, bool] = {}

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter (or buffer) lives."""
        return device_of(self.model)

    @property
    def read_layers(self) -> tuple[str, ...]:
        """The dotted names of what is read."""
        return tuple(self._reads)

    @property
    def mode(self) -> str:
        """How the suffix runs: "replay" (prefix once), "whole network" (no replay was possible), or "unknown" as yet."""
        if not self._plans:
            return "unknown"
        return "replay" if all(plan.recorded for plan in self._plans.values()) else "whole network"

    def record(self, inputs: Any, *, check: bool = True) -> Recording:
        """Run one batch through the whole network, once, without gradients.

        Args:
            inputs: the batch.
            check: whether the replay is compared with this pass, which runs what comes after the layer once more for two
                samples; not needed where nobody will run it.

        Raises:
            LayerError: if the pass does not reach the layer, reaches it several times and `call` is not set, or if the
                layer gives out further tensors that would carry information past the bottleneck.
        """
        inputs = prepared(self.model, inputs)
        with frozen(self.model):
            plan = self._plan(inputs)
            recording = self._record(plan, inputs)
            if check and plan.recorded and not any(self._replays(r) for r in (recording.first(_CHECKED), recording)):
                self._warn("its replayed pass differs from the full one for this batch")
                self._plans[inputs.signature] = plan.whole_network()
                recording = self._record(plan.whole_network(), inputs)
            recording.form = output_form(self.model, inputs, recording.output, self.output)
        return recording

    def features(self, inputs: Any) -> Tensor:
        """What the layer puts out, (N, ...); the pass ends there."""
        inputs = prepared(self.model, inputs)
        with frozen(self.model), torch.no_grad():
            known = next(iter(self._plans.values()), None) or self._plan(inputs)
            return self._features(known, inputs)

    def _features(self, plan: Plan, inputs: ModelInputs) -> Tensor:
        only_layer = replace(plan.whole_network(), prefix_folds=plan.prefix_folds, reads=())
        leaves = self._capture(only_layer, inputs, stop=True)[0][LAYER].leaves
        slot = feature_slot(plan.axes[LAYER])
        features: Tensor = leaves[slot].movedim(plan.axes[LAYER][slot], 0)
        return features

    def size(self, inputs: Any) -> tuple[int, ...]:
        """Return the size of one sample's features, for inputs like these."""
        inputs = prepared(self.model, inputs)
        with frozen(self.model):
            return self._plan(inputs).features

    def geometry(self, inputs: Any, layout: Layout | None = None) -> Geometry:
        """Return how the axes of the layer's features are meant for inputs like these: said, declared by modules, or measured.

        Args:
            inputs: a batch.
            layout: what the user says of it, if anything.

        Raises:
            LayerError: if nothing tells, or what the user says does not fit.
        """
        inputs = prepared(self.model, inputs)
        key = (inputs.signature, inputs.image_size, layout and layout.name)
        if key not in self._geometries:
            with frozen(self.model), torch.no_grad():
                self._geometries[key] = self._geometry(inputs, layout)
        return self._geometries[key]

    def _geometry(self, inputs: ModelInputs, layout: Layout | None) -> Geometry:
        plan = self._plan(inputs)
        size = plan.features
        if layout is not None:
            if len(layout.places) + 1 != len(size):
                raise LayerError(
                    f"layout={layout.name!r} does not fit layer {self.name!r}, whose features are {size} for one sample: "
                    f"expected one of {', '.join(name for name, one in LAYOUTS.items() if len(one.places) + 1 == len(size))}"
                )
            return Geometry(layout)

        def measure() -> Answers | None:
            try:
                return answers_of(lambda changed: self._features(plan, changed), inputs)
            except (RuntimeError, ValueError, IndexError):  # a network that takes no changed inputs cannot be measured
                return None

        found = geometry_of(size, plan.declared, inputs, measure)
        if found is None:
            known = [name for name, one in LAYOUTS.items() if len(one.places) + 1 == len(size)]
            if not known:
                raise LayerError(
                    f"layer {self.name!r} puts out {size} for one sample: features with 1 to 4 axes can be restricted"
                )
            raise LayerError(
                f"which axis of the features {size} of layer {self.name!r} counts channels cannot be told: say "
                f"{' or '.join(f'layout={name!r}' for name in known)}"
            )
        return found

    @contextmanager
    def reaching(
        self, inputs: ModelInputs, dtype: torch.dtype | None = None, entry: "Probe | None" = None
    ) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """Within the block, run(first, rows) gives the layer's features (R, ...) for changed samples; passes end there.

        `first` (R, ...) takes the place of the first tensor of the inputs, or of what `entry`'s layer puts out; row r is a
        variant of sample rows[r], which says what the other arguments are. Whether autograd is on is up to the caller.

        Args:
            inputs: prepared inputs.
            dtype: what convolutions and linear layers hold their weights in, for use under autocast; None for their own.
            entry: the way into a layer before this one (a word embedding), or into this one.
        """
        with frozen(self.model):
            plan = self._plan(inputs)
        slot = feature_slot(plan.axes[LAYER])
        axis = plan.axes[LAYER][slot]
        turns = [0]
        outputs: list[Any] = []
        given: list[Tensor] = []

        def wrap(_module: nn.Module, forward: Forward) -> Forward:
            def watched(*args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                turns[0] += 1
                if turns[0] > plan.layer[1]:
                    outputs.append(output)
                    raise Reached
                return output

            return watched

        def run(first: Tensor, rows: Tensor) -> Tensor:
            turns[0], given[:] = 0, [first]
            of_rows = inputs.select(rows) if len(inputs.carriers) > 1 or entry is not None else inputs
            arguments = of_rows.with_first(first.to(inputs.first.dtype)) if entry is None else of_rows
            with suppress(Reached):
                self.model(*arguments.args, **arguments.kwargs)
            features: Tensor = tree_flatten(outputs.pop())[0][slot].movedim(axis, 0)
            return features

        begins = {} if entry is None else entry._giving(inputs, given)
        with (
            frozen(self.model),
            wrapped(folded(plan.prefix_folds, dtype)),
            wrapped(begins),
            wrapped({plan.layer[0]: wrap}),
        ):
            yield run

    def _giving(self, inputs: ModelInputs, given: list[Tensor]) -> dict[nn.Module, Wrapper]:
        """The layer, putting out the one tensor that is given, samples first."""
        with frozen(self.model):
            axis = self._plan(inputs).axes[LAYER][0]
        if axis is None:
            raise LayerError(
                f"layer {self.name!r} puts out several things: choose one that gives a vector for each token"
            )

        def wrap(_module: nn.Module, _forward: Forward) -> Forward:
            return lambda *_args, **_kwargs: given[0].movedim(0, axis)

        return {self.layer: wrap}

    def around(self, inputs: Any) -> Around:
        """Return how much of what the output owes to inputs like these goes round the layer; measured where it may."""
        inputs = prepared(self.model, inputs)
        if inputs.signature not in self._arounds:
            with frozen(self.model), torch.no_grad():
                self._arounds[inputs.signature] = self._around(self._plan(inputs), inputs)
        return self._arounds[inputs.signature]

    def _around(self, plan: Plan, inputs: ModelInputs) -> Around:
        ways = self._ways(plan)
        if ways == ():
            return Around()
        share = self._left_over(plan, pair_of(inputs))
        if share > ROUNDING:
            return Around(share, ways or ())
        others = beside(inputs)
        share = self._left_over(plan, pair_of(inputs, others)) if others else 0.0
        return Around(share, beside=others) if share > MOSTLY else Around()

    def _left_over(self, plan: Plan, pair: ModelInputs) -> float:
        recording = self._record(plan, pair)
        with recording.suffix() as run:
            return left_over(run, recording.features, recording.output)

    def unread(self, inputs: Any, layout: Layout) -> bool:
        """Return whether nothing behind the layer reads what stands at its places (class attention, after its last block)."""
        inputs = prepared(self.model, inputs)
        if inputs.signature not in self._unread:
            with frozen(self.model), torch.no_grad():
                recording = self._record(self._plan(inputs), inputs.select(slice(1)))
                with recording.suffix() as run:
                    self._unread[inputs.signature] = unread(run, recording.features, layout.extra)
        return self._unread[inputs.signature]

    def _ways(self, plan: Plan) -> tuple[str, ...] | None:
        """What is read behind the layer besides its features and depends on the samples; None where it is not known."""
        if plan.live is None:
            return None
        names = names_of(self.model)
        found: dict[str, None] = {}
        for number, leaf in sorted(plan.live):
            if number in plan.axes and number != LAYER and plan.axes[number][leaf] is not None:
                name = "the network's arguments" if number == ARGUMENTS else names[plan.recorded[number][0]]
                found[name] = None
        return tuple(found)

    def overwritten(self, inputs: ModelInputs) -> bool:
        """Whether what comes next writes into the layer's output, as an in-place ReLU does."""
        with frozen(self.model):
            return REPLACED in self._plan(inputs).written

    def bytes_per_row(self, inputs: Any) -> int:
        """Memory for the intermediate results of one row behind the layer, for inputs like these."""
        inputs = prepared(self.model, inputs)
        known = self._plans.get(inputs.signature)
        if known is not None:
            return known.bytes_per_row
        with frozen(self.model):
            return self._plan(inputs).bytes_per_row

    def _warn(self, why: str) -> None:
        text = f"{type(self.model).__name__}: {why}; the whole network runs in every pass (slower, same result)"
        warnings.warn(text, BitlensWarning, stacklevel=4)

    def _plan(self, inputs: ModelInputs) -> Plan:
        if inputs.signature not in self._plans:
            check_behaviour(type(self.model).__name__, self._whole, inputs)
            few = inputs.select(slice(2))  # more than one row: what was kept from another pass then has the wrong shape
            self._plans[inputs.signature] = self._make_plan(few if few.count == 2 else few.tile(2))
        return self._plans[inputs.signature]

    def _whole(self, inputs: ModelInputs) -> Any:
        own = inputs.clone()
        with torch.no_grad():
            return self.model(*own.args, **own.kwargs)

    def _make_plan(self, few: ModelInputs) -> Plan:
        once, twice = trace_calls(self.model, few), trace_calls(self.model, few.tile(2))
        layer = self._layer_call(once)
        chain = [layer]
        while chain[0].parent is not None:
            chain.insert(0, chain[0].parent)
        recorded, script = replay_script(chain)
        doubled = {(call.module, call.index): call.shapes for call in all_calls(twice)}
        axes = {
            n: sample_axes(c.shapes, doubled.get((c.module, c.index), ())) for n, c in enumerate([*recorded, layer])
        }
        axes[LAYER] = axes.pop(len(recorded))
        own = axes[LAYER]
        if own is None or all(axis is None for axis in own):
            raise LayerError(
                f"layer {self.name!r} puts out no tensor with one entry for each sample; choose another layer"
            )
        axes[ARGUMENTS] = tuple(0 if carries else None for v, carries in few.items() for _ in tree_leaves(v))
        size = layer.shapes[feature_slot(own)]
        assert size is not None
        if size[own[feature_slot(own)] or 0] != few.count:
            raise LayerError(
                f"layer {self.name!r} puts out {tuple(size)} for {few.count} samples, several rows for each (windows, "
                "perhaps): choose a module that encloses it"
            )
        declared = declared_channel(layer) if feature_slot(own) == 0 else None
        samples = own[feature_slot(own)] or 0
        known = {number: value for number, value in axes.items() if value is not None}
        done = {call.module for before in (*recorded, layer) for call in all_calls(before)}
        seen = {layer.module, *self._reads.values()}  # what is looked at must be what the module itself puts out
        folds = [fold for fold in foldable(once) if fold.module not in seen]
        before = tuple(fold for fold in folds if fold.module in done)
        behind = tuple(fold for fold in folds if fold.module not in done)
        prefix = tuple((call.module, call.index) for call in recorded)
        turns = [call.module for call in all_calls(once)]
        reads = [Read.of(name, module, once, doubled) for name, module in self._reads.items()]
        reads.sort(key=lambda read: turns.index(read.call[0]))
        plan = Plan(
            prefix, (layer.module, layer.index), script, known,
            folds=behind, prefix_folds=before, reads=tuple(reads), slopes=self._slopes,
            features=tuple(n for axis, n in enumerate(size) if axis != samples),
            declared=None if declared is None or declared == samples else declared - (declared > samples),
        )  # fmt: skip
        return self._checked(plan, few, replayable=len(known) == len(axes))

    def _layer_call(self, root: Call) -> Call:
        calls = [call for call in all_calls(root) if call.module is self.layer]
        if not calls:
            raise LayerError(f"the forward pass does not reach layer {self.name!r}; choose a layer that is used")
        if self.call is None and len(calls) > 1:
            raise LayerError(
                f"layer {self.name!r} is called {len(calls)} times in one pass: choose one, call=0 to call={len(calls) - 1}, or "
                f"by name {self.name}#0 to {self.name}#{len(calls) - 1}"
            )
        if self.call is not None and not 0 <= self.call < len(calls):
            raise LayerError(
                f"call={self.call}, but layer {self.name!r} is called {len(calls)} time(s) in one pass, counted from 0"
            )
        return calls[self.call or 0]

    def _checked(self, plan: Plan, few: ModelInputs, *, replayable: bool) -> Plan:
        """Compare a replayed pass with a full one at features that were changed, and note which recordings are read."""
        whole = plan.whole_network()
        expected, touched = self._trial(whole, few)
        chosen, written = whole, touched.written
        for candidate in (plan, replace(plan, folds=(), prefix_folds=())) if replayable else ():
            with suppress(Exception):  # a replay that fails where the full pass does not is as good as a wrong one
                got, replayed = self._trial(candidate, few)
                if agree(expected, got):
                    chosen, touched = candidate, replayed
                    break
        if chosen is whole:
            self._warn("what comes before the layer could not be replayed")
        self._refuse_leaks(plan, touched, few)
        return replace(
            chosen,
            live=frozenset(touched.read),
            written=frozenset(touched.written | written),
            bytes_per_row=max(1, touched.bytes // (2 * few.count)),
        )

    def _trial(self, plan: Plan, few: ModelInputs) -> tuple[Any, Touched]:
        recording = self._record(plan, few)
        features = recording.features
        if not features.is_floating_point():
            raise LayerError(f"layer {self.name!r} puts out {features.dtype}, not real numbers; choose another layer")
        changed = features.roll(1, -1) * 0.7 + 0.1
        touched = Touched()
        with recording.suffix(touched=touched) as run, torch.no_grad(), touched:
            output = run(torch.cat([features, changed]))
        touched.note(output, touched.read)
        return output, touched

    def _refuse_leaks(self, plan: Plan, touched: Touched, few: ModelInputs) -> None:
        others = [leaf for number, leaf in touched.read if number == LAYER]
        if others and self._say_something(plan, others, few):
            raise LayerError(
                f"layer {self.name!r} gives out several tensors that the network goes on to use; restricting one would "
                "let information pass by the others. Choose a layer before or after it"
            )

    def _say_something(self, plan: Plan, leaves: Sequence[int], few: ModelInputs) -> bool:
        """Whether further tensors of the layer depend on what the first of the inputs says (T5's position bias does not).

        They are compared with those for other values at the same places: other samples', in another order, and the first alone.
        """
        first = few.first
        if first.dim() < 2:
            return True
        changes = (first.roll(1, 0), first.flip(1), first[:, :1].expand_as(first).contiguous())
        told = [other for other in changes if not torch.equal(other, first)]
        with torch.no_grad():
            own, *others = (
                self._capture(plan.whole_network(), few.with_first(values), stop=True)[0][LAYER].leaves
                for values in (first, *told)
            )
        return not told or any(not torch.equal(own[leaf], other[leaf]) for other in others for leaf in leaves)

    def _record(self, plan: Plan, inputs: ModelInputs) -> Recording:
        values, output, seen, sources = self._capture(plan, inputs, stop=False)
        values[ARGUMENTS] = Value.of(ARGUMENTS, (inputs.args, dict(inputs.kwargs)), plan)
        return Recording(self.model, plan, inputs.count, values, output, seen, sources)

    def _capture(
        self, plan: Plan, inputs: ModelInputs, *, stop: bool
    ) -> tuple[dict[int, Value], Any, dict[str, Tensor], dict[str, Tensor]]:
        """One pass that keeps the recorded calls' outputs, the layer's, and what is read; `stop` ends it at the layer.

        Where gradients are wanted, the output's graph begins at the one tensor that is given back last.
        """
        wanted = {call: number for number, call in enumerate(plan.recorded)} | {plan.layer: LAYER}
        reads = {read.call: read for read in plan.reads}
        counts: dict[nn.Module, int] = {}
        values: dict[int, Value] = {}
        seen: dict[str, Tensor] = {}
        sources: dict[str, Tensor] = {}

        def wrap(module: nn.Module, forward: Forward) -> Forward:
            def captured(*args: Any, **kwargs: Any) -> Any:
                turn = counts.get(module, 0)
                counts[module] = turn + 1
                number = wanted.get((module, turn))
                if number == LAYER:  # whatever comes from here on must not overwrite what is kept
                    values.update({n: value.own() for n, value in values.items()})
                output = forward(*args, **kwargs)
                if number is not None:
                    value = Value.of(number, output, plan)
                    values[number] = value.own() if number == LAYER else value
                read = reads.get((module, turn))
                if read is not None:  # a copy: an in-place ReLU may follow
                    seen[read.name] = tree_leaves(output)[read.leaf].detach().movedim(read.axis, 0).clone()
                if read is not None and plan.slopes and read == plan.reads[-1]:
                    sources[read.name], output = begin_graph(output, read)
                if number == LAYER and stop:
                    raise Reached
                return output

            return captured

        arguments = inputs.clone()
        output = None
        watched = wrapped(dict.fromkeys([module for module, _ in (*wanted, *reads)], wrap))
        with torch.no_grad(), wrapped(folded(plan.prefix_folds, None)), watched, suppress(Reached):
            output = self.model(*arguments.args, **arguments.kwargs)
        if LAYER not in values:
            raise LayerError(f"the forward pass did not reach layer {self.name!r} for these inputs")
        return values, output, seen, sources

    @staticmethod
    def _replays(recording: Recording) -> bool:
        with suppress(Exception), recording.suffix() as run, torch.no_grad():
            return agree(recording.output, run(recording.features))
        return False
