"""Samples in groups that share passes of the network, and what is found for them put together again.

Images are taken as they come. Texts are taken longest first, so that those of a group have like lengths, and are cut to the
longest of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import TOP
from bitlens.core.inputs import ModelInputs, as_captum
from bitlens.core.passes import Passes, Precision, RunOptions
from bitlens.core.targets import permuted_targets, select_targets
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import InputError, SettingError
from bitlens.probe import Compiler, Probe, locating
from bitlens.probe.following import following

ORDINARY, PADDING = -1, -2
"""Kinds of positions that are not special tokens; a special token's kind is its id."""

COPIES_AT_ONCE = 2  # of each sample; the more samples share a pass, the fuller it is, also where copies are few


@dataclass(frozen=True)
class Wanted:
    """What a call of `explain` is to give.

    Attributes:
        evidence_samples: fresh noise samples under which the target is measured; 0 for none.
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
        """How many tokens each text has (n,), padding left out; None for other inputs."""
        return (self.kinds != PADDING).sum(1).cpu() if self.kinds.shape[1] else None


@dataclass(frozen=True, eq=False)
class Samples:
    """What is explained, in the order in which it is.

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
        special_tokens_mask (N, T), which says which tokens are special and is not passed on to the network.

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
        if not isinstance(batch, Mapping):
            raise InputError(
                f"texts must be a TokenBatch or a mapping with input_ids and attention_mask, got {type(batch).__name__}"
            )
        arguments = dict(batch)
        special = arguments.pop("special_tokens_mask", None)
        if _tokens_of(arguments) is None:
            raise InputError(f"texts must hold input_ids or inputs_embeds, got {', '.join(arguments)}")
        given = ModelInputs.of(arguments, first=_tokens_of(arguments))
        tokens = given.first
        size, device = tokens.shape[:2], tokens.device
        mask = arguments.get("attention_mask")
        present = torch.ones(size, device=device) if mask is None else mask
        if present.shape != size or (special is not None and special.shape != size):
            raise InputError(f"attention_mask and special_tokens_mask must be {tuple(size)}, one entry for each token")
        special = torch.zeros(size, device=device) if special is None else special
        kinds = _kinds(arguments, present.bool(), special.to(device).bool())
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
        """Whether a text ends before the longest does."""
        return bool(self.kinds.shape[1]) and int(self.lengths.min()) < int(self.lengths.max())

    def select(self, rows: slice | Tensor) -> "Samples":
        """Return some samples; texts are cut to the length that the longest of them needs."""
        some = replace(self, inputs=self.inputs.select(rows), kinds=self.kinds[rows])
        if any(value.shape[1:] != some.kinds.shape[1:] for value, own in some.inputs.items() if own):
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


def _place_of(samples: Samples, group: Group, one: int) -> int:
    """Return which of the samples as they were given one of a group is."""
    place = group.done - group.inputs.count + one
    return place if samples.order is None else int(samples.order[place])


def _tokens_of(arguments: Mapping[str, Any]) -> str | None:
    return next((name for name in ("input_ids", "inputs_embeds") if arguments.get(name) is not None), None)


def _kinds(inputs: Mapping[str, Any], present: Tensor, special: Tensor) -> Tensor:
    ids = inputs.get("input_ids", torch.zeros_like(present, dtype=torch.long))
    return torch.where(present, torch.where(special, ids.long(), ORDINARY), PADDING)


