"""Remove and retrain as one resumable run: train, explain every image by every method, remove, train again.

The protocol of Zhang et al. (NeurIPS 2021, algorithms G6): a network is trained and explains all images of all parts for
their labels; then networks are trained from scratch on images whose highest pixels are gone. The faster their accuracy
falls, the more of what matters a method had found.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.data.preprocessing import Preprocessing
from bitlens.data.small import SmallImages, to_tensor
from bitlens.errors import DataError, SettingError
from bitlens.methods import entry_of
from bitlens.methods.building import build_method, map_alone
from bitlens.methods.specs import Spec
from bitlens.metrics.retraining import ExplainedImages, Retrained, RetrainingSettings, roar, small_resnet, train_network
from bitlens.models.loaded import Loaded
from bitlens.models.weight_files import load_weights
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import array, exactly
from bitlens.system.files import write_text
from bitlens.system.reading import read_json, whole
from bitlens.view.canvas import save_figure
from bitlens.view.charts import Chart, Curve
from bitlens.view.curves import draw_charts

_SHARES = (0.7, 0.1, 0.2)  # training, validation, test
_LAYER = "4"  # of `small_resnet`: the second stage, half the resolution
_BATCH = 64
_LEARNT_FROM = 1000
Announce = Callable[[str], None]


@dataclass(frozen=True)
class RoarPlan:
    """Settings that decide the results, methods and rates aside.

    Attributes:
        data: the name of the data set.
        size: of the images.
        limit: how many of them at most.
        width: channels of the network's first stage.
        training: how every network is trained.
        seed: of the split and of the network that is explained.
    """

    data: str
    size: int
    limit: int | None
    width: int
    training: RetrainingSettings
    seed: int = 0


@dataclass(frozen=True)
class RoarRow:
    """One method at one rate.

    Attributes:
        method: its label.
        rate: share of the pixels removed.
        accuracy: mean test accuracy over seeds.
        error: its standard error; None for one seed, which tells of none.
        seeds: how many networks were trained.
    """

    method: str
    rate: float
    accuracy: float
    error: float | None
    seeds: int

    @property
    def told(self) -> str:
        """Accuracy with its error, if there is one."""
        return f"{self.accuracy:.3f}" + ("" if self.error is None else f" ± {self.error:.3f}")


def run_roar(
    plan: RoarPlan,
    images: SmallImages,
    methods: Mapping[str, Spec],
    rates: Sequence[float],
    seeds: int,
    out: Path,
    device: str,
    told: Announce = lambda _: None,
) -> list[RoarRow]:
    """Run what is not done yet, write `rows.json` and `roar.png`, and give all rows.

    Args:
        plan: kept in `out`; another plan in the same folder is refused.
        images: all of them, in [0, 1].
        methods: by label.
        rates: shares of pixels to remove, each in (0, 1).
        seeds: networks trained for each method and rate.
        out: folder.
        device: where networks run.
        told: what is being done.

    Raises:
        DataError: if `out` belongs to another plan, or cannot be written.
        SettingError: if a method needs something that this protocol does not give, or a rate is out of range.
        FitError: if a training diverges.
    """
    if not all(0 < rate < 1 for rate in rates):
        raise SettingError(f"rates must lie between 0 and 1, got {', '.join(map(str, rates))}")
    _check_plan(plan, out)
    parts = images.split(_SHARES, plan.seed)
    mean, std = parts[0].images.mean((0, 2, 3)), parts[0].images.std((0, 2, 3))
    prepared = [((part.images - mean[:, None, None]) / std[:, None, None]).to(device) for part in parts]
    labels = [part.labels.to(device) for part in parts]
    build = partial(small_resnet, images.classes, 3, plan.width)
    network = _trained(build, prepared[0], labels[0], plan, out / "network.safetensors", device, told)
    loaded = Loaded("roar", network, Preprocessing(to_tensor), None, _LAYER)

    def retrained(label: str, maps: Sequence[Tensor], file: str, shares: Sequence[float]) -> tuple[Retrained, ...]:
        train, validation, test = (ExplainedImages(*part) for part in zip(prepared, labels, maps, strict=True))
        run = partial(roar, train, validation, test, build, seeds=range(seeds), training=plan.training)
        return run(state=out / file, rates=shares, progress=partial(_tell, told, label))

    nothing = [torch.zeros_like(part[:, 0]) for part in prepared]
    untouched = retrained("all pixels", nothing, "untouched.json", [0.0])  # the same whatever the method
    done: dict[str, tuple[Retrained, ...]] = {}
    for label, spec in methods.items():
        maps = _maps(label, spec, loaded, prepared, labels, out, told)
        done[label] = untouched + retrained(label, maps, f"{_stem(label)}.json", rates)
    rows = _rows(done)
    write_text(out / "rows.json", json.dumps([asdict(row) for row in rows], indent=1))
    _draw(rows, plan, out / "roar.png")
    return rows


def _check_plan(plan: RoarPlan, out: Path) -> None:
    place, content = out / "plan.json", json.dumps(asdict(plan), indent=1)
    if place.is_file() and read_json(place, "the plan of a run", "choose another --out") != json.loads(content):
        raise DataError(f"{out} belongs to a run with other settings: choose another --out, or the same settings")
    write_text(place, content)


def _trained(
    build: Callable[[], nn.Module],
    images: Tensor,
    labels: Tensor,
    plan: RoarPlan,
    place: Path,
    device: str,
    told: Announce,
) -> nn.Module:
    """Return the network that is explained, from an earlier run if there is one."""
    if place.is_file():
        network = build()
        read_arrays(place, "a trained network", lambda _: True)  # its checksum
        load_weights(network, place)
        return network.to(device).eval()
    told("training the network that is explained")
    network = train_network(build, images, labels, plan.training, plan.seed)
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    write_arrays(place, weights, {"plan": json.dumps(asdict(plan))})
    return network.eval()


def _maps(
    label: str,
    spec: Spec,
    loaded: Loaded,
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    out: Path,
    told: Announce,
) -> list[Tensor]:
    """Return (N, H, W) of each part for its labels, from an earlier run if there are some."""
    place = out / "maps" / f"{_stem(label)}.safetensors"
    if place.is_file():
        kept, _ = read_arrays(place, "maps", lambda _: True)
        with whole(place, "the maps of this run", "remove it, and the same command makes them again"):
            exactly(kept, map(str, range(len(images))), "the arrays")
            return [
                array(kept, str(number), torch.float32, (len(part), *part.shape[2:]))
                for number, part in enumerate(images)
            ]
    method = build_method(spec, loaded)
    lesson = entry_of(spec.name).lesson
    if lesson is not None:
        lesson.fit(method, torch.split(images[0], _BATCH), _LEARNT_FROM)
    total, made = sum(map(len, images)), list[Tensor]()
    for part, wanted in zip(images, labels, strict=True):
        maps = []
        for batch, classes in zip(torch.split(part, _BATCH), torch.split(wanted, _BATCH), strict=True):
            maps.append(method.explain(batch, classes, **map_alone(method)).map)
            told(f"{label}: {sum(map(len, made)) + sum(map(len, maps))} of {total} images explained")
        made.append(torch.cat(maps))
    write_arrays(place, {str(part): maps for part, maps in enumerate(made)}, {"method": label})
    return made


def _rows(done: Mapping[str, Sequence[Retrained]]) -> list[RoarRow]:
    rows = []
    for label, results in done.items():
        for rate in dict.fromkeys(one.rate for one in results):
            values = np.array([one.test_accuracy for one in results if one.rate == rate])
            error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
            rows.append(RoarRow(label, rate, float(values.mean()), error, len(values)))
    return rows


def _draw(rows: Sequence[RoarRow], plan: RoarPlan, place: Path) -> None:
    curves = []
    for label in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == label]
        x, y, error = (np.array([getattr(row, name) or 0.0 for row in own]) for name in ("rate", "accuracy", "error"))
        curves.append(Curve(label, x, y, error))
    chart = Chart("", curves, "share of the pixels removed, highest first", "test accuracy after retraining")
    seeds = rows[0].seeds
    networks = "one network" if seeds == 1 else f"{seeds} networks"
    bands = "" if seeds == 1 else "; bands are standard errors over networks"
    caption = f"{plan.data} at {plan.size} x {plan.size}, {plan.training.epochs} epochs, {networks} each; lower is better{bands}"
    save_figure(draw_charts([chart], title="Remove and retrain (ROAR)", caption=caption), place)


def _tell(told: Announce, label: str, row: Retrained) -> None:
    told(f"{label}: {row.rate:.0%} removed, seed {row.seed}: test accuracy {row.test_accuracy:.3f}")


def _stem(label: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-=." else "_" for letter in label)
