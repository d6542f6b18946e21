"""What a bottleneck is: noise in the place of features, masks that say how much of it, and what then passes, in bits.

A subclass says how its inputs are read, how a group of them is recorded, and how masks are found. Grouping, evidence and
attribution are the same for all.
"""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from bitlens.bottlenecks.grouped import COPIES_AT_ONCE, GroupedMethod
from bitlens.bottlenecks.groups import Group, Wanted
from bitlens.bottlenecks.recorded import Reading, Recorded
from bitlens.bottlenecks.settling import settle
from bitlens.core.attribution import Attribution
from bitlens.core.effort import FitSettings
from bitlens.core.evidence import Curve, Evidence, Spread
from bitlens.core.family import Fitted, MaskFamily
from bitlens.core.fitting import fit_masks
from bitlens.core.holding import FAR, SEARCHED, Holding
from bitlens.core.maps import bits_of, bits_of_extra, bits_per_cell, bits_per_pixel, covers, unit_of
from bitlens.core.naming import names_still, refuse_others
from bitlens.core.opening import gains
from bitlens.errors import NotFiniteError, TargetError
from bitlens.version import __version__

EVIDENCE_STREAM = 0x5DEECE66D  # evidence must not reuse the noise that a mask was fitted on
_LOST, _LOSSES = 0x4CF5AD43, 4  # noises of what a loss is without anything, from a stream of their own
_NATS = 1.0  # that it counts then, at a price for each nat: about there the fewest bits hold
_GUARANTEED = 0x165667B1  # beyond it: what a guarantee says of a sample is seen under other noise


