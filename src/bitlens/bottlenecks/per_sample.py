"""The Per-Sample Bottleneck: the mask is optimised for each input (Schulz et al., ICLR 2020, section 3.1)."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Literal, final

from torch import nn
from typing_extensions import Unpack

from bitlens.bottlenecks.at_layer import ExtraTokens, LayerBottleneck
from bitlens.bottlenecks.bottleneck import optimised
from bitlens.bottlenecks.recorded import Recorded
from bitlens.core.effort import HOLDING, QUALITY, Quality, Readout
from bitlens.core.family import Fitted
from bitlens.core.gaussian import NoiseMode, NoiseSettings
from bitlens.core.passes import BottleneckOptions
from bitlens.core.statistics import FeatureStatistics, Granularity
from bitlens.errors import one_of
from bitlens.probe.collecting import collect_statistics
from bitlens.probe.fingerprint import provenance_of


@final
class IBA(LayerBottleneck):
    """Information bottleneck attribution at one layer of a network, optimised for each input.

    Noise replaces the layer's features little by little; the mask is found that lets the least information pass while
    the target is still predicted. What passes, in bits, is the attribution.

    Args:
        model: the network; left exactly as it was after every call.
        layer: the module whose output is restricted, or its dotted name.
        beta: weight of the information; larger keeps less (the paper's β·k; 10 there). Not with `keep`.
        steps: optimisation steps; by default what `quality` says.
        noise_samples: noisy copies per step; by default what `quality` says.
        learning_rate: of Adam.
        smoothing: σ of the mask's blur, in cells of the layer's grid; 0 for none.
        quality: "fast", "paper" or "best": how many steps and noise samples (see `QUALITY`).
        statistics: of the layer's features over many inputs (the papers' choice; `fit_statistics` makes them). "own", as if none
            are given: of each input's own places, so that a bit is one beyond what other places of the same input tell.
        call: which call of the layer, if the network calls it several times in one pass.
        layout: "CHW", "HWC", "TD" or "D" if the axes of the features cannot be told from their shape.
        noise: "gaussian" (the paper), "clamped" or "zero-mean" (variants for layers after a ReLU, algorithms A6).
        min_std: floor on the standard deviation of features.
        activity_threshold: features active in no more than this share of inputs are left out (A4).
        readout: "last_forward" (as published) or "final" (B7).
        extra_tokens: what happens to tokens of a vision transformer that are no patches (class token, registers): they are
            "restricted" like patches, at a price, and their bits told apart; or held at their "mean", so that all bits lie in
            the picture; or left "whole", and then the map does not bound what the network uses.
        compile: whether `torch.compile` makes one graph of what lies behind the layer (on a GPU with CUDA graphs). Compiling
            takes long in every `explain`, and the gain of a pass is small on a CPU: for hundreds of images in one call.
        run: seed, precision and internal_batch_size, see `GroupedMethod`.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense.
    """

    method = "iba"
    runs_behind = True

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        *,
        beta: float = 10.0,
        steps: int | None = None,
        noise_samples: int | None = None,
        learning_rate: float = 1.0,
        smoothing: float = 1.0,
        quality: Quality = "paper",
        statistics: FeatureStatistics | Literal["own"] | None = None,
        call: int | None = None,
        layout: str | None = None,
        noise: NoiseMode = "gaussian",
        min_std: float = 0.01,
        activity_threshold: float = 0.01,
        readout: Readout = "last_forward",
        extra_tokens: ExtraTokens = "restricted",
        compile: bool = False,  # noqa: A002  (PyTorch's own name)
        **run: Unpack[BottleneckOptions],
    ) -> None:
        super().__init__(
            model,
            layer,
            call=call,
            layout=layout,
            noise=NoiseSettings(noise, min_std, activity_threshold),
            extra_tokens=extra_tokens,
            compile=compile,
            **run,
        )
        preset = one_of("quality", quality, QUALITY if self.keep is None else HOLDING)
        self.fit = replace(
            preset,
            beta=self.price(beta, 10.0),
            row_price=self.row_price(given=beta != 10.0),
            steps=preset.steps if steps is None else steps,
            noise_samples=preset.noise_samples if noise_samples is None else noise_samples,
            learning_rate=learning_rate,
            smoothing=smoothing,
            readout=readout if self.keep is None else "final",
        )
        if isinstance(statistics, FeatureStatistics):
            self.statistics = statistics
        elif statistics is not None:
            one_of("statistics", statistics, {"own": None})

    def fit_statistics(
        self,
        batches: Iterable[Any],
        max_samples: int = 10_000,
        *,
        granularity: Granularity = "element",
        data: str = "",
        preprocessing: str = "",
    ) -> "IBA":
        """Learn what the layer puts out on inputs like those to be explained.

        Args:
            batches: any iterable of inputs, or of tuples whose first entry is the input.
            max_samples: stop at exactly this many (the paper's code: 10,000).
            granularity: "element" (as in the papers; fits one input size, wants 1,000 inputs or more) or "channel" (fits
                any size, a few dozen inputs are enough).
            data: where the inputs come from, kept with the statistics.
            preprocessing: how they were prepared, kept as well.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no input, or sizes differ with granularity "element".
        """
        statistics = collect_statistics(
            self.probe, batches, max_samples=max_samples, granularity=granularity, layout=self.layout
        )
        provenance = provenance_of(self.model, self.probe.name, data=data, preprocessing=preprocessing)
        self.statistics = replace(statistics, provenance=provenance)
        return self

    def masks(self, recorded: Recorded) -> Fitted:
        """Optimise the masks."""
        if self.compile and recorded.recording is not None:
            compiled = recorded.group.wanted.compiler.compiled(recorded.run, recorded.recording)
            recorded = replace(recorded, run=compiled)
        return optimised(recorded, self.fit, aimed=bool(self.aim))

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
        known = _of_own(self.probe.fingerprint()) if self.own else _of_others(self.statistics)
        return {
            **self.fit.plain(),
            **asdict(self.noise),
            **self.run_settings,
            **known,
            **({"extra_tokens": self.extra_tokens} if self.own or self.statistics.layout.extra else {}),
            "call": self.probe.call,
        }


def _of_others(statistics: FeatureStatistics) -> dict[str, Any]:
    return {
        "statistics": f"per {statistics.granularity}, {statistics.samples} inputs",
        "statistics_data": statistics.provenance.data,
        "statistics_fingerprint": statistics.fingerprint,
        "weights": statistics.provenance.weights,
    }


def _of_own(weights: str) -> dict[str, Any]:
    return {
        "statistics": "per channel, the places of each input itself",
        "statistics_data": "own",
        "statistics_fingerprint": "",
        "weights": weights,
    }
