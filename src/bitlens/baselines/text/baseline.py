"""What all text baselines share: texts in groups that fit the memory, one score for every variant, a map for every text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.baselines.baseline import fixed_seed
from bitlens.baselines.text.changes import Removal, arranged, selected, without
from bitlens.core.attribution import Attribution
from bitlens.core.passes import Precision, rows_at_once, suffix_dtype
from bitlens.core.targets import Target, as_target, select_targets
from bitlens.data.tokenizing import TokenBatch, Tokenizer
from bitlens.errors import InputError, SettingError, TargetError
from bitlens.probe import Network, frozen
from bitlens.version import __version__

__all__ = ["Question", "TextBaseline", "TextModel", "asking"]

_CPU_TOKENS = 512  # more do not make a CPU faster, and texts that share a pass are padded to the longest


class TextModel(Protocol):
    """A network for texts as `load_text_model` gives it."""

    @property
    def model(self) -> nn.Module:
        """Takes a batch's `inputs` as keywords."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its own."""
        ...

    @property
    def embedding(self) -> str:
        """Dotted name of the word embedding."""
        ...


@dataclass(frozen=True)
class Question:
    """Texts, what is asked about them, and the network that answers.

    Attributes:
        batch: n texts, on the network's device.
        target: the question, one for each text.
        output: of the network for the unchanged texts.
        run: the network's keyword arguments → output.
        rows: how many texts may go through the network at once.
        mask_id: of the token that takes a removed one's place.
        pad_id: of the token behind the end of a text.
    """

    batch: TokenBatch
    target: Target
    output: Any
    run: Callable[[dict[str, Tensor]], Any]
    rows: int
    mask_id: int
    pad_id: int

    def without(self, removed: Tensor, rows: Tensor, mode: Removal) -> Tensor:
        """The target's score (R,) for texts without some of their tokens, the pre-softmax logit of a class.

        Args:
            removed: (R, T) bool.
            rows: (R,) which of the n texts each is a variant of.
            mode: "delete" or "replace".
        """
        return self.answers(*without(removed, self.batch.present[rows], mode), rows, "score")

    def answers(self, places: Tensor, present: Tensor, rows: Tensor, quantity: Literal["score", "value"]) -> Tensor:
        """What the target says of variants of texts, (R,): its score, or its value (see `Target`).

        Texts of like length go through the network together, without the padding behind the longest of them.

        Args:
            places: (R, T) which position of the text stands where, see `without`.
            present: (R, T) bool, where there are tokens.
            rows: (R,) which of the n texts each is a variant of.
            quantity: "score" or "value".
        """
        lengths = present.sum(1).cpu()
        order = lengths.argsort(descending=True, stable=True)
        answers = torch.zeros(len(rows), device=places.device)
        done = 0
        while done < len(order):
            longest = max(1, int(lengths[order[done]]))
            chosen = order[done : done + self._at_once(longest)].to(places.device)
            own = rows[chosen]
            inputs = arranged(
                self.batch, own, places[chosen, :longest], present[chosen, :longest], self.mask_id, self.pad_id
            )
            found = getattr(self.target.select(own), quantity)(self.run(inputs))
            if found.shape != own.shape:
                raise TargetError(
                    f"the target must give one number per text, shape ({len(own)},); it gave {tuple(found.shape)}"
                )
            answers[chosen] = found.float()
            done += len(chosen)
        return answers

    def _at_once(self, length: int) -> int:
        """How many texts of this length go through the network together."""
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
) -> Iterator[Question]:
    """Within the block the network is in evaluation mode, without weight gradients, and answers for changed texts.

    Args:
        loaded: the network and its tokenizer.
        batch: the texts, on the network's device.
        targets: None for the predicted class, a class index, (n,) indices, a `Target` or a callable.
        rows: how many texts may go through the network at once.
        precision: of the network's answers.
        output: of the network for the texts, if it is known already.
    """
    model = loaded.model
    device = batch.real.device
    weights = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    lower = [suffix_dtype(precision, weights)]

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
        target = as_target(targets, output, len(batch))
        yield Question(batch, target, output, run, rows, loaded.tokenizer.mask_id, loaded.tokenizer.pad_id)


class TextBaseline(ABC):
    """A method that gives every token a score. Special tokens and padding get 0 and are never removed.

    The network is left as it was after every call.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        seed: of all random numbers; the same seed gives the same maps.
        internal_batch_size: how many texts go through the network at once; "auto" bounds the memory.

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method: str
    """Its name in the list of methods for texts."""

    layer: str = ""
    """Dotted name of the layer it looks at, if there is one."""

    copies: int = 1
    """How many rows one text needs at the same time, at least: it decides how many texts make a group."""

    precision: Precision = "float32"
    """What the network computes in, where a method lets that be chosen."""

    def __init__(
        self, loaded: TextModel, *, seed: int = 0, internal_batch_size: int | Literal["auto"] = "auto"
    ) -> None:
        if internal_batch_size != "auto" and not (isinstance(internal_batch_size, int) and internal_batch_size > 0):
            raise SettingError(f"internal_batch_size must be 'auto' or a positive integer, got {internal_batch_size!r}")
        self.loaded, self.network = loaded, Network(loaded.model)
        self.seed, self.internal_batch_size = seed, internal_batch_size

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.network.model

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything besides the seed that decides what a map looks like, as plain values."""

    @abstractmethod
    def maps(self, question: Question) -> Tensor:
        """(n, T) scores for a group of texts; what stands at special tokens and padding does not matter."""

    def explain(
        self, inputs: TokenBatch, targets: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> Attribution:
        """A score for every token.

        Args:
            inputs: N texts of T positions, as the network's tokenizer gives them.
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            progress: called with the number of texts explained so far.

        Returns:
            Maps (N, T) with unit "score".

        Raises:
            InputError: if the inputs are no texts.
            TargetError: if the targets do not fit the network's output.
            SettingError: if the method cannot be used on this network.
        """
        if not isinstance(inputs, TokenBatch):
            raise InputError(
                f"{self.method} needs a TokenBatch, as the network's tokenizer makes of texts, got {type(inputs).__name__}"
            )
        batch = inputs.to(self.network.device)
        rows = self.internal_batch_size
        if rows == "auto":
            rows = rows_at_once(self.network.bytes_per_row(self.network.prepared(batch.inputs)), self.network.device)
        size = max(1, rows // self.copies)
        parts = []
        for start in range(0, len(batch), size):
            chosen = select_targets(targets, start, min(start + size, len(batch)), len(batch))
            parts.append(self._explain_group(selected(batch, slice(start, start + size)), chosen, rows))
            if progress is not None:
                progress(min(start + size, len(batch)))
        length = batch.real.shape[1]
        return Attribution.join([replace(p, map=F.pad(p.map, (0, length - p.map.shape[1]))) for p in parts])

    def _explain_group(self, batch: TokenBatch, targets: Any, rows: int) -> Attribution:
        device = self.network.device
        with (
            fixed_seed(self.seed, device),
            asking(self.loaded, batch, targets, rows, self.precision) as question,
            torch.backends.cudnn.flags(enabled=False),  # its LSTMs have no gradient in evaluation mode
        ):
            with torch.enable_grad():
                maps = self.maps(question).detach()
            maps = torch.where(batch.real, maps, 0).float().cpu()
        texts = question.target.describe()
        return Attribution(
            map=maps,
            unit="score",
            method=self.method,
            targets=texts if len(texts) == len(batch) else texts * len(batch),
            settings={**self.settings(), "seed": self.seed},
            model=type(self.model).__name__,
            layer=self.layer,
            version=__version__,
        )
