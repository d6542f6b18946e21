"""What a layer puts out on many inputs: mean, standard deviation and activity, with where they came from.

Batches are summarised and merged (Chan et al., 1979) in float64, so neither the cut into batches nor their order nor
the process that saw them matters.
"""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bitlens.core.gaussian import NoiseModel, NoiseSettings
from bitlens.core.layout import Layout, named_layout
from bitlens.core.stored import statistics_parts
from bitlens.errors import BitlensWarning, StatisticsError
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import exactly, mapping, text, whole_number
from bitlens.system.reading import parsed, whole

Granularity = Literal["element", "channel"]

FEW_SAMPLES = 1000  # below this, statistics per element are noisy (algorithms A3)
FEW_OBSERVATIONS = 1000  # of each channel, below which statistics per channel are noisy


@dataclass(frozen=True)
class Provenance:
    """Origin of statistics; an empty text says that nobody told."""

    model: str = ""
    weights: str = ""
    layer: str = ""
    data: str = ""
    preprocessing: str = ""
    version: str = ""

    @classmethod
    def parsed(cls, content: str) -> "Provenance":
        """Take what was stored as JSON.

        Raises:
            ValueError: if it is something else.
        """
        known = mapping(parsed(content), "provenance")
        exactly(known, (f.name for f in fields(cls)), "where it came from")
        return cls(**{name: text(value, name) for name, value in known.items()})


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean, spread and activity of a layer's features over inputs.

    Attributes:
        mean: per element (the shape of one sample's features) or per channel (C,), float64; per channel of a vision
            transformer's tokens (E + 1, C), those of each token that is no patch and those of all patches.
        squares: sum of squared deviations from the mean, of the same shape.
        nonzero: how often the value was not exactly zero, of the same shape.
        samples: how many inputs were seen.
        observations: how many values each entry summarises (samples, or samples times positions); of tokens that are no
            patch there are as many as samples.
        granularity: "element" as in the papers; "channel" needs far fewer inputs and fits any image size.
        layout: how the axes are meant.
        provenance: model, weights, layer, data, preprocessing and version.
    """

    mean: Tensor
    squares: Tensor
    nonzero: Tensor
    samples: int
    observations: int
    granularity: Granularity
    layout: Layout
    provenance: Provenance = field(default_factory=Provenance)

    @classmethod
    def of(
        cls, features: Tensor, layout: Layout, granularity: Granularity = "element", *, valid: Tensor | None = None
    ) -> "FeatureStatistics":
        """Summarise one batch.

        Args:
            features: (N, ...).
            layout: how the axes after the first are meant.
            granularity: "element" or "channel".
            valid: for tokens, (N, T) true where a token is real; padding is left out (channel granularity only).

        Raises:
            StatisticsError: if a value is not finite, or `valid` is given with statistics per element.
        """
        if granularity == "channel" and layout.extra:
            extra, patches = features[:, : layout.extra], features[:, layout.extra :]
            return cls._joined(cls.of(extra, layout, "element"), cls.of(patches, replace(layout, extra=0), "channel"))
        if granularity == "channel":
            rows = features.movedim(layout.channel + 1, -1)
            rows = rows[valid.bool()] if valid is not None else rows.reshape(-1, rows.shape[-1])
        elif valid is not None:
            raise StatisticsError("statistics per element cannot leave out padding: use granularity='channel'")
        else:
            rows = features
        values = rows.detach().double()
        if not len(values):
            raise StatisticsError("there is nothing to summarise: every token of the batch is padding")
        if not bool(torch.isfinite(values).all()):
            raise StatisticsError("the layer's features hold NaN or infinite values: check the inputs and the network")
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        nonzero = (rows != 0).sum(0).double()
        arrays = (mean.cpu(), squares.cpu(), nonzero.cpu())
        return cls(*arrays, features.shape[0], rows.shape[0], granularity, layout)

    @classmethod
    def _joined(cls, extra: "FeatureStatistics", patches: "FeatureStatistics") -> "FeatureStatistics":
        """Return the statistics of extra tokens (E, C) above those of patches (C,)."""
        mean, squares, nonzero = (
            torch.cat([getattr(extra, name), getattr(patches, name)[None]]) for name in ("mean", "squares", "nonzero")
        )
        return replace(patches, mean=mean, squares=squares, nonzero=nonzero, layout=extra.layout)

    @property
    def _counts(self) -> Tensor:
        """Return how many values each entry summarises, broadcastable to the entries."""
        if self.granularity == "channel" and self.layout.extra:
            counts = [self.samples] * self.layout.extra + [self.observations]
            return torch.tensor(counts, dtype=torch.float64)[:, None]
        return torch.tensor(self.observations, dtype=torch.float64)

    def merge(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Return the statistics of both sets of inputs together.

        Raises:
            StatisticsError: if they are of different kind, shape, layer or network.
        """
        self._check_mergeable(other)
        n, m = self._counts, other._counts
        difference = other.mean - self.mean
        mean = self.mean + difference * (m / (n + m))
        squares = self.squares + other.squares + difference.square() * (n * m / (n + m))
        nonzero = self.nonzero + other.nonzero
        data = " + ".join(dict.fromkeys(text for text in (self.provenance.data, other.provenance.data) if text))
        return replace(
            self,
            mean=mean,
            squares=squares,
            nonzero=nonzero,
            samples=self.samples + other.samples,
            observations=self.observations + other.observations,
            provenance=replace(self.provenance, data=data),
        )

    def _check_mergeable(self, other: "FeatureStatistics") -> None:
        if (self.granularity, self.layout) != (other.granularity, other.layout):
            raise StatisticsError(
                f"cannot merge statistics per {self.granularity} ({self.layout.name}) with statistics per "
                f"{other.granularity} ({other.layout.name})"
            )
        if self.mean.shape != other.mean.shape:
            raise StatisticsError(
                f"cannot merge statistics of shapes {tuple(self.mean.shape)} and {tuple(other.mean.shape)}: inputs must "
                "have one size, or use granularity='channel'"
            )
        for name in ("model", "weights", "layer"):
            mine, theirs = getattr(self.provenance, name), getattr(other.provenance, name)
            if mine and theirs and mine != theirs:
                raise StatisticsError(f"cannot merge statistics of different {name}: {mine!r} and {theirs!r}")

    @property
    def std(self) -> Tensor:
        """Sample standard deviation (divisor n - 1), no floor; zero for a single observation."""
        return (self.squares / (self._counts - 1).clamp_min(1)).sqrt()

    @property
    def activity(self) -> Tensor:
        """The share of observations that are not exactly zero, in [0, 1]."""
        return self.nonzero / self._counts

    @cached_property
    def fingerprint(self) -> str:
        """Differs between statistics whose numbers differ: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in (self.mean, self.squares, self.nonzero):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def noise(self, settings: NoiseSettings, features: tuple[int, ...] | None = None) -> NoiseModel:
        """Return the noise that stands in for features; its tensors broadcast to one sample's features, float32.

        Args:
            settings: how it is made.
            features: the shape of one sample's features; where some tokens are no patches it must be known.
        """
        mean, std = self.mean, self.std
        if settings.noise == "zero-mean":
            total = self.squares + self._counts * self.mean.square()
            mean, std = torch.zeros_like(mean), (total / self.nonzero.clamp_min(1)).sqrt()
        active = (self.activity > settings.activity_threshold).double()
        return NoiseModel(
            mean=self._shaped(mean, features),
            std=self._shaped(std.clamp_min(settings.min_std), features),
            active=self._shaped(active, features),
            clamp=settings.noise != "gaussian",
        )

    def _shaped(self, tensor: Tensor, features: tuple[int, ...] | None) -> Tensor:
        if self.granularity == "element":
            return tensor.float()
        if self.layout.extra:
            if features is None:
                raise StatisticsError("statistics of patches and other tokens need to know how many tokens there are")
            extra = self.layout.extra
            patches = tensor[extra:].expand(features[0] - extra, -1)
            return torch.cat([tensor[:extra], patches]).float()
        shape = [1] * (len(self.layout.places) + 1)
        shape[self.layout.channel] = -1
        return tensor.float().reshape(shape)

    def check_features(self, features: tuple[int, ...]) -> None:
        """Refuse features (one sample's shape) that these statistics are not about."""
        expected = tuple(self.mean.shape)
        if len(features) == len(self.layout.places) + 1:
            units = (features[self.layout.channel],)
            tokens = (self.layout.extra + 1,) if self.layout.extra else ()
            got = features if self.granularity == "element" else tokens + units
            if got == expected:
                return
        hint = "use inputs of the size the statistics were made with, or make statistics with granularity='channel'"
        raise StatisticsError(
            f"statistics per {self.granularity} of layer {self.provenance.layer!r} have shape {expected}, but its features "
            f"have shape {features}: {hint if self.granularity == 'element' else 'make new statistics for this layer'}"
        )

    def check_network(self, layer: str, weights: str) -> None:
        """Refuse another layer, or a network with other weights (given as `weights_hash`)."""
        known = self.provenance
        if known.layer and known.layer != layer:
            raise StatisticsError(
                f"the statistics are of layer {known.layer!r}, not {layer!r}: make new ones, or use that layer"
            )
        if known.weights and known.weights != weights:
            raise StatisticsError(
                f"the statistics are of {known.model or 'a network'} with other weights ({known.weights}, not {weights}): make "
                "new ones with fit_statistics or `bitlens statistics`"
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        details = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name in ("samples", "observations", "granularity")
        }
        metadata = {
            "format": "bitlens.statistics/1",
            "details": json.dumps({**details, "layout": self.layout.name, "extra": self.layout.extra}),
            "provenance": json.dumps(asdict(self.provenance)),
        }
        write_arrays(path, {"mean": self.mean, "squares": self.squares, "nonzero": self.nonzero}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "FeatureStatistics":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else; if a part of it is of another type or shape, not
                finite, out of range, or does not agree with the others.
        """
        arrays, metadata = read_arrays(path, "statistics", lambda m: m.get("format") == "bitlens.statistics/1")
        with whole(path, "complete statistics", "make new ones"):
            details = mapping(parsed(metadata["details"]), "details")
            layout = named_layout(details["layout"], whole_number(details.get("extra", 0), "extra", most=1000))
            exactly(arrays, ("mean", "squares", "nonzero"), "the arrays")
            return cls(
                **statistics_parts(arrays, details, layout), provenance=Provenance.parsed(metadata["provenance"])
            )


def warn_if_few(statistics: FeatureStatistics) -> None:
    """Say so where statistics are rough."""
    if statistics.granularity == "element" and statistics.samples < FEW_SAMPLES:
        text = f"statistics per element from {statistics.samples} inputs are rough; use {FEW_SAMPLES} or more, or "
        warnings.warn(text + "granularity='channel'", BitlensWarning, stacklevel=3)
    elif statistics.observations < FEW_OBSERVATIONS:
        text = (
            f"statistics per channel from {statistics.observations} values of each channel are rough; use more inputs"
        )
        warnings.warn(text, BitlensWarning, stacklevel=3)
