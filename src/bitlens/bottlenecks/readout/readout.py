"""The Readout Bottleneck: the mask is read from the network's features by a trained network (Schulz et al., section 3.2).

Trained once on many inputs, it explains a new one in the clean pass that every explanation begins with, and a few small
matrix products. algorithms C; the faults of the released code (J.6, J.7) are not repeated.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, final
from warnings import warn

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.bottlenecks.at_layer import LayerBottleneck
from bitlens.bottlenecks.readout.learnt import Learnt, learn_statistics
from bitlens.bottlenecks.readout.network import ReadoutNetwork
from bitlens.bottlenecks.readout.reads import Reads, reading_probe
from bitlens.bottlenecks.readout.task import Teaching
from bitlens.bottlenecks.readout.training import begun_at, inputs_of, learn_weights
from bitlens.bottlenecks.readout.weights import ReadoutWeights, settled
from bitlens.bottlenecks.recorded import Reading, Recorded
from bitlens.core.effect import effects
from bitlens.core.effort import FitSettings
from bitlens.core.family import Fitted
from bitlens.core.gaussian import NoiseMode, NoiseSettings, information
from bitlens.core.passes import BottleneckOptions
from bitlens.core.statistics import Granularity
from bitlens.core.targets import ClassTarget
from bitlens.errors import BitlensWarning, SettingError, StatisticsError, TargetError
from bitlens.probe import Recording
from bitlens.probe.fingerprint import weights_hash, weights_versions
from bitlens.probe.following import arguments_of
from bitlens.training.examples import Examples, InMemory
from bitlens.training.loop import Progress, Trained
from bitlens.training.settings import TrainingSettings

_NOISES = 32  # under which it is seen what a place's bits do to the answer


@final
class ReadoutIBA(LayerBottleneck):
    """Information bottleneck attribution by a trained network, in one forward pass.

    The readout looks at what the network computes at several depths, its class scores among them, and says how much of each
    feature of one layer may pass. It is trained with the objective of the per-sample bottleneck, on many inputs:
    `fit_weights`, or `bitlens readout train`.

    The paper's readout is not told which class is asked for, so it can only explain the prediction. With `conditional=True`
    it is shown the evidence for the class, and trained to answer for any. Asked for other
    targets, the unconditional one answers for the prediction all the same, with a warning; the evidence is that of the target.
    Nothing is optimised, so there is nothing to `watch`; without evidence each input goes through the network exactly once.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output is restricted, or its dotted name; may be left out if `weights` are given.
        read_layers: where it looks, by name; "output" stands for the network's class scores. By default the layer, up to four
            stages after it, and the output.
        beta: weight of the information in training (the paper's β·k).
        smoothing: σ of the mask's blur, in cells of the layer's grid; 0 for none.
        conditional: whether the readout is shown the evidence for the class that is asked for (`Reads.evidence`).
        hidden: outputs of its first layer; by default half of all channels that it reads.
        middle: outputs of its second layer; by default twice the channels of the bottleneck's layer.
        weights: of a trained readout, or the file that holds them. What it was trained with need not be said again, and
            cannot be changed.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: "CHW", "HWC", "TD" or "D" if the axes of the features cannot be told from their shape.
        noise: "gaussian" (the paper), "clamped" or "zero-mean" (algorithms A6).
        min_std: floor on the standard deviation of features, here and where they are read.
        activity_threshold: features active in no more than this share of inputs are left out (A4).
        run: seed, precision and internal_batch_size, see `GroupedMethod`.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense, or is not what the weights were trained with.
        StatisticsError: if the weights are another network's.
        DataError: if the file cannot be read.
    """

    method = "readout"
    runs_behind = False

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        read_layers: Sequence[str | nn.Module] | None = None,
        *,
        beta: float | None = None,
        smoothing: float | None = None,
        conditional: bool | None = None,
        hidden: int | None = None,
        middle: int | None = None,
        weights: ReadoutWeights | str | Path | None = None,
        call: int | None = None,
        layout: str | None = None,
        noise: NoiseMode | None = None,
        min_std: float | None = None,
        activity_threshold: float | None = None,
        **run: Unpack[BottleneckOptions],
    ) -> None:
        trained = weights if isinstance(weights, ReadoutWeights | None) else ReadoutWeights.load(weights)
        given = {
            "beta": beta,
            "smoothing": smoothing,
            "conditional": conditional,
            "hidden": hidden,
            "middle": middle,
            "call": call,
            "layout": layout,
            "noise": noise,
            "min_std": min_std,
            "activity_threshold": activity_threshold,
        }
        settings = settled(given, trained)
        if trained is not None and layer is None:
            layer = trained.provenance.layer
        if layer is None:
            raise SettingError("a readout needs a layer to restrict, or the weights of a trained one: give layer='…'")
        if run.get("signed") == "opening":
            raise SettingError(
                "signed='opening' reads no mask, and a readout fits none: say signed=True, or use method 'iba'"
            )
        super().__init__(
            model,
            layer,
            call=settings["call"],
            layout=settings["layout"],
            noise=NoiseSettings(settings["noise"], settings["min_std"], settings["activity_threshold"]),
            **run,
        )
        self.fit = FitSettings(beta=settings["beta"], steps=1, noise_samples=1, smoothing=settings["smoothing"])
        self.choices = settings
        self._read_layers = None if read_layers is None else tuple(read_layers)
        self._learnt: Learnt | None = None
        if trained is not None:
            self.weights = trained

    @property
    def learnt(self) -> Learnt:
        """Return what is known about the layer so far.

        Raises:
            StatisticsError: if nothing is.
        """
        if self._learnt is None:
            raise StatisticsError(
                "it is not known yet what the read layers put out: call fit_statistics or fit_weights"
            )
        return self._learnt

    @property
    def read_layers(self) -> tuple[str, ...]:
        """Names of the layers that are read, in the order in which they are concatenated; empty if not known yet."""
        return self._learnt.read_layers if self._learnt is not None else ()

    @property
    def reads(self) -> Reads:
        """Return what is read, and how it is standardised (StatisticsError if that is not known yet)."""
        return self.learnt.reads

    @property
    def network(self) -> ReadoutNetwork:
        """Return the network that reads.

        Raises:
            StatisticsError: if it was not trained.
        """
        network = self._learnt.network if self._learnt is not None else None
        if network is None:
            raise StatisticsError(
                f"the readout of layer {self.probe.name!r} is not trained: call fit_weights(batches) with inputs of the kind the "
                "network was trained on, or train it with `bitlens readout train` and give the file as weights=FILE"
            )
        return network

    @property
    def weights(self) -> ReadoutWeights:
        """The trained readout, to be saved or given to another object. Setting it checks that it belongs to this network.

        Raises:
            StatisticsError: if it was not trained, or belongs to another layer or network.
        """
        _ = self.network  # if it is missing, say so
        return self.learnt.weights

    @weights.setter
    def weights(self, weights: ReadoutWeights) -> None:
        weights.check_network(self.probe.name, weights_hash(self.model))
        self._take(Learnt.of(weights, self.probe.device))

    @property
    def is_trained(self) -> bool:
        """Return whether there are weights."""
        return self._learnt is not None and self._learnt.network is not None

    def on(self, model: nn.Module) -> "ReadoutIBA":
        """Return the same readout, unchanged, on another network of its architecture, for the papers' sanity check (G7)."""
        other = ReadoutIBA(model, self.probe.name, **self.choices, **asdict(self.passes))
        other._take(Learnt.of(self.weights, other.probe.device))
        return other

    def _take(self, learnt: Learnt) -> None:
        self._learnt, self._statistics = learnt, learnt.statistics
        self._versions = weights_versions(self.model)  # which they belong to, or do not on purpose (`on`)
        self.probe = reading_probe(self.probe, self.read_layers, conditional=self.choices["conditional"])

    def save(self, path: str | Path) -> None:
        """Write the trained readout as one safetensors file, whole or not at all."""
        self.weights.save(path)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module, **settings: Any) -> "ReadoutIBA":
        """Return a readout from a file that `save` wrote, for the network that it was trained for.

        Raises:
            DataError: if the file is missing, damaged, or holds something else.
            StatisticsError: if it was trained for another network.
        """
        return cls(model, weights=path, **settings)

    def fit_statistics(
        self,
        batches: Iterable[Any],
        max_samples: int = 10_000,
        *,
        granularity: Granularity = "channel",
        data: str = "",
        preprocessing: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> "ReadoutIBA":
        """Learn what the layer and all read layers put out, in one clean pass; the readout has to be trained after it.

        Args:
            batches: any iterable of inputs, or of tuples whose first entry is the input.
            max_samples: stop at exactly this many.
            granularity: "channel" (fits any input size) or "element" (as in the paper; wants 1,000 inputs or more).
            data: where the inputs come from, kept with the readout.
            preprocessing: how they were prepared, kept as well.
            progress: called with the number of inputs seen so far.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no input, or sizes differ with granularity "element".
        """
        learnt = learn_statistics(
            self.probe,
            batches,
            max_samples,
            read_layers=self._read_layers,
            settings=self.choices,
            granularity=granularity,
            layout=self.layout,
            data=data,
            preprocessing=preprocessing,
            progress=progress,
        )
        self._take(learnt)
        return self

    def fit_weights(
        self,
        batches: Iterable[Any] | Examples,
        training: TrainingSettings | None = None,
        *,
        teaching: Teaching | None = None,
        start: ReadoutWeights | None = None,
        checkpoint: str | Path | None = None,
        data: str = "",
        preprocessing: str = "",
        progress: Progress | None = None,
    ) -> Trained:
        """Train the readout; statistics are made first if there are none.

        Args:
            batches: any iterable of inputs or of tuples (inputs, labels), kept in memory, or samples that are read when they
                are needed (`bitlens.training.examples`). Where there are no labels the network's predictions serve.
            training: how; `TrainingSettings()` if not given. The paper's learning rate is 1e-5, for ImageNet's 80,000 steps an
                epoch.
            teaching: how the price grows, and whether masks of the per-sample bottleneck come first; by default it grows over
                the first half of the epochs.
            start: a readout of the same layer that reads the same layers, trained otherwise (with another β, perhaps): its
                statistics are taken over, and training begins at its weights.
            checkpoint: a file that is written now and then; a training with the same settings goes on from it.
            data: where the inputs come from, kept with the readout.
            preprocessing: how they were prepared, kept as well.
            progress: called after every step.

        Returns:
            How it went; the readout has the weights of the best epoch.

        Raises:
            FitError: at the first number that is not finite; the message says in which layer, at which element.
            SettingError: if the settings do not fit the samples, the processes, or the checkpoint.
            DependencyError: if the package accelerate is not installed.
        """
        training = training if training is not None else TrainingSettings()
        read = partial(arguments_of, self.model)
        examples: Examples = batches if isinstance(batches, Examples) else InMemory(map(read, batches))
        if start is not None:
            self._take(begun_at(start, self.probe, self.choices))
        elif self._learnt is None:
            self.fit_statistics(inputs_of(examples, training.batch), data=data, preprocessing=preprocessing)
        provenance = replace(self.learnt.provenance, data=data, preprocessing=preprocessing)
        self._learnt, done = learn_weights(
            self.probe,
            replace(self.learnt, provenance=provenance),
            examples,
            training,
            teaching=teaching if teaching is not None else Teaching(ramp=training.epochs // 2),
            start=start,
            checkpoint=Path(checkpoint) if checkpoint else None,
            progress=progress,
            seed=self.seed,
        )
        return done

    def check(self) -> None:
        """Refuse to begin before the readout was trained, and warn if the network has other weights since."""
        _ = self.network
        super().check()

    @torch.no_grad()
    def masks(self, recorded: Recorded) -> Fitted:
        """Read the masks from what was recorded."""
        target, recording, features = recorded.target, recorded.recording, recorded.features
        if not isinstance(target, ClassTarget):
            raise TargetError(
                f"a readout answers for classes, not for {type(target).__name__} targets: give class indices, or use method 'iba'"
            )
        assert recording is not None
        classes = target.classes.to(features.device)
        self._warn_of_others(classes, recording)
        reads = [*self.reads.seen(recording), *self.reads.told(recording, classes)]
        logits = self.learnt.logits(self.network.to(features.device), reads, features.shape)
        u = self.learnt.noise_shares(logits, recorded.layout)
        return Fitted(logits, u, information(u, recorded.noise.squared_score(features), recorded.noise.active))

    def check_sides(self, recorded: Recorded) -> None:
        """Refuse a curve, which is of all that passes, for and against; every class has what is against it.

        Raises:
            SettingError: if one is asked for.
        """
        if recorded.group.wanted.curve:
            raise SettingError(
                "a curve is of all that a readout lets pass, for and against: leave out curve, or signed"
            )

    def sides(self, recorded: Recorded, read: Reading, found: Fitted, first: Fitted) -> tuple[Reading, Reading]:  # noqa: ARG002
        """Return the bits of places that raise the answer, and of those that lower it; places that do neither count on no side.

        A readout was not trained to read masks for the opposite, but what it lets pass was never fitted to this input, so
        some of it may well be against the answer.
        """
        told = effects(
            recorded.run,
            recorded.target,
            self.family(recorded),
            found.u,
            copies=_NOISES,
            seed=recorded.seed,
            rows=recorded.group.rows,
        )
        for_, against = (self.told(recorded, found.information * side) for side in (told > 0, told < 0))
        return for_, against

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
        statistics = self.statistics
        return {
            **self.choices,
            "read_layers": list(self.read_layers),
            "readout": self.weights.fingerprint,
            "training": dict(self.learnt.training),
            "data": self.learnt.provenance.data,
            **self.run_settings,
            "statistics": f"per {statistics.granularity}, {statistics.samples} inputs",
            "statistics_fingerprint": statistics.fingerprint,
            "weights": self.learnt.provenance.weights,
        }

    def _warn_of_others(self, classes: Tensor, recording: Recording) -> None:
        predicted = recording.form.scores(recording.output).argmax(1)
        others = 0 if self.reads.conditional else int((classes != predicted).sum())
        if others:
            text = (
                f"{others} of {len(classes)} targets are not the prediction, which is all that this readout explains: train one "
                "with conditional=True, or use method 'iba'"
            )
            warn(text, BitlensWarning, stacklevel=6)
