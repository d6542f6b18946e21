"""`bitlens text explain --prompt FILE`: what a language model used of its prompt for an answer. Heavy imports wait."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bitlens.cli import early, options
from bitlens.data.cells import check_text
from bitlens.errors import DataError, SettingError
from bitlens.system.console import answers, progress_bar
from bitlens.system.files import write_text
from bitlens.system.reading import MOST_JSON, read_bytes, read_json

RECALL = "builtin:recall"
"""The data set of questions whose answers are stated in known words."""


@dataclass(frozen=True)
class Told:
    """Wishes of a person: whose answer to what is explained.

    Attributes:
        prompt: its file; - for standard input, None where there is none.
        chat: the file of a conversation in its place.
        sources: files that stand before it.
        continuation: the answer; None for the model's own.
        max_new_tokens: of that at most.
        each: what of it is asked about by itself.
        data: the data set, if one is.
        limit: how many of its questions.
    """

    prompt: Path | None
    chat: Path | None
    sources: Sequence[str]
    continuation: str | None
    max_new_tokens: int
    each: Literal["answer", "sentence", "word"]
    data: str | None
    limit: int


@dataclass(frozen=True)
class Shown:
    """Ways in which it is shown.

    Attributes:
        group: what of the prompt bits add up to.
        html: the page to write, if one is wanted.
        as_json: whether for machines.
        same_scale: whether all parts of an answer on the page share a scale; None where pieces have bits.
    """

    group: Literal["word", "sentence", "paragraph", "source"]
    html: Path | None
    as_json: bool
    same_scale: bool | None


def explain_answers(
    told: Told,
    model: str,
    method: str,
    chosen: Mapping[str, Any],
    device: options.Where,
    shown: Shown,
    unasked: Mapping[str, Any],
) -> None:
    """Explain the answer to a prompt, or those of a data set.

    Args:
        told: the prompt and its answer.
        model: the language model by name.
        method: with its settings, as a person types it.
        chosen: settings with options of their own.
        device: where the model runs.
        shown: how the answer is shown.
        unasked: options that say nothing to a language model, by name; None where they were not given.

    Raises:
        SettingError: if one of those was given, or several of a prompt, a conversation and a data set.
        DataError: if a file cannot be read.
    """
    for option, value in unasked.items():
        if value is not None:
            raise SettingError(f"{option} is for classifiers: leave it out with a language model")
    if sum(one is not None for one in (told.prompt, told.chat, told.data)) > 1:
        raise SettingError("give --prompt FILE, --chat FILE or --data, one of the three")
    from bitlens.models.listing import check_language_model, short_name

    check_language_model(model)
    cases = list(_cases(told))
    early.check(out_file=shown.html)
    from bitlens.explaining.answers import AnswerExplainer
    from bitlens.methods.naming import read_methods, with_options
    from bitlens.models.load_language import load_language_model

    specs = with_options(read_methods(method, "text"), {k: v for k, v in chosen.items() if k != "seed"}, "text")
    if len(specs) != 1:
        raise SettingError(f"--method {method} names {len(specs)} methods: give one")
    (spec,) = specs.values()
    loaded = load_language_model(model, options.device_name(device))
    explainer = AnswerExplainer(loaded, method=spec.name, **{"seed": chosen["seed"], **spec.settings})
    found = []
    with progress_bar("explaining", len(cases)) as advance:
        for number, case in enumerate(cases, 1):
            most = told.max_new_tokens
            found.append(explainer(case.prompt, case.answer, sources=case.sources, each=told.each, max_new_tokens=most))
            advance(number)
    if shown.html is not None:
        from bitlens.explaining.answers import answers_page

        title = f"{method} on {short_name(model)}"
        write_text(shown.html, answers_page(found, title, shown.group, same_scale=shown.same_scale))
    if shown.as_json:
        group = None if shown.group == "word" else shown.group
        known = [{"name": case.name, **one.as_dict(group)} for case, one in zip(cases, found, strict=True)]
        print(json.dumps(known, ensure_ascii=False))
        return
    for number, one in enumerate(found):
        answers.print(*[""] * (number > 0), one.printed(shown.group), sep="\n")
    if shown.html is not None:
        answers.print(f"\nthe page is {shown.html}", soft_wrap=True)


@dataclass(frozen=True)
class _Case:
    name: str
    prompt: str | list[dict[str, str]]
    answer: str | None
    sources: Mapping[str, str]


def _cases(told: Told) -> Iterator[_Case]:
    """Read what is to be explained."""
    if told.chat is not None:
        if told.sources:
            raise SettingError("--sources are for --prompt FILE: a conversation's messages are its sources")
        yield _conversation(told.chat, told.continuation)
        return
    if told.prompt is None:
        from bitlens.data.recall import questions

        if told.sources or told.continuation is not None:
            raise SettingError(
                f"--sources and --continuation are for --prompt FILE: the questions of {RECALL} have their own"
            )
        yield from (_Case(q.name, q.prompt, f" {q.answer}", {}) for q in questions(told.limit))
        return
    sources = {Path(name).name: read_file(Path(name)).rstrip() for name in told.sources}
    if len(sources) < len(told.sources):
        raise SettingError("two sources are files of one name: rename one, or nobody can tell their bits apart")
    prompt, answer = read_file(told.prompt).rstrip("\n"), told.continuation
    if answer is not None and not (answer[:1].isspace() or prompt[-1:].isspace()):
        answer = f" {answer}"
    yield _Case("prompt", prompt, answer, sources)


def _conversation(file: Path, answer: str | None) -> _Case:
    """Read messages; where the last is the assistant's and no answer was given, that is the answer."""
    messages = read_json(file, "a conversation", 'give a JSON list of {"role": ..., "content": ...}')
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise DataError(f'{file} holds no conversation: give a JSON list of {{"role": ..., "content": ...}}')
    if answer is None and messages and messages[-1].get("role") == "assistant":
        *messages, last = messages
        answer = last.get("content")
    return _Case("chat", messages, answer, {})


def read_file(file: Path) -> str:
    """Read a text that a person named; - for standard input.

    Raises:
        DataError: if it cannot be read, or is no text.
    """
    try:
        told = sys.stdin.read() if str(file) == "-" else read_bytes(file, MOST_JSON).decode("utf-8-sig")
        return check_text(told)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the text {file}: {error}") from error
