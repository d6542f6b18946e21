"""DeepSHAP: differences from a baseline, handed back through the network by DeepLIFT's rescale rule.

Shrikumar et al., Learning important features through propagating activation differences (ICML 2017); Lundberg and Lee,
A unified approach to interpreting model predictions (NeurIPS 2017); algorithms F14.
"""

import hashlib
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion
from bitlens.baselines.baseline import ImageBaseline
from bitlens.baselines.gradient import quadrature
from bitlens.baselines.operations import ACTIVATIONS, AVERAGES, CONVOLUTIONS, COPIES, MAX_POOLS, names
from bitlens.baselines.rules import Interception, Operation, Ruled, passed_back, refuse_probabilities
from bitlens.core.passes import SeedAndRows
from bitlens.errors import BitlensWarning, SettingError


@final
class DeepSHAP(ImageBaseline):
    """Divide the score's difference from that of a baseline image among the pixels; mean over the colour channels.

    A multiplier takes the place of each operation's gradient, such that multiplier times difference of the input is the
    difference of the output:

    * activation functions: the quotient of the differences (the rescale rule), the slope where they are too small;
    * max pools: the rise of a maximum is due to the place of the image's maximum, its fall to that of the baseline's;
    * products of activations, softmax, attention, normalisation: the mean gradient on the straight way from the baseline's
      values to the image's, exact for products, by quadrature for the others.

    All differences of the pixels from the baseline, times their multipliers, sum to the difference of the logits. With
    several baselines the map is the mean of theirs.

    Args:
        model: the network.
        baselines: (B, C, H, W) images that the network takes, or series, volumes, rows of a table; None for one of zeros, the
            mean colour of normalised images. (The ten of zeros that are usual give the same map.)
        **run: as of `Baseline`.

    Raises:
        SettingError: if the baselines are no images; from `explain`, if they are not of the inputs' size, or if the network
            computes something that has no rule.
    """

    method = "deep-shap"
    copies = 2  # one for the baseline

    def __init__(self, model: nn.Module, *, baselines: Tensor | None = None, **run: Unpack[SeedAndRows]) -> None:
        super().__init__(model, **run)
        if baselines is not None and (
            not 2 <= baselines.dim() <= 5 or not len(baselines) or not baselines.isfinite().all()
        ):
            raise SettingError(
                f"baselines must be finite images (B, C, H, W), at least one, got shape {tuple(baselines.shape)}"
            )
        self.baselines = baselines

    def choices(self) -> dict[str, Any]:
        """Return how many baselines there are, and a fingerprint of those that were given."""
        if self.baselines is None:
            return {"baselines": "zero"}
        numbers = self.baselines.detach().cpu().float().contiguous().numpy()
        return {"baselines": f"{len(numbers)} images {hashlib.sha256(numbers.data).hexdigest()[:16]}"}

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W)."""
        refuse_probabilities(question, self.method)
        images, given = question.images, question.inputs.first
        baselines = torch.zeros_like(given[:1]) if self.baselines is None else self.baselines
        if baselines.shape[1:] != given.shape[1:]:
            raise SettingError(
                f"baselines have shape {tuple(baselines.shape)}, but the inputs {tuple(given.shape)}: give baselines of the "
                "same channels, height and width"
            )
        baselines = question.places.first(baselines.to(images))
        total, expected = torch.zeros_like(images), question.target.score(question.output)
        for baseline in baselines:
            values, score = self._contributions(question, baseline.expand_as(images))
            total += values / len(baselines)
            expected = expected - score / len(baselines)
        _warn_if_incomplete(total.flatten(1).sum(1), expected)
        return total.mean(1)

    def _contributions(self, question: ImageQuestion, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each value (n, C, H, W) contributes to the difference of the scores, and the reference's score (n,)."""
        recorded = _Intercepted(self.method)
        with torch.no_grad(), recorded:
            output = question.run(reference.clone())
        rules = _Differences(self.method, recorded.operations)
        multipliers = passed_back(question, rules, self)
        return multipliers * (question.images - reference), question.target.score(output)


def _warn_if_incomplete(found: Tensor, expected: Tensor) -> None:
    """Warn of images whose contributions (n,) do not sum to the difference of the scores (n,)."""
    wrong = (found - expected).abs() > _TOLERANCE * expected.abs() + 1e-5
    if bool(wrong.any()):
        first = int(wrong.int().argmax())
        warnings.warn(
            f"deep-shap: for {int(wrong.sum())} of {len(wrong)} images the pixels' contributions do not sum to the difference "
            f"of the scores ({float(found[first]):.4g}, not {float(expected[first]):.4g}): the score is no logit, or a "
            "normalisation or attention changes too fast between baseline and image; try other baselines",
            BitlensWarning,
            stacklevel=2,
        )


_PRODUCTS = frozenset({"bmm", "einsum", "matmul", "mm", "mul"})
_ELEMENTWISE = ACTIVATIONS | names(
    "__rdiv__ __rpow__ abs cos div erf exp expm1 log log1p pow reciprocal rsqrt sin sqrt square"
)
_SMOOTH = names(
    "glu group_norm instance_norm layer_norm local_response_norm log_softmax logsumexp multi_head_attention_forward norm "
    "normalize rms_norm scaled_dot_product_attention softmax softmin std var"
)
_LINEAR = CONVOLUTIONS | {"linear"}


