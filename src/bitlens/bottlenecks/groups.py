"""Samples in groups that share passes of the network, and what is found for them put together again.

Images are taken as they come. Texts are taken longest first, so that those of a group have like lengths, and are cut to the
longest of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import TOP
from bitlens.core.inputs import ModelInputs
from bitlens.core.targets import permuted_targets, select_targets
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import InputError
from bitlens.probe import Compiler

_DECODER = ("decoder_input_ids", "decoder_inputs_embeds")
ORDINARY, PADDING = -1, -2
"""Kinds of positions that are not special tokens; a special token's kind is its id."""


@dataclass(frozen=True)
class Wanted:
    """Wishes of a call of `explain`.

    Attributes:
        evidence_samples: fresh noise samples under which the target is measured; 0 for none.
        more_evidence: whether there may be more of them, where so many leave open how much is kept.
        keep_capacity: whether the bits of every feature are kept.
        curve: whether bits against the kept share are wanted.
        seeds: with how many seeds maps are fitted, to see how far they differ; 0 for their own alone.
        top: which share of the places counts as a map's top.
        refits: takes the maps (seeds, n, ...) of each group, if somebody asks.
        watch: called before each optimisation step with the number of steps done and the maps so far.
        guides: takes what the stages before the last found, group by group, if somebody asks.
        compiler: of the call's graphs: within it the weights stay what they are.
    """

    evidence_samples: int = 0
    more_evidence: bool = False
    keep_capacity: bool = False
    curve: bool = False
    seeds: int = 0
    top: float = TOP
    refits: list[Tensor] | None = None
    watch: Callable[[int, Tensor], None] | None = None
    guides: list[Any] | None = None
    compiler: Compiler = field(default_factory=Compiler)


