"""Images and texts, what is asked about them, and the network that answers for changed copies of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from bitlens.baselines.changes import Removal, arranged, without
from bitlens.core.inputs import ModelInputs
from bitlens.core.outputs import OutputChoice, OutputForm
from bitlens.core.passes import Precision, suffix_dtype
from bitlens.core.places import Places
from bitlens.core.targets import Target, as_target, last_token
from bitlens.data.tokenizing import TokenBatch, Tokenizer
from bitlens.errors import NotFiniteError, SettingError, TargetError
from bitlens.probe import frozen
from bitlens.probe.endings import output_form

Quantity = Literal["score", "value"]

_CPU_TOKENS = 512  # more do not make a CPU faster, and texts that share a pass are padded to the longest


@dataclass(frozen=True)
class ImageQuestion:
    """Images that are explained together, what is asked about them, and the network that answers.

    Series, volumes and tables are asked about alike: (H, W) stands for their places, see `Places`, and a network that takes its
    channels elsewhere, or none, is given its inputs as it takes them.

    Attributes:
        inputs: the arguments of the network for these samples, as it takes them.
        places: of the inputs.
        run: variants (R, C, H, W) → output; row b*n + i is a variant of sample i.
        target: the question, one for each of the n samples.
        output: of the network for the unchanged images, without gradients.
        rows: how many rows may go through the network at once.
    """

    inputs: ModelInputs
    places: Places
    run: Callable[..., Any]
    target: Target
    output: Any
    rows: int

    @property
    def images(self) -> Tensor:
        """Return the images (n, C, H, W), the first of the network's arguments; half precision is the network's alone."""
        images = self.places.first(self.inputs.first)
        return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images

    @property
    def size(self) -> tuple[int, ...]:
        """Return the height and width of the images: how many places there are along each axis."""
        return self.places.size

    def as_input(self, name: str, values: Tensor) -> Tensor:
        """Return a setting that holds one input as the network takes it, or one that broadcasts to it, as (1, C, H, W).

        Raises:
            SettingError: if it does not fit the inputs.
        """
        shape = self.inputs.first.shape[1:]
        if values.dim() != len(shape) or any(
            own not in (1, size) for own, size in zip(values.shape, shape, strict=True)
        ):
            raise SettingError(
                f"{name} has shape {tuple(values.shape)}, the inputs {tuple(shape)}: give one input of that shape, or a colour "
                "(C, 1, 1)"
            )
        return self.places.first(values.to(self.images)[None])

    def score(self, variants: Tensor) -> Tensor:
        """Return the target's score (R,) of variants (R, C, H, W), the pre-softmax logit of a class; see `run`."""
        return self._answers(variants, "score")

    def value(self, variants: Tensor) -> Tensor:
        """Return what a person reads of the target (R,), the probability of a class."""
        return self._answers(variants, "value")

    def gradient(self, variants: Tensor) -> Tensor:
        """Return the gradient of every variant's score with respect to it, (R, C, H, W); see `gradient_of`."""
        return gradient_of(self.score, variants, "input")

    def _answers(self, variants: Tensor, quantity: Quantity) -> Tensor:
        output = self.run(variants.clone())  # a network may overwrite what it is given
        return one_each("row", getattr(self.target, quantity)(output), len(variants))


def gradient_of(score: Callable[[Tensor], Tensor], variants: Tensor, place: str) -> Tensor:
    """Return the gradient of every variant's score (R,) with respect to it, in the shape of the variants (R, ...).

    Args:
        score: variants → (R,).
        variants: where the gradient is taken; they get none themselves.
        place: what they are, for errors.

    Raises:
        SettingError: if the score has no gradient there.
    """
    leaf = variants.detach().requires_grad_()
    values = score(leaf)
    if not values.requires_grad:
        raise SettingError(
            f"the score has no gradient at the {place}: the network or the target detaches it on the way"
        )
    gradient: Tensor = torch.autograd.grad(values.sum(), leaf)[0]
    return gradient


def one_each(kind: str, answers: Tensor, count: int) -> Tensor:
    """Refuse a target that does not give one number for each of `count` things."""
    if answers.shape != (count,):
        raise TargetError(
            f"the target must give one number per {kind}, shape ({count},); it gave {tuple(answers.shape)}"
        )
    return answers


