"""Which replay a network allows: made from two traced passes of two samples, and proven by numbers before it is used."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from bitlens.core.inputs import ModelInputs
from bitlens.errors import BitlensWarning, LayerError
from bitlens.probe.agreement import agree
from bitlens.probe.around import two_of
from bitlens.probe.behaviour import check_behaviour
from bitlens.probe.capturing import layer_leaves, record
from bitlens.probe.declared import declared_channel
from bitlens.probe.folding import foldable
from bitlens.probe.prepared import PreparedWeights
from bitlens.probe.recording import Touched
from bitlens.probe.replaying import ARGUMENTS, LAYER, Read, Replay, feature_slot, replay_script, sample_axes
from bitlens.probe.trace import Call, all_calls, trace_calls


def warn_of_slowness(model: nn.Module, why: str) -> None:
    """Warn that nothing can be replayed."""
    text = f"{type(model).__name__}: {why}; the whole network runs in every pass (slower, same result)"
    warnings.warn(text, BitlensWarning, stacklevel=5)


@dataclass(frozen=True, eq=False)
class LayerPlace:
    """A layer of a network, and what else is to be read on the way.

    Attributes:
        model: the network.
        name: of the layer.
        layer: the module.
        call: which of its calls, if it is called several times in one pass.
        reads: further modules by name.
        slopes: whether gradients are wanted with respect to the last of them.
        weights: made ready for passes, for whatever inputs.
    """

    model: nn.Module
    name: str
    layer: nn.Module
    call: int | None
    reads: Mapping[str, nn.Module]
    slopes: bool
    weights: PreparedWeights = field(default_factory=PreparedWeights)

    def replay(self, inputs: ModelInputs) -> Replay:
        """Work out what can be replayed for inputs like these; the network is frozen."""
        few = two_of(inputs)  # more than one row: what was kept from another pass then has the wrong shape
        once = trace_calls(self.model, few)
        check_behaviour(self.model, few, once.output)
        return self._made(few, once, trace_calls(self.model, few.tile(2)))

    def _made(self, few: ModelInputs, once: Call, twice: Call) -> Replay:
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
        seen = {layer.module, *self.reads.values()}  # what is looked at must be what the module itself puts out
        folds = [fold for fold in foldable(once) if fold.module not in seen]
        before = tuple(fold for fold in folds if fold.module in done)
        behind = tuple(fold for fold in folds if fold.module not in done)
        prefix = tuple((call.module, call.index) for call in recorded)
        turns = [call.module for call in all_calls(once)]
        reads = [Read.of(name, module, once, doubled) for name, module in self.reads.items()]
        reads.sort(key=lambda read: turns.index(read.call[0]))
        replay = Replay(
            self.name, prefix, (layer.module, layer.index), script, known,
            folds=behind, prefix_folds=before, weights=self.weights, reads=tuple(reads), slopes=self.slopes,
            features=tuple(n for axis, n in enumerate(size) if axis != samples),
            declared=None if declared is None or declared == samples else declared - (declared > samples),
        )  # fmt: skip
        return self._checked(replay, few, replayable=len(known) == len(axes))

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

    def _checked(self, replay: Replay, few: ModelInputs, *, replayable: bool) -> Replay:
        """Compare a replayed pass with a full one at features that were changed, and note which recordings are read."""
        whole = replay.whole_network()
        expected, touched = self._trial(whole, few)
        chosen, written = whole, touched.written
        for candidate in (replay, replace(replay, folds=(), prefix_folds=())) if replayable else ():
            with suppress(Exception):  # a replay that fails where the full pass does not is as good as a wrong one
                got, replayed = self._trial(candidate, few)
                if agree(expected, got):
                    chosen, touched = candidate, replayed
                    break
        if chosen is whole:
            warn_of_slowness(self.model, "what comes before the layer could not be replayed")
        self._refuse_leaks(replay, touched, few)
        return replace(
            chosen,
            live=frozenset(touched.read),
            written=frozenset(touched.written | written),
            bytes_per_row=max(1, touched.bytes // (2 * few.count)),
        )

    def _trial(self, replay: Replay, few: ModelInputs) -> tuple[Any, Touched]:
        recording = record(self.model, replay, few)
        features = recording.features
        if not features.is_floating_point():
            raise LayerError(f"layer {self.name!r} puts out {features.dtype}, not real numbers; choose another layer")
        changed = features.roll(1, -1) * 0.7 + 0.1
        touched = Touched()
        with recording.suffix(touched=touched) as run, torch.no_grad(), touched:
            output = run(torch.cat([features, changed]))
        touched.note(output, touched.read)
        return output, touched

    def _refuse_leaks(self, replay: Replay, touched: Touched, few: ModelInputs) -> None:
        others = [leaf for number, leaf in touched.read if number == LAYER]
        if others and self._say_something(replay, others, few):
            raise LayerError(
                f"layer {self.name!r} gives out several tensors that the network goes on to use; restricting one would "
                "let information pass by the others. Choose a layer before or after it"
            )

    def _say_something(self, replay: Replay, leaves: Sequence[int], few: ModelInputs) -> bool:
        """Say whether further tensors of the layer depend on what the first of the inputs says (T5's position bias does not).

        They are compared with those for other values at the same places: other samples', in another order, and the first alone.
        """
        first = few.first
        if first.dim() < 2:
            return True
        changes = (first.roll(1, 0), first.flip(1), first[:, :1].expand_as(first).contiguous())
        told = [other for other in changes if not torch.equal(other, first)]
        with torch.no_grad():
            own, *others = (layer_leaves(self.model, replay, few.with_first(values)) for values in (first, *told))
        return not told or any(not torch.equal(own[leaf], other[leaf]) for other in others for leaf in leaves)
