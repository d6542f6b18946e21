"""What an audit is about: a folder of explain, of evaluate, or of both, with what it takes to do it again."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitlens.core.attribution import Attribution
from bitlens.data.kinds import Kind
from bitlens.data.named import training_data
from bitlens.errors import DataError
from bitlens.evaluation.context import Context, open_context
from bitlens.evaluation.measures import read_metrics
from bitlens.evaluation.pinned import read_settings
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.row_files import read_rows
from bitlens.explaining.summary import SUMMARY, read_summary, safe_name
from bitlens.methods import METHODS
from bitlens.methods.naming import read_methods
from bitlens.methods.specs import Spec
from bitlens.reports.audit_remake import aimed
from bitlens.reports.recipe import typed
from bitlens.system.checks import MOST, mapping, text, whole_number
from bitlens.system.reading import whole

EXPLAINED, EVALUATED, LEARNED = "explained", "evaluated", "learned"
"""Folders of an audit."""

_COLUMNS = (
    "index",
    "sample",
    "photo",
    "target",
    "predicted",
    "probability",
    "method",
    "metric",
    "value",
    "scale",
    "error",
)
Pair = tuple[int, str, str]


@dataclass(frozen=True)
class Entry:
    """One map that explain wrote.

    Attributes:
        label: of the method.
        photo: as the summary calls it.
        name: of what was asked about.
        place: of the file.
    """

    label: str
    photo: str
    name: str
    place: Path

    @property
    def member(self) -> str:
        """Name it in an audit."""
        return f"{EXPLAINED}/{self.place.name}"

    def load(self) -> Attribution:
        """Read it; DataError where it is damaged."""
        return Attribution.load(self.place)


@dataclass(frozen=True)
class ExplainedRun:
    """A folder of explain.

    Attributes:
        folder: where it lies.
        settings: of its summary.
        entries: its maps.
    """

    folder: Path
    settings: Mapping[str, Any]
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, folder: Path) -> "ExplainedRun | None":
        """Read a folder; None where explain wrote nothing into it.

        Raises:
            DataError: if it is damaged, or holds no photos.
        """
        if not (folder / SUMMARY).is_file():
            return None
        summary = read_summary(folder)
        settings, rows = summary["settings"], summary["photos"]
        with whole(folder / SUMMARY, "explained photos with their settings", "run `bitlens explain` again"):
            text(settings["model"], "model")
            whole_number(settings.setdefault("seed", 0), "seed", least=-MOST)
            for label, one in mapping(settings["methods"], "methods").items():
                text(mapping(one, label)["name"], "the name of a method", METHODS["image"])
            if not rows or not all(isinstance(row.get("photo"), str) for row in rows):
                raise ValueError("there is no photo, or it has no file of its own, as those of the demo")
        entries = [
            Entry(
                str(row.get("method")),
                row["photo"],
                str(row.get("name")),
                folder / f"{safe_name(row.get('files'))}.safetensors",
            )
            for row in rows
        ]
        return cls(folder, settings, tuple(entries))


@dataclass(frozen=True)
class EvaluatedRun:
    """A folder of evaluate.

    Attributes:
        folder: where it lies.
        settings: what its rows were made with.
        rows: by sample, method and metric; a value counts rather than a failure.
    """

    folder: Path
    settings: Mapping[str, Any]
    rows: Mapping[Pair, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "EvaluatedRun | None":
        """Read a folder; None where evaluate wrote nothing into it; DataError where it is damaged."""
        if not (folder / "settings.json").is_file():
            return None
        settings, rows = read_settings(folder), dict[Pair, Mapping[str, Any]]()
        for path in sorted((folder / "rows").glob("[!.]*.parquet")):
            for piece in read_rows(path, _COLUMNS, samples=settings.get("samples")):
                for row in piece.to_pylist():
                    pair = (row["index"], row["method"], row["metric"])
                    if pair not in rows or (rows[pair]["error"] is not None and row["error"] is None):
                        rows[pair] = row
        if not rows:
            raise DataError(f"{folder} holds no rows: `bitlens evaluate` makes them")
        return cls(folder, settings, rows)

    @property
    def indices(self) -> list[int]:
        """List the samples that there are rows of."""
        return sorted({index for index, _, _ in self.rows})

    def map_place(self, method: str, index: int) -> Path:
        """Say where a map that was kept lies."""
        return self.folder / "maps" / method / f"{index:08d}.npy"

    def files(self) -> Iterator[tuple[str, Path]]:
        """List what of it belongs into an audit, with its name there."""
        yield f"{EVALUATED}/settings.json", self.folder / "settings.json"
        for pattern in ("rows/[!.]*.parquet", "maps/*/[!.]*.npy", "learned/[!.]*.safetensors"):
            for path in sorted(self.folder.glob(pattern)):
                yield f"{EVALUATED}/{path.relative_to(self.folder).as_posix()}", path

    def context(
        self,
        model: str | None,
        weights: Path | None,
        data: str | None,
        device: str,
        maps: Path,
        told: Callable[..., None],
    ) -> Context:
        """Open what it takes to measure again.

        Args:
            model: the network; None for the one that is named in the settings.
            weights: its weights, if they lie in a file of their own.
            data: the data set; None for the one that is named in the settings.
            device: where the network runs.
            maps: an empty folder, where maps are kept that are made again.
            told: of what is learnt.

        Raises:
            DataError, ModelError, SettingError: if something of it is not there.
        """
        plan = self._plan(model or self.settings["model"], data or self.settings["data"], weights)
        return replace(open_context(plan, self.folder, device, told), maps=maps)

    def _plan(self, model: str, data: str, weights: Path | None) -> Plan:
        known = self.settings
        kind: Kind = "text" if "tokenizer" in known else "image"
        labelled = read_methods(",".join(map(typed, known["methods"])), kind)
        methods = {label: aimed(spec, known["methods"][label], kind) for label, spec in labelled.items()}
        layers = {
            known["methods"][label].get("layer") for label, spec in methods.items() if "layer" not in spec.settings
        }
        usual = training_data(known["data"])
        learnt = known["statistics"]
        return Plan(
            model,
            data,
            methods,
            read_metrics(",".join(map(typed, known["metrics"])), kind),
            kind,
            weights,
            layer=next(iter(layers - {None}), None) if kind == "image" else None,
            asked=known.get("asked", "label"),
            max_tokens=known.get("max_tokens"),
            statistics_from=None if learnt["from"] == usual else learnt["from"],
            statistics_count=learnt["count"],
            statistics_per=learnt.get("per", "channel"),
            seed=known["seed"],
        )


def seeded(spec: Spec, seed: int) -> Spec:
    """Give a method another seed."""
    return Spec(spec.name, {**spec.settings, "seed": seed})


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a file holds them."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def copied(run: EvaluatedRun, into: Path) -> EvaluatedRun:
    """Copy what of a folder belongs into an audit: learning must not write into the folder itself."""
    for name, path in run.files():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / name)
    return replace(run, folder=into / EVALUATED)