@dataclass(frozen=True, eq=False)
class Group:
    """Samples whose noisy copies go through the network together.

    Attributes:
        inputs: the network's arguments; of texts cut to the longest.
        kinds: of texts, what stands at each position (n, T), see `Samples`; (n, 0) for other inputs.
        targets: what is asked of each, as the user gave it.
        rows: how many rows may go through the network at once.
        done: how many samples are done with when these are.
        wanted: what is to be found.
    """

    inputs: ModelInputs
    kinds: Tensor
    targets: Any
    rows: int
    done: int
    wanted: Wanted

    @property
    def places(self) -> Tensor | None:
        """Return how many tokens each text has (n,), padding left out; None for other inputs."""
        return (self.kinds != PADDING).sum(1).cpu() if self.kinds.shape[1] else None


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples to be explained, in the order in which they are.

    Attributes:
        inputs: the network's arguments for N samples.
        kinds: of texts, what stands at each position (N, T): `ORDINARY`, `PADDING`, or the id of a special token; (N, 0) for
            other inputs.
        order: (N,) which of the given samples each is; None if none has changed its place (`arranged`).
    """

    inputs: ModelInputs
    kinds: Tensor
    order: Tensor | None = None

    @classmethod
    def of(cls, inputs: Any) -> "Samples":
        """Read images, or whatever else a network takes that is no text."""
        if isinstance(inputs, cls):
            return inputs
        given = ModelInputs.of(inputs)
        return cls(given, torch.empty(given.count, 0, dtype=torch.long))

    @classmethod
    def of_texts(cls, batch: Any) -> "Samples":
        """Read a `TokenBatch`, or a mapping of keyword arguments as tokenizers of transformers give it.

        A mapping holds input_ids or inputs_embeds, an attention_mask where there is padding, and may hold a
        special_tokens_mask (N, T), which says which tokens are special and is not passed on to the network. What a decoder beside
        an encoder has read is the text of `ModelInputs.of(mapping, first="decoder_input_ids")`, with its decoder_attention_mask.

        Raises:
            InputError: if there are no tokens, or a text has none.
        """
        if isinstance(batch, cls):
            return batch
        if isinstance(batch, TokenBatch):
            return cls(
                ModelInputs.of(batch.inputs, first=_tokens_of(batch.inputs)),
                _kinds(batch.inputs, batch.present, batch.special),
            )
        own = batch.chosen if isinstance(batch, ModelInputs) else None
        batch = batch.kwargs if isinstance(batch, ModelInputs) else batch
        if not isinstance(batch, Mapping):
            raise InputError(
                f"texts must be a TokenBatch or a mapping with input_ids and attention_mask, got {type(batch).__name__}"
            )
        arguments = dict(batch)
        special = arguments.pop("special_tokens_mask", None)
        lead = own if own in _DECODER else _tokens_of(arguments)
        if lead is None:
            raise InputError(f"texts must hold input_ids or inputs_embeds, got {', '.join(arguments)}")
        given = ModelInputs.of(arguments, first=lead)
        tokens = given.first
        size, device = tokens.shape[:2], tokens.device
        mask = arguments.get("decoder_attention_mask" if lead in _DECODER else "attention_mask")
        present = torch.ones(size, device=device, dtype=torch.float32) if mask is None else mask
        if present.shape != size or (special is not None and special.shape != size):
            raise InputError(f"attention_mask and special_tokens_mask must be {tuple(size)}, one entry for each token")
        special = torch.zeros(size, device=device, dtype=torch.float32) if special is None else special
        kinds = _kinds(
            {"input_ids": tokens} if lead in _DECODER else arguments, present.bool(), special.to(device).bool()
        )
        empty = (kinds == PADDING).all(1).nonzero().flatten().tolist()
        if empty:
            raise InputError(f"text {empty[0]} has no token: its attention_mask is zero everywhere")
        return cls(given, kinds)

    def __len__(self) -> int:
        return self.inputs.count

    @property
    def lengths(self) -> Tensor:
        """(N,) how many positions each text needs, up to its last token."""
        places = torch.arange(1, self.kinds.shape[1] + 1, device=self.kinds.device)
        return (places * (self.kinds != PADDING)).amax(1)

    @property
    def padded(self) -> bool:
        """Return whether a text ends before the longest does."""
        return bool(self.kinds.shape[1]) and int(self.lengths.min()) < int(self.lengths.max())

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """Return the special tokens that the first text begins with, and those that it ends with."""
        kinds = [kind for kind in self.kinds[0].tolist() if kind != PADDING]
        begun = list(takewhile(lambda kind: kind != ORDINARY, kinds))
        return begun, list(takewhile(lambda kind: kind != ORDINARY, reversed(kinds[len(begun) :])))[::-1]

    def select(self, rows: slice | Tensor) -> "Samples":
        """Return some samples; texts are cut to the length that the longest of them needs."""
        some = replace(self, inputs=self.inputs.select(rows), kinds=self.kinds[rows])
        carried = {key: some.inputs[key] for key in some.inputs.carriers}
        if any(value.shape[1:] != some.kinds.shape[1:] for value in carried.values()) or set(carried) & {*_DECODER}:
            return some  # images; a mask between tokens, embeddings: which axes count tokens is not ours to guess
        length = int(some.lengths.max())
        return replace(some, inputs=some.inputs.cut(length), kinds=some.kinds[:, :length])

    def arranged(self, device: torch.device) -> "Samples":
        """Return images as they are; texts on a device and longest first, so that those of like length are neighbours."""
        if not self.kinds.shape[1]:
            return self
        inputs, kinds = self.inputs.to(device), self.kinds.to(device)
        order = replace(self, kinds=kinds).lengths.argsort(descending=True, stable=True)
        return Samples(inputs.select(order), kinds[order], order)

    def groups(
        self,
        targets: Any,
        wanted: Wanted,
        rows_for: Callable[[ModelInputs], int],
        copies: int,
        *,
        alike: bool = False,
    ) -> Iterator[Group]:
        """Give all samples in their order, as many at once as fit.

        Args:
            targets: what is asked, in the order in which the samples were given.
            wanted: what is to be found.
            rows_for: inputs → how many rows like them may go through the network at once; asked once for each size.
            copies: of each sample that a pass should hold at least.
            alike: whether only texts of one length share a group, so that none is padded.

        Raises:
            TargetError: if there are several targets, but not one for each sample.
        """
        count, start = len(self), 0
        known: dict[Any, int] = {}
        targets = targets if self.order is None else permuted_targets(targets, self.order, count)
        while start < count:
            ahead = self.select(slice(start, start + 2)).inputs
            if ahead.signature not in known:
                known[ahead.signature] = rows_for(ahead)
            rows = known[ahead.signature]
            stop = min(count, start + max(1, rows // copies))
            if alike:
                stop = start + int((self.lengths[start:stop] == self.lengths[start]).sum())
            some, asked = self.select(slice(start, stop)), select_targets(targets, start, stop, count)
            yield Group(some.inputs, some.kinds, asked, rows, stop, wanted)
            start = stop

    def restored(self, parts: Sequence[Tensor]) -> Tensor:
        """Return values of each group (n, ...) as one tensor (N, ...), as the samples were given; texts are padded with 0."""
        if self.order is None:
            return torch.cat(list(parts))
        return torch.cat([self._padded(part) for part in parts])[self.order.argsort().cpu()]

    def together(self, parts: Sequence[Attribution]) -> Attribution:
        """Return the attributions of all groups as one, as the samples were given; maps of texts are padded with 0."""
        if self.order is None:
            return Attribution.join(parts)
        whole = [
            replace(
                part,
                map=self._padded(part.map),
                cells=self._padded(part.cells) if part.cells is not None else None,
                against=self._padded(part.against) if part.against is not None else None,
                capacity=self._padded(part.capacity) if part.capacity is not None else None,
                curve=replace(part.curve, maps=self._padded(part.curve.maps, 2)) if part.curve is not None else None,
                spread=replace(part.spread, std=self._padded(part.spread.std)) if part.spread is not None else None,
            )
            for part in parts
        ]
        joined = Attribution.join(whole)
        return Attribution.join([joined[int(place)] for place in self.order.argsort().cpu()])

    def _padded(self, values: Tensor, axis: int = 1) -> Tensor:
        return F.pad(values, (0, 0) * (values.dim() - 1 - axis) + (0, self.kinds.shape[1] - values.shape[axis]))


def _tokens_of(arguments: Mapping[str, Any]) -> str | None:
    return next((name for name in ("input_ids", "inputs_embeds") if arguments.get(name) is not None), None)


def _kinds(inputs: Mapping[str, Any], present: Tensor, special: Tensor) -> Tensor:
    ids = inputs.get("input_ids", torch.zeros_like(present, dtype=torch.long))
    return torch.where(present, torch.where(special, ids.long(), ORDINARY), PADDING)
