"""PatternAttribution: the score handed back along what each neuron's output tells of, not along its weights.

Kindermans et al., Learning how to explain neural networks: PatternNet and PatternAttribution (ICLR 2018); algorithms F12.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline
from bitlens.baselines.operations import Linear
from bitlens.baselines.patterns import Patterns, Turns, call_name, collect_patterns
from bitlens.baselines.rules import Operation, Ruled, passed_back, refuse_probabilities, times_value
from bitlens.core.inputs import ModelInputs
from bitlens.core.passes import SeedAndRows, rows_at_once
from bitlens.errors import StatisticsError
from bitlens.probe.fingerprint import provenance_of, weights_hash


@final
class PatternAttribution(ImageBaseline):
    """Give every pixel how much of the score its signal makes, the sum over the colour channels.

    The score, a class's logit, goes back as a gradient would, but convolutions and linear layers hand it to their inputs
    by weight times pattern in place of weight: an input that the weights only use to cancel something (the distractor)
    gets little. Everything else has its gradient, activations and products too.

    Patterns are learnt once, with `fit_patterns` or `bitlens patterns`; a few thousand inputs will do.

    Args:
        model: a network of convolutions and linear layers, however connected.
        patterns: made earlier for this network, or the file that holds them.
        **run: as of `Baseline`.

    Raises:
        StatisticsError: if the patterns are another network's.
        DataError: if the file cannot be read.
    """

    method = "pattern-attribution"
    copies = 2  # what goes into an operation is kept besides the gradients

    def __init__(
        self, model: nn.Module, *, patterns: Patterns | str | Path | None = None, **run: Unpack[SeedAndRows]
    ) -> None:
        super().__init__(model, **run)
        self._patterns: Patterns | None = None
        if patterns is not None:
            self.patterns = patterns if isinstance(patterns, Patterns) else Patterns.load(patterns)

    @property
    def patterns(self) -> Patterns:
        """The patterns of the network.

        Raises:
            StatisticsError: if there are none.
        """
        if self._patterns is None:
            raise StatisticsError(
                f"{self.method} has no patterns of this network yet: call fit_patterns(batches) with inputs of the kind it was "
                "trained on, or make them with `bitlens patterns` and give the file as patterns=FILE"
            )
        return self._patterns

    @patterns.setter
    def patterns(self, patterns: Patterns) -> None:
        patterns.check_network(weights_hash(self.model))
        self._patterns = patterns

    def fit_patterns(
        self,
        batches: Iterable[Any],
        max_samples: int = 10_000,
        *,
        data: str = "",
        preprocessing: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> "PatternAttribution":
        """Learn what each neuron's output tells of its input.

        Args:
            batches: any iterable of inputs, or of tuples whose first entry is the input.
            max_samples: stop at exactly this many.
            data: where the inputs come from, kept with the patterns.
            preprocessing: how they were prepared, kept too.
            progress: called with the number of inputs seen so far.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no input, or the network computes no finite numbers.
            SettingError: if the network has layers for which there are no patterns.
        """
        made = collect_patterns(self.network, batches, max_samples=max_samples, rows=self._rows, progress=progress)
        self._patterns = replace(made, provenance=provenance_of(self.model, data=data, preprocessing=preprocessing))
        return self

    def choices(self) -> dict[str, Any]:
        """Return what the patterns were made from."""
        known = self.patterns
        return {
            "patterns": f"{known.samples} inputs",
            "patterns_data": known.provenance.data,
            "patterns_fingerprint": known.fingerprint,
            "weights": known.provenance.weights,
        }

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        refuse_probabilities(question, self.method)
        rules = _Signals(self.method, self.patterns)
        return passed_back(question, rules, self, times_value).sum(1)

    def _rows(self, inputs: ModelInputs) -> int:
        if self.passes.internal_batch_size != "auto":
            return self.passes.internal_batch_size
        return max(1, rows_at_once(self.network.bytes_per_row(inputs), self.network.device) // self.copies)


class _Signals(Turns):
    """Put weights times patterns in the place of weights, on the way back."""

    def __init__(self, method: str, patterns: Patterns) -> None:
        super().__init__(method)
        self.patterns = patterns

    def meet(self, turn: int, operation: Operation, linear: Linear) -> Ruled:
        """Return the rule of one layer's call."""
        (x,) = operation.values
        pattern = self.patterns.arrays.get(call_name(turn, operation))
        if pattern is None or pattern.shape != linear.weight.shape:
            raise StatisticsError(
                f"the patterns do not fit the network: there are none of shape {tuple(linear.weight.shape)} for its "
                f"{operation.name} number {turn}; make new ones with fit_patterns or `bitlens patterns`"
            )
        weight, shape = linear.weight * pattern.to(linear.weight), x.shape

        def back(arriving: Tensor) -> list[Tensor]:
            with torch.enable_grad():
                given = arriving.new_zeros(shape).requires_grad_()
                return list(torch.autograd.grad(linear.apply(given, weight), given, arriving))

        return Ruled(operation.run(x), back)