class _Intercepted(Interception):
    """Write down the operations of a pass over the baseline."""

    rules = _PRODUCTS | _ELEMENTWISE | _SMOOTH | MAX_POOLS

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.operations: deque[Operation] = deque()

    def replace(self, operation: Operation) -> None:
        """Write the operation down, which is computed as it is."""
        self.operations.append(operation)


class _Differences(Interception):
    """Hand multipliers back, made from the operations of the same pass over the baseline."""

    rules = _Intercepted.rules | _LINEAR
    natural = COPIES | AVERAGES | {"__rsub__", "add", "batch_norm", "neg", "sub"}

    def __init__(self, method: str, baseline: deque[Operation]) -> None:
        super().__init__(method)
        self.baseline = baseline

    def replace(self, operation: Operation) -> Ruled | None:
        """Return the rule of an operation; what is linear in one activation has its gradient."""
        name, places = operation.name, operation.places
        if name in _LINEAR:
            if len(places) > 1:
                raise self.refusal(f"{name} of two activations")
            return None
        reference = self._reference(operation)
        if not places or (len(places) == 1 and name in _PRODUCTS):
            return None
        before = [reference.leaves[place] for place in places]
        if name in MAX_POOLS:
            return _pooled(operation, before[0])
        if name in _ELEMENTWISE and len(places) == 1:
            return _rescaled(operation, before[0])
        return _averaged(operation, before, nodes=1 if name in _PRODUCTS else _NODES)

    def _reference(self, operation: Operation) -> Operation:
        """Return the same operation for the baseline."""
        reference = self.baseline.popleft() if self.baseline else None
        if reference is None or reference.name != operation.name or reference.structure != operation.structure:
            raise SettingError(
                f"{self.method} compares what the network computes for an image and for a baseline, but this network does not "
                f"take the same way for both (at operation '{operation.name}'): choose another method"
            )
        return reference


_TOLERANCE = 0.05  # relative; more is said aloud
_CLOSE = 1e-5  # relative to the values; below that the quotient of differences is rounding error
_NODES = 10  # of the quadrature on the way from baseline to image


def _rescaled(operation: Operation, before: Tensor) -> Ruled:
    """Take the quotient of the differences of a function of single numbers, or the slope half-way where there is hardly any."""
    (after,) = operation.values
    value, rise, run = operation.run(after), operation.run(after) - operation.run(before), after - before
    with torch.enable_grad():
        middle = ((after + before) / 2).requires_grad_()
        (slope,) = torch.autograd.grad(operation.run(middle).sum(), middle)
    far = run.abs() > _CLOSE * (after.abs() + before.abs())
    multiplier = torch.where(far, rise / torch.where(far, run, 1), slope)
    return Ruled(value, lambda arriving: [(arriving * multiplier).sum_to_size(after.shape)])


def _pooled(operation: Operation, before: Tensor) -> Ruled:
    """Give a maximum's rise to where it is in the image, its fall to where it was in the baseline."""
    (after,) = operation.values
    args, kwargs = operation.call
    pool, dimensions = getattr(F, operation.name), int(operation.name[-2])
    value, place = pool(after, *args[1:], **{**kwargs, "return_indices": True})
    value_before, place_before = pool(before, *args[1:], **{**kwargs, "return_indices": True})
    rise = (value - value_before).flatten(-dimensions)
    places = torch.where(rise >= 0, place.flatten(-dimensions), place_before.flatten(-dimensions))
    run = (after - before).flatten(-dimensions).gather(-1, places)
    multiplier = torch.where(run == 0, 1, rise / torch.where(run == 0, 1, run))

    def back(arriving: Tensor) -> list[Tensor]:
        total = torch.zeros_like(after).flatten(-dimensions)
        total.scatter_add_(-1, places, arriving.flatten(-dimensions) * multiplier)
        return [total.reshape(after.shape)]

    return Ruled(value, back)


def _averaged(operation: Operation, before: Sequence[Tensor], nodes: int) -> Ruled:
    """Take the mean gradient of several activations on the straight way from the baseline's values to the image's."""
    value = operation.run(*operation.values)
    value, others = (value[0], value[1:]) if isinstance(value, tuple) else (value, None)

    def back(arriving: Tensor) -> list[Tensor]:
        total = [torch.zeros_like(start) for start in before]
        for place, weight in quadrature(nodes):
            with torch.enable_grad():
                ends = zip(before, operation.values, strict=True)
                points = [torch.lerp(start, end, place).requires_grad_() for start, end in ends]
                result = operation.run(*points)
                result = result[0] if isinstance(result, tuple) else result
            gradients = torch.autograd.grad(result, points, arriving * weight)
            total = [sums + gradient for sums, gradient in zip(total, gradients, strict=True)]
        return total

    return Ruled(value, back, others)
