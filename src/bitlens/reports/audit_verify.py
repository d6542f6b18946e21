"""An audit verified: maps and metrics computed again, on this machine, and everything named that differs."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.errors import BitlensError, DataError, SettingError
from bitlens.evaluation.run import Task, evaluate_sample
from bitlens.explaining.photo import read_photo
from bitlens.probe import Network
from bitlens.reports.audit import ABOUT
from bitlens.reports.audit_file import opened_audit, safe_member
from bitlens.reports.audit_remake import different_settings, open_network, remake, samples_by_hash
from bitlens.reports.audit_runs import EVALUATED, EXPLAINED, EvaluatedRun, ExplainedRun, plain
from bitlens.reports.audit_verdict import Verdict
from bitlens.reports.audit_words import code_hash, network_words, versions
from bitlens.system.arrays import read_array
from bitlens.system.checks import mapping, number, text
from bitlens.system.reading import read_json, whole

_COUNTED = ("target", "predicted")
_MEASURED = ("value", "scale", "probability")
Advance = Callable[[], Any]


def verify_audit(
    path: Path,
    *,
    model: str | None = None,
    weights: Path | None = None,
    data: str | None = None,
    device: str = "cpu",
    advance: Advance = lambda: None,
) -> Verdict:
    """Check every byte of an audit, and compute its maps and metrics again.

    Args:
        path: the audit.
        model: the network; None where it comes with bitlens. Whoever wrote the audit does not choose what is run here.
        weights: its weights, if they lie in a file of their own.
        data: where the inputs lie; None where they come with bitlens.
        device: where the network runs.
        advance: called for each map and sample.

    Raises:
        DataError: if the file is damaged or changed, or the inputs are not there.
        SettingError: if network or inputs must be named.
        ModelError: if the network cannot be loaded.
    """
    with opened_audit(path) as place:
        about = _read_about(place, path)
        verdict = Verdict(notes=list(_notes(about)))
        explained, evaluated = ExplainedRun.read(place / EXPLAINED), EvaluatedRun.read(place / EVALUATED)
        if explained is not None:
            _explained(explained, about, verdict, place, model, weights, data, device, advance)
        if evaluated is not None:
            _evaluated(evaluated, about, verdict, model, weights, data, device, advance)
    return verdict


def _own(given: str | None, recorded: str, option: str, prefix: str) -> str:
    """Return what was given; else what the audit names, if it comes with bitlens."""
    if given is None and not recorded.startswith(prefix):
        raise SettingError(f"the audit was made of {recorded!r}: say with {option} where that lies on this machine")
    return given or recorded


def _read_about(place: Path, path: Path) -> dict[str, Any]:
    found = read_json(place / ABOUT, "what an audit is about", "ask for the file again")
    with whole(path, "a whole audit", "ask for the file again"):
        about = mapping(found, "about")
        for name, value in mapping(about["tolerances"], "tolerances").items():
            number(value, name, least=1e-9, most=0.5)
        for name in ("map", "bits", "evidence", "metric"):
            number(about["tolerances"][name], name)
        for name in ("name", "weights", "reader", "code"):
            text(mapping(about["network"], "network")[name], name)
        for files in mapping(about["learned"], "learned").values():
            for name in mapping(files, "learned files").values():
                safe_member(text(name, "a learned file"))
        if about["target"] is not None:
            text(about["target"], "target")
        mapping(about["versions"], "versions")
        text(about["code"], "code")
    return about


def _notes(about: Mapping[str, Any]) -> Iterator[str]:
    """Say what computes here that did not compute there."""
    now = versions()
    for name in sorted(now.keys() | about["versions"].keys()):
        before = about["versions"].get(name)
        if before != now.get(name):
            yield f"{name} was {before or 'not there'}, is {now.get(name) or 'not there'}"
    if about["code"] != code_hash():
        yield f"bitlens's own code was {about['code']}, is {code_hash()}"


def _network(about: Mapping[str, Any], now: Mapping[str, str], verdict: Verdict) -> bool:
    """Compare the network with the one that was audited."""
    words = {
        "weights": "the network's weights",
        "reader": "how inputs are prepared",
        "code": "the file of the network's code",
    }
    different = [name for name in words if about["network"][name] != now[name]]
    verdict.problems += [f"{words[name]}: was {about['network'][name]}, is {now[name]}" for name in different]
    return not different


def _explained(
    run: ExplainedRun,
    about: Mapping[str, Any],
    verdict: Verdict,
    place: Path,
    model: str | None,
    weights: Path | None,
    data: str | None,
    device: str,
    advance: Advance,
) -> None:
    learned = {label: {part: place / name for part, name in files.items()} for label, files in about["learned"].items()}
    verdict.maps += len(run.entries)
    model = _own(model, str(run.settings["model"]), "--model", "builtin/")
    if data is None:
        raise SettingError("the audit holds no photos: say with --data in which folder they lie on this machine")
    loaded, target = open_network(run.settings, model, weights, device, about["target"] or "auto")
    if not _network(about, network_words(loaded, model), verdict):
        return
    made = remake(run.settings, loaded, target, learned)
    for label, ready in made.methods.items():
        different = different_settings(ready, plain(run.settings["methods"][label]))
        verdict.problems += [f"{label}: {one}" for one in different]
    kept = [(entry, entry.load()) for entry in run.entries]
    wanted = {str(one.settings.get("photo_hash")) for _, one in kept}
    samples = samples_by_hash(data, wanted)
    network = Network(made.loaded.model, output=made.loaded.output)
    for entry, recorded in kept:
        name = f"{entry.photo} by {entry.label}"
        sample = samples.get(str(recorded.settings.get("photo_hash")))
        try:
            if sample is None:
                raise DataError("the photo is not among the data")
            photo = read_photo(
                sample, network, made.loaded.preprocess, predicted=made.target is None, asked=made.target
            )
            found = made.methods[entry.label].method.explain(photo.image, photo.target)
            verdict.verified_maps += _same(name, recorded, found, photo.asked, about["tolerances"], verdict)
        except (BitlensError, KeyError) as error:
            verdict.problems.append(f"{name}: {error}")
        advance()


def _same(
    name: str, recorded: Attribution, found: Attribution, asked: str, tolerances: Mapping[str, float], verdict: Verdict
) -> bool:
    """Compare two attributions of one photo."""
    before = len(verdict.problems)
    for what, was, now in (
        ("the unit", recorded.unit, found.unit),
        ("the target", recorded.targets[0], asked),
        ("the layer", recorded.layer, found.layer),
    ):
        if was != now:
            verdict.problems.append(f"{name}: {what} was {was}, is {now}")
    verdict.compare_maps(name, recorded.map[0], found.map[0], tolerances["map"])
    pairs: list[tuple[str, Tensor | None, Tensor | None, str]] = [
        ("bits in total", recorded.total_bits, found.total_bits, "bits")
    ]
    if recorded.evidence is not None and found.evidence is not None:
        for part in ("before", "under_noise", "under_noise_std", "floor", "floor_std"):
            values = getattr(recorded.evidence, part), getattr(found.evidence, part)
            pairs.append((f"evidence, {part.replace('_', ' ')}", *values, "evidence"))
    elif (recorded.evidence is None) != (found.evidence is None):
        verdict.problems.append(f"{name}: evidence is there only once")
    for what, was_, now_, kind in pairs:
        if was_ is not None and now_ is not None:
            verdict.compare(f"{name}: {what}", float(was_[0]), float(now_[0]), tolerances[kind])
    return len(verdict.problems) == before


def _evaluated(
    run: EvaluatedRun,
    about: Mapping[str, Any],
    verdict: Verdict,
    model: str | None,
    weights: Path | None,
    data: str | None,
    device: str,
    advance: Advance,
) -> None:
    kept = {
        (label, index)
        for label in run.settings["methods"]
        for index in run.indices
        if run.map_place(label, index).is_file()
    }
    verdict.maps += len(kept)
    verdict.rows += len(run.rows)
    model = _own(model, run.settings["model"], "--model", "builtin/")
    data = _own(data, run.settings["data"], "--data", "builtin:")
    with TemporaryDirectory(prefix="bitlens-audit-") as maps:
        context = run.context(model, weights, data, device, Path(maps), lambda *_: None)
        if not _network(about, network_words(context.loaded, model), verdict):
            return
        again = plain(context.settings())
        for group in ("methods", "metrics"):
            for label, settings in run.settings[group].items():
                changed = [
                    n for n in {**settings, **again[group][label]} if settings.get(n) != again[group][label].get(n)
                ]
                verdict.problems += [
                    f"{label}: {n} was {settings.get(n)!r}, is {again[group][label].get(n)!r}" for n in sorted(changed)
                ]
        for index in run.indices:
            wanted: dict[str, list[str]] = {}
            for _, method, metric in (pair for pair in run.rows if pair[0] == index):
                wanted.setdefault(method, []).append(metric)
            result = evaluate_sample(context, Task(index, wanted))
            for row in result.rows:
                recorded = run.rows[index, row.method, row.metric]
                verdict.verified_rows += _same_row(recorded, vars(row), about["tolerances"]["metric"], verdict)
            for method in wanted:
                if (method, index) in kept:
                    name = f"sample {index} by {method}"
                    recorded_map = read_array(run.map_place(method, index), "a map")
                    found = result.maps.get(method)
                    if found is None:
                        verdict.problems.append(f"{name}: no map came out")
                    else:
                        tolerance = about["tolerances"]["map"]
                        verdict.verified_maps += verdict.compare_maps(
                            name, recorded_map, found.cpu().numpy(), tolerance
                        )
            advance()


def _same_row(recorded: Mapping[str, Any], found: Mapping[str, Any], tolerance: float, verdict: Verdict) -> bool:
    name = f"sample {recorded['index']}, {recorded['metric']} of {recorded['method']}"
    before = len(verdict.problems)
    if recorded["photo"] != found["photo"]:
        verdict.problems.append(f"{name}: it is another input ({recorded['photo']}, now {found['photo']})")
        return False
    for part in _COUNTED:
        if recorded[part] != found[part]:
            verdict.problems.append(f"{name}: {part} was {recorded[part]}, is {found[part]}")
    for part in _MEASURED:
        was, now = recorded[part], found[part]
        if was is None or now is None:
            if (was is None) != (now is None):
                why = found["error"] or recorded["error"] or "it does not apply"
                verdict.problems.append(f"{name}: {part} was {was}, is {now} ({why})")
        else:
            verdict.compare(f"{name}: {part}", float(was), float(now), tolerance)
    return len(verdict.problems) == before
