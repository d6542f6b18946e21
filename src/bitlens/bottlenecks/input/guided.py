"""What InputIBA is for images and texts alike: masks at the input, guided by a bottleneck at a layer."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from bitlens.bottlenecks.bottleneck import Bottleneck, optimised
from bitlens.bottlenecks.groups import Group, Wanted
from bitlens.bottlenecks.input.presets import InputPreset, InputReadout, PriorName
from bitlens.bottlenecks.input.prior import Prior
from bitlens.bottlenecks.input.stages import Guide
from bitlens.bottlenecks.recorded import Reading, Recorded
from bitlens.core.attribution import Attribution
from bitlens.core.family import Fitted
from bitlens.core.gaussian import information
from bitlens.core.maps import bits_of, unit_of
from bitlens.core.passes import BottleneckOptions
from bitlens.errors import SettingError, one_of, one_of_literal


@dataclass(frozen=True, eq=False)
class InputStages:
    """Findings of each stage for N images or texts.

    Attributes:
        features: stage 1, bits per pixel or token at the layer; None if the prior does not ask for it.
        prior: stage 2, λ_G (N, C, H, W) or (N, T, D) in [0, 1], how much of each value is known before stage 3 begins; channels
            first, also where the network takes them last.
        input: stage 3, the explanation.
    """

    features: Attribution | None
    prior: Tensor
    input: Attribution


class GuidedBottleneck(Bottleneck):
    """A bottleneck at the input, which counts only information beyond a prior.

    Maps are in the unit of the read-out: "mask", or bits of pixels or tokens. `cells` are all bits that pass each pixel or token
    and `total_bits` their sum, whatever the read-out.

    Args:
        preset: what is not given otherwise.
        priors: those that have a name.
        prior: how stage 2 finds λ_G: "feature-map" (stage 1's map, squashed), "none" (λ_G = 0: a plain bottleneck at the
            input), "feature-matching", "wgan-gp", "wgan" (the paper), "official" (as released), or any function from a
            `FirstStage` to logits. By default what `quality` says.
        readout: "mask" (as published: after the last update, without the blur, mean over colours or dimensions; in [0, 1]),
            "information" (all bits that pass the input, against noise alone) or "beyond-prior" (bits as proposition 3 counts
            them).
        beta_input: weight of the information in stage 3; by default what `quality` says. Not with `keep`.
        steps: optimisation steps of stage 3; this and what follows is by default what `quality` says.
        noise_samples: noisy copies per step of stage 3.
        learning_rate: of stage 3.
        smoothing: σ of the blur of stage 3's mask, in pixels; 0 for none.
    """

    method = "input-iba"

    def __init__(
        self,
        preset: InputPreset,
        priors: Mapping[str, Prior | None],
        prior: PriorName | Prior | None,
        readout: InputReadout,
        *,
        beta_input: float | None,
        steps: int | None,
        noise_samples: int | None,
        learning_rate: float | None,
        smoothing: float | None = None,
        **run: Unpack[BottleneckOptions],
    ) -> None:
        super().__init__(**run)
        if self.opens:
            raise SettingError(
                "signed='opening' fits no mask, and a prior is one of masks: take IBA or TokenIBA at a layer"
            )
        if beta_input is not None and self.keep is not None:
            raise SettingError("keep decides how much passes, and so does beta_input: give one of them")
        chosen = {
            "beta": beta_input, "steps": steps, "noise_samples": noise_samples, "learning_rate": learning_rate,
            "smoothing": smoothing,
        }  # fmt: skip
        given: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
        self.fit = replace(preset.input, **given, row_price=self.row_price(given=beta_input is not None))
        name = preset.prior if prior is None else prior
        self.find_prior: Prior | None = name if callable(name) else one_of("prior", name, priors)
        self.prior = name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)
        self.readout = one_of_literal("readout", readout, InputReadout)

    def stages(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        evidence_samples: int | None = None,
        keep_capacity: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> InputStages:
        """Return what each of the three stages found; arguments and errors as of `explain`."""
        self.check()
        samples = self.read(inputs, targets).arranged(self.probe.device)
        guides: list[Guide] = []
        proofs = self.proof if evidence_samples is None else evidence_samples
        wanted = Wanted(proofs, evidence_samples is None, keep_capacity, guides=guides)
        parts = list(self.explained(samples, targets, wanted, progress))
        firsts = [guide.features for guide in guides if guide.features is not None]
        return InputStages(
            samples.together(firsts) if firsts else None,
            samples.restored([guide.logits for guide in guides]),
            samples.together(parts),
        )

    @abstractmethod
    def guide(self, group: Group) -> Guide:
        """Find what stages 1 and 2 say of a group; `find_prior` is known."""

    def hidden(self, group: Group, like: Tensor, **asked: Any) -> Tensor:
        """Return v = 1 - λ_G of a group, in the shape of its inputs `like` (n, ...), and tell who wants to know."""
        found = Guide(None, like.new_full((), -torch.inf, dtype=torch.float32))
        if self.find_prior is not None:
            found = self.guide(replace(group, **asked))
        if group.wanted.guides is not None:
            group.wanted.guides.append(replace(found, logits=torch.sigmoid(found.logits).expand_as(like).cpu()))
        return torch.sigmoid(-found.logits).expand_as(like)

    def masks(self, recorded: Recorded) -> Fitted:
        """Optimise the masks."""
        return optimised(recorded, self.fit, aimed=bool(self.aim))

    def reading(self, recorded: Recorded, fitted: Fitted) -> Reading:
        """Return what people read of the masks, as `readout` says."""
        region, channel = recorded.region, recorded.layout.channel + 1
        bits = region.of(bits_of(information(fitted.u, recorded.noise.squared_score(recorded.features))))
        places = recorded.group.inputs.places
        cells, unit = bits.sum(channel), f"bits/{places.one}" if places is not None else unit_of(recorded.layout, None)
        if self.readout == "information":
            return Reading(cells, unit, bits, cells)
        if self.readout == "beyond-prior":
            return Reading(bits_of(fitted.information).sum(channel), unit, bits, cells)
        return Reading(region.of(torch.sigmoid(fitted.logits)).mean(channel), "mask", bits, cells)
