"""Photos explained into a folder by the workers of a cluster: each does for its photos what one process does for all.

Photos and folder must lie at the same place on every machine: so what is there already is found, and what is made is
written, where the work is done.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bitlens.errors import DataError
from bitlens.explaining.earlier import Earlier
from bitlens.explaining.file_names import file_stems
from bitlens.explaining.photos import Explaining, Ready, Request
from bitlens.explaining.pictures import ON_SHEETS, Outcome, beside, draw_sheets, write_picture
from bitlens.explaining.shown import save_shown
from bitlens.methods import entry_of
from bitlens.methods.building import build_method
from bitlens.methods.specs import Spec
from bitlens.models.loaded import Loaded
from bitlens.system.files import write_text
from bitlens.workers import Lost, Workers


def explain_on(
    workers: Workers, request: Request, photos: Sequence[Path], *, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """Do what `explain_into` does, by workers; a photo that ends its worker again and again is left out.

    Raises:
        DataError: if no photo can be read.
        SettingError: if the folder holds what does not fit; see `Earlier.of`.
        ClusterError: if a machine does not have the folder, or the cluster is lost.
    """
    earlier = Earlier.of(request, photos)
    request = beside(request, earlier)
    earlier.check_network(Explaining(request).made_by)
    sent = [_Sent.of(ready) for ready in request.methods]
    job = _Job(replace(request, methods=()), sent, earlier, {} if request.same_scale is False else None)
    items = list(zip(photos, file_stems(photos, request.taken), strict=True))
    answers: dict[int, Outcome] = {}
    done = Outcome(earlier=earlier)
    with _marked(request.out) as mark:
        for position, answer in workers.carry_out(partial(_explainer, job), items, places=[mark]):
            lost = isinstance(answer, Lost)
            answers[position] = Outcome(skipped={str(photos[position]): answer.reason}) if lost else answer
            for _ in sent:
                advance()
        for _, answer in sorted(answers.items()):
            done.join(answer)
        if not done.rows:
            raise DataError(f"none of the {len(photos)} photos could be read: {next(iter(done.skipped.values()))}")
        good = [items[position] for position in sorted(answers) if answers[position].rows]
        if request.same_scale is not False:  # the colours of all pictures are known only now
            for photo in earlier.others(photos):
                done.raise_tops(photo, request.same_scale)
            for photo in earlier.others(photos):
                write_picture(photo, request.out, request.suffix, request.ends(done.tops))
            job = replace(job, tops=done.tops)
            for _ in workers.carry_out(partial(_explainer, job), good, places=[mark]):
                pass
    left = [ready for ready in request.methods if ready.label not in done.refused]
    explaining = Explaining(replace(request, methods=left))
    before = list(islice(earlier.others(photos), ON_SHEETS))
    if len(good) + len(before) > 1:
        made = (explaining.one(path, stem) for path, stem in good[:ON_SHEETS])
        draw_sheets([*before, *(earlier.joined(one) for one in made if one is not None)], request, done)
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
        learnt = lesson.take(ready.method) if lesson is not None and lesson.knows(ready.method) else None
        return cls(ready.label, ready.spec, ready.alone, ready.method.seed, learnt)

    def built(self, loaded: Loaded) -> Ready:
        method = build_method(self.spec, loaded, seed=self.seed)
        lesson = entry_of(self.spec.name).lesson
        if lesson is not None and self.learnt is not None:
            lesson.give(method, self.learnt)
        return Ready(self.label, self.spec, method, self.alone)


@dataclass(frozen=True)
class _Job:
    """Work on photos for a worker; `tops` is where colours end, None if that is to be found out first."""

    request: Request
    methods: Sequence[_Sent]
    earlier: Earlier
    tops: Mapping[str, float] | None


def _explainer(job: _Job, device: str) -> Callable[[tuple[Path, str]], Outcome]:
    """Make what explains a photo in a worker, and draws it."""
    loaded, out = job.request.loaded, job.request.out
    loaded.model.to(device)
    ready, refused = [sent.built(loaded) for sent in job.methods], Outcome()
    explaining = Explaining(replace(job.request, methods=ready), None if ready[0].alone else refused.refuse)

    def explained(item: tuple[Path, str]) -> Outcome:
        done = Outcome()
        made = explaining.one(*item, done.skip)
        if made is None:
            return done
        done.add(made)
        done.refused |= refused.refused
        save_shown(made.shown, out / made.seen)
        whole = job.earlier.joined(made)
        if job.tops is None:
            done.raise_tops(whole, job.request.same_scale)
        else:
            write_picture(whole, out, job.request.suffix, job.request.ends(job.tops))
        return done

    return explained


@contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """Put a file into the folder, by which a machine tells that it is this folder and not one of the same name."""
    mark = folder / f".bitlens-{uuid.uuid4().hex}"
    write_text(mark, "")
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
