"""What explains in groups: samples are read, share passes of the network group by group, and what is found is put together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.bottlenecks.groups import Group, Samples, Wanted
from bitlens.core.attribution import Attribution
from bitlens.core.effort import ROW_PRICE
from bitlens.core.evidence import TOP
from bitlens.core.guarantee import Guarantee
from bitlens.core.inputs import ModelInputs, as_captum
from bitlens.core.passes import Passes, Precision, RunOptions, Signed
from bitlens.core.targets import select_targets
from bitlens.errors import SettingError
from bitlens.probe import Probe, locating
from bitlens.probe.axes import placed
from bitlens.probe.following import following

COPIES_AT_ONCE = 2  # of each sample; the more samples share a pass, the fuller it is, also where copies are few


def _place_of(samples: Samples, group: Group, one: int) -> int:
    """Return which of the samples as they were given one of a group is."""
    place = group.done - group.inputs.count + one
    return place if samples.order is None else int(samples.order[place])


T = TypeVar("T")


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
        guarantee: as many as a share of inputs like these need to keep their class, as `bitlens.calibrate` found; for another
            of its levels `guarantee.at(0.95)`.
        signed: whether masks are found for the opposite too, under the same noise and at the same price: the map is then bits for
            the answer less bits against it (of a readout, whose one mask is divided, those of places that raise the answer less
            those of places that lower it). Or "opening": no mask is fitted; all places open together, from nothing but noise to
            everything, at as many levels as there are steps, and the map is what the opening of each adds to the answer's
            log-odds (or the logarithm of its probability), in bits, below zero where it takes away.
    """

    guarantee: Guarantee | None = None

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
        guarantee: Guarantee | None = None,
        signed: Signed = False,
        **run: Unpack[RunOptions],
    ) -> None:
        self.passes, self.allow_bypass, self.signed = Passes(**run), allow_bypass, signed
        if guarantee is not None:
            if keep is not None or bits is not None:
                raise SettingError("a guarantee says how many bits may pass: give neither keep nor bits with it")
            bits = guarantee.promise.bits
        self.keep, self.bits, self.guarantee = keep, bits, guarantee
        if keep is not None and not 0 < keep < 1:
            raise SettingError(f"keep must be a share above 0 and below 1, got {keep!r}")
        if signed not in (False, True, "opening"):
            raise SettingError(f"signed must be True, False or 'opening', got {signed!r}")
        if self.opens and (keep is not None or bits is not None):
            raise SettingError("signed='opening' fits no mask: leave out keep, bits and guarantee, or say signed=True")
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

    def row_price(self, *, given: bool) -> float | None:
        """Return the price of a nat of a table's row where `keep` or `bits` decides how much passes, and no price was given.

        What is guaranteed was calibrated at the usual price.
        """
        asked = self.keep is not None or (self.bits is not None and self.guarantee is None)
        return ROW_PRICE if asked and not given else None

    @property
    def opens(self) -> bool:
        """Return whether all places open together, so that no mask is fitted."""
        return self.signed == "opening"

    @property
    def aim(self) -> dict[str, Any]:
        """Return what decides how much passes, where it is no price."""
        found = {name: value for name in ("keep", "bits") if (value := getattr(self, name)) is not None}
        return found if self.guarantee is None else {**found, "guaranteed": self.guarantee.promise.plain()}

    @property
    def chosen(self) -> dict[str, Any]:
        """Return what was chosen besides a method's own settings: how much passes, and whether bits have a sign."""
        return {**self.aim, "signed": self.signed} if self.signed else self.aim

    @property
    def proof(self) -> int:
        """Return how many noises the target is measured under at least, unless somebody says otherwise."""
        return 8

    @property
    def run_settings(self) -> dict[str, Any]:
        """Return what decides how the network is run, as plain values."""
        said = {"seed": self.seed, "precision": self.precision, **self.passes.declared()}
        return said | ({"allow_bypass": True} if self.allow_bypass else {})

    @property
    def seed(self) -> int:
        """Return the seed of all noise."""
        return self.passes.seed

    @property
    def precision(self) -> Precision:
        """Return the precision of the network behind the layer."""
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
            evidence_samples: fresh noise samples under which the target is measured; 0 leaves the evidence out. If not given
                8, where masks hold already when they are judged 4 (of texts 32, and 64 where a share is kept), and up to 64
                where these leave open how much is kept. Of a share that is kept it is the least, and more may follow.
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
            SettingError: if the spread is to be over a single seed, or something of masks is asked for where none is fitted.
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
        if self.opens and (evidence_samples or curve or spread or keep_capacity or watch is not None):
            raise SettingError(
                "signed='opening' fits no mask: leave out evidence_samples, curve, spread, keep_capacity and watch, or say "
                "signed=True"
            )
        self.check()
        self._check_guarantee()
        samples = self.read(inputs, targets).arranged(self.probe.device)
        proofs = self.proof if evidence_samples is None else evidence_samples
        wanted = Wanted(proofs, evidence_samples is None, keep_capacity, curve, spread, spread_top, watch=watch)
        return samples.together(list(self.explained(samples, targets, wanted, progress)))

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        """Return the maps as Captum's methods do: (N, 1, H, W) or (N, T) on the inputs' device, in a tuple for a tuple."""
        given = inputs if additional_forward_args is None else ModelInputs.of(inputs, additional_forward_args)
        samples = self.samples(given)
        places = placed(self.model, samples.inputs).places
        maps = self.explain(samples, target, evidence_samples=0).map
        return as_captum(maps, inputs, samples.inputs.first.device, places)

    def explained(
        self, samples: Samples, targets: Any, wanted: Wanted, progress: Callable[[int], None] | None
    ) -> Iterator[Attribution]:
        """Give the attribution of each group of (arranged) samples."""
        return self.each_group(samples, targets, wanted, self.explain_group, progress)

    def each_group(
        self,
        samples: Samples,
        targets: Any,
        wanted: Wanted,
        work: Callable[[Group], T],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[T]:
        """Give what is found of each group of (arranged) samples."""
        alike = samples.padded and self.reads_padding(samples)
        for group in samples.groups(targets, wanted, self.rows, self.copies, alike=alike):
            with (
                torch.autocast(self.probe.device.type, enabled=False),  # `precision` alone decides
                locating(
                    self.model, group.inputs, partial(_place_of, samples, group), None, partial(_again, work, group)
                ),
            ):
                found = work(group)
            yield found
            if progress is not None:
                progress(group.done)

    def _check_guarantee(self) -> None:
        """Refuse a guarantee that was made with another network, layer, method or settings.

        Raises:
            SettingError: names what differs.
        """
        if self.guarantee is None:
            return
        found = self.guarantee.differences(self.method, self.probe.name, self.probe.fingerprint(), self.settings())
        if found:
            raise SettingError(
                f"the guarantee is not about this: {'; '.join(found[:4])}; calibrate anew, or explain as it was calibrated"
            )

    def rows(self, inputs: ModelInputs) -> int:
        """Return how many rows like these inputs may go through the network at once."""
        return self.passes.rows(lambda: self.probe.bytes_per_row(inputs), self.probe.device)

    @property
    def copies(self) -> int:
        """Return how many noisy copies of each sample a pass should hold at least."""
        return COPIES_AT_ONCE

    def reads_padding(self, samples: Samples) -> bool:  # noqa: ARG002
        """Return whether the network reads padding, so that (arranged) texts of other lengths must not share a group."""
        return False

    @abstractmethod
    def check(self) -> None:
        """Refuse to begin without what must be learnt first."""

    @abstractmethod
    def samples(self, inputs: Any) -> Samples:
        """Read what is to be explained."""

    def read(self, inputs: Any, targets: Any) -> Samples:
        """Read what is to be explained, and ask the network which arguments belong to the samples, and what their axes mean."""
        samples = self.samples(inputs)
        inputs = following(self.model, samples.inputs, self.passes.output, targets)
        return replace(samples, inputs=placed(self.model, inputs))

    @abstractmethod
    def explain_group(self, group: Group) -> Attribution:
        """Explain samples whose noisy copies go through the network together."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""


def _again(work: Callable[[Group], T], group: Group, one: int) -> T:
    """Do with one sample of a group alone what is done with all."""
    rows, count = slice(one, one + 1), group.inputs.count
    asked = select_targets(group.targets, one, one + 1, count)
    return work(replace(group, inputs=group.inputs.select(rows), kinds=group.kinds[rows], targets=asked))
