"""Attention rollout for texts: how much of each token reaches the positions that a transformer's head reads."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from bitlens.baselines.attention import Attention, Recorder, gradient_rollout, readers_of, rollout
from bitlens.baselines.text.baseline import Question
from bitlens.baselines.text.gradient import OnEmbeddings
from bitlens.errors import SettingError

__all__ = ["TextAttentionRollout", "TextGradientAttentionRollout"]


class _TextRollout(OnEmbeddings):
    """A map made of the attention of all layers.

    Which positions the head reads (the class token, or all tokens where it takes their mean) is what the gradient of the
    score at the last attention tells.
    """

    copies = 4  # the weights of every head, their logits and gradients are kept, which fused attention never does

    @abstractmethod
    def rolled(self, readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:
        """What of each token reaches the readers: (n, T).

        Args:
            readers: (n, T) the share of each token in what the head reads, sum 1.
            layers: in order.
            score: (n,) with its graph.
        """

    def maps(self, question: Question) -> Tensor:
        """(n, T), at least 0."""
        recorder = Recorder()
        with self.embedded(question) as embedded, recorder:
            output = embedded.run(embedded.vectors.clone().requires_grad_())
        self._check(recorder.layers, *question.batch.real.shape)
        score = question.target.score(output)
        return self.rolled(readers_of(recorder.layers[-1], score), recorder.layers, score)

    def _check(self, layers: Sequence[Attention], count: int, length: int) -> None:
        shapes = list(dict.fromkeys(tuple(layer.weights.shape) for layer in layers))
        network = type(self.model).__name__
        if not shapes:
            raise SettingError(f"{self.method} needs a transformer: {network} computes no attention between tokens")
        if any(len(shape) != 4 or (shape[0], *shape[2:]) != (count, length, length) for shape in shapes):
            raise SettingError(
                f"{self.method} needs attention from all tokens to all tokens in every layer, weights ({count}, heads, "
                f"{length}, {length}); those of {network} have shapes {', '.join(map(str, shapes[:3]))}"
            )


class TextAttentionRollout(_TextRollout):
    """The product over layers of (A + 1)/2, A the mean attention of the heads (Abnar & Zuidema 2020)."""

    method = "attention-rollout"

    def rolled(self, readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:  # noqa: ARG002
        """Sums to 1 over all positions."""
        return rollout(readers, layers)


class TextGradientAttentionRollout(_TextRollout):
    """The product over layers of 1 + Ā, Ā the mean over heads of (A ⊙ ∂score/∂A)⁺ (Chefer et al. 2021, equations 5, 6)."""

    method = "gradient-attention-rollout"

    def rolled(self, readers: Tensor, layers: Sequence[Attention], score: Tensor) -> Tensor:
        """What never moved between tokens is not counted."""
        return gradient_rollout(readers, layers, score)
