"""What the gradient of the score says of each token: at its word embedding, and on the way to it.

Only the word embedding changes; positions, token types and special tokens stay what they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bitlens.baselines.text.baseline import Question, TextBaseline, TextModel
from bitlens.errors import SettingError, one_of
from bitlens.probe import Probe

__all__ = ["Embedded", "OnEmbeddings", "Start", "TextGradientXInput", "TextIntegratedGradients", "TextSaliency"]

Start = Literal["zero", "pad", "mask"]
"""Where integrated gradients begin: at zero, or at the embedding of the padding or the mask token."""


@dataclass(frozen=True)
class Embedded:
    """Texts as vectors.

    Attributes:
        vectors: (n, T, D) word embeddings of n texts.
        run: (R, T, D) → output; row b*n + i is a variant of text i.
        question: what is asked about the texts.
    """

    vectors: Tensor
    run: Callable[[Tensor], Any]
    question: Question

    def score(self, vectors: Tensor) -> Tensor:
        """The target's score (R,)."""
        return self.question.target.score(self.run(vectors))

    def gradient(self) -> Tensor:
        """Of the score with respect to the embeddings, (n, T, D).

        Raises:
            SettingError: if there is none.
        """
        leaf = self.vectors.clone().requires_grad_()
        score = self.score(leaf)
        if not score.requires_grad:
            raise SettingError(
                "the score has no gradient at the word embedding: the network or the target detaches it on the way"
            )
        gradients: tuple[Tensor, ...] = torch.autograd.grad(score.sum(), leaf)
        return gradients[0]


class OnEmbeddings(TextBaseline):
    """A method that looks at the network behind its word embedding.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        seed: kept with the map; nothing is random here.
        internal_batch_size: how many texts go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such embedding.
    """

    def __init__(
        self, loaded: TextModel, *, seed: int = 0, internal_batch_size: int | Literal["auto"] = "auto"
    ) -> None:
        super().__init__(loaded, seed=seed, internal_batch_size=internal_batch_size)
        self.probe = Probe(loaded.model, loaded.embedding)
        self.layer = self.probe.name

    def settings(self) -> dict[str, Any]:
        """None: there is nothing to choose."""
        return {}

    @contextmanager
    def embedded(self, question: Question) -> Iterator[Embedded]:
        """Within the block, the network answers for changed embeddings of the texts."""
        recording = self.probe.record(question.batch.inputs)
        with recording.suffix() as run:
            yield Embedded(recording.features, run, question)


class TextSaliency(OnEmbeddings):
    """The Euclidean norm of the gradient at each token's embedding (Simonyan et al. 2014; Li et al. 2016 for texts)."""

    method = "saliency"

    def maps(self, question: Question) -> Tensor:
        """(n, T), at least 0."""
        with self.embedded(question) as embedded:
            norms: Tensor = torch.linalg.vector_norm(embedded.gradient(), dim=2)
            return norms


class TextGradientXInput(OnEmbeddings):
    """The gradient times the embedding, summed over the embedding's dimensions (Shrikumar et al. 2016)."""

    method = "gradient-x-input"

    def maps(self, question: Question) -> Tensor:
        """(n, T)."""
        with self.embedded(question) as embedded:
            return (embedded.gradient() * embedded.vectors).sum(2)


class TextIntegratedGradients(OnEmbeddings):
    """The gradient's mean along the straight way from a text of nothing to this one, times their difference.

    Sundararajan et al. 2017; algorithms F15. Summed over the embedding's dimensions. Special tokens and padding do not
    move: a map's sum is the score of the text minus that of the text where every token is the baseline, up to the error of
    the integration.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        steps: points on the way, those of the Gauss-Legendre quadrature.
        baseline: "zero" vectors, or the embedding of the "pad" or the "mask" token.
        seed: kept with the map; nothing is random here.
        internal_batch_size: how many texts go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such embedding.
        SettingError: if a setting has a value that makes no sense.
    """

    method = "integrated-gradients"

    def __init__(
        self,
        loaded: TextModel,
        *,
        steps: int = 50,
        baseline: Start = "pad",
        seed: int = 0,
        internal_batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(loaded, seed=seed, internal_batch_size=internal_batch_size)
        if not isinstance(steps, int) or steps < 1:
            raise SettingError(f"steps must be a positive integer, got {steps!r}")
        tokenizer = loaded.tokenizer
        self._start_id = one_of(
            "baseline", baseline, {"zero": None, "pad": tokenizer.pad_id, "mask": tokenizer.mask_id}
        )
        self.steps, self.baseline = steps, baseline

    def settings(self) -> dict[str, Any]:
        """Points and baseline."""
        return {"steps": self.steps, "baseline": self.baseline}

    def maps(self, question: Question) -> Tensor:
        """(n, T)."""
        from captum.attr import IntegratedGradients

        nothing = self._nothing(question)
        with self.embedded(question) as embedded:
            start = torch.where(question.batch.real[..., None], nothing, embedded.vectors)
            values: Tensor = IntegratedGradients(embedded.score).attribute(
                embedded.vectors, start, n_steps=self.steps, internal_batch_size=question.rows
            )
        return values.sum(2)

    def _nothing(self, question: Question) -> Tensor:
        """What every token of the text becomes: (n, T, D), or () for zero."""
        if self._start_id is None:
            return torch.zeros((), device=question.batch.real.device)
        inputs = question.batch.inputs
        return self.probe.features({**inputs, "input_ids": torch.full_like(inputs["input_ids"], self._start_id)})