class Bottleneck(GroupedMethod):
    """A method that finds masks for what a layer puts out, and tells what passes them."""

    fit: FitSettings
    """How masks are optimised."""

    @property
    def copies(self) -> int:
        """Return how many noisy copies of each sample a pass should hold at least."""
        return min(COPIES_AT_ONCE, self.fit.noise_samples)

    @property
    def proof(self) -> int:
        """Return fewer noises where masks that hold are not looked at again."""
        return super().proof if self.keep is None or self.fit.closes else SEARCHED

    @abstractmethod
    def recorded(self, group: Group) -> AbstractContextManager[Recorded]:
        """Run a group through the network; within the block what comes behind the layer can run again."""

    @abstractmethod
    def masks(self, recorded: Recorded) -> Fitted:
        """Decide how much of each feature passes."""

    def explain_group(self, group: Group) -> Attribution:
        """Explain samples whose noisy copies go through the network together."""
        with self.recorded(group) as recorded, torch.enable_grad():
            NotFiniteError.refuse("the network's answer", recorded.target.value(recorded.output).detach())
            if self.opens:
                return self._opening(recorded)
            if self.guarantee is not None and self.guarantee.asked == "predicted":
                refuse_others(recorded.target, recorded.output)
            if self.signed:
                self.check_sides(recorded)
            first = self.masks(recorded)
            found = settle(recorded, first, self.fit, self.keep, self.bits)
            proof = found.evidence
            if proof is not None and self.allow_bypass and recorded.recording is not None:
                proof = replace(proof, bypass_allowed=True)
            read = self.reading(recorded, found.fitted)
            spread = self._spread(recorded, read.map) if group.wanted.seeds else None
            kept = self._class_kept(recorded, found.fitted) if self.guarantee is not None else None
            for_, against = self.sides(recorded, read, found.fitted, first) if self.signed else (read, None)
        curve = None if found.path is None or found.met is None else self._curve(recorded, found.path, found.met)
        made = replace(self.attribution(recorded, for_, proof), curve=curve, spread=spread, class_kept=kept)
        return made if against is None else _less(made, against)

    def _opening(self, recorded: Recorded) -> Attribution:
        """Say what the opening of each place adds to the answer, and what it takes away."""
        if recorded.target.measure != "probability":
            raise TargetError(
                "signed='opening' counts bits of a probability, and the target is a score: ask about a class or a label, or say "
                "signed=True"
            )
        gained = gains(
            recorded.run,
            recorded.target,
            self.family(recorded),
            levels=self.fit.steps,
            copies=self.fit.noise_samples,
            seed=recorded.seed,
            rows=recorded.group.rows,
            deeper=recorded.deeper,
        )
        NotFiniteError.refuse("the map", gained, "the network's output or its gradient is not finite under noise")
        layout = recorded.layout
        places = gained.sum(layout.channel + 1, keepdim=True) if layout.places else gained
        added, taken = (self.told(recorded, part.clamp_min(0)) for part in (places, -places))
        added = replace(added, unit=added.unit.replace("bits", "bits gained"))  # no bits that pass: they share no scale
        return _less(self.attribution(recorded, added), taken)

    def check_sides(self, recorded: Recorded) -> None:
        """Refuse, before any work, a question to which nothing is for or against.

        Raises:
            TargetError: if it has no opposite.
        """
        recorded.target.opposed()

    def sides(self, recorded: Recorded, read: Reading, found: Fitted, first: Fitted) -> tuple[Reading, Reading]:
        """Return what is for an answer, and what is against it: what masks let pass that are found for its opposite.

        They are found under the same noise, and their logits move as far as those of the answer did.

        Args:
            recorded: the samples.
            read: what people read of the masks.
            found: the masks.
            first: as they were before they were opened or closed to hold something.
        """
        opposed, moved = recorded.target.opposed(), found.logits - first.logits
        group = replace(recorded.group, targets=opposed, wanted=Wanted(compiler=recorded.group.wanted.compiler))
        other = replace(recorded, group=group, target=opposed)
        if other.deeper is not None:
            other.deeper.restart(self.seed)
        logits = self.masks(other).logits
        # Where nothing is needed for the answer its masks are shut, which says nothing of what is against it
        open_ = torch.where(moved > -FAR / 2, logits + moved, logits)
        return read, self.reading(other, self.family(other).at(open_))

    def family(self, recorded: Recorded) -> MaskFamily:
        """Return all masks that recorded samples may have."""
        return MaskFamily.of(recorded.features, recorded.noise, recorded.layout, recorded.region, self.fit.smoothing)

    def _spread(self, recorded: Recorded, first: Tensor) -> Spread:
        """Fit the masks with the seeds that follow, on what the group's pass left, and see how far their maps differ."""
        wanted, maps = recorded.group.wanted, [first]
        proofs = wanted.evidence_samples if self.keep is not None else 0  # which decide how far masks are opened
        quiet = replace(wanted, evidence_samples=proofs, curve=False, seeds=0, watch=None)
        for more in range(1, wanted.seeds):
            other = replace(
                recorded,
                group=replace(recorded.group, wanted=quiet),
                seed=recorded.seed + more,
                evidence_seed=recorded.evidence_seed + more,
            )
            if recorded.deeper is not None:
                recorded.deeper.restart(self.seed + more)
            found = settle(other, self.masks(other), self.fit, self.keep, self.bits)
            maps.append(self.reading(other, found.fitted).map.cpu())
        stacked = torch.stack(maps)
        if wanted.refits is not None:
            wanted.refits.append(stacked)
        return spread_over(stacked, recorded.group)

    def _class_kept(self, recorded: Recorded, fitted: Fitted) -> Tensor:
        """Say of which samples the class is kept, as it was asked when the guarantee was made, under other noise."""
        held = Holding(recorded.run, recorded.target, self.family(recorded), recorded.group.rows, recorded.deeper)
        seeds = [recorded.evidence_seed + _GUARANTEED] * len(recorded.features)
        noises = self.guarantee.noises if self.guarantee is not None else 1
        return names_still(held, fitted.u, noises, seeds).float().cpu()

    def _curve(self, recorded: Recorded, path: Sequence[Fitted], met: Tensor) -> Curve:
        read = [self.reading(recorded, fitted) for fitted in path]
        return Curve(
            kept=met.cpu(),
            bits=torch.stack([one.bits.flatten(1).sum(1) for one in read], 1).cpu(),
            maps=torch.stack([one.map for one in read], 1).cpu(),
        )

    def reading(self, recorded: Recorded, fitted: Fitted) -> Reading:
        """Return what people read of the masks: here, bits of pixels, cells, tokens or features."""
        return self.told(recorded, fitted.information)

    def told(self, recorded: Recorded, nats: Tensor) -> Reading:
        """Return what people read of nats (n, ...) of features, or (n, ..., 1, ...) of places: bits."""
        layout, unit = recorded.layout, unit_of(recorded.layout, recorded.group.inputs.places)
        extra = bits_of_extra(nats, layout)
        return Reading(_maps(recorded, nats), unit, bits_of(nats), bits_per_cell(nats, layout), extra)

    def attribution(self, recorded: Recorded, found: Reading, evidence: Evidence | None = None) -> Attribution:
        """Return what was found, with everything needed to find it again."""
        texts, count = recorded.target.describe(), len(recorded.features)
        return Attribution(
            map=found.map.cpu(),
            unit=found.unit,
            method=self.method,
            targets=texts if len(texts) == count else texts * count,
            settings={**self.settings(), **self.chosen},
            model=type(self.model).__name__,
            layer=recorded.layer,
            total_bits=found.bits.flatten(1).sum(1).cpu(),
            extra_bits=found.extra.cpu() if found.extra is not None else None,
            evidence=evidence,
            cells=found.cells.cpu() if found.cells is not None else None,
            capacity=found.bits.cpu() if recorded.group.wanted.keep_capacity else None,
            version=__version__,
        )


