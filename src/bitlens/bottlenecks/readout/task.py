"""What a readout learns: the per-sample objective on many inputs (algorithms C5), or masks of the per-sample bottleneck.

The loss of a sample is  -ln p(class | Z) + β · mean over features of the information, with one draw of noise for each
sample at each step. Mask and information are float32; the readout and what comes behind the layer may run lower.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bottlenecks.readout.learnt import Learnt
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.effort import QUALITY, Quality
from bitlens.core.fitting import fit_masks
from bitlens.core.gaussian import NoiseModel, information, noised_features
from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout
from bitlens.core.passes import in_precision
from bitlens.core.targets import ClassTarget, Target, as_target
from bitlens.errors import LayerError, SettingError, TargetError, one_of
from bitlens.probe import Probe, Recording, first_not_finite, watching
from bitlens.probe.axes import placed
from bitlens.probe.fingerprint import weights_hash
from bitlens.training.examples import Batch
from bitlens.training.task import Losses

_LIKELY = 5  # of a sample's most probable classes a conditional readout is asked about one, half of the time


@dataclass(frozen=True)
class Teaching:
    """Beginning of learning: at a lower price of information, or from masks of the per-sample bottleneck.

    Attributes:
        ramp: over how many first epochs β grows to its value, from a hundredth of it and by equal factors. At its full value
            from the start it can drive all information out before the readout has learnt where it is needed.
        epochs: how many first epochs learn λ of the teacher (cross-entropy, no noise) in place of the objective. As many as
            there are epochs: nothing but the teacher.
        quality: of the teacher's masks: "fast", "paper" or "best".
    """

    ramp: int = 0
    epochs: int = 0
    quality: Quality = "fast"

    def __post_init__(self) -> None:
        for name in ("ramp", "epochs"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name} of teaching must not be negative, got {getattr(self, name)}")
        one_of("quality", self.quality, QUALITY)

    def price(self, beta: float, epoch: int | None) -> float:
        """Return β in an epoch (from 0; None where held-out samples are measured)."""
        if epoch is None or epoch >= self.ramp:
            return beta
        return float(beta * 100 ** (epoch / self.ramp - 1))


@dataclass
class Seen:
    """All of some samples that does not change while the readout learns.

    Attributes:
        recording: of the clean pass.
        reads: what is read of it, standardised.
        questions: (N, 1 + K) classes that may be asked about: the right one, and for a conditional readout the K most probable.
        chances: (N, K) how probable these are.
        evidence: (N, 1 + K, ..., 2) for each of the questions, as `Reads.evidence` gives it; None if the readout is not told.
        layout: how the layer's axes are meant for these inputs.
        names: of the samples.
        taught: (N, ...) the teacher's logits α, float16, once they are asked for.
    """

    recording: Recording
    reads: list[Tensor]
    questions: Tensor
    chances: Tensor
    evidence: Tensor | None
    layout: Layout
    names: tuple[str, ...]
    taught: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, the teacher's logits included whether they are there or not."""
        features = self.recording.features
        evidence = self.evidence.nbytes if self.evidence is not None else 0
        return self.recording.nbytes + sum(read.nbytes for read in self.reads) + evidence + 2 * features.numel()


