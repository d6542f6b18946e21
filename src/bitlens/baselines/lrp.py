"""Layer-wise relevance propagation: the score is handed back from operation to operation, and shared out at each.

Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation (PLoS
ONE 2015); algorithms F10 and F11.

LRP is patented: "Relevance score assignment for artificial neural networks", WO 2016/150472, of the
Fraunhofer-Gesellschaft among others, granted in Canada as CA 2979579, for example. Other implementations tell their users:
the LRP Toolbox allows academic use only, and LXT says that LRP may be used free of charge for personal and scientific
purposes alone. The licence of bitlens covers its code, not the patent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline
from bitlens.baselines.operations import (
    ACTIVATIONS,
    AVERAGES,
    CONVOLUTIONS,
    COPIES,
    MAX_POOLS,
    is_computed_from,
    linear_of,
)
from bitlens.baselines.rules import Back, Interception, Operation, Ruled, passed_back, refuse_probabilities, times_value
from bitlens.core.passes import SeedAndRows
from bitlens.errors import one_of


@dataclass(frozen=True)
class Rule:
    """A way in which a convolution or linear layer shares an output's relevance among its inputs.

    Attributes:
        sign: of the products of weight and activation that are given relevance.
        stabiliser: added to their sum, by which each of them is divided.
    """

    sign: Literal["positive", "negative"]
    stabiliser: float


RULES = {"alpha1-beta0": Rule("positive", 0.0), "alpha0-beta-1-eps5": Rule("negative", -5.0)}


@final
class LRP(ImageBaseline):
    """Give every pixel its relevance: how much of the target's score comes from it, the sum over the colour channels.

    Relevance begins as the score itself, the logit of a class, and goes backwards:

    * Convolutions and linear layers hand it to their inputs in proportion to the products of weight and activation that
      have the rule's sign, without bias. Where their sum is zero, it is lost.
    * Sums of two activations and average pools have no weights: those get it, in proportion, that have the sign of the
      result. None is lost.
    * What has one input for each output passes it on: ReLU and other activations, batch norm that could not be folded,
      products with constants. Maxima pass it to where they are.
    * In a product of a signal with a gate that was computed from it (squeeze and excitation, SiLU written out) all of it
      goes to the signal.

    With "alpha1-beta0" the map of a network with ReLUs and without biases sums to the score, if that is positive. Biases
    lose relevance: that of outputs which they alone made positive.

    Args:
        model: a network of convolutions and linear layers, however connected.
        rule: "alpha1-beta0" (z-plus on signed products), or "alpha0-beta-1-eps5" (negative products alone carry
            relevance, and 5 stabilises their sum).
        **run: as of `Baseline`.

    Raises:
        SettingError: for another rule; from `explain`, if the network computes something that has no rule, attention or
            layer norm for example.
    """

    copies = 2  # what goes into an operation is kept, and split by sign on the way back

    def __init__(self, model: nn.Module, *, rule: str = "alpha1-beta0", **run: Unpack[SeedAndRows]) -> None:
        super().__init__(model, **run)
        self.rule = one_of("rule", rule, RULES)
        self.method = f"lrp-{rule}"

    def choices(self) -> dict[str, Any]:
        """Return nothing: the rule is part of the name."""
        return {}

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        refuse_probabilities(question, self.method)
        rules = _Relevance(self.method, self.rule)
        return passed_back(question, rules, self, times_value).sum(1)


class _Relevance(Interception):
    """Hand relevance back, by a rule for each kind of operation."""

    natural = COPIES | MAX_POOLS | {"amax", "max", "maximum"}
    weighted = CONVOLUTIONS | {"linear"}
    rules = weighted | AVERAGES | ACTIVATIONS | {"add", "sub", "__rsub__", "mul", "div", "neg", "batch_norm"}

    def __init__(self, method: str, rule: Rule) -> None:
        super().__init__(method)
        self.rule = rule

    def replace(self, operation: Operation) -> Ruled | None:
        """Return the rule of an operation; what does not depend on the input is left alone."""
        if not operation.places:
            return None
        return Ruled(operation.run(*operation.values), self._back(operation))

    def _back(self, operation: Operation) -> Back:
        if operation.name in self.weighted:
            return self._by_products(operation)
        if operation.name in AVERAGES:
            if operation.call[1].get("mode") == "bicubic":
                raise self.refusal("bicubic interpolation")  # some of its coefficients are negative
            return lambda arriving: _by_sign(operation.run, operation.values, arriving)
        if len(operation.places) == 1:
            shape = operation.values[0].shape
            return lambda arriving: [arriving.sum_to_size(shape)]
        if operation.name in {"add", "sub"}:
            return lambda arriving: _by_sign(torch.add, _summands(operation), arriving)
        if operation.name == "mul":
            return self._to_signal(operation)
        raise self.refusal(f"{operation.name} of two activations")

    def _by_products(self, operation: Operation) -> Back:
        linear = linear_of(operation)
        if linear is None:
            raise self.refusal(f"{operation.name} of two activations")
        weight, apply = linear.weight, linear.apply

        def products(above: Tensor, below: Tensor) -> Tensor:
            high, low = weight.clamp(min=0), weight.clamp(max=0)
            if self.rule.sign == "negative":
                high, low = low, high
            return apply(above, high) + apply(below, low)

        def back(arriving: Tensor) -> list[Tensor]:
            (x,) = operation.values
            above, below = _shared(products, (x.clamp(min=0), x.clamp(max=0)), arriving, self.rule.stabiliser)
            return [above + below]

        return back

    def _to_signal(self, operation: Operation) -> Back:
        first, second = operation.nodes
        if not (is_computed_from(second, first) or is_computed_from(first, second)):
            raise self.refusal("mul of two activations, neither of which was computed from the other")
        signal = 0 if is_computed_from(second, first) else 1
        shape = operation.values[signal].shape
        return lambda arriving: [arriving.sum_to_size(shape) if i == signal else None for i in range(2)]


def _summands(operation: Operation) -> Sequence[Tensor]:
    """Return what is added, with its sign and factor."""
    first, second = operation.values
    _, kwargs = operation.call
    factor = kwargs.get("alpha", 1)
    return first, second * (-factor if operation.name == "sub" else factor)


def _by_sign(linear: Callable[..., Tensor], summands: Sequence[Tensor], arriving: Tensor) -> list[Tensor]:
    """Divide what arrives among those summands that have the sign of the result."""
    positive = linear(*summands) > 0
    above = _shared(linear, [part.clamp(min=0) for part in summands], torch.where(positive, arriving, 0))
    below = _shared(linear, [part.clamp(max=0) for part in summands], torch.where(positive, 0, arriving))
    return [a + b for a, b in zip(above, below, strict=True)]


def _shared(
    linear: Callable[..., Tensor], shares: Sequence[Tensor], arriving: Tensor, stabiliser: float = 0.0
) -> list[Tensor]:
    """Divide what arrives among the summands of a linear function in proportion to them."""
    with torch.enable_grad():
        parts = [share.detach().requires_grad_() for share in shares]
        total = linear(*parts)
        divisor = total.detach() + stabiliser
        factors = torch.autograd.grad(total, parts, arriving / torch.where(divisor == 0, 1, divisor))
    return [part.detach() * factor for part, factor in zip(parts, factors, strict=True)]
