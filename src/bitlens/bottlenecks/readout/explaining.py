"""A trained readout explains: masks are read from the network's features in the clean pass (algorithms C6)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal
from warnings import warn

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout.learnt import Learnt
from bitlens.bottlenecks.readout.network import ReadoutNetwork
from bitlens.bottlenecks.readout.reads import Reads, reading_probe
from bitlens.bottlenecks.readout.weights import ReadoutWeights, settled
from bitlens.core.attribution import Attribution
from bitlens.core.fitting import Fitted, Watch
from bitlens.core.gaussian import NoiseMode, NoiseModel, information
from bitlens.core.layout import Layout
from bitlens.core.masks import complement, smoothing_matrices
from bitlens.core.passes import Precision
from bitlens.core.targets import ClassTarget, Target, logits_of
from bitlens.errors import BitlensWarning, SettingError, StatisticsError, TargetError
from bitlens.probe import Recording
from bitlens.probe.fingerprint import weights_hash, weights_versions

__all__ = ["ReadoutExplainer"]


class ReadoutExplainer(IBA):
    """A bottleneck whose masks a network reads; how it learns to is added by `ReadoutIBA`, whose arguments these are."""

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
        self._learnt: Learnt | None = None
        if trained is not None:
            self.weights = trained

    @property
    def learnt(self) -> Learnt:
        """What is known about the layer so far.

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
        return tuple(self._learnt.reads.normalisers) if self._learnt is not None else ()

    @property
    def reads(self) -> Reads:
        """What is read, and how it is standardised (StatisticsError if that is not known yet)."""
        return self.learnt.reads

    @property
    def network(self) -> ReadoutNetwork:
        """What reads.

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
        """Whether there are weights."""
        return self._learnt is not None and self._learnt.network is not None

    def on(self, model: nn.Module) -> "ReadoutExplainer":
        """The same readout, unchanged, on another network of the same architecture, as the papers' sanity check wants it (G7)."""
        other = type(self)(
            model,
            self.probe.name,
            **self.choices,
            seed=self.seed,
            precision=self.precision,
            internal_batch_size=self.internal_batch_size,
        )
        other._take(Learnt.of(self.weights, other.probe.device))
        return other

    def _take(self, learnt: Learnt) -> None:
        self._learnt, self._statistics = learnt, learnt.statistics
        self._versions = weights_versions(
            self.model
        )  # that they belong to it was checked, or they do not on purpose (`on`)
        self.probe = reading_probe(self.probe, self.read_layers, conditional=self.choices["conditional"])

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
            "training": dict(self.learnt.training),
            "data": self.learnt.provenance.data,
            "seed": self.seed,
            "precision": self.precision,
            "statistics": f"per {statistics.granularity}, {statistics.samples} inputs",
            "statistics_fingerprint": statistics.fingerprint,
            "weights": self.learnt.provenance.weights,
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
        logits = self.logits(
            network, [*self.reads.seen(recording), *self.reads.told(recording, classes)], features.shape
        )
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
