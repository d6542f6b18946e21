"""Attention rollout: how much of each patch reaches the tokens that a vision transformer's head reads.

The weights of fused attention are never made. Within a `Recorder` they are: the same numbers by another way, part of the
graph that gradients take, without a change to the network.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode

from bitlens.baselines.baseline import Baseline, Group
from bitlens.baselines.patches import patches_of
from bitlens.errors import SettingError

__all__ = [
    "Attention",
    "AttentionRollout",
    "GradientAttentionRollout",
    "Recorder",
    "gradient_rollout",
    "readers_of",
    "rollout",
]

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention weights of one layer.

    Attributes:
        weights: (n, heads, T, T), every row a distribution over tokens; no gradients.
        edge: where they stand in the graph of the score.
    """

    weights: Tensor
    edge: GradientEdge


class Recorder(TorchFunctionMode):
    """Within its block, keeps the weights of every attention that is computed: fused, of `nn.MultiheadAttention`, by hand.

    Attributes:
        layers: in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Attention] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._fused(func, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(func, *args, **kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.dim() > 2:
            self._keep(result)
        return result

    def _fused(
        self, attend: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        tokens = value.shape[-2]
        each = torch.eye(tokens, dtype=value.dtype, device=value.device).expand(*value.shape[:-1], tokens)
        weights = attend(query, key, each, *args, **kwargs)  # Σ over tokens of weight times unit vector
        self._keep(weights)
        return weights @ value

    def _multi_head(
        self,
        attend: Callable[..., Any],
        *args: Any,
        need_weights: bool = True,
        average_attn_weights: bool = True,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        output, weights = attend(*args, need_weights=True, average_attn_weights=False, **kwargs)
        self._keep(weights, viewed=True)
        if not need_weights:
            return output, None
        return output, weights.mean(1) if average_attn_weights else weights

    def _keep(self, weights: Tensor, *, viewed: bool = False) -> None:
        """Note weights; `viewed` if the network goes on with the tensor that they are a view of."""
        node, number = weights.grad_fn, weights.output_nr
        if node is not None and viewed:
            node, number = node.next_functions[0]
        if node is None:
            raise SettingError("the attention has no gradient: the network detaches it, or what it attends to")
        self.layers.append(Attention(weights.detach(), GradientEdge(node, number)))


class _Rollout(Baseline):
    """A map made of the attention of all layers.

    Which tokens the head reads is what the gradient of the score at the last attention tells: the rows of all others are
    zero. It is the class token, or all patches where the head takes their mean.
    """

    copies = 4  # the weights of every head, their logits and gradients are kept, which fused attention never does

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    @abstractmethod
    def rolled(self, readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:
        """What of each token reaches the readers: (n, T).

        Args:
            readers: (n, T) the share of each token in what the head reads, sum 1.
            layers: in order.
            score: (n,) with its graph.
        """

    def maps(self, group: Group) -> Tensor:
        """(n, H, W)."""
        size = group.inputs.image_size
        assert size is not None  # the base class has refused everything else
        recorder = Recorder()
        with recorder:
            output = group.run(group.images.clone().requires_grad_())
        self._check(recorder.layers, len(group.images))
        score = group.target.score(output)
        readers = readers_of(recorder.layers[-1], score)
        cells = patches_of(self.rolled(readers, recorder.layers, score), size)
        return F.interpolate(cells[:, None], size, mode="bilinear", align_corners=False)[:, 0]

    def _check(self, layers: Sequence[Attention], count: int) -> None:
        shapes = list(dict.fromkeys(tuple(layer.weights.shape) for layer in layers))
        network = type(self.model).__name__
        if not shapes:
            raise SettingError(
                f"{self.method} needs a vision transformer: {network} computes no attention between tokens"
            )
        tokens = shapes[0][-1]
        if any(len(shape) != 4 or (shape[0], *shape[2:]) != (count, tokens, tokens) for shape in shapes):
            raise SettingError(
                f"{self.method} needs attention from all tokens to all tokens in every layer, weights ({count}, heads, T, T); "
                f"those of {network} have shapes {', '.join(map(str, shapes[:3]))}"
            )


class AttentionRollout(_Rollout):
    """The product over layers of (A + 1)/2, A the mean attention of the heads (Abnar & Zuidema 2020)."""

    method = "attention-rollout"

    def rolled(self, readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:  # noqa: ARG002
        """Sums to 1 over tokens."""
        return rollout(readers, layers)


class GradientAttentionRollout(_Rollout):
    """The product over layers of 1 + Ā, Ā the mean over heads of (A ⊙ ∂score/∂A)⁺ (Chefer et al. 2021, equations 5, 6)."""

    method = "gradient-attention-rollout"

    def rolled(self, readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:
        """At least 0."""
        return gradient_rollout(readers, layers, score)


def rollout(readers: Tensor, layers: Sequence[Attention]) -> Tensor:
    """What of each token reaches the readers, (n, T), sum 1: in each layer, half stays and half is attended to."""
    for layer in reversed(layers):
        readers = (readers + _attended(readers, layer.weights.mean(1))) / 2
    return readers


def gradient_rollout(readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:
    """What the readers are brought of each token that speaks for the score, (n, T), at least 0.

    That is the product minus 1: what never moved between tokens is not counted (it would drown the rest).
    """
    gradients = torch.autograd.grad(score.sum(), [layer.edge for layer in layers], allow_unused=True)
    moved = torch.zeros_like(readers)
    for layer, gradient in zip(reversed(layers), reversed(gradients), strict=True):
        if gradient is not None:  # else the score does not depend on this layer
            relevant = (layer.weights * gradient.view_as(layer.weights)).clamp_min(0).mean(1)
            moved = moved + _attended(readers + moved, relevant)
    return moved


def readers_of(last: Attention, score: Tensor) -> Tensor:
    """The tokens that the head reads, in equal shares: (n, T)."""
    (gradient,) = torch.autograd.grad(score.sum(), [last.edge], retain_graph=True, allow_unused=True)
    if gradient is None:
        raise SettingError("the score does not depend on the network's last attention: rollout ends there")
    read = gradient.view_as(last.weights).abs().amax((1, 3)) > 0
    return read.to(last.weights.dtype) / read.sum(1, keepdim=True).clamp_min(1)


def _attended(readers: Tensor, attention: Tensor) -> Tensor:
    """(n, T) times (n, T, T): where what the readers hold comes from."""
    return (readers[:, None] @ attention)[:, 0]
