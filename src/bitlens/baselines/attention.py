"""Attention rollout: how much of each patch or token reaches the tokens that a transformer's head reads.

The weights of fused attention are never made. Within a `Recorder` they are: the same numbers by another way, part of the
graph that gradients take, without a change to the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode

from bitlens.baselines.asking import ImageQuestion, TextQuestion
from bitlens.baselines.baseline import Baseline, ImageBaseline
from bitlens.baselines.gradient import OnEmbeddings
from bitlens.baselines.patches import patches_of
from bitlens.core.targets import Target
from bitlens.errors import SettingError

_COPIES = 4  # the weights of every head, their logits and gradients are kept, which fused attention never does
_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention weights of one layer.

    Attributes:
        weights: (n, heads, T, T), every row a distribution over tokens; no gradients. (n, heads, T, T + 1) where a share may go
            to no token, which then stands behind all tokens.
        edge: where they stand in the graph of the score.
        declared: whether PyTorch's own attention computed them, of which it is known where that is (`add_bias_kv`).
    """

    weights: Tensor
    edge: GradientEdge
    declared: bool = False


class Recorder(TorchFunctionMode):
    """Keep the weights of every attention that is computed in the block: fused, of `nn.MultiheadAttention`, by hand.

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
        self.layers.append(Attention(weights.detach(), GradientEdge(node, number), viewed))


def rollout(readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:  # noqa: ARG001
    """Return what of each token reaches the readers, (n, T), sum 1 (less what goes to no token): half stays, half is attended to.

    This is the product over layers of (A + 1)/2, A the mean attention of the heads (Abnar & Zuidema 2020).

    Args:
        readers: (n, T) the share of each token in what the head reads, sum 1.
        layers: in order.
        score: (n,) with its graph, which does not matter here.
    """
    for layer in reversed(layers):
        readers = (readers + _attended(readers, layer.weights.mean(1))) / 2
    return readers


def gradient_rollout(readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:
    """Return what the readers are brought of each token that speaks for the score, (n, T), at least 0.

    This is the product over layers of 1 + Ā, Ā the mean over heads of (A ⊙ ∂score/∂A)⁺ (Chefer et al. 2021, equations 5, 6),
    minus 1: what never moved between tokens is not counted (it would drown the rest). For arguments see `rollout`.
    """
    gradients = torch.autograd.grad(score.sum(), [layer.edge for layer in layers], allow_unused=True)
    moved = torch.zeros_like(readers)
    for layer, gradient in zip(reversed(layers), reversed(gradients), strict=True):
        if gradient is not None:  # else the score does not depend on this layer
            relevant = (layer.weights * gradient.view_as(layer.weights)).clamp_min(0).mean(1)
            moved = moved + _attended(readers + moved, relevant)
    return moved


def readers_of(last: Attention, score: Tensor) -> Tensor:
    """Return the tokens that the head reads, in equal shares: (n, T).

    They are what the gradient of the score at the last attention tells: the rows of all others are zero. It is the class
    token, or all tokens where the head takes their mean.
    """
    (gradient,) = torch.autograd.grad(score.sum(), [last.edge], retain_graph=True, allow_unused=True)
    if gradient is None:
        raise SettingError("the score does not depend on the network's last attention: rollout ends there")
    read = gradient.view_as(last.weights).abs().amax((1, 3)) > 0
    return read.to(last.weights.dtype) / read.sum(1, keepdim=True).clamp_min(1)


Rollout = Callable[[Tensor, Sequence[Attention], Tensor], Tensor]
"""From readers, layers and score to what of each token reaches the readers; see `rollout`."""


class AttentionRollout(ImageBaseline):
    """Give every patch what the attention of all layers brings of it to the tokens that the head reads; see `rollout`."""

    method = "attention-rollout"
    copies = _COPIES
    rolled: Rollout = staticmethod(rollout)

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W), at least 0."""
        images = question.images.clone().requires_grad_()
        layers, score = _recorded(self, lambda: question.run(images), question.target, len(images), None)
        cells = patches_of(self.rolled(readers_of(layers[-1], score), layers, score), question.size)
        return F.interpolate(cells[:, None], question.size, mode="bilinear", align_corners=False)[:, 0]


class TextAttentionRollout(OnEmbeddings):
    """Give every token what the attention of all layers brings of it to the positions that the head reads; see `rollout`."""

    method = "attention-rollout"
    copies = _COPIES
    rolled: Rollout = staticmethod(rollout)

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T), at least 0."""
        count, length = question.batch.real.shape
        with self.embedded(question) as embedded:
            vectors = embedded.vectors.clone().requires_grad_()
            layers, score = _recorded(self, lambda: embedded.run(vectors), question.target, count, length)
            return self.rolled(readers_of(layers[-1], score), layers, score)


@final
class GradientAttentionRollout(AttentionRollout):
    """Weight each head of the rollout by what it does for the score; see `gradient_rollout`."""

    method = "gradient-attention-rollout"
    rolled = staticmethod(gradient_rollout)


@final
class TextGradientAttentionRollout(TextAttentionRollout):
    """Weight each head of the rollout by what it does for the score; see `gradient_rollout`."""

    method = "gradient-attention-rollout"
    rolled = staticmethod(gradient_rollout)


def _recorded(
    asks: Baseline[Any, Any], run: Callable[[], Any], target: Target, count: int, length: int | None
) -> tuple[Sequence[Attention], Tensor]:
    """Return the attention of all layers, and the score (n,) with its graph.

    Args:
        asks: the method, for errors.
        run: the pass of the network.
        target: what is asked.
        count: how many samples there are.
        length: how many tokens each has; None for images, where the first layer says it.
    """
    recorder = Recorder()
    with recorder:
        output = run()
    shapes = list(dict.fromkeys(tuple(layer.weights.shape) for layer in recorder.layers))
    network = type(asks.model).__name__
    if not shapes:
        kind = "vision transformer" if length is None else "transformer"
        raise SettingError(f"{asks.method} needs a {kind}: {network} computes no attention between tokens")
    tokens = shapes[0][-2] if length is None else length
    if any((shape[0], *shape[2:]) not in ((count, tokens, tokens), (count, tokens, tokens + 1)) for shape in shapes):
        wanted = f"({count}, heads, {length or 'T'}, {length or 'T'})"
        raise SettingError(
            f"{asks.method} needs attention from all tokens to all tokens in every layer, weights {wanted}; "
            f"those of {network} have shapes {', '.join(map(str, shapes[:3]))}"
        )
    if any(_may_stand_before(layer, tokens) for layer in recorder.layers):
        raise SettingError(
            f"{asks.method} cannot tell which of the {tokens + 1} columns of attention in {network} belongs to no token: "
            "its tokens attend to later ones as well"
        )
    return recorder.layers, target.score(output)


def _may_stand_before(layer: Attention, tokens: int) -> bool:
    """Say whether what is no token may stand before others; it cannot where each token attends to none behind it."""
    own = layer.weights[..., :tokens]
    return layer.weights.shape[-1] > tokens and not layer.declared and bool(own.triu(1).any())


def _attended(readers: Tensor, attention: Tensor) -> Tensor:
    """Return where what the readers hold comes from: (n, T) times (n, T, T), or (n, T, T + 1); the last then is no token."""
    return (readers[:, None] @ attention)[:, 0, : readers.shape[1]]
