"""Answers of language models explained: which words of the prompt each part of an answer used, in bits."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from rich.console import Group as Lines
from torch import nn

from bitlens.baselines.changes import selected
from bitlens.core.attribution import Attribution
from bitlens.core.inputs import ModelInputs
from bitlens.core.outputs import answer_of
from bitlens.core.targets import Span as AskedSpan
from bitlens.data.answers import NOTHING, Answered, read_answer, read_beside
from bitlens.data.passages import Group, Piece, Prompt, piece_of, sentences, words
from bitlens.data.tokenizing import Span
from bitlens.errors import InputError, ModelError, SettingError, one_of
from bitlens.methods import entry_of
from bitlens.methods import method as method_named
from bitlens.methods.naming import holding
from bitlens.methods.specs import settings_of_callable
from bitlens.models.generating import conversation_text, generated
from bitlens.models.load_language import language_model, load_language_model
from bitlens.models.loaded import Loaded
from bitlens.probe import frozen
from bitlens.probe.ids import answers_from, left_out, writes_beside_encoder
from bitlens.probe.modules import device_of
from bitlens.view.answer_page import ShownAnswer, answer_fragment, answer_page
from bitlens.view.card import Proof
from bitlens.view.shaded import ShadedText, number, pieces_of, terminal, word_scale

Each = Literal["answer", "sentence", "word"]
"""What of an answer is asked about by itself: all of it, each sentence, each word."""

_PARTS: Mapping[str, Callable[[str], list[Span]]] = {
    "answer": lambda answer: [(0, len(answer))],
    "sentence": sentences,
    "word": words,
}
_SUITED: Mapping[str, Any] = {"special_tokens": "whole"}
"""Settings for answers, of methods that take them: the answer's tokens and the marks of a template stand as they are."""

_OPEN: Mapping[str, Any] = {"initial_logit": 3.0, "learning_rate": 0.5, "steps": 20}
"""Settings of `token-iba` for answers: half of each word, where it begins elsewhere, is none of the words where an answer takes
several at once, and then no slope says which (docs/results/language)."""


@dataclass(frozen=True, eq=False)
class ExplainedPart:
    """A part of an answer, and what it used of the prompt.

    Attributes:
        text: as it was said.
        span: its characters in the answer.
        tokens: how many it has.
        nats: ln of the probability of all of them together, each foreseen from everything before it.
        values: bits or score of each token of the prompt; 0 where a token is no word of it.
        attribution: everything else: unit, method, settings, total bits, evidence.
    """

    text: str
    span: Span
    tokens: int
    nats: float
    values: tuple[float, ...]
    attribution: Attribution

    @property
    def nats_per_token(self) -> float:
        """Return the mean over its tokens."""
        return self.nats / self.tokens

    def said(self) -> str:
        """Tell its probability, and what it is under noise."""
        per = "" if self.tokens == 1 else f", {math.exp(self.nats_per_token):.3f} per token"
        return f"ln p = {self.nats:.3f} ({self.tokens} token{'s' * (self.tokens > 1)}{per})"


