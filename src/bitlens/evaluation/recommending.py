"""Which method to take for a network of one's own: all that it supports on a few samples, ranked, with what can be told apart.

Metrics have units of their own, so each sample and metric only says how many of the other methods a method beats there. Its mean
over metrics is one number per sample; methods are compared by its paired differences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bitlens.errors import DataError
from bitlens.evaluation.paired import Comparison, Mean, t_test_p
from bitlens.evaluation.pinned import read_settings
from bitlens.evaluation.store import RowStore, Series
from bitlens.evaluation.tables import metric_of

CHANCE = ("random", "centre", "edges")
"""What a method must beat: they do not ask the network."""

METHODS = (
    "iba,grad-cam,layer-cam,guided-grad-cam,lrp-alpha1-beta0,guided-backprop,smoothgrad,integrated-gradients,saliency,"
    "occlusion-14,gradient-attention-rollout"
)
"""What is tried unless somebody says otherwise: those that need no training and take no minutes for a map."""

METRICS = "degradation-8:points=34,road"
"""What told better maps from worse ones on every network of docs/results/judges.md, and favours no kind of method."""

_LEVEL = 0.05  # of the paired test: what differs by more chance than that is level
_CHEAPER = 0.7  # of the cost: less of a difference is not worth a word


@dataclass(frozen=True)
class Ranked:
    """One method.

    Attributes:
        method: its label.
        beaten: share of the other methods that it beats, mean over metrics and samples; 0.5 is the middle of the field.
        behind: less than the first, on the same samples; None of the first.
        seconds: of a map, median.
        settings: what its maps were made with.
    """

    method: str
    beaten: Mean
    behind: Comparison | None
    seconds: float
    settings: Mapping[str, Any]

    @property
    def level(self) -> bool:
        """Return whether it cannot be told from the first."""
        return self.behind is None or not self.behind.p < _LEVEL

    @property
    def words(self) -> str:
        """The method with where and how: `iba at layer3, keep 0.9`."""
        name = str(self.settings.get("name", self.method))
        layer = f" at {self.settings['layer']}" if self.settings.get("layer") else ""
        return name + layer + (f", keep {self.settings['keep']:g}" if self.settings.get("keep") else "")


@dataclass(frozen=True)
class Recommendation:
    """Advice that a small evaluation gives.

    Attributes:
        model: the network.
        samples: how many.
        metrics: their labels.
        rows: the methods, the best first.
        failed: methods that failed on some sample, and are not ranked, with the reason.
    """

    model: str
    samples: int
    metrics: Sequence[str]
    rows: Sequence[Ranked]
    failed: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """Say what to take, and what is as good for less."""
        first = self.rows[0]
        blind = [row.method for row in self.rows if row.method in CHANCE and row.level]
        if blind:
            return (
                f"for {self.model}: on {self.samples} samples no method can be told from {' and '.join(blind)}, "
                "that is from maps that ask nothing of the network; take more samples (--limit), and look at whether the "
                "network is right"
            )
        others = [row for row in self.rows[1:] if row.level]
        cheap = min(others, key=lambda row: row.seconds, default=first)
        text = f"for {self.model}: {first.words}"
        if others and cheap.seconds < _CHEAPER * first.seconds:
            text += f"; {cheap.words} is level at {_share(cheap.seconds / first.seconds)} of the cost"
            others.remove(cheap)
        if others:
            text += f"; level with it: {', '.join(row.method for row in others)}"
        return text

    def plain(self) -> dict[str, Any]:
        """Return plain values."""
        rows = [{**asdict(row), "settings": dict(row.settings), "level": row.level} for row in self.rows]
        about = {"model": self.model, "samples": self.samples, "metrics": list(self.metrics), "sentence": self.sentence}
        return {**about, "methods": rows, "failed": dict(self.failed)}


def recommend(folder: Path) -> Recommendation:
    """Rank the methods that a folder has results of.

    Raises:
        DataError: if there are fewer than two methods or two samples that can be compared.
    """
    settings, store = read_settings(folder), RowStore(folder / "rows")
    series, seconds = store.series(), store.map_seconds()
    failed = {method: next(iter(one.failures.values())) for (method, _), one in series.items() if one.failures}
    methods = [method for method in settings["methods"] if method not in failed and method in seconds]
    metrics = [metric for metric in settings["metrics"] if all((method, metric) in series for method in methods)]
    found = {metric: _beaten({method: series[method, metric] for method in methods}, metric) for metric in metrics}
    found = {metric: values for metric, values in found.items() if values}
    samples = sorted(set().union(*(set(values) for values in found.values())) if found else ())
    if len(methods) < 2 or len(samples) < 2:
        raise DataError(
            f"{folder} has {len(methods)} methods on {len(samples)} samples that can be compared: at least two of each are needed"
        )
    each = np.array([np.mean([values[one] for values in found.values() if one in values], 0) for one in samples])
    order = np.argsort(-each.mean(0), kind="stable")
    rows = [
        Ranked(
            methods[place],
            Mean(*_mean(each[:, place]), len(samples)),
            _behind(each[:, place] - each[:, order[0]]) if place != order[0] else None,
            seconds[methods[place]],
            settings["methods"][methods[place]],
        )
        for place in order
    ]
    return Recommendation(str(settings["model"]), len(samples), list(found), rows, failed)


def _beaten(series: Mapping[str, Series], metric: str) -> dict[int, npt.NDArray[np.float64]]:
    """Return by sample which share of the others each method beats, a draw counts half; only samples that all have."""
    sign = 1 if metric_of(metric).better == "higher" else -1
    values = [dict(zip(one.index.tolist(), sign * one.value, strict=True)) for one in series.values()]
    shared = [one for one in values[0] if all(np.isfinite(mine.get(one, np.nan)) for mine in values)]
    return {one: (rankdata([mine[one] for mine in values]) - 1) / max(len(values) - 1, 1) for one in shared}


def _mean(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def _behind(differences: npt.NDArray[np.float64]) -> Comparison:
    mean, error = _mean(differences)
    return Comparison(mean, error, len(differences), t_test_p(mean, error, len(differences) - 1))


def _share(value: float) -> str:
    """Say a share of the cost: `a twentieth`, `a third`, `0.6`."""
    names = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 10: "a tenth", 20: "a twentieth", 50: "a fiftieth"}
    near = min(names, key=lambda number: abs(np.log(number * value)))
    return (
        names[near]
        if abs(np.log(near * value)) < np.log(1.25)
        else f"1/{1 / value:.0f}"
        if value < 0.4
        else f"{value:.1f}"
    )