def _less(made: Attribution, against: Reading) -> Attribution:
    return made.less(against.map, against.bits.flatten(1).sum(1), against.cells)


def spread_over(maps: Tensor, group: Group) -> Spread:
    """Measure how far the maps (seeds, n, ...) of a group differ."""
    places = group.places
    return Spread.of(
        maps, torch.full((maps.shape[1],), maps[0, 0].numel()) if places is None else places, group.wanted.top
    )


def optimised(recorded: Recorded, fit: FitSettings, *, aimed: bool) -> Fitted:
    """Optimise masks for recorded samples, watched if somebody wants to.

    Args:
        recorded: the samples.
        fit: how.
        aimed: whether something else than the price decides how much passes in the end, so that losses need no unit of their own.
    """
    watch = recorded.group.wanted.watch
    fit = fit.of_rows() if recorded.rows_of_tables else fit
    return fit_masks(
        recorded.run,
        recorded.target,
        recorded.features,
        recorded.noise,
        recorded.layout,
        fit,
        seed=recorded.seed,
        rows=recorded.group.rows,
        region=recorded.region,
        deeper=recorded.deeper,
        weight=_in_nats(recorded, fit) if aimed and not recorded.target.in_nats else None,
        watch=None if watch is None else lambda step, nats: watch(step, _maps(recorded, nats)),
    )


def _in_nats(recorded: Recorded, fit: FitSettings) -> Tensor:
    """Return how many nats a unit of each loss counts for (N,), so that with nothing but noise as much is lost of all outputs.

    A price of bits that is the same for all networks needs a loss that is, too, and in which unit an output is nobody knows.
    """
    masks = MaskFamily.of(recorded.features, recorded.noise, recorded.layout, recorded.region, fit.smoothing)
    held = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper)
    clean = recorded.target.minimised(recorded.output).detach().float()
    lost, two_sided = held.lost(_LOSSES, recorded.seed + _LOST).mean(0), recorded.target.two_sided
    # Two losses of a value may be alike by chance, of one asked for that lies between the clean one and the floor
    much = lost.maximum(clean) if two_sided else (lost - clean).abs()
    nats = _NATS if fit.price is not None else max(_NATS, fit.beta)  # what a nat of every feature costs
    return torch.where(much > 0, (2 if two_sided else 1) * nats / much, 1.0)


def _maps(recorded: Recorded, nats: Tensor) -> Tensor:
    """Return information (n, ...) in nats as maps: bits of pixels, cells, tokens or features."""
    layout, places = recorded.layout, recorded.group.inputs.places
    cells = bits_per_cell(nats, layout)
    return bits_per_pixel(cells, places.size) if places is not None and covers(layout, places) else cells
