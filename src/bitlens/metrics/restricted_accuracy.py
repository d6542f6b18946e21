"""Whether the network still answers rightly when only what an explanation lets pass gets through."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitlens.bottlenecks.at_layer import LayerBottleneck
from bitlens.core.inputs import ModelInputs
from bitlens.core.targets import ClassTarget
from bitlens.probe.following import following


@dataclass(frozen=True, eq=False)
class RestrictedAccuracy:
    """Share of labels that come first, or among the first five, with and without the noise. Higher is better.

    Attributes:
        top1: (N,) in [0, 1], share of the noisy passes in which the label comes first.
        top5: (N,) in [0, 1], in which it is among the first five (all of them for a network with so few classes).
        clean_top1: (N,) 0 or 1, the same for the untouched network.
        clean_top5: (N,) 0 or 1.
        information: (N,) bits per feature of the layer, mean over its features. Table 4 counts nats (times ln 2), and its
            numbers are those of another noise variance (algorithms I11): only their order can be compared.
    """

    top1: Tensor
    top5: Tensor
    clean_top1: Tensor
    clean_top5: Tensor
    information: Tensor


class _Hits(ClassTarget):
    """Fitted like a class; the value counts in how many of two lists, the first and the first five, the class stands."""

    measure = "score"

    def value(self, output: Any) -> Tensor:
        """Return 0, 1 or 2. A class that ties with the label counts as ahead of it."""
        logits = self.form.scores(output)
        index = self.classes.to(logits.device).repeat(len(logits) // len(self.classes))
        ahead = (~(logits < logits.gather(1, index[:, None]))).sum(1) - 1
        return (ahead < 1).float() + (ahead < 5).float()


def restricted_accuracy(
    iba: LayerBottleneck,
    inputs: Any,
    labels: Any,
    *,
    noise_samples: int = 32,
    progress: Callable[[int], None] | None = None,
) -> RestrictedAccuracy:
    """Return accuracy under the bottleneck (Schulz et al., ICLR 2020, table 4; algorithms G8).

    The mask of each sample is fitted for its label; then the accuracy is measured under fresh noise. With `steps=1` the mask
    is the initial one, as in the table's column α = 5.

    Args:
        iba: the bottleneck, with statistics.
        inputs: of N samples.
        labels: (N,) class indices.
        noise_samples: noisy passes per sample.
        progress: called with the number of samples done.

    Raises:
        StatisticsError: if the statistics are missing or do not fit.
        TargetError: if the labels are not one class index for each sample.
    """
    batch = following(iba.model, ModelInputs.of(inputs))
    hits = _Hits(torch.as_tensor(labels))
    made = iba.explain(batch, hits, evidence_samples=noise_samples, progress=progress)
    assert made.evidence is not None
    assert made.total_bits is not None
    top1, top5 = _shares(made.evidence.under_noise, made.evidence.under_noise_std, noise_samples)
    clean = made.evidence.before
    features = math.prod(iba.probe.features(batch.select(slice(1))).shape[1:])
    return RestrictedAccuracy(
        top1, top5, (clean > 1).double(), (clean > 0).double(), made.total_bits.double() / features
    )


def _shares(mean: Tensor, std: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return how often a number of 0, 1 or 2 was 2, and how often more than 0, from its mean and spread over `count` draws."""
    first = mean.double()
    second = std.double().square() * (count - 1) / count + first.square()
    twice = (second - first) / 2 * count
    return twice.round() / count, (first * count - twice).round() / count