@dataclass(frozen=True, eq=False)
class ExplainedAnswer:
    """An answer, part by part, and what each used of its prompt.

    Attributes:
        prompt: what the model read.
        answer: what stands behind it.
        parts: of the answer.
        tokens: of the prompt, as the tokenizer writes them.
        spans: the characters of each in the prompt; None of those that are no word of it.
        signed: whether the sign of values means something.
    """

    prompt: Prompt
    answer: str
    parts: tuple[ExplainedPart, ...]
    tokens: tuple[str, ...]
    spans: tuple[Span | None, ...]
    signed: bool

    @property
    def unit(self) -> str:
        """Name what values count: "bits" or "score"."""
        return self.parts[0].attribution.unit.partition("/")[0]

    def grouped(self, part: ExplainedPart, group: Group = "word") -> list[tuple[Piece, float]]:
        """Return the pieces of the prompt with their values, summed over tokens: nothing is lost on the way."""
        pieces = self.prompt.pieces(group)
        sums = [0.0] * len(pieces)
        ends = [piece.span for piece in pieces]
        for span, value in zip(self.spans, part.values, strict=False):
            if span is not None and (place := piece_of(span, ends)) >= 0:
                sums[place] += value
        return list(zip(pieces, sums, strict=True))

    def shaded(self, part: ExplainedPart, group: Group = "word") -> ShadedText:
        """Return the prompt with the values that a part of the answer gives its pieces, ready to be shown."""
        found = self.grouped(part, group)
        pieces = pieces_of(self.prompt.text, [piece.span for piece, _ in found], [value for _, value in found])
        scale = word_scale([pieces], self.unit, signed=self.signed)
        return ShadedText(pieces, scale, part.text.strip(), tuple(self.notes(part)), group)

    def notes(self, part: ExplainedPart) -> list[str]:
        """Tell how sure the model is of a part, and what of that holds under noise."""
        found, told = part.attribution, [part.said()]
        if found.total_bits is not None:
            against = found.total_against
            every = "in total" if against is None else f"for it, {number(float(against[0]))} against"
            told.append(f"{found.method} at {found.layer}: {number(float(found.total_bits[0]))} bits {every}")
        if (proof := Proof.of(found)) is not None:
            what = "p" if part.tokens == 1 else "p per token"
            under = f"{proof.under:.3f} ± {proof.spread:.3f}"
            held = f": {proof.held}" if proof.held else ""
            told.append(f"{what}: {proof.before:.3f}, with noise in place of what is not needed {under}{held}")
        if len(self.prompt.sources) > 1:
            each = sorted(self.grouped(part, "source"), key=lambda one: -abs(one[1]))
            told.append(", ".join(f"{number(value)} {self.unit} from {piece.text}" for piece, value in each))
        return told

    def printed(self, group: Group = "word") -> Any:
        """Give what rich prints: the prompt once for each part of the answer."""
        return Lines(*(terminal(self.shaded(part, group)) for part in self.parts))

    def __rich__(self) -> Any:
        """Give what rich prints."""
        return self.printed()

    def _repr_html_(self) -> str:
        """Give what notebooks show: choosing a part of the answer shades what it used."""
        return self.fragment()

    def fragment(self, group: Group = "word", *, behaviour: bool = True) -> str:
        """Return a piece of HTML for notebooks and pages; without `behaviour` the page brings that of `answer_page`."""
        return answer_fragment([_shown(self, group)], behaviour=behaviour)

    def html(self, title: str = "", group: Group = "word") -> str:
        """Return a page of HTML that carries all it needs: choosing a part of the answer shades what it used."""
        return answers_page([self], title or self.parts[0].attribution.method, group)

    def as_dict(self, group: Group | None = None) -> dict[str, Any]:
        """Return plain values for machines; of a group its pieces, else every token."""
        return {
            "prompt": self.prompt.text,
            "answer": self.answer,
            "unit": self.unit,
            "sources": {name: list(span) for name, span in self.prompt.sources.items()},
            "parts": [self._part(part, group) for part in self.parts],
        }

    def _part(self, part: ExplainedPart, group: Group | None) -> dict[str, Any]:
        found: dict[str, Any] = {"text": part.text, "span": part.span, "tokens_asked": part.tokens, "nats": part.nats}
        found |= part.attribution.summary()[0]
        if group is None:
            every = zip(self.tokens, part.values, self.spans, strict=True)
            return found | {"tokens": [{"token": t, "value": v, "span": s} for t, v, s in every]}
        told = [
            {"text": p.text, "value": value, "span": p.span, "source": p.source}
            for p, value in self.grouped(part, group)
        ]
        return found | {f"{group}s": told}


def answers_page(
    answers: Sequence[ExplainedAnswer], title: str, group: Group = "word", *, same_scale: bool | None = None
) -> str:
    """Return several answers as one page of HTML that carries all it needs.

    Args:
        answers: of one method.
        title: of the page.
        group: what of a prompt is shaded as one.
        same_scale: whether all parts of an answer share a scale, or each ends at its strongest piece; None to share it where
            pieces have bits.
    """
    return answer_page([_shown(one, group, same_scale) for one in answers], title)


def _shown(one: ExplainedAnswer, group: Group, same_scale: bool | None = None) -> ShownAnswer:
    prompts = [one.shaded(part, group) for part in one.parts]
    if same_scale or (same_scale is None and one.unit == "bits"):
        scale = word_scale([prompt.pieces for prompt in prompts], one.unit, signed=one.signed)
        prompts = [replace(prompt, scale=scale) for prompt in prompts]
    return ShownAnswer(one.answer, [part.span for part in one.parts], prompts)


