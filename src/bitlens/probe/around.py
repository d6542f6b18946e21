"""Whether the output owes to a layer all that it owes to the input: what goes round it, and what of it nobody reads.

Two inputs go through the network with the very same noise in the place of the layer's features. What then still tells their
outputs apart has come by another way: a skip connection, a decoder that reads the text again, a second argument. Length, padding
and what else the two have in common may go round.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bitlens.core.detections import detections_of, summed_up
from bitlens.core.inputs import Key, ModelInputs, tensors_of
from bitlens.errors import InputError, ModelError
from bitlens.probe.modules import frozen, putting_out, wrapped

ROUNDING = 1e-3  # of the difference between two outputs: less is not told from rounding
MOSTLY = 0.5  # of the difference, by arguments besides the one that is explained: from here on they carry the answer


@dataclass(frozen=True)
class Around:
    """Share of the answer that goes round a layer, and its way.

    Attributes:
        share: of the difference between the outputs for two inputs, what is left with noise at the layer.
        through: the dotted names of the modules that it goes through, as far as they are known.
        beside: further arguments of the network that say most of its answer by themselves.
    """

    share: float = 0.0
    through: tuple[str, ...] = ()
    beside: tuple[Key, ...] = ()


def pair_of(inputs: ModelInputs, others: tuple[Key, ...] = ()) -> ModelInputs:
    """Return the first sample, and one with another image or text of the same shape, length and padding; other arguments stay.

    Args:
        inputs: one sample or more.
        others: arguments that change as well: they are the second sample's, if there is one.
    """
    two = inputs.select(slice(1)).tile(2)
    first = two.first
    other = _unlike(first) if first.is_floating_point() else _reworded(first, two.kwargs.get("attention_mask"))
    return two.with_first(other).replaced({key: _another(inputs[key]) for key in others})


def beside(inputs: ModelInputs) -> tuple[Key, ...]:
    """Return tables that say something of the samples besides the image or text: no second image or text to compare it with."""
    tables = [key for key in inputs.tables if inputs[key].is_floating_point() or len(inputs[key][:2].unique(dim=0)) > 1]
    return tuple(tables)


def _another(value: Tensor) -> Tensor:
    """Return two samples of an argument: the first two where they differ, else the first and noise."""
    two = value[:2]
    return two if len(two) > 1 and not torch.equal(two[0], two[1]) else _unlike(value)


def two_of(inputs: ModelInputs) -> ModelInputs:
    """Return the first two samples, or where there is one, it and another like it: what a network is tried with."""
    return inputs.select(slice(2)) if inputs.count > 1 else pair_of(inputs)


def _unlike(value: Tensor) -> Tensor:
    """Return a second sample of noise, as large and spread as the first."""
    first = value[:1].float()
    noise = torch.randn(first.shape, dtype=torch.float32, generator=torch.Generator().manual_seed(0)).to(first)
    spread = first.std() if first.numel() > 1 else torch.zeros_like(first.mean())
    spread = torch.where(spread > 0, spread, first.abs().mean().clamp_min(1.0))
    return torch.cat([value[:1], (first.mean() + spread * noise).to(value.dtype)])


def _reworded(ids: Tensor, mask: Any) -> Tensor:
    """Return other tokens of the same text in the places of some; those at the borders, special as a rule, stay."""
    row = ids[0].flatten()
    real = torch.ones_like(row, dtype=torch.bool)
    if isinstance(mask, Tensor) and mask.shape == ids.shape:
        real = mask[0].flatten().bool()
    borders = row[real.nonzero().flatten()[[0, -1]]]
    inner = (real & (row != borders[0]) & (row != borders[1])).nonzero().flatten()
    changed = row.clone()
    changed[inner] = row[inner[torch.arange(len(inner)) // 2]]
    if torch.equal(changed, row):
        other = torch.where(row > 0, row - 1, row + 1)
        end = (row == borders[1]) & (borders[0] != borders[1])  # some networks ask for one
        changed = torch.where(real & ~end & (other != borders[1]), other, row)
    return torch.stack([row, changed]).reshape(2, *ids.shape[1:])


def left_over(run: Callable[[Tensor], Any], features: Tensor, clean: Any) -> float:
    """Return how much of the difference between two samples' outputs is left when both get the same noise at the layer.

    Args:
        run: features (2, ...) → output.
        features: of the two samples.
        clean: the output for them.
    """
    before = supposed_answer(clean)
    answers = [supposed_answer(run(noise)) for noise in _noises(features)]
    whole, size = _apart(before), float(before.norm()) if before is not None else 0.0
    return sum(map(_apart, answers)) / len(answers) / whole if whole > ROUNDING * ROUNDING * size else 0.0


def bypassed(model: nn.Module, layer: nn.Module, inputs: ModelInputs) -> bool:
    """Return whether the answer could owe something to the input by a way round a layer: one pass, and nothing measured.

    Gradients end at the first tensor that the layer puts out; if the answer has one all the same, it came another way. False
    where no gradient can run: what goes round is measured before any map is made.
    """
    if not inputs.first.is_floating_point():
        return False

    def cut(_: nn.Module, output: Any) -> Any:
        leaves, spec = tree_flatten(output)
        first = next((place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)), None)
        return tree_unflatten([leaf.detach() if place == first else leaf for place, leaf in enumerate(leaves)], spec)

    given = inputs.with_first(
        inputs.first.detach().requires_grad_().clone()
    )  # a network may overwrite what it is given
    with suppress(InputError, ModelError), frozen(model), torch.enable_grad(), wrapped({layer: putting_out(cut)}):
        said = _answer(given.passed_to(model))
        return said is not None and said.requires_grad
    return False


def unread(run: Callable[[Tensor], Any], features: Tensor, extra: int) -> bool:
    """Return whether the output is the very same whatever stands at the places of features (n, ...), behind extra tokens.

    They themselves are tried as well: noise may be too weak for a network that looks for what is strong.
    """
    tried = (*_noises(features), features)
    said = [tensors_of(run(torch.cat([features[:, :extra], other[:, extra:]], 1))) for other in tried]
    return all(torch.equal(one, first) for others in said[1:] for one, first in zip(others, said[0], strict=True))


def _noises(features: Tensor) -> list[Tensor]:
    """Return two kinds of noise, each the same for all samples, as large and spread as the features."""
    generator = torch.Generator().manual_seed(0)
    mean, spread = features.float().mean(), features.float().std().nan_to_num(1.0)
    noise = (
        torch.randn(2, *features.shape[1:], dtype=torch.float32, generator=generator).to(features.device) * spread
        + mean
    )
    return [one.to(features.dtype).expand(features.shape).clone() for one in noise]


def _apart(answer: Tensor | None) -> float:
    return float((answer[0] - answer[1]).norm()) if answer is not None and len(answer) > 1 else 0.0


def supposed_answer(output: Any) -> Tensor | None:
    """Return what is taken for the network's answer: its logits, all that a detector finds, else its first real tensor."""
    found = _answer(output)
    return None if found is None else found.detach().float()


def _answer(output: Any) -> Tensor | None:
    if (found := detections_of(output)) is not None:
        return summed_up(found)
    said = getattr(output, "logits", None)
    leaves = tensors_of(said if said is not None else output)
    return next((leaf for leaf in leaves if leaf.is_floating_point() and leaf.dim() > 0), None)