def in_passes(ask: Callable[[slice], Tensor], samples: int, steps: int, rows: int) -> Tensor:
    """Return what is answered at every step, (samples, steps), with as many steps in a pass as fit.

    Args:
        ask: for v of the steps, the answers (v*samples,), copy-major.
        samples: how many there are.
        steps: how many there are, one or more.
        rows: how many variants may go through the network at once.
    """
    several = max(1, rows // samples)
    parts = [ask(slice(start, min(start + several, steps))) for start in range(0, steps, several)]
    answers = torch.cat(parts).reshape(steps, samples).T
    NotFiniteError.refuse("the answer to changed copies", answers)
    return answers


class TextModel(Protocol):
    """A network for texts as `load_model` gives it."""

    @property
    def model(self) -> nn.Module:
        """The network, which takes a batch's `inputs` as keywords."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Return what cuts texts into the network's tokens."""

    @property
    def embedding(self) -> str:
        """The dotted name of the word embedding."""


@dataclass(frozen=True)
class TextQuestion:
    """Texts, what is asked about them, and the network that answers.

    Attributes:
        batch: n texts, on the network's device.
        target: the question, one for each text.
        form: how the network's output is read.
        output: of the network for the unchanged texts.
        run: the network's keyword arguments → output.
        rows: how many texts may go through the network at once.
        mask_id: of the token that takes a removed one's place.
        pad_id: of the token behind the end of a text.
    """

    batch: TokenBatch
    target: Target
    form: OutputForm
    output: Any
    run: Callable[[dict[str, Tensor]], Any]
    rows: int
    mask_id: int
    pad_id: int

    @torch.no_grad()
    def without(self, removed: Tensor, rows: Tensor, mode: Removal) -> Tensor:
        """Return the target's score (R,) for texts without some of their tokens, the pre-softmax logit of a class.

        Args:
            removed: (R, T) bool.
            rows: (R,) which of the n texts each is a variant of.
            mode: "delete" or "replace".
        """
        return self.answers(*without(removed, self.batch.present[rows], mode), rows, "score")

    def answers(self, places: Tensor, present: Tensor, rows: Tensor, quantity: Quantity) -> Tensor:
        """Return what the target says of variants of texts, (R,): its score, or its value (see `Target`).

        Texts of like length go through the network together, without the padding behind the longest of them.

        Args:
            places: (R, T) which position of the text stands where, see `without`.
            present: (R, T) bool, where there are tokens.
            rows: (R,) which of the n texts each is a variant of.
            quantity: "score" or "value".
        """
        lengths = present.sum(1).cpu()
        order = lengths.argsort(descending=True, stable=True)
        answers = torch.zeros(len(rows), device=places.device, dtype=torch.float32)
        done = 0
        while done < len(order):
            longest = max(1, int(lengths[order[done]]))
            chosen = order[done : done + self._at_once(longest)].to(places.device)
            own = rows[chosen]
            inputs = arranged(
                self.batch, own, places[chosen, :longest], present[chosen, :longest], self.mask_id, self.pad_id
            )
            asked = self.target.select(own).at(last_token(present[chosen, :longest]))
            found = getattr(asked, quantity)(self.run(inputs))
            answers[chosen] = one_each("text", found, len(own)).float()
            done += len(chosen)
        return answers

    def _at_once(self, length: int) -> int:
        """Return how many texts of this length go through the network together."""
        if self.batch.real.device.type != "cpu":
            return self.rows
        return max(1, min(self.rows, _CPU_TOKENS // length))


@contextmanager
def asking(
    loaded: TextModel,
    batch: TokenBatch,
    targets: Any,
    rows: int,
    precision: Precision = "float32",
    output: Any = None,
    *,
    choice: OutputChoice = None,
) -> Iterator[TextQuestion]:
    """Hold the network in evaluation mode, without weight gradients, and let it answer for changed texts.

    Args:
        loaded: the network and its tokenizer.
        batch: the texts, on the network's device.
        targets: None for the predicted class, a class index, (n,) indices, a `Target` or a callable.
        rows: how many texts may go through the network at once.
        precision: of the network's answers.
        output: of the network for the texts, if it is known already.
        choice: what a user says of the network's output.
    """
    model = loaded.model
    device = batch.real.device
    weights = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    lower = [suffix_dtype(precision, weights, model)]

    def run(inputs: dict[str, Tensor]) -> Any:
        try:
            with torch.autocast(device.type, dtype=lower[0] or torch.bfloat16, enabled=lower[0] is not None):
                return model(**inputs)
        except RuntimeError as error:  # DeBERTa masks with the least float32 number
            if lower[0] is None or "without overflow" not in str(error):
                raise
            lower[0] = None
            return model(**inputs)

    with frozen(model), torch.autocast(device.type, enabled=False):
        if output is None:
            with torch.no_grad():
                output = run({name: value.clone() for name, value in batch.inputs.items()})
        form = output_form(model, batch.inputs, output, choice)
        target = as_target(targets, output, len(batch), form, last=last_token(batch.present))
        yield TextQuestion(batch, target, form, output, run, rows, loaded.tokenizer.mask_id, loaded.tokenizer.pad_id)
