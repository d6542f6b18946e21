"""The Readout Bottleneck: the mask is read from the network's features by a trained network (Schulz et al., section 3.2).

Trained once on many inputs, it explains a new one in the clean pass that every explanation begins with, and a few small
matrix products. algorithms C; the faults of the released code (J.6, J.7) are not repeated.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from bitlens.bottlenecks.readout.explaining import ReadoutExplainer
from bitlens.bottlenecks.readout.learnt import learn_statistics
from bitlens.bottlenecks.readout.task import Teaching
from bitlens.bottlenecks.readout.training import begun_at, inputs_of, learn_weights
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.statistics import Granularity
from bitlens.training.examples import Examples, InMemory
from bitlens.training.loop import Progress, Trained
from bitlens.training.settings import TrainingSettings

__all__ = ["ReadoutIBA"]


class ReadoutIBA(ReadoutExplainer):
    """Information bottleneck attribution by a trained network, in one forward pass.

    The readout looks at what the network computes at several depths, its class scores among them, and says how much of each
    feature of one layer may pass. It is trained with the objective of the per-sample bottleneck, on many inputs:
    `fit_weights`, or `bitlens readout train`.

    The paper's readout is not told which class is asked for, so it can only explain the prediction. With `conditional=True`
    it is shown the evidence for the class, and trained to answer for any.

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
            self._take(begun_at(start, self))
        elif self._learnt is None:
            self.fit_statistics(inputs_of(examples, training.batch), data=data, preprocessing=preprocessing)
        provenance = replace(self.learnt.provenance, data=data, preprocessing=preprocessing)
        self._learnt, done = learn_weights(
            self,
            replace(self.learnt, provenance=provenance),
            examples,
            training,
            teaching=teaching if teaching is not None else Teaching(ramp=training.epochs // 2),
            start=start,
            checkpoint=Path(checkpoint) if checkpoint else None,
            progress=progress,
        )
        return done
