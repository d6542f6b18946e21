"""From inputs to a guarantee: with how many bits at least a share of all inputs like them keep their class."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.bottleneck import Bottleneck
from bitlens.bottlenecks.calibrating import needed_bits
from bitlens.core.conformal import BUDGETS
from bitlens.core.guarantee import LEVELS, Guarantee
from bitlens.core.statistics import Provenance
from bitlens.data.batches import tensor_batches
from bitlens.data.datasets import Sample
from bitlens.errors import DataError, SettingError
from bitlens.explaining.one_line import prepared
from bitlens.explaining.photo import fingerprint
from bitlens.methods.naming import guaranteed
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe.fingerprint import weights_hash
from bitlens.version import __version__

_BATCH = 16  # photos between two writings of the file


def calibrate(
    model: nn.Module | Loaded | str,
    inputs: Any,
    targets: Any = None,
    *,
    layer: str | nn.Module | None = None,
    method: str = "iba",
    levels: Sequence[float] = LEVELS,
    noises: int = 4,
    budgets: Sequence[float] = BUDGETS,
    data: str = "",
    progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> Guarantee:
    """Find out with how many bits at least a share of all inputs like these keep their class, by split conformal prediction.

    A budget keeps an input if, with so many bits passing, the mean of the network's answers under `noises` noises names its
    class. What an input needs is the smallest budget from which on all larger ones keep it.

    Args:
        model: as `explain` takes it.
        inputs: likewise; drawn as those that will be explained are, and none of those that statistics were made from.
        targets: classes to ask about; None for those that the network names.
        layer: as `explain` takes it.
        method: a bottleneck at one layer.
        levels: shares of inputs to tell of; maps carry the first, unless told otherwise.
        noises: K, how many answers the mean is of.
        budgets: of bits, rising, that are tried: chosen before anything is looked at.
        data: where the inputs come from, kept with the guarantee.
        progress: called with the number of inputs that are done.
        **settings: of the method.

    Raises:
        SettingError: if the method does not count bits at one layer, or a setting makes no sense.
        TargetError: if something else than a class is asked about.
    """
    loaded = load_model(model) if isinstance(model, str) else model
    name = "iba" if method == "token-iba" else method  # at one layer
    kind = loaded.kind if isinstance(loaded, Loaded) else "image"
    usual = guaranteed(name, settings, kind)
    built, read, asked = prepared(loaded, inputs, targets, layer, name, {**usual, **settings})
    start = begun(built, levels, noises, budgets, asked="predicted" if targets is None else "given")
    start = replace(start, provenance=replace(start.provenance, data=data))
    return start.with_more(
        placed(needed_bits(built, read, asked, budgets=budgets, noises=noises, progress=progress), start)
    )


def begun(
    method: Any, levels: Sequence[float], noises: int, budgets: Sequence[float] = BUDGETS, asked: str = "predicted"
) -> Guarantee:
    """Return the guarantee of a method from no input yet.

    Raises:
        SettingError: if the method does not count bits at one layer, or has a price or budget of its own; if budgets do not rise.
    """
    if not isinstance(method, Bottleneck) or method.aim:
        raise SettingError(
            f"{getattr(method, 'method', type(method).__name__)} cannot be calibrated: it takes a bottleneck at one layer, "
            "without keep, bits or a guarantee"
        )
    if not budgets or budgets[0] <= 0 or any(low >= high for low, high in pairwise(budgets)):
        raise SettingError(f"budgets must rise from above 0, got {list(budgets)[:4]}")
    if not levels:
        raise SettingError("levels is empty: name at least one share of inputs, such as 0.9")
    made = Guarantee(
        method.method,
        json.loads(json.dumps(method.settings())),
        torch.tensor(budgets, dtype=torch.float64),
        torch.empty(0, dtype=torch.long),
        noises,
        asked,
        provenance=Provenance(
            model=type(method.model).__name__,
            weights=weights_hash(method.model),
            layer=method.probe.name,
            version=__version__,
        ),
    )
    for level in reversed(levels):
        made = made.at(level)
    return replace(made, levels=made.levels[: len(dict.fromkeys(levels))])


def placed(needed: Tensor, guarantee: Guarantee) -> Tensor:
    """Return the places of bits (n,) among a guarantee's budgets; beyond the last for infinite ones."""
    return torch.searchsorted(guarantee.budgets, needed)


def calibrate_into(
    path: Path,
    method: Bottleneck,
    loaded: Loaded,
    samples: Sequence[Sample],
    start: Guarantee,
    limit: int | None,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Guarantee:
    """Calibrate on photos, drawn in an order of chance, and write what is known after every few; what is there is not done again.

    Args:
        path: the file; what an earlier run left there is gone on with if it is of the same network, method and data.
        method: on the network.
        loaded: the network.
        samples: photos like those that will be explained.
        start: from no photo yet.
        limit: from how many; None for all.
        advance: called with the number of photos that are done.

    Raises:
        DataError: if the file is of something else, or no photo can be read.
    """
    found = _gone_on_with(path, start)
    order = Random(method.seed).sample(range(len(samples)), len(samples))
    advance(len(found))
    for some in _new_photos((samples[i] for i in order), set(found.inputs), len(samples) if limit is None else limit):
        for images, marks in _prepared(some, loaded):
            needed = needed_bits(method, images, budgets=start.budgets.tolist(), noises=start.noises, first=len(found))
            found = found.with_more(placed(needed, found), marks)
            found.save(path)
            advance(len(found))
    if not len(found):
        raise DataError(f"none of the {len(samples)} photos could be read")
    return found


def _gone_on_with(path: Path, start: Guarantee) -> Guarantee:
    if not path.is_file():
        return start
    found = Guarantee.load(path)
    before, now = (replace(one.provenance, version="") for one in (found, start))
    differences = found.differences(start.method, now.layer, now.weights, start.settings)
    same = before == now and found.noises == start.noises and found.asked == start.asked and found.inputs
    if differences or not same or not torch.equal(found.budgets, start.budgets):
        why = "; ".join(differences[:4]) or "other data, photos prepared otherwise, other noises or budgets"
        raise DataError(f"{path} holds another guarantee ({why}): choose another file, or remove it")
    return replace(found, levels=start.levels)


def _new_photos(samples: Iterable[Sample], known: set[str], limit: int) -> Iterator[dict[str, Sample]]:
    """Give photos by their fingerprints, a few at once, that are not known yet, until `limit` are."""
    fresh: dict[str, Sample] = {}
    for sample in samples:
        if len(known) + len(fresh) >= limit:
            break
        if (mark := fingerprint(sample)) not in known:
            fresh[mark] = sample
        if len(fresh) == _BATCH:
            yield fresh
            known |= fresh.keys()
            fresh = {}
    if fresh:
        yield fresh


def _prepared(some: Mapping[str, Sample], loaded: Loaded) -> Iterator[tuple[Tensor, list[str]]]:
    """Give photos as the network takes them, those of one size at once; what cannot be read is left out with a warning."""
    marks = {sample.name: mark for mark, sample in some.items()}
    try:
        for images, samples in tensor_batches(list(some.values()), loaded.preprocess, _BATCH, on_error="skip"):
            yield images, [marks[sample.name] for sample in samples]
    except DataError:  # none of them could be read: a warning has told of each
        return