class GroupedMethod(ABC):
    """A method that explains samples in groups.

    Args:
        seed: of all noise. The same seed gives the same map on the same machine, whatever the batch and its padding, up to
            rounding.
        precision: of the network behind the layer: "float32", "bfloat16", or "auto" (bfloat16 where the hardware multiplies it
            natively, float32 elsewhere). Masks and information are always float32.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.
        allow_bypass: whether a layer is restricted although the input also reaches the output by another way.
        keep: the share of the target, between its value under nothing but noise and its clean value, that a map must hold: the
            fewest bits are found that do. In place of a price, so `beta` cannot be given with it.
        bits: how many bits may pass in all, exact to 0.1 %: the best map within so many.
    """

    method: str
    """Its name in `bitlens.methods`."""

    probe: Probe
    """The way into the layer."""

    def __init__(
        self,
        *,
        allow_bypass: bool = False,
        keep: float | None = None,
        bits: float | None = None,
        **run: Unpack[RunOptions],
    ) -> None:
        self.passes, self.allow_bypass = Passes(**run), allow_bypass
        self.keep, self.bits = keep, bits
        if keep is not None and not 0 < keep < 1:
            raise SettingError(f"keep must be a share above 0 and below 1, got {keep!r}")
        if bits is not None and not bits > 0:
            raise SettingError(f"bits must be above 0, got {bits!r}")
        if keep is not None and bits is not None:
            raise SettingError("keep says what must hold and bits how much may pass: give one of them")

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.probe.model

    def price(self, beta: float, default: float) -> float:
        """Return the weight of the information.

        Raises:
            SettingError: if one is given although a share of the target is to be kept.
        """
        if beta != default and self.keep is not None:
            raise SettingError("keep decides how much passes, and so does beta: give one of them")
        return beta

    @property
    def aim(self) -> dict[str, float]:
        """What decides how much passes, where it is no price."""
        return {name: value for name in ("keep", "bits") if (value := getattr(self, name)) is not None}

    @property
    def proof(self) -> int:
        """Noises under which the target is measured, unless somebody says otherwise."""
        return 32 if self.keep is None else 8

    @property
    def seed(self) -> int:
        """Of all noise."""
        return self.passes.seed

    @property
    def precision(self) -> Precision:
        """Of the network behind the layer."""
        return self.passes.precision

    def explain(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        evidence_samples: int | None = None,
        keep_capacity: bool = False,
        curve: bool = False,
        spread: int = 0,
        spread_top: float = TOP,
        progress: Callable[[int], None] | None = None,
        watch: Callable[[int, Tensor], None] | None = None,
    ) -> Attribution:
        """Explain how much of each part of the inputs the network uses for the targets.

        Args:
            inputs: N samples: (N, C, H, W) images or whatever the network takes (a tuple or mapping for several arguments, of
                which the first tensor carries the samples). Texts: a `TokenBatch`, or a mapping of keyword arguments with
                input_ids and attention_mask (and special_tokens_mask if special tokens are to be known).
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            evidence_samples: fresh noise samples under which the target is measured; 0 leaves the evidence out. 32 if not
                given, 8 where a share is kept, which was found under others.
            keep_capacity: whether to keep the bits of every feature, (N, ...) like the layer's output.
            curve: whether to measure how many bits each share of the target takes, see `Curve`.
            spread: with how many seeds, this one and those that follow, maps are fitted, to see how far they differ, see
                `Spread`; 0 leaves that out. All share the pass in front of the layer, and what was prepared there.
            spread_top: which share of the places counts as a map's top there.
            progress: called with the number of samples explained so far.
            watch: called before each optimisation step with the number of steps done and the maps so far, in bits and on the
                device of the optimisation, of the samples under way: to show it while it runs.

        Returns:
            Maps: (N, H, W) for images, (N, T) for tokens, (N, D) for vectors; zero at padding, and at tokens that are left
            whole.

        Raises:
            SettingError: if the spread is to be over a single seed.
            StatisticsError: if what the method must learn first is missing or does not fit the layer's output.
            InputError: if the inputs are empty or not finite, or not of the kind that the method explains.
            TargetError: if the targets do not fit the network's output.
            LayerError: if the layer cannot be restricted.
            FitError: if the network's output or gradient is not finite under noise.
        """
        if spread < 0 or spread == 1:
            raise SettingError(f"spread is over at least two seeds, got {spread!r}")
        if not 0 < spread_top < 1:
            raise SettingError(f"spread_top must be a share above 0 and below 1, got {spread_top!r}")
        self.check()
        samples = self.read(inputs, targets).arranged(self.probe.device)
        proofs = self.proof if evidence_samples is None else evidence_samples
        wanted = Wanted(proofs, keep_capacity, curve, spread, spread_top, watch=watch)
        return samples.together(list(self.explained(samples, targets, wanted, progress)))

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        """Return the maps as Captum's methods do: (N, 1, H, W) or (N, T) on the inputs' device, in a tuple for a tuple."""
        given = inputs if additional_forward_args is None else ModelInputs.of(inputs, additional_forward_args)
        samples = self.samples(given)
        maps = self.explain(samples, target, evidence_samples=0).map
        return as_captum(maps, inputs, samples.inputs.first.device)

    def explained(
        self, samples: Samples, targets: Any, wanted: Wanted, progress: Callable[[int], None] | None
    ) -> Iterator[Attribution]:
        """Give the attribution of each group of (arranged) samples."""
        alike = samples.padded and self.reads_padding(samples)
        for group in samples.groups(targets, wanted, self.rows, self.copies, alike=alike):
            with (
                torch.autocast(self.probe.device.type, enabled=False),  # `precision` alone decides
                locating(
                    self.model, group.inputs, partial(_place_of, samples, group), None, partial(self._again, group)
                ),
            ):
                found = self.explain_group(group)
            yield found
            if progress is not None:
                progress(group.done)

    def _again(self, group: Group, one: int) -> Attribution:
        """Explain one sample of a group alone."""
        rows, count = slice(one, one + 1), group.inputs.count
        asked = select_targets(group.targets, one, one + 1, count)
        return self.explain_group(
            replace(group, inputs=group.inputs.select(rows), kinds=group.kinds[rows], targets=asked)
        )

    def rows(self, inputs: ModelInputs) -> int:
        """Return how many rows like these inputs may go through the network at once."""
        return self.passes.rows(lambda: self.probe.bytes_per_row(inputs), self.probe.device)

    @property
    def copies(self) -> int:
        """How many noisy copies of each sample a pass should hold at least."""
        return COPIES_AT_ONCE

    def reads_padding(self, samples: Samples) -> bool:  # noqa: ARG002
        """Whether the network reads what stands at padding, so that (arranged) texts of other lengths must not share a group."""
        return False

    @abstractmethod
    def check(self) -> None:
        """Refuse to begin without what must be learnt first."""

    @abstractmethod
    def samples(self, inputs: Any) -> Samples:
        """Read what is to be explained."""

    def read(self, inputs: Any, targets: Any) -> Samples:
        """Read what is to be explained, and ask the network which arguments belong to the samples."""
        samples = self.samples(inputs)
        return replace(samples, inputs=following(self.model, samples.inputs, self.passes.output, targets))

    @abstractmethod
    def explain_group(self, group: Group) -> Attribution:
        """Explain samples whose noisy copies go through the network together."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
