"""A whole network that runs many passes over changed copies of one batch: what baselines and metrics do.

Batch norm is folded and weights are cast as behind a layer (folding.py), and compared with an untouched pass first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.core.inputs import ModelInputs
from bitlens.core.outputs import OutputChoice, OutputForm
from bitlens.probe.agreement import agree
from bitlens.probe.around import two_of
from bitlens.probe.behaviour import check_behaviour
from bitlens.probe.endings import output_form
from bitlens.probe.folding import Fold, foldable, folded
from bitlens.probe.following import prepared
from bitlens.probe.modules import device_of, frozen, refuse_unready, unwrapped, wrapped
from bitlens.probe.recording import Touched
from bitlens.probe.trace import trace_calls


@dataclass(frozen=True)
class _Known:
    """Knowledge from one pass of the network over inputs of one signature."""

    folds: tuple[Fold, ...]
    bytes_per_row: int


class Network:
    """A network, whole, for many passes.

    Args:
        model: any module; left exactly as it was after every block.
        output: what a user says of its output.
    """

    def __init__(self, model: nn.Module, *, output: OutputChoice = None) -> None:
        self.output = output
        self.model = unwrapped(model)
        refuse_unready(self.model)
        self._known: dict[Any, _Known] = {}

    @property
    def device(self) -> torch.device:
        """Say where the network's first parameter (or buffer) lives."""
        return device_of(self.model)

    def prepared(self, inputs: Any, targets: Any = None) -> ModelInputs:
        """Return the inputs on the network's device, see `following`; a network in train mode is warned of."""
        return prepared(self.model, inputs, self.output, targets)

    def form(self, inputs: ModelInputs, output: Any) -> OutputForm:
        """Say how the network's output for (prepared) inputs is read."""
        return output_form(self.model, inputs, output, self.output)

    @torch.no_grad()
    def answered(self, inputs: ModelInputs) -> tuple[Any, OutputForm]:
        """Return the network's output for (prepared) inputs, which stay as they are, and how it is read."""
        with self.running(inputs) as run:
            output = run(inputs.first.clone())  # a network may overwrite what it is given
        return output, self.form(inputs, output)

    def bytes_per_row(self, inputs: ModelInputs) -> int:
        """Return memory for the intermediate results of one row, for (prepared) inputs like these."""
        return self._learn(inputs).bytes_per_row

    @contextmanager
    def running(
        self, inputs: ModelInputs, dtype: torch.dtype | None = None, *, fold: bool = True
    ) -> Iterator[Callable[..., Any]]:
        """Give the block run(first, rows), the network's output for changed samples.

        `first` (R, ...) takes the place of the first tensor of the inputs; row r is a variant of sample rows[r], which
        says what the other arguments are. Without `rows`, row b*N + i belongs to sample i. The network is in evaluation
        mode, its weights have no gradients; whether autograd is on is up to the caller.

        Args:
            inputs: prepared inputs.
            dtype: what convolutions and linear layers hold their weights in, for use under autocast; None for their own.
            fold: whether they may be changed at all: with batch norm folded, those before it put out something else.
        """
        several = len(inputs.carriers) > 1

        def run(first: Tensor, rows: Tensor | None = None) -> Any:
            arguments = inputs
            if several:
                arguments = inputs.select(rows) if rows is not None else inputs.tile(len(first) // inputs.count)
            arguments = arguments.with_first(first.to(inputs.first.dtype))
            return self.model(*arguments.args, **arguments.kwargs)

        folds = self._learn(inputs).folds if fold else ()
        with frozen(self.model), wrapped(folded(folds, dtype)):
            yield run

    def _learn(self, inputs: ModelInputs) -> _Known:
        if inputs.signature not in self._known:
            few, touched = two_of(inputs), Touched()
            with frozen(self.model), torch.no_grad():
                with touched:
                    root = trace_calls(self.model, few)
                check_behaviour(self.model, few, root.output)
                folds = foldable(root)
                if not self._same(few, folds, root.output):
                    folds = ()
            self._known[inputs.signature] = _Known(folds, max(1, touched.bytes // few.count))
        return self._known[inputs.signature]

    def _same(self, few: ModelInputs, folds: tuple[Fold, ...], expected: Any) -> bool:
        with suppress(Exception), wrapped(folded(folds, None)):
            return agree(expected, few.passed_to(self.model))
        return False
