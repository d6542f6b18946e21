"""The way into one layer of a network: find it, record what comes before it, check that the replay is exact."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import LAYOUTS, Layout
from bitlens.core.outputs import OutputChoice
from bitlens.errors import LayerError
from bitlens.probe.agreement import agree
from bitlens.probe.around import MOSTLY, ROUNDING, Around, beside, left_over, pair_of, unread
from bitlens.probe.capturing import Reached, features_at, record
from bitlens.probe.endings import output_form
from bitlens.probe.fingerprint import Fingerprint
from bitlens.probe.following import prepared
from bitlens.probe.geometry import Geometry, Responses, answers_of, geometry_of, said_geometry
from bitlens.probe.modules import (
    Forward,
    Wrapper,
    call_of,
    device_of,
    find_layer,
    frozen,
    names_of,
    putting_out,
    refuse_unready,
    unwrapped,
    wrapped,
)
from bitlens.probe.overlay import check_overlay
from bitlens.probe.proving import LayerPlace, warn_of_slowness
from bitlens.probe.recording import Recording
from bitlens.probe.replaying import ARGUMENTS, LAYER, REPLACED, Replay, feature_slot

_OVERLAID: "WeakKeyDictionary[nn.Module, set[Any]]" = WeakKeyDictionary()  # layers known to lie over inputs like these
_CHECKED = 2  # samples of each batch: enough to see another way through the network, and little beside its passes


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
        refuse_unready(self.model)
        self.fingerprint = Fingerprint(self.model)
        self.name, self.layer = find_layer(self.model, layer)
        self.call = call_of(self.name) if call is None else call
        if call_of(self.name) not in (None, self.call):
            raise LayerError(f"layer {self.name!r} and call={call} name different calls: leave out call=")
        found = dict(find_layer(self.model, read) for read in reads)
        self._place, self.output = LayerPlace(self.model, self.name, self.layer, self.call, found, slopes), output
        self._replays: dict[Any, Replay] = {}
        self._geometries: dict[Any, Geometry] = {}
        self._arounds: dict[Any, Around] = {}
        self._unread: dict[Any, bool] = {}

    @property
    def device(self) -> torch.device:
        """Say where the network's first parameter (or buffer) lives."""
        return device_of(self.model)

    @property
    def read_layers(self) -> tuple[str, ...]:
        """Return the dotted names of what is read."""
        return tuple(self._place.reads)

    @property
    def mode(self) -> str:
        """Say how the suffix runs: "replay" (prefix once), "whole network" (no replay was possible), or "unknown" as yet."""
        if not self._replays:
            return "unknown"
        return "replay" if all(one.recorded for one in self._replays.values()) else "whole network"

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
            replay = self._replay(inputs)
            recording = record(self.model, replay, inputs)
            if check and replay.recorded and not any(self._is_exact(r) for r in (recording.first(_CHECKED), recording)):
                warn_of_slowness(self.model, "its replayed pass differs from the full one for this batch")
                whole = self._replays[inputs.signature] = replay.whole_network()
                recording = record(self.model, whole, inputs)
            recording.form = output_form(self.model, inputs, recording.output, self.output)
        return recording

    def features(self, inputs: Any) -> Tensor:
        """Return what the layer puts out, (N, ...); the pass ends there."""
        inputs = prepared(self.model, inputs)
        with frozen(self.model), torch.no_grad():
            known = next(iter(self._replays.values()), None) or self._replay(inputs)
            return features_at(self.model, known, inputs)

    def size(self, inputs: Any) -> tuple[int, ...]:
        """Return the size of one sample's features, for inputs like these."""
        inputs = prepared(self.model, inputs)
        with frozen(self.model):
            return self._replay(inputs).features

    def geometry(self, inputs: Any, layout: Layout | None = None) -> Geometry:
        """Return how the axes of the layer's features are meant for inputs like these: said, declared by modules, or measured.

        Args:
            inputs: a batch.
            layout: what the user says of it, if anything.

        Raises:
            LayerError: if nothing tells, what the user says does not fit, or the cells do not lie over the input.
        """
        inputs = prepared(self.model, inputs)
        key = (inputs.signature, inputs.places, layout and layout.name)
        if key not in self._geometries:
            with frozen(self.model), torch.no_grad():
                found = self._geometry(inputs, layout)
            known = _OVERLAID.setdefault(self.model, set())
            if (place := (self.name, self.call, key)) not in known:
                self._check_overlay(found, inputs.select(slice(1)), said=layout is not None)
                known.add(place)
            self._geometries[key] = found
        return self._geometries[key]

    def _check_overlay(self, found: Geometry, one: ModelInputs, *, said: bool) -> None:
        with self.reaching(one) as reached:
            check_overlay(
                lambda first, row: found.arranged(reached(first, row)), one, found.layout, self.name, said=said
            )

    def _geometry(self, inputs: ModelInputs, layout: Layout | None) -> Geometry:
        replay = self._replay(inputs)
        size = replay.features
        if layout is not None:
            if len(layout.places) + 1 != len(size):
                raise LayerError(
                    f"layout={layout.name!r} does not fit layer {self.name!r}, whose features are {size} for one sample: "
                    f"expected one of {', '.join(name for name, one in LAYOUTS.items() if len(one.places) + 1 == len(size))}"
                )
            return said_geometry(layout, size, inputs)

        def measure() -> Responses | None:
            try:
                return answers_of(lambda changed: features_at(self.model, replay, changed), inputs)
            except (RuntimeError, ValueError, IndexError):  # a network that takes no changed inputs cannot be measured
                return None

        found = geometry_of(size, replay.declared, inputs, measure)
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
        """Give the block run(first, rows), the layer's features (R, ...) for changed samples; passes end there.

        `first` (R, ...) takes the place of the first tensor of the inputs, or of what `entry`'s layer puts out; row r is a
        variant of sample rows[r], which says what the other arguments are. Whether autograd is on is up to the caller.

        Args:
            inputs: prepared inputs.
            dtype: what convolutions and linear layers hold their weights in, for use under autocast; None for their own.
            entry: the way into a layer before this one (a word embedding), or into this one.
        """
        with frozen(self.model):
            replay = self._replay(inputs)
            replay.weights.refresh(replay.prefix_folds)
        slot = feature_slot(replay.axes[LAYER])
        axis = replay.axes[LAYER][slot]
        outputs: list[Any] = []
        given: list[Tensor] = []

        def watched(_: nn.Module, output: Any) -> Any:
            outputs.append(output)
            if len(outputs) > replay.layer[1]:
                raise Reached
            return output

        def run(first: Tensor, rows: Tensor) -> Tensor:
            outputs.clear()
            given[:] = [first]
            of_rows = inputs.select(rows) if len(inputs.carriers) > 1 or entry is not None else inputs
            arguments = of_rows.with_first(first.to(inputs.first.dtype)) if entry is None else of_rows
            with suppress(Reached):
                self.model(*arguments.args, **arguments.kwargs)
            features: Tensor = tree_flatten(outputs.pop())[0][slot].movedim(axis, 0)
            outputs.clear()
            return features

        begins = {} if entry is None else entry._giving(inputs, given)
        with (
            frozen(self.model),
            wrapped(replay.weights.folded(replay.prefix_folds, dtype)),
            wrapped(begins),
            wrapped({replay.layer[0]: putting_out(watched)}),
        ):
            yield run

    def _giving(self, inputs: ModelInputs, given: list[Tensor]) -> dict[nn.Module, Wrapper]:
        """Return the layer, putting out the one tensor that is given, samples first."""
        with frozen(self.model):
            axis = self._replay(inputs).axes[LAYER][0]
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
                self._arounds[inputs.signature] = self._around(self._replay(inputs), inputs)
        return self._arounds[inputs.signature]

    def _around(self, replay: Replay, inputs: ModelInputs) -> Around:
        ways = self._ways(replay)
        if ways == ():
            return Around()
        share = self._left_over(replay, pair_of(inputs))
        if share > ROUNDING:
            return Around(share, ways or ())
        others = beside(inputs)
        share = self._left_over(replay, pair_of(inputs, others)) if others else 0.0
        return Around(share, beside=others) if share > MOSTLY else Around()

    def _left_over(self, replay: Replay, pair: ModelInputs) -> float:
        recording = record(self.model, replay, pair)
        with recording.suffix() as run:
            return left_over(run, recording.features, recording.output)

    def unread(self, inputs: Any, layout: Layout) -> bool:
        """Return whether nothing behind the layer reads what stands at its places (class attention, after its last block)."""
        inputs = prepared(self.model, inputs)
        if inputs.signature not in self._unread:
            with frozen(self.model), torch.no_grad():
                recording = record(self.model, self._replay(inputs), inputs.select(slice(1)))
                with recording.suffix() as run:
                    self._unread[inputs.signature] = unread(run, recording.features, layout.extra)
        return self._unread[inputs.signature]

    def _ways(self, replay: Replay) -> tuple[str, ...] | None:
        """Return what is read behind the layer besides its features and depends on the samples; None where it is not known."""
        if replay.live is None:
            return None
        names = names_of(self.model)
        found: dict[str, None] = {}
        for number, leaf in sorted(replay.live):
            if number in replay.axes and number != LAYER and replay.axes[number][leaf] is not None:
                name = "the network's arguments" if number == ARGUMENTS else names[replay.recorded[number][0]]
                found[name] = None
        return tuple(found)

    def overwritten(self, inputs: ModelInputs) -> bool:
        """Say whether what comes next writes into the layer's output, as an in-place ReLU does."""
        with frozen(self.model):
            return REPLACED in self._replay(inputs).written

    def bytes_per_row(self, inputs: Any) -> int:
        """Return memory for the intermediate results of one row behind the layer, for inputs like these."""
        inputs = prepared(self.model, inputs)
        known = self._replays.get(inputs.signature)
        if known is not None:
            return known.bytes_per_row
        with frozen(self.model):
            return self._replay(inputs).bytes_per_row

    def _replay(self, inputs: ModelInputs) -> Replay:
        if inputs.signature not in self._replays:
            self._replays[inputs.signature] = self._place.replay(inputs)
        return self._replays[inputs.signature]

    @staticmethod
    def _is_exact(recording: Recording) -> bool:
        with suppress(Exception), recording.suffix() as run, torch.no_grad():
            return agree(recording.output, run(recording.features))
        return False
