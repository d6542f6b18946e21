"""A trained readout as one file: weights, statistics, settings, and where they came from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from bitlens.bottlenecks.readout.reads import Reads
from bitlens.bottlenecks.readout.stored import stored_network, stored_reads
from bitlens.core.layout import named_layout
from bitlens.core.statistics import FeatureStatistics, Provenance
from bitlens.core.stored import statistics_parts
from bitlens.errors import SettingError, StatisticsError
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import exactly, mapping
from bitlens.system.reading import parsed, whole

_DEFAULTS: dict[str, Any] = {
    "beta": 10.0,
    "smoothing": 1.0,
    "conditional": False,
    "hidden": None,
    "middle": None,
    "call": None,
    "layout": None,
    "noise": "gaussian",
    "min_std": 0.01,
    "activity_threshold": 0.01,
}

_FORMAT = "bitlens.readout/1"


@dataclass(frozen=True)
class ReadoutWeights:
    """A trained readout of one layer of one network.

    Attributes:
        state: of the `ReadoutNetwork`, by parameter.
        statistics: of the bottleneck's layer.
        reads: what it looks at.
        settings: of the bottleneck and of the readout's network, as plain values.
        training: how it was trained, and what was lost in the end, as plain values.
        provenance: network, weights, layer, data, preprocessing and version.
    """

    state: Mapping[str, Tensor]
    statistics: FeatureStatistics
    reads: Reads
    settings: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    @cached_property
    def fingerprint(self) -> str:
        """Differs between readouts whose weights differ: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in self.state.items():
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def check_network(self, layer: str | None, weights: str) -> None:
        """Refuse another layer (None: whichever it is), or a network with other weights (given as `weights_hash`).

        Raises:
            StatisticsError: if it is another.
        """
        known = self.provenance
        if layer is not None and known.layer != layer:
            raise StatisticsError(
                f"the readout was trained for layer {known.layer!r}, not {layer!r}: leave the layer out, or train another"
            )
        if known.weights != weights:
            raise StatisticsError(
                f"the readout was trained for {known.model or 'a network'} with other weights ({known.weights}, not {weights}): "
                "use that network, or train another readout with fit_weights or `bitlens readout train`"
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        arrays = {f"network.{name}": tensor for name, tensor in self.state.items()}
        arrays |= {f"statistics.{name}": getattr(self.statistics, name) for name in ("mean", "squares", "nonzero")}
        for number, normaliser in enumerate(self.reads.normalisers.values()):
            arrays |= {f"read.{number}.mean": normaliser.mean, f"read.{number}.std": normaliser.std}
        known = self.statistics
        details = {
            "classes": self.reads.classes,
            "conditional": self.reads.conditional,
            "settings": dict(self.settings),
            "training": dict(self.training),
            "statistics": {
                "samples": known.samples,
                "observations": known.observations,
                "granularity": known.granularity,
                "layout": [known.layout.name, known.layout.extra],
            },
            "reads": [[name, [one.layout.name, one.layout.extra]] for name, one in self.reads.normalisers.items()],
        }
        metadata = {
            "format": _FORMAT,
            "details": json.dumps(details),
            "provenance": json.dumps(asdict(self.provenance)),
            "statistics_provenance": json.dumps(asdict(known.provenance)),
        }
        write_arrays(path, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "ReadoutWeights":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else.
        """
        arrays, metadata = read_arrays(path, "a readout", lambda m: m.get("format") == _FORMAT)
        with whole(path, "a complete readout", "train it again"):
            details = mapping(parsed(metadata["details"]), "details")
            known = mapping(details["statistics"], "statistics")
            parts = statistics_parts(arrays, known, named_layout(*known["layout"]), "statistics.")
            statistics = FeatureStatistics(**parts, provenance=Provenance.parsed(metadata["statistics_provenance"]))
            reads = stored_reads(arrays, details)
            settings = mapping(details["settings"], "settings")
            exactly(settings, _DEFAULTS, "the settings")
            return cls(
                state=stored_network(arrays, reads, statistics, settings),
                statistics=statistics,
                reads=reads,
                settings=settings,
                training=mapping(details["training"], "training"),
                provenance=Provenance.parsed(metadata["provenance"]),
            )


def settled(given: Mapping[str, Any], trained: ReadoutWeights | None) -> dict[str, Any]:
    """Return the settings of a bottleneck: those given, the rest as usual; or those that the weights were trained with.

    Raises:
        SettingError: if one is given that the weights were not trained with.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if trained is None:
        return {**_DEFAULTS, **chosen}
    for name, value in chosen.items():
        if trained.settings[name] != value:
            raise SettingError(
                f"the readout was trained with {name}={trained.settings[name]!r}, not {value!r}: leave {name} out, or train "
                "another"
            )
    return dict(trained.settings)