class AnswerExplainer:
    """Explains what language models say: `AnswerExplainer(model, tokenizer)(prompt, answer)`.

    Args:
        model: a language model (of transformers, or any module that gives logits (texts, tokens, vocabulary)); or, then without
            a tokenizer, what `load_language_model` gives, or a name for it.
        tokenizer: the model's own, of transformers or of bitlens.
        method: one of `bitlens text methods`.
        **settings: of the method: keep, beta, seed ...

    Raises:
        ModelError: if the tokenizer is missing or does not fit.
        SettingError: if there is no such method, or a setting makes no sense.
    """

    def __init__(
        self, model: "nn.Module | Loaded | str", tokenizer: Any = None, *, method: str = "token-iba", **settings: Any
    ) -> None:
        self.loaded = _loaded(model, tokenizer)
        self.entry = entry_of(method, "text")
        takes = settings_of_callable(self.entry.build)
        suited: dict[str, Any] = {"layer": self.loaded.layer, **_SUITED, **holding(method, settings, "text")}
        suited |= _OPEN if method == "token-iba" else {}
        suited = {name: value for name, value in suited.items() if name in takes}
        self.method: Any = method_named(method, self.loaded, **{**suited, **settings})

    def __call__(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        answer: str | None = None,
        *,
        sources: Mapping[str, str] | None = None,
        each: Each = "answer",
        max_new_tokens: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> ExplainedAnswer:
        """Explain an answer, all of it or part by part; all parts share the passes of one call.

        What was said before a part is given, as the model reads it, and is not explained by the prompt once more.

        Args:
            prompt: what the model reads; where there are sources, the question behind them. Or a conversation, messages with
                "role" and "content", as the model's chat template writes it: each message is a source ("system", "user",
                "assistant", "user 2" ...), and the template's marks stand as they are.
            answer: what to ask about, as it stands behind the prompt; what the model itself says if not given.
            sources: documents by name, put before the prompt with an empty line between.
            each: "answer", "sentence" or "word": what is asked about by itself.
            max_new_tokens: of the model's own answer, at most.
            progress: called with the number of parts explained so far.

        Raises:
            InputError: if the prompt is empty, the answer is, or both are longer than the model reads; or if the template changes
                what a message says.
            ModelError: if there is a conversation, but no chat template.
            TargetError: if the network is no language model.
            LayerError: if the layer lets the prompt past the noise.
        """
        find = one_of("each", each, _PARTS)
        whole = Prompt.of(prompt, sources) if isinstance(prompt, str) else self._conversation(prompt, sources)
        if answer is None:
            answer = generated(self.loaded, whole.text, max_new_tokens)
        parts = find(answer)
        if not answer.strip() or not parts:
            raise InputError("the answer is empty: there is nothing to ask about")
        read = self._read(whole, answer, parts)
        asked = AskedSpan(read.tokens, first=read.first)
        found = self.method.explain(read.batch, asked, progress=progress)
        nats = _nats(self.loaded, read)
        longest = max(range(len(parts)), key=lambda row: len(read.batch.tokens[row]))
        begin = int((~read.batch.real[longest].flip(0)).long().argmin())
        count = read.batch.real.shape[1] - begin  # positions up to the prompt's last word
        return ExplainedAnswer(
            whole,
            answer,
            tuple(
                ExplainedPart(
                    answer[slice(*span)],
                    span,
                    int((read.tokens[row] != NOTHING).sum()),
                    nats[row],
                    tuple(float(value) for value in found.map[row, :count]),
                    found[row],
                )
                for row, span in enumerate(parts)
            ),
            read.batch.tokens[longest][:count],
            read.batch.spans[longest][:count],
            self.entry.signed or found.signed,
        )

    def _conversation(self, messages: Sequence[Mapping[str, str]], sources: Mapping[str, str] | None) -> Prompt:
        if sources:
            raise InputError(
                "a conversation is its own sources, message by message: put documents into what the user says"
            )
        return Prompt.of_chat(messages, partial(conversation_text, self.loaded))

    def _read(self, prompt: Prompt, answer: str, parts: Sequence[Span]) -> Answered:
        context, network = list(prompt.sources.values()), self.loaded.model
        if not writes_beside_encoder(network):
            return read_answer(self.loaded.tokenizer, prompt.text, answer, parts, context)
        shifted: Any = network.prepare_decoder_input_ids_from_labels
        return read_beside(self.loaded.tokenizer, shifted, prompt.text, answer, parts, context)


def _nats(loaded: Loaded, read: Answered) -> list[float]:
    """Return ln of the probability of each part, one row at a time: a vocabulary is large."""
    device, found = device_of(loaded.model), []
    span = AskedSpan(read.tokens, first=read.first)
    with frozen(loaded.model), torch.no_grad():
        for row, tokens in enumerate(read.batch.tokens):
            one = slice(row, row + 1)
            inputs = ModelInputs.of(selected(read.batch, one).to(device).inputs)
            asked = span.select(one).at(torch.tensor([len(tokens) - 1]))
            if asked.first is None:
                inputs = answers_from(loaded.model, inputs, int(asked.starts) - 1)
            output = loaded.model(*inputs.args, **inputs.kwargs)
            found.append(float(asked.behind(left_out(inputs, answer_of(output, None))).nats(output)))
    return found


def _loaded(model: Any, tokenizer: Any) -> Loaded:
    if isinstance(model, nn.Module):
        if tokenizer is None:
            raise ModelError(f"{type(model).__name__} comes without a tokenizer: AnswerExplainer(model, tokenizer)")
        return language_model(model, tokenizer, type(model).__name__)
    if tokenizer is not None:
        raise ModelError("a loaded model has its own tokenizer: leave out the other")
    if isinstance(model, Loaded):
        return model
    if not isinstance(model, str):
        raise SettingError(f"model must be a module, a loaded model or a name, got {type(model).__name__}")
    return load_language_model(model)
