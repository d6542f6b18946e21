"""Photos explained into a folder by the workers of a cluster: each does for its photos what one process does for all.

Photos and folder must lie at the same place on every machine: so what is there already is found, and what is made is
written, where the work is done.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bitlens.errors import DataError, InputError
from bitlens.explaining.photos import Explaining, Ready, file_stems
from bitlens.explaining.pictures import ON_SHEETS, Outcome, raise_tops, write_picture, write_sheets
from bitlens.methods import entry_of
from bitlens.methods.building import build_method
from bitlens.methods.specs import Spec
from bitlens.models.loaded import Loaded
from bitlens.system.files import write_text
from bitlens.view.encoding import save_photo
from bitlens.workers import Lost, Workers


def explain_on(
    workers: Workers,
    out: Path,
    photos: Sequence[Path],
    loaded: Loaded,
    methods: Sequence[Ready],
    target: int | None,
    classes: Sequence[str] | None,
    *,
    suffix: str = "png",
    same_scale: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Outcome:
    """As `bitlens.explaining.pictures.explain_into`, by workers; a photo that ends its worker again and again is left out.

    Raises:
        DataError: if no photo can be read.
        ClusterError: if a machine does not have the folder, or the cluster is lost.
    """
    job = _Job(loaded, [_Sent.of(ready) for ready in methods], target, out, classes, suffix, None if same_scale else {})
    items = list(zip(photos, file_stems(photos), strict=True))
    answers: dict[int, _Answer] = {}
    with _marked(out) as mark:
        for position, answer in workers.carry_out(partial(_explainer, job), items, places=[mark]):
            answers[position] = _Answer(skipped=answer.reason) if isinstance(answer, Lost) else answer
            for _ in methods:
                advance()
        done, tops = _outcome(answers, photos)
        good = [items[position] for position in sorted(answers) if answers[position].rows]
        if same_scale:  # the colours of all pictures are known only now
            job = replace(job, tops=tops)
            for _ in workers.carry_out(partial(_explainer, job), good, places=[mark]):
                pass
    if len(good) > 1:
        left = [ready for ready in methods if ready.label not in done.refused]
        explaining = Explaining(loaded, left, target, out, classes)
        shown = [explaining.explain(explaining.read(path), path, stem) for path, stem in good[:ON_SHEETS]]
        write_sheets(shown, out, suffix, tops if same_scale else {})
    return done


@dataclass(frozen=True)
class _Sent:
    """A method as it travels: what it takes to build it again, and what it has learnt."""

    label: str
    spec: Spec
    alone: bool
    seed: int
    learnt: Any

    @classmethod
    def of(cls, ready: Ready) -> "_Sent":
        lesson = entry_of(ready.spec.name).lesson
        learnt = lesson.take(ready.method) if lesson is not None else None
        return cls(ready.label, ready.spec, ready.alone, ready.method.seed, learnt)

    def built(self, loaded: Loaded) -> Ready:
        method = build_method(self.spec, loaded, seed=self.seed)
        lesson = entry_of(self.spec.name).lesson
        if lesson is not None:
            lesson.give(method, self.learnt)
        return Ready(self.label, self.spec, method, self.alone)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to explain photos; `tops` is where colours end, None if that is to be found out first."""

    loaded: Loaded
    methods: Sequence[_Sent]
    target: int | None
    out: Path
    classes: Sequence[str] | None
    suffix: str
    tops: Mapping[str, float] | None


@dataclass(frozen=True)
class _Answer:
    """What became of a photo, as far as the summary tells."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    repeated: int = 0
    skipped: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    tops: dict[str, float] = field(default_factory=dict)


def _explainer(job: _Job, device: str) -> Callable[[tuple[Path, str]], _Answer]:
    """What explains a photo in a worker, and draws it."""
    job.loaded.model.to(device)
    ready, refused = [sent.built(job.loaded) for sent in job.methods], dict[str, str]()
    refuse = None if ready[0].alone else lambda label, error: refused.update({label: str(error)})
    explaining = Explaining(job.loaded, ready, job.target, job.out, job.classes, refuse)

    def explained(item: tuple[Path, str]) -> _Answer:
        path, stem = item
        try:
            photo = explaining.read(path)
        except (DataError, InputError) as error:
            return _Answer(skipped=str(error))
        made = explaining.explain(photo, path, stem)
        tops: dict[str, float] = {}
        save_photo(made.shown, job.out / made.seen)
        if job.tops is None:
            raise_tops(tops, made)
        else:
            write_picture(made, job.out, job.suffix, job.tops)
        return _Answer(made.rows(), sum(one.repeated for one in made.found), None, dict(refused), tops)

    return explained


def _outcome(answers: Mapping[int, _Answer], photos: Sequence[Path]) -> tuple[Outcome, dict[str, float]]:
    """All answers in the order of the photos, and where the colours of each method end."""
    done, tops = Outcome(), dict[str, float]()
    for position, answer in sorted(answers.items()):
        done.rows += answer.rows
        done.repeated += answer.repeated
        done.refused |= answer.refused
        if answer.skipped is not None:
            done.skipped[str(photos[position])] = answer.skipped
        for label, top in answer.tops.items():
            tops[label] = max(tops.get(label, 0.0), top)
    if not done.rows:
        raise DataError(f"none of the {len(photos)} photos could be read: {next(iter(done.skipped.values()))}")
    return done, tops


@contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """A file in the folder, by which a machine tells that it is this folder and not one of the same name."""
    mark = folder / f".bitlens-{uuid.uuid4().hex}"
    write_text(mark, "")
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
