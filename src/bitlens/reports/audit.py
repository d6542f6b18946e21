"""An audit of a run, for someone else to repeat: one file, and one page for people."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.data.datasets import Sample
from bitlens.errors import BitlensError, DataError, SettingError
from bitlens.evaluation.context import Context, PhotoContext
from bitlens.explaining.photo import Photo, read_photo
from bitlens.explaining.photos import Ready
from bitlens.methods import entry_of
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.reports.audit_checks import Checked, check, random_network
from bitlens.reports.audit_file import write_audit
from bitlens.reports.audit_page import audit_page
from bitlens.reports.audit_remake import Remade, asked_words, different_settings, open_network, remake, samples_by_hash
from bitlens.reports.audit_runs import EXPLAINED, LEARNED, EvaluatedRun, ExplainedRun, copied, plain, seeded
from bitlens.reports.audit_words import FAILURES, USE, code_hash, coverage, limits, network_words, versions
from bitlens.system.arrays import read_array
from bitlens.system.files import write_text

TOLERANCES = {"map": 0.01, "bits": 0.01, "evidence": 0.01, "metric": 0.01}
"""How far numbers that are computed again may be off: of a map by a share of its largest value, of bits by a share of
themselves, of evidence and metrics as they are, or by a share of them where they exceed 1."""

ABOUT, PAGE = "about.json", "page.html"
Advance = Callable[[], Any]


@dataclass(frozen=True)
class Packed:
    """Outcome of an audit.

    Attributes:
        file: the audit.
        page: for people.
        seal: of the file: tell it to whoever gets the file by another way.
        maps: how many are in it.
        rows: of an evaluation, how many are in it.
        limits: in plain words.
    """

    file: Path
    page: Path
    seal: str
    maps: int
    rows: int
    limits: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Part of an audit that one run gives."""

    members: dict[str, Path | str]
    network: dict[str, str]
    checks: dict[str, Checked]
    targets: dict[str, str]
    classes: tuple[str, ...] | None
    samples: int | None = None
    learned: dict[str, dict[str, str]] | None = None
    target: str | None = None


def pack_audit(
    folder: Path,
    out: Path,
    *,
    model: str | None = None,
    weights: Path | None = None,
    data: str | None = None,
    device: str = "cpu",
    use: str = USE,
    checked: int = 8,
    advance: Advance = lambda: None,
) -> Packed:
    """Pack a run into one file that someone else can verify, with a page for people beside it.

    Args:
        folder: that explain or evaluate wrote.
        out: the file to write; the page is called the same with `.html`.
        model: the network; None for the one that the run names.
        weights: its weights, if they lie in a file of their own.
        data: where the photos lie; None for where the run found them.
        device: where the network runs.
        use: what the network's explanations are meant for.
        checked: how many photos are explained again with random weights and another seed.
        advance: called for each method that was checked.

    Raises:
        DataError: if the folder holds no run, or is damaged.
        SettingError: if the run cannot be made again, so that nobody could verify it.
    """
    explained, evaluated = ExplainedRun.read(folder), EvaluatedRun.read(folder)
    if explained is None and evaluated is None:
        raise DataError(f"{folder} holds no run: expected a folder that `bitlens explain` or `bitlens evaluate` wrote")
    with TemporaryDirectory(prefix="bitlens-audit-") as place:
        parts: list[_Part] = []
        if explained is not None:
            made = remake(explained.settings, *open_network(explained.settings, model, weights, device))
            parts.append(_explained(explained, made, data, Path(place), checked, advance))
        if evaluated is not None:
            parts.append(_evaluated(evaluated, model, weights, data, device, Path(place), checked, advance))
        about = _about(parts, use, rows=len(evaluated.rows) if evaluated is not None else 0)
        members: dict[str, Path | str] = {name: content for part in parts for name, content in part.members.items()}
        page = audit_page(about)
        members |= {ABOUT: json.dumps(about, indent=1, ensure_ascii=False), PAGE: page}
        seal = write_audit(out, members)
    write_text(out.with_suffix(".html"), page)
    return Packed(out, out.with_suffix(".html"), seal, about["maps"], about["rows"], tuple(about["limits"]))


def _about(parts: list[_Part], use: str, rows: int) -> dict[str, Any]:
    checks = {label: one for part in parts for label, one in part.checks.items()}
    covered = coverage(
        {mark: target for part in parts for mark, target in part.targets.items()}, parts[0].classes, parts[-1].samples
    )
    maps = sum(name.startswith(f"{EXPLAINED}/") or "/maps/" in name for part in parts for name in part.members)
    return {
        "network": parts[0].network,
        "use": use,
        "failures": list(FAILURES),
        "limits": limits(covered, checks),
        "coverage": covered,
        "checks": {label: one.plain() for label, one in checks.items()},
        "tolerances": TOLERANCES,
        "versions": versions(),
        "code": code_hash(),
        "learned": {label: files for part in parts for label, files in (part.learned or {}).items()},
        "target": next((part.target for part in parts if part.target is not None), None),
        "maps": maps - sum(f"{EXPLAINED}/summary.json" in part.members for part in parts),
        "rows": rows,
    }


