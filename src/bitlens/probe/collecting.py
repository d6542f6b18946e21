"""What a layer puts out on many inputs, batch after batch: no more passes than there are batches, however many layers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor
from typing_extensions import Self

from bitlens.core.inputs import ModelInputs
from bitlens.core.layout import Layout
from bitlens.core.statistics import FeatureStatistics, Granularity, warn_if_few
from bitlens.errors import StatisticsError
from bitlens.probe.following import arguments_of
from bitlens.probe.pictured import pictured
from bitlens.probe.probe import Probe
from bitlens.probe.several import layer_features


def collect_statistics(
    probe: Probe,
    batches: Iterable[Any],
    *,
    max_samples: int = 10_000,
    granularity: Granularity = "element",
    layout: Layout | None = None,
) -> FeatureStatistics:
    """Run batches through the part of a network before (and with) the probed layer, and summarise what it puts out.

    Args:
        probe: the layer.
        batches: any iterable of inputs (tensors, mappings, tuples of arguments), with labels behind them or without (a
            DataLoader's (images, labels), for example), see `arguments_of`. No more is drawn from it than is needed.
        max_samples: stop at exactly this many samples.
        granularity: "element" or "channel".
        layout: how the features' axes are meant; found from the first batch if not given.

    Raises:
        StatisticsError: if there is no sample, or sizes differ between batches with granularity "element".
    """
    total = summarise(probe, batches, max_samples=max_samples, granularity=granularity, layout=layout)
    warn_if_few(total)
    return total


def summarise(
    probe: Probe,
    batches: Iterable[Any],
    *,
    max_samples: int,
    granularity: Granularity,
    layout: Layout | None,
) -> FeatureStatistics:
    """Return a part of `collect_statistics`, to be merged with others: few inputs are no reason to warn."""

    def read(batch: Any) -> ModelInputs:
        return pictured(probe, arguments_of(probe.model, batch)[0])

    read_batches = map(read, batches)
    (total,) = _summaries(
        read_batches, lambda inputs: [probe.features(inputs)], [probe], max_samples, granularity, [layout]
    )
    return total


def summarise_layers(
    probes: Sequence[Probe],
    batches: Iterable[Any],
    *,
    max_samples: int,
    granularity: Granularity,
    layouts: Sequence[Layout | None],
) -> list[FeatureStatistics]:
    """Summarise several layers of one network at once, as `summarise` does one: each batch passes it once.

    Args:
        probes: the layers, at least one, called once in a pass.
        batches: see `collect_statistics`.
        max_samples: see there.
        granularity: see there.
        layouts: for each layer how its features' axes are meant; None to find it.
    """
    model, names = probes[0].model, [probe.name for probe in probes]
    return _summaries(
        (arguments_of(model, batch)[0] for batch in batches),
        lambda inputs: layer_features(model, names, inputs),
        probes,
        max_samples,
        granularity,
        layouts,
    )


def _summaries(
    batches: Iterable[ModelInputs],
    features_of: Callable[[ModelInputs], Sequence[Tensor]],
    probes: Sequence[Probe],
    max_samples: int,
    granularity: Granularity,
    layouts: Sequence[Layout | None],
) -> list[FeatureStatistics]:
    totals: list[FeatureStatistics] = []
    for inputs in limited(batches, max_samples):
        summaries = []
        for probe, given, found in zip(probes, layouts, features_of(inputs), strict=True):
            geometry = probe.geometry(inputs, given)
            layout, features = geometry.layout, geometry.arranged(found)
            mask = inputs.kwargs.get("attention_mask") if layout.name == "TD" and granularity == "channel" else None
            valid = mask if mask is not None and mask.shape == features.shape[:2] else None
            summaries.append(FeatureStatistics.of(features, layout, granularity, valid=valid))
        totals = [a.merge(b) for a, b in zip(totals, summaries, strict=True)] if totals else summaries
    return totals


class _Selectable(Protocol):
    """Several samples, of which some can be taken."""

    def __len__(self) -> int: ...

    def select(self, rows: slice) -> Self: ...


S = TypeVar("S", bound=_Selectable)


def limited(batches: Iterable[S], most: int, what: str = "inputs to make statistics from") -> Iterator[S]:
    """Give batches up to exactly so many samples; no more is drawn than is needed.

    Raises:
        StatisticsError: if there is no sample.
    """
    if most < 1:
        raise StatisticsError(f"max_samples must be at least 1, got {most}")
    seen = 0
    for batch in batches:
        some = batch.select(slice(most - seen))
        seen += len(some)
        yield some
        if seen >= most:
            return
    if not seen:
        raise StatisticsError(f"there are no {what}: the batches are empty")
