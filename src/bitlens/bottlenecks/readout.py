"""The Readout Bottleneck: the mask is read from the network's features by a trained network (Schulz et al., section 3.2).

Trained once on many inputs, it explains a new one in the clean pass that every explanation begins with, and a few small
matrix products. algorithms C; the faults of the released code (J.6, J.7) are not repeated.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal
from warnings import warn

import torch
from torch import Tensor, nn

from bitlens.attribution import Attribution
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout_network import ReadoutNetwork
from bitlens.bottlenecks.readout_reads import OUTPUT, Reads, collect_reads, reading_probe
from bitlens.bottlenecks.readout_task import ReadoutTask, Teaching
from bitlens.bottlenecks.readout_weights import ReadoutWeights, settled
from bitlens.engine import Precision
from bitlens.errors import BitlensWarning, SettingError, StatisticsError, TargetError
from bitlens.fitting import Fitted, Watch
from bitlens.gaussian import NoiseMode, NoiseModel, information
from bitlens.inputs import ModelInputs
from bitlens.layout import Layout
from bitlens.masks import complement, smoothing_matrices
from bitlens.probe import Recording, stages_behind
from bitlens.statistics import Granularity, Provenance, weights_hash
from bitlens.targets import ClassTarget, Target, logits_of
from bitlens.training.examples import Examples, InMemory
from bitlens.training.loop import Progress, Trained, train
from bitlens.training.settings import TrainingSettings
from bitlens.version import __version__

__all__ = ["ReadoutIBA"]


class ReadoutIBA(IBA):
    """Information bottleneck attribution by a trained network, in one forward pass.

    The readout looks at what the network computes at several depths, its class scores among them, and says how much of each
    feature of one layer may pass. It is trained with the objective of the per-sample bottleneck, on many inputs:
    `fit_weights`, or `bitlens readout train`.

    The paper's readout is not told which class is asked for, so it can only explain the prediction. With
    `conditional=True` it is told, and trained to answer for other classes, too.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output is restricted, or its dotted name; may be left out if `weights` are given.
        read_layers: where it looks, by name; "output" stands for the network's class scores. By default the layer, up to four
            stages after it, and the output.
        beta: weight of the information in training (the paper's β·k).
        smoothing: σ of the mask's blur, in cells of the layer's grid; 0 for none.
        conditional: whether the readout is told the class that is asked for.
        hidden: outputs of its first layer; by default half of all channels that it reads.
        middle: outputs of its second layer; by default twice the channels of the bottleneck's layer.
        weights: of a trained readout, or the file that holds them. What it was trained with need not be said again, and
            cannot be changed.
        seed: of the noise under which the evidence is measured.
        precision: of the network behind the layer, when the evidence is measured: "float32", "bfloat16" or "auto".
        call: which call of the layer, if the network calls it several times in one pass.
        layout: "CHW", "HWC", "TD" or "D" if the axes of the features cannot be told from their shape.
        noise: "gaussian" (the paper), "clamped" or "zero-mean" (algorithms A6).
        min_std: floor on the standard deviation of features, here and where they are read.
        activity_threshold: features active in no more than this share of inputs are left out (A4).
        internal_batch_size: how many inputs go through the network at once; "auto" bounds the memory.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense, or is not what the weights were trained with.
        StatisticsError: if the weights are another network's.
        DataError: if the file cannot be read.
    """

    method = "readout"
    fits_behind = False

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
        seed: int = 0,
        precision: Precision = "auto",
        call: int | None = None,
        layout: str | None = None,
        noise: NoiseMode | None = None,
        min_std: float | None = None,
        activity_threshold: float | None = None,
        internal_batch_size: int | Literal["auto"] = "auto",
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
        super().__init__(
            model,
            layer,
            beta=settings["beta"],
            steps=1,
            noise_samples=1,
            smoothing=settings["smoothing"],
            seed=seed,
            precision=precision,
            call=settings["call"],
            layout=settings["layout"],
            noise=settings["noise"],
            min_std=settings["min_std"],
            activity_threshold=settings["activity_threshold"],
            internal_batch_size=internal_batch_size,
        )
        self.choices = settings
        self._read_layers = None if read_layers is None else tuple(read_layers)
        self._reads: Reads | None = None
        self._network: ReadoutNetwork | None = None
        self._training: Mapping[str, Any] = {}
        self._provenance = Provenance()
        if trained is not None:
            self.weights = trained

    @property
    def read_layers(self) -> tuple[str, ...]:
        """Names of the layers that are read, in the order in which they are concatenated; empty if not known yet."""
        return tuple(self._reads.normalisers) if self._reads is not None else ()

    @property
    def reads(self) -> Reads:
        """What is read, and how it is standardised.

        Raises:
            StatisticsError: if there are no statistics yet.
        """
        if self._reads is None:
            raise StatisticsError(
                "it is not known yet what the read layers put out: call fit_statistics or fit_weights"
            )
        return self._reads

    @property
    def network(self) -> ReadoutNetwork:
        """What reads.

        Raises:
            StatisticsError: if it was not trained.
        """
        if self._network is None:
            raise StatisticsError(
                f"the readout of layer {self.probe.name!r} is not trained: call fit_weights(batches) with inputs of the kind the "
                "network was trained on, or train it with `bitlens readout train` and give the file as weights=FILE"
            )
        return self._network

    @property
    def weights(self) -> ReadoutWeights:
        """The trained readout, to be saved or given to another object. Setting it checks that it belongs to this network.

        Raises:
            StatisticsError: if it was not trained, or belongs to another layer or network.
        """
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        return ReadoutWeights(state, self.statistics, self.reads, self.choices, self._training, self._provenance)

    @weights.setter
    def weights(self, weights: ReadoutWeights) -> None:
        weights.check_network(self.probe.name, weights_hash(self.model))
        self._take(weights)

    @property
    def is_trained(self) -> bool:
        """Whether there are weights."""
        return self._network is not None

    def on(self, model: nn.Module) -> "ReadoutIBA":
        """The same readout, unchanged, on another network of the same architecture, as the papers' sanity check wants it (G7)."""
        other = ReadoutIBA(
            model,
            self.probe.name,
            **self.choices,
            seed=self.seed,
            precision=self.precision,
            internal_batch_size=self.internal_batch_size,
        )
        other._take(self.weights)
        return other

    def _begin_at(self, start: ReadoutWeights) -> None:
        start.check_network(self.probe.name, weights_hash(self.model))
        shape = {name: self.choices[name] for name in ("conditional", "hidden", "middle")}
        if any(start.settings[name] != value for name, value in shape.items()):
            raise SettingError(f"training cannot begin at a readout of another shape: it must have {shape}")
        self._statistics, self._reads, self._provenance = start.statistics, start.reads, start.provenance
        self.probe = reading_probe(self.probe, self.read_layers)

    def _take(self, weights: ReadoutWeights) -> None:
        self._statistics, self._reads = weights.statistics, weights.reads
        self._training, self._provenance = weights.training, weights.provenance
        self.probe = reading_probe(self.probe, self.read_layers)
        self._network = self._new_network(0)
        self._network.load_state_dict(dict(weights.state))

    def save(self, path: str | Path) -> None:
        """Write the trained readout as one safetensors file, whole or not at all."""
        self.weights.save(path)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module, **settings: Any) -> "ReadoutIBA":
        """A readout from a file that `save` wrote, for the network that it was trained for.

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
            preprocessing: how they were prepared, likewise.
            progress: called with the number of inputs seen so far.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no input, or sizes differ with granularity "element".
        """
        inputs = iter(_limited(batches, max_samples))
        first = next(inputs, None)
        if first is None:
            raise StatisticsError("there are no inputs to make statistics from: the batches are empty")
        if self._read_layers is None:
            self._read_layers = (*stages_behind(self.model, self.probe.layer, first), OUTPUT)
        self.probe = reading_probe(self.probe, self._read_layers)
        statistics, self._reads = collect_reads(
            self.probe,
            itertools.chain([first], inputs),
            with_output=OUTPUT in self._read_layers,
            conditional=self.choices["conditional"],
            granularity=granularity,
            layout=self.layout,
            min_std=self.noise.min_std,
            progress=progress,
        )
        self._network, self._provenance = (
            None,
            Provenance(
                model=type(self.model).__name__,
                weights=weights_hash(self.model),
                layer=self.probe.name,
                data=data,
                preprocessing=preprocessing,
                version=__version__,
            ),
        )
        self._statistics = replace(statistics, provenance=self._provenance)
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
            teaching: learn from masks of the per-sample bottleneck first, or alone.
            start: a readout of the same layer that reads the same layers, trained otherwise (with another β, perhaps): its
                statistics are taken over, and training begins at its weights.
            checkpoint: a file that is written now and then; a training with the same settings goes on from it.
            data: where the inputs come from, kept with the readout.
            preprocessing: how they were prepared, likewise.
            progress: called after every step.

        Returns:
            How it went; the readout has the weights of the best epoch.

        Raises:
            FitError: at the first number that is not finite; the message says in which layer, at which element.
            SettingError: if the settings do not fit the samples, the processes, or the checkpoint.
            DependencyError: if the package accelerate is not installed.
        """
        training = training if training is not None else TrainingSettings()
        examples: Examples = batches if isinstance(batches, Examples) else InMemory(batches)
        if start is not None:
            self._begin_at(start)
        elif self._reads is None:
            self.fit_statistics(_in_batches(examples, training.batch), data=data, preprocessing=preprocessing)
        self._provenance = replace(self._provenance, data=data, preprocessing=preprocessing)
        network = self._new_network(training.seed)
        if start is not None:
            network.load_state_dict(dict(start.state))
        task = ReadoutTask(self, network, teaching if teaching is not None else Teaching(), start)
        done = train(task, examples, training, checkpoint=Path(checkpoint) if checkpoint else None, progress=progress)
        self._network = network
        last = done.rows[done.best_epoch - 1]
        self._training = {
            **asdict(training),
            "teaching": asdict(task.teaching),
            "samples": done.samples,
            "held_out_samples": done.held_out,
            "epochs_done": len(done.rows),
            "best_epoch": done.best_epoch,
            "train": dict(last.train),
            "held_out_losses": dict(last.held_out),
        }
        return done

    def explain(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        evidence_samples: int = 32,
        keep_capacity: bool = False,
        progress: Callable[[int], None] | None = None,
        watch: Callable[[int, Tensor], None] | None = None,  # noqa: ARG002
    ) -> Attribution:
        """How many bits of each part of the inputs the network uses, as the readout predicts it.

        Args:
            inputs: (N, C, H, W) images or whatever the network takes (a tuple or mapping for several arguments).
            targets: None for the predicted class, a class index, (N,) indices, or a `ClassTarget`. A readout that is not
                conditional answers for the prediction whatever is asked, with a warning; the evidence is that of the target.
            evidence_samples: noise samples under which the target is measured; 0 leaves the evidence out, and then each input
                goes through the network exactly once.
            keep_capacity: whether to keep the bits of every feature, (N, ...) like the layer's output.
            progress: called with the number of samples explained so far.
            watch: never called: nothing is optimised.

        Returns:
            Maps in bits: (N, H, W) for image features, (N, T) for tokens, (N, D) for vectors.

        Raises:
            StatisticsError: if the readout is not trained, or does not fit the layer's output.
            TargetError: if the targets are no classes of the network.
            InputError, LayerError: as for the per-sample bottleneck.
        """
        _ = self.network  # if it is missing, say so before any work
        return super().explain(
            inputs, targets, evidence_samples=evidence_samples, keep_capacity=keep_capacity, progress=progress
        )

    def logits(self, network: nn.Module, reads: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """What a readout network says of standardised features: α (N, ...) in the shape of the layer's features, float32."""
        layout = self.statistics.layout
        grid = torch.Size(size for axis, size in enumerate(shape) if axis not in (0, layout.channel + 1))
        predicted: Tensor = network(reads, grid)
        return predicted.float().movedim(-1, layout.channel + 1)

    def all_settings(self) -> dict[str, Any]:
        """Everything that decides what a map looks like, as plain values."""
        statistics = self.statistics
        return {
            **self.choices,
            "read_layers": list(self.read_layers),
            "readout": self.weights.fingerprint,
            "training": dict(self._training),
            "data": self._provenance.data,
            "seed": self.seed,
            "precision": self.precision,
            "statistics": f"per {statistics.granularity}, {statistics.samples} inputs",
            "statistics_fingerprint": statistics.fingerprint,
            "weights": self._provenance.weights,
        }

    @torch.no_grad()
    def _fit(
        self,
        run: Callable[..., Any],  # noqa: ARG002  (nothing is optimised)
        target: Target,
        features: Tensor,
        noise_model: NoiseModel,
        layout: Layout,
        recording: Recording,
        rows: int,  # noqa: ARG002
        watch: Watch | None = None,  # noqa: ARG002
    ) -> Fitted:
        """Read the masks."""
        if not isinstance(target, ClassTarget):
            raise TargetError(
                f"a readout answers for classes, not for {type(target).__name__} targets: give class indices, or use method 'iba'"
            )
        classes = target.classes.to(features.device)
        self._warn_of_others(classes, recording)
        network = self.network.to(features.device)
        logits = self.logits(network, [*self.reads.seen(recording), *self.reads.told(classes)], features.shape)
        u = self.noise_shares(logits, layout)
        return Fitted(logits, u, information(u, noise_model.squared_score(features), noise_model.active))

    def noise_shares(self, logits: Tensor, layout: Layout) -> Tensor:
        """U = 1 - λ (N, ...) of logits α, smoothed."""
        matrices = smoothing_matrices(layout, tuple(logits.shape[1:]), self.settings.smoothing)
        return complement(logits, layout, [matrix.to(logits.device) for matrix in matrices])

    def _warn_of_others(self, classes: Tensor, recording: Recording) -> None:
        others = 0 if self.reads.conditional else int((classes != logits_of(recording.output).argmax(1)).sum())
        if others:
            text = (
                f"{others} of {len(classes)} targets are not the prediction, which is all that this readout explains: train one "
                "with conditional=True, or use method 'iba'"
            )
            warn(text, BitlensWarning, stacklevel=6)

    def _new_network(self, seed: int) -> ReadoutNetwork:
        out = self.statistics.mean.shape
        layout = self.statistics.layout
        width = out[-1] if self.statistics.granularity == "channel" else out[layout.channel]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = ReadoutNetwork(
                self.reads.channels, width, hidden=self.choices["hidden"], middle=self.choices["middle"]
            )
        return made.to(self.probe.device)


def _in_batches(examples: Examples, size: int) -> Iterable[ModelInputs]:
    for start in range(0, len(examples), size):
        yield examples.take(range(start, min(start + size, len(examples)))).inputs


def _limited(batches: Iterable[Any], count: int) -> Iterator[ModelInputs]:
    """The inputs of batches up to exactly this many samples; no more is drawn than is needed."""
    seen = 0
    for batch in batches:
        inputs = ModelInputs.of(batch[0] if isinstance(batch, tuple | list) else batch).select(slice(count - seen))
        seen += inputs.count
        yield inputs
        if seen >= count:
            return