def _explained(run: ExplainedRun, made: Remade, data: str | None, place: Path, checked: int, advance: Advance) -> _Part:
    members: dict[str, Path | str] = {f"{EXPLAINED}/summary.json": run.folder / "summary.json"}
    learned: dict[str, dict[str, str]] = {}
    for number, (label, ready) in enumerate(made.methods.items()):
        if different := different_settings(ready, plain(run.settings["methods"][label])):
            raise SettingError(f"{label} cannot be made again as it was ({'; '.join(different)}): run explain again")
        for part_number, (part, one) in enumerate(_learnt(ready).items()):
            name = f"{LEARNED}/{number}-{part_number}.safetensors"
            one.save(place / name)
            learned.setdefault(label, {})[part] = name
            members[name] = place / name
    held: dict[str, list[Attribution]] = {}
    targets: dict[str, str] = {}
    for entry in run.entries:
        one = entry.load()
        held.setdefault(entry.label, []).append(one)
        targets[str(one.settings.get("photo_hash"))] = entry.name
        members[entry.member] = entry.place
    photos = _photos(run, made, data, list(targets)[:checked])
    random, checks = random_network(made.loaded), {}

    def another(label: str, seed: int | None, loaded: Loaded | None) -> Any:
        return made.another(label, seed=seed, loaded=loaded)

    for label, ready in made.methods.items():
        known = {str(one.settings.get("photo_hash")): one.map[0] for one in held.get(label, ())}
        checks[label] = check(label, held.get(label, []), photos, ready.method, another, random, known)
        advance()
    network = network_words(made.loaded, str(run.settings["model"]))
    return _Part(members, network, checks, targets, made.loaded.classes, None, learned, asked_words(made))


def _learnt(ready: Ready) -> Mapping[str, Any]:
    """Return what a method had learnt before, by part; nothing where it makes do with the places of each photo."""
    lesson = entry_of(ready.spec.name).lesson
    return lesson.take(ready.method) if lesson is not None and lesson.knows(ready.method) else {}


def _photos(run: ExplainedRun, made: Remade, data: str | None, wanted: list[str]) -> list[Photo]:
    """Read the photos that are explained again, where they still lie."""
    network = Network(made.loaded.model, output=made.loaded.output)
    found: dict[str, Sample] = {}
    for place in [data] if data is not None else dict.fromkeys(entry.photo for entry in run.entries):
        try:
            found |= samples_by_hash(place, set(wanted))
        except DataError:  # it lies there no more; what is missing is told
            continue
    samples = [found[mark] for mark in wanted if mark in found]
    target = made.target
    return [read_photo(s, network, made.loaded.preprocess, predicted=target is None, asked=target) for s in samples]


def _evaluated(
    run: EvaluatedRun,
    model: str | None,
    weights: Path | None,
    data: str | None,
    device: str,
    place: Path,
    checked: int,
    advance: Advance,
) -> _Part:
    run = copied(run, place)
    context = run.context(model, weights, data, device, place / "maps-again", lambda *_: None)
    again = plain(context.settings())
    if again["weights"] != run.settings["weights"]:
        raise SettingError(
            f"the network has other weights ({again['weights']}) than the one that was measured ({run.settings['weights']})"
        )
    checks = {label: Checked(0, 0, 0, None, None, left_out="no maps were kept") for label in context.methods}
    if isinstance(context, PhotoContext):
        checks = _checks_of(run, context, checked, advance)
    targets = {str(row["photo"]): str(row["target"]) for row in run.rows.values() if row["target"] is not None}
    network, classes = network_words(context.loaded, model or run.settings["model"]), context.loaded.classes
    return _Part(dict(run.files()), network, checks, targets, classes, samples=len(context.samples))


def _checks_of(run: EvaluatedRun, context: Context, checked: int, advance: Advance) -> dict[str, Checked]:
    photos, checks = list[Any](), {}
    for index in run.indices[:checked]:
        try:
            photos.append(context.read(context.samples[index]))
        except BitlensError:  # such a sample has failed in the run, too, and its rows say so
            continue
    random = random_network(context.loaded)

    def another(label: str, seed: int | None, loaded: Loaded | None) -> Any:
        spec = context.plan.methods[label] if seed is None else seeded(context.plan.methods[label], seed)
        return context.learner.ready(spec, loaded or context.loaded, None if loaded is None else context.methods[label])

    for label, method in context.methods.items():
        known: dict[str, Tensor] = {}
        for index in run.indices:
            file = run.map_place(label, index)
            mark = next((str(row["photo"]) for pair, row in run.rows.items() if pair[0] == index), "")
            if file.is_file():
                known[mark] = torch.from_numpy(read_array(file, "a map"))
        checks[label] = check(label, [], photos, method, another, random, known)
        advance()
    return checks
