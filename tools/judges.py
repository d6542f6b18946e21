"""Tables of docs/results/judges.md, from the rows that `benchmarks/judges.py` measured: τ of each metric and set, and their bias.

τ is Kendall's, between the order of mean scores and the known order of a right map and four ever worse ones, mean over the ways
to make it worse; its error is the standard deviation over photos drawn anew (bootstrap). Several metrics together are judged by
the mean of the ranks that each gives. The set is chosen on every second photo, by its mean τ over all networks, and reported on
the others.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bitlens.errors import DataError
from bitlens.evaluation.paired import contributions
from bitlens.evaluation.pinned import read_settings
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import metric_of

Array = npt.NDArray[np.float64]
Photos = npt.NDArray[np.int64]

WAYS = ("blurred", "shifted", "noisy", "shuffled")
CHANCE = ("random", "centre", "edges", "constant")
NEED_TRUTH = ("bbox", "ehr", "mass-inside", "pointing-game", "rank-auc")
"""Metrics that are told where the object is: where the mask is the right map, they compare it with itself."""

_STEPS, _DRAWS, _MOST = 4, 200, 3


class Scores:
    """Scores of a folder, of photos that every map and metric is measured on; higher is better, whatever the metric says.

    Attributes:
        name: of the folder.
        metrics: their labels.
        photos: their positions.
    """

    def __init__(self, folder: Path) -> None:
        settings, series = read_settings(folder), RowStore(folder / "rows").series()
        self.name, self.maps, self.metrics = folder.name, list(settings["methods"]), list(settings["metrics"])
        shared = sorted(set.intersection(*(set(one.index.tolist()) for one in series.values())))
        self.photos: Photos = np.arange(len(shared))
        self._values, self._scales = np.full((2, len(self.maps), len(self.metrics), len(shared)), np.nan)
        self._sign = np.array([1 if metric_of(label).better == "higher" else -1 for label in self.metrics])
        for (name, label), one in series.items():
            place, chosen = (self.maps.index(name), self.metrics.index(label)), np.searchsorted(one.index, shared)
            self._values[place] = self._sign[place[1]] * one.value[chosen]
            self._scales[place] = one.scale[chosen]
        self._rows = np.array([[0, *(self.maps.index(f"{way}-{n}") for n in range(1, _STEPS + 1))] for way in WAYS])
        self._made_worse = np.unique(self._rows)

    def place(self, name: str) -> int:
        """Return where the metric of a name stands, whatever its settings.

        Raises:
            DataError: if it was not measured.
        """
        for number, label in enumerate(self.metrics):
            if label.partition("[")[0] == name:
                return number
        raise DataError(f"{name} was not measured on {self.name}: `benchmarks/judges.py --metrics` adds it")

    def means(self, photos: Photos) -> Array:
        """(map, metric) over some photos: the mean, of metrics with a scale the ratio of means; NaN where nothing is known."""
        values, scales = self._values[..., photos], self._scales[..., photos]
        known = ~np.isnan(values)
        top = np.where(known, values, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
        found: Array = top / np.where(np.isnan(scales).any(-1), 1.0, np.nan_to_num(scales).mean(-1))
        return found

    def taus(self, photos: Photos, together: Sequence[str] | None = None) -> Array:
        """(metric, way) τ; of several metrics together (1, way)."""
        found = self.means(photos)
        if together is not None:
            ranks = [rankdata(found[self._made_worse, self.place(name)]) for name in together]
            found = found[:, :1].copy()
            found[self._made_worse, 0] = np.mean(ranks, 0)
        steps = found[self._rows]  # (way, step, metric)
        pairs = list(combinations(range(_STEPS + 1), 2))
        agreed: Array = np.mean([np.sign(steps[:, better] - steps[:, worse]) for better, worse in pairs], 0)
        return np.nan_to_num(agreed).T

    def told(self, name: str, metric: int) -> str:
        """Write what the metric gives to a map, with its standard error, as the metric itself says it."""
        value, scale = (held[self.maps.index(name), metric] for held in (self._values, self._scales))
        parts = contributions(value[~np.isnan(value)], scale[~np.isnan(value)]) * self._sign[metric]
        return f"{_signed(parts.mean())} ± {parts.std(ddof=1) / len(parts) ** 0.5:.2f}" if len(parts) > 1 else "–"

    def halves(self) -> tuple[Photos, Photos]:
        """Every second photo, and the others."""
        return self.photos[::2], self.photos[1::2]


def drawn(photos: Photos) -> Iterator[Photos]:
    """Give photos drawn with replacement, as many, over and over."""
    random = np.random.default_rng(0)
    for _ in range(_DRAWS):
        yield random.choice(photos, len(photos))


def metrics_table(scores: Scores) -> str:
    """Write a line for each metric, the best first: τ, what the right map scores, and what maps score that know nothing."""
    of_means, often = scores.taus(scores.photos), np.array([scores.taus(some).mean(1) for some in drawn(scores.photos)])
    single = np.array([scores.taus(np.array([one])).mean(1) for one in scores.photos])
    shown = ("right", *CHANCE)
    lines = [
        f"| metric | τ | τ of one photo | {' | '.join(WAYS)} | {' | '.join(shown)} |",
        "| --- " * (3 + 4 + 5) + "|",
    ]
    for row in np.argsort(-of_means.mean(1), kind="stable"):
        error = single[:, row].std(ddof=1) / len(scores.photos) ** 0.5
        cells = [scores.metrics[row], f"{of_means[row].mean():.2f} ± {often[:, row].std():.2f}"]
        cells += [f"{single[:, row].mean():.2f} ± {error:.2f}", *(_signed(value) for value in of_means[row])]
        lines.append(f"| {' | '.join([*cells, *(scores.told(name, row) for name in shown)])} |")
    return "\n".join([*lines, f"| number of photos | {len(scores.photos)} |" + " |" * 10])


def summary_table(every: Sequence[Scores]) -> str:
    """Write τ of each metric on each network, the highest mean first; of metrics that were measured on several of them.

    Folders of the same name are of one network.
    """
    networks = list(dict.fromkeys(scores.name for scores in every))
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for scores in every:
        of_means = scores.taus(scores.photos).mean(1)
        errors = np.std([scores.taus(some).mean(1) for some in drawn(scores.photos)], 0)
        for label, tau, error in zip(scores.metrics, of_means, errors, strict=True):
            found.setdefault(label.partition("[")[0], {})[scores.name] = (float(tau), float(error))
    shared = {name: taus for name, taus in found.items() if len(taus) > 1}
    means = {name: float(np.mean([tau for tau, _ in taus.values()])) for name, taus in shared.items()}
    lines = [f"| metric | {' | '.join(networks)} | mean |", "| --- " * (2 + len(networks)) + "|"]
    for name in sorted(means, key=lambda name: -round(means[name], 6)):  # in the order of the networks where equal
        taus = [shared[name].get(network) for network in networks]
        cells = ["" if one is None else f"{_signed(one[0])} ± {one[1]:.2f}" for one in taus]
        lines.append(f"| {name} | {' | '.join(cells)} | {_signed(means[name])} |")
    return "\n".join(lines)


def sets_table(every: Sequence[Scores], named: Sequence[Sequence[str]]) -> str:
    """Write τ of sets of metrics on the photos that did not choose: those that are named, and the one that is chosen."""
    rows = [("chosen: ", chosen(every)), *(("", one) for one in named)]
    lines = [f"| set | {' | '.join(scores.name for scores in every)} | mean |", "| --- " * (2 + len(every)) + "|"]
    for label, together in rows:
        taus = [scores.taus(scores.halves()[1], together).mean() for scores in every]
        often = [np.std([scores.taus(some, together).mean() for some in drawn(scores.halves()[1])]) for scores in every]
        cells = [f"{tau:.2f} ± {error:.2f}" for tau, error in zip(taus, often, strict=True)]
        whole = f"{np.mean(taus):.2f} ± {np.linalg.norm(often) / len(often):.2f}"
        lines.append(f"| {label}{' + '.join(together)} | {' | '.join([*cells, whole])} |")
    return "\n".join(lines)


def chosen(every: Sequence[Scores]) -> tuple[str, ...]:
    """Return the set of at most three metrics with the highest mean τ, by the photos that choose; the smaller of equals."""
    known = [{label.partition("[")[0] for label in scores.metrics} for scores in every]
    names = sorted(set.intersection(*known) - set(NEED_TRUTH) - {"sparseness"})
    sets = [one for size in range(1, _MOST + 1) for one in combinations(names, size)]

    def worth(one: Sequence[str]) -> float:
        return float(np.round(np.mean([scores.taus(scores.halves()[0], one).mean() for scores in every]), 6))

    return max(sets, key=worth)  # the first of equals


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