class ReadoutTask:
    """Teaches a readout network the masks of one bottleneck.

    Args:
        probe: of the layer and of all that is read.
        learnt: what is known of the layer so far.
        module: the readout network.
        teaching: whether masks of the per-sample bottleneck come first.
        start: the weights that it begins at, if it does not begin at random ones.
        seed: of the teacher's noise.
    """

    def __init__(
        self,
        probe: Probe,
        learnt: Learnt,
        module: nn.Module,
        teaching: Teaching,
        start: ReadoutWeights | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.probe, self.learnt, self.module = probe, learnt, module
        self.teaching, self.start, self.seed = teaching, start, seed

    def identity(self) -> Mapping[str, Any]:
        """Return plain values that must stay the same where a training goes on."""
        return {
            **self.learnt.settings,
            "network": weights_hash(self.probe.model),
            "layer": self.probe.name,
            "read_layers": list(self.learnt.read_layers),
            "statistics": self.learnt.statistics.fingerprint,
            "teaching": asdict(self.teaching),
            "start": self.start.fingerprint if self.start is not None else None,
        }

    def prepare(self, batch: Batch) -> Seen:
        """Make one clean pass."""
        recording = self.probe.record(batch.inputs)
        scores = recording.form.scores(recording.output)
        layout = self._layout(batch.inputs, tuple(recording.features.shape[1:]))
        labels = batch.labels.to(scores.device) if batch.labels is not None else scores.argmax(1)
        target = as_target(labels, recording.output, len(labels), recording.form)
        if not isinstance(target, ClassTarget):
            raise TargetError(
                f"a readout answers for classes, but the network's output is {recording.form.numbers}: use method 'iba'"
            )
        told = self.learnt.reads.conditional
        chances, likely = scores.softmax(1).nan_to_num(1.0).topk(min(_LIKELY, scores.shape[1]) if told else 0, 1)
        questions = torch.cat([labels[:, None], likely], 1)
        evidence = [self.learnt.reads.evidence(recording, classes) for classes in questions.T] if told else []
        recording.forget()
        reads = self.learnt.reads.seen(recording)
        shown = torch.stack(evidence, 1) if told else None
        return Seen(recording, reads, questions, chances, shown, layout, batch.names)

    def _layout(self, inputs: ModelInputs, features: tuple[int, ...]) -> Layout:
        """Return how the features are meant, and where their places lie in inputs of this size."""
        said, places = self.learnt.statistics.layout, placed(self.probe.model, inputs).places
        if places is None or len(places.size) > 1:
            return said.over(features, inputs.image_size)
        try:
            return self.probe.geometry(inputs).layout
        except LayerError:  # nothing tells, but somebody did when the statistics were made
            return self.probe.geometry(inputs, said).layout

    def losses(
        self, module: nn.Module, prepared: Seen, seeds: Sequence[int], epoch: int | None, dtype: torch.dtype | None
    ) -> Losses:
        """Return what is lost on each sample (see `bitlens.training.task`)."""
        if epoch is not None and epoch < self.teaching.epochs:
            return self._imitation(module, prepared)
        asked = self._asked(prepared, seeds)
        classes = prepared.questions.gather(1, asked[:, None])[:, 0]
        features, noise_model = self._features(prepared)
        u = self.learnt.noise_shares(self._predicted(module, prepared, asked), prepared.layout)
        passed = information(u, noise_model.squared_score(features), noise_model.active)
        noise = noise_model.sample(_standard(features.shape[1:], seeds, features.device))
        z = noised_features(features * noise_model.active, u, noise[None])[0]
        with prepared.recording.suffix(dtype) as suffix:
            run = in_precision(suffix, dtype, prepared.recording.features, prepared.layout)
            said = self._target(prepared, classes).loss(run(z.clamp_min(0) if noise_model.clamp else z))
        nats = passed.flatten(1).mean(1)
        parts = {"cross_entropy": said.detach(), "information": nats.detach()}
        return Losses(said + self.teaching.price(self.learnt.settings["beta"], epoch) * nats, parts)

    def diagnose(self, module: nn.Module, prepared: Seen, seeds: Sequence[int], epoch: int | None) -> str:
        """Return where a number that is not finite appears first: in what is read, in the readout, or behind the layer."""
        for read, name in zip(prepared.reads, self.learnt.read_layers, strict=True):
            element = first_not_finite(read)
            if element is not None:
                return _place(f"layer {name!r} puts out (standardised, channels last)", element, prepared.names)
        for name, parameter in module.named_parameters():
            element = first_not_finite(parameter)
            if element is not None:
                return f"the readout's {name} is not finite at element {element}: use a smaller learning_rate"
        with watching(module) as found, watching(self.probe.model) as behind, torch.enable_grad():
            losses = self.losses(module, prepared, seeds, epoch, None)
        if found:
            return _place(f"the readout's layer {found[0][0]!r} puts out", found[0][1], prepared.names)
        if behind:
            return _place(f"layer {behind[0][0]!r} puts out under noise", behind[0][1], prepared.names)
        element = first_not_finite(losses.total)
        if element is not None:
            return _place("the network's output makes as loss", element, prepared.names)
        return "a number is not finite in lower precision, but in float32 all are: use precision='no'"

    def _asked(self, seen: Seen, seeds: Sequence[int]) -> Tensor:
        """Return which of its questions each sample is asked (N,).

        The right class; a conditional readout half of the time one of the likely classes, by chance, as probable as the network
        finds it: what is not there cannot be pointed at, and the network knows best what it sees.
        """
        asked = []
        for seed, chances in zip(seeds, seen.chances.tolist(), strict=True):
            draw = random.Random(seed)
            other = bool(chances) and draw.random() < 0.5
            asked.append(1 + draw.choices(range(len(chances)), chances)[0] if other else 0)
        return torch.tensor(asked, device=seen.questions.device)

    def _features(self, seen: Seen) -> tuple[Tensor, NoiseModel]:
        features = seen.recording.features.float()
        return features, self.learnt.noise(features)

    def _target(self, seen: Seen, classes: Tensor) -> Target:
        return ClassTarget(classes).asked_of(seen.recording.form, seen.recording.output, len(classes))

    def _predicted(self, module: nn.Module, seen: Seen, asked: Tensor) -> Tensor:
        """Return the readout's α for one of each sample's questions."""
        told = [] if seen.evidence is None else [seen.evidence[torch.arange(len(asked)), asked]]
        return self.learnt.logits(module, [*seen.reads, *told], seen.recording.features.shape)

    def _imitation(self, module: nn.Module, seen: Seen) -> Losses:
        """Return cross-entropy of the readout's λ (before the blur) and the teacher's."""
        if seen.taught is None:
            seen.taught = self._teach(seen).half()
        predicted = self._predicted(module, seen, torch.zeros_like(seen.questions[:, 0]))
        wanted = torch.sigmoid(seen.taught.float())
        lost = F.binary_cross_entropy_with_logits(predicted, wanted, reduction="none").flatten(1).mean(1)
        return Losses(lost, {})

    def _teach(self, seen: Seen) -> Tensor:
        """Return the per-sample bottleneck's logits for the right classes."""
        features, noise_model = self._features(seen)
        settings = replace(
            QUALITY[self.teaching.quality],
            beta=self.learnt.settings["beta"],
            smoothing=self.learnt.smoothing,
            readout="final",
        )
        with seen.recording.suffix() as suffix, torch.enable_grad():
            run = in_precision(suffix, None, seen.recording.features, seen.layout)
            target, rows = self._target(seen, seen.questions[:, 0]), len(features)
            return fit_masks(
                run, target, features, noise_model, seen.layout, settings, seed=self.seed, rows=rows
            ).logits


def _standard(shape: torch.Size, seeds: Sequence[int], device: torch.device) -> Tensor:
    """Return standard normal noise (N, ...), each sample's from its own seed."""
    generator = torch.Generator(device)
    draws = [
        torch.randn(shape, dtype=torch.float32, generator=generator.manual_seed(seed), device=device) for seed in seeds
    ]
    return torch.stack(draws)


def _place(what: str, element: tuple[int, ...], names: Sequence[str]) -> str:
    sample = names[element[0]] if element and element[0] < len(names) else "?"
    where = f"element {element[1:]} of {sample}" if len(element) > 1 else sample
    return f"the first number that is not finite is one that {what}: {where}"
