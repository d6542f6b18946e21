"""Texts explained in one call: `Explainer(model, tokenizer)("a text")`, in the manner of a pipeline of transformers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, overload

import torch
from torch import Tensor, nn

from bitlens.core.attribution import Attribution
from bitlens.core.outputs import OutputChoice
from bitlens.core.targets import Target
from bitlens.data.texts import TextSample
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import ModelError, StatisticsError
from bitlens.explaining.besides import findable
from bitlens.explaining.explanation import ExplainedWord, Explanation, joined
from bitlens.explaining.wanted import read_target, target_of
from bitlens.methods import entry_of
from bitlens.methods import method as method_named
from bitlens.methods.lessons import token_batches
from bitlens.models.classes import class_index, class_name
from bitlens.models.load import load_model
from bitlens.models.load_text import described
from bitlens.models.loaded import Loaded
from bitlens.probe import frozen
from bitlens.probe.endings import output_form

_BATCH = 16


class Explainer:
    """Explains texts: `explainer = Explainer(model, tokenizer)`, `explainer("a text").print()`.

    Args:
        model: a text classifier (of transformers, for example); or, then without a tokenizer, a text-classification pipeline of
            transformers, what `load_model` gives, or a name for it.
        tokenizer: the network's own, of transformers or of bitlens.
        method: one of `bitlens text methods`.
        classes: the names of the network's outputs, if its configuration does not hold them.
        **settings: of the method: layer, beta, seed, statistics ...

    Raises:
        ModelError: if the tokenizer is missing or does not fit.
        SettingError: if there is no such method, or a setting makes no sense.
        LayerError: if the network has no such layer.
    """

    def __init__(
        self,
        model: "nn.Module | Loaded | str | Any",
        tokenizer: Any = None,
        *,
        method: str = "token-iba",
        classes: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        loaded = _loaded(model, tokenizer)
        self.loaded = replace(loaded, output=settings.pop("output", loaded.output))
        self.method: Any = method_named(method, self.loaded, **settings)
        self.entry = entry_of(method, "text")
        self.classes = tuple(classes) if classes is not None else self.loaded.classes or None

    @property
    def ready(self) -> bool:
        """Say whether the method knows what it must; if not, `learn` teaches it."""
        return self.entry.lesson is None or self.entry.lesson.knows(self.method)

    def learn(self, texts: Iterable[str], *, data: str = "") -> "Explainer":
        """Make the statistics that a bottleneck needs from some hundred texts of the kind the network was trained on.

        Args:
            texts: without labels; the more tokens the better, 1,000 at least.
            data: where they come from, kept with the statistics.
        """
        samples = [TextSample(str(number), text) for number, text in enumerate(texts)]
        self.method.fit_statistics(token_batches(samples, self.loaded, _BATCH), max(1, len(samples)), data=data)
        return self

    @overload
    def __call__(
        self,
        texts: str,
        pairs: str | None = None,
        *,
        target: Any = None,
        progress: Callable[[int], None] | None = None,
        **more: Any,
    ) -> Explanation: ...
    @overload
    def __call__(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        target: Any = None,
        progress: Callable[[int], None] | None = None,
        **more: Any,
    ) -> list[Explanation]: ...
    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        target: Any = None,
        progress: Callable[[int], None] | None = None,
        **more: Any,
    ) -> "Explanation | list[Explanation]":
        """Explain a text, or several.

        Args:
            texts: one, or a list.
            pairs: the second text, or one for each, for networks that compare two.
            target: None or "auto" (the prediction), a class by index or name, one for each text, what the output is
                ("regression", "binary:1", "multi-label:NAME"), a `Target`, or a callable from the network's output to one
                score per row; one with two arguments gets each row's last token too.
            progress: called with the number of texts explained so far.
            **more: what is to be found besides, of bottlenecks: curve=True, spread=4.

        Returns:
            One explanation for one text, a list for a list.

        Raises:
            StatisticsError: if the method has not learnt what it must.
            InputError: if a text is empty.
            TargetError: if there is no such class.
            SettingError: if the method cannot find what is wanted besides.
        """
        if not self.ready and self.entry.learns != "statistics":
            raise StatisticsError(
                f"{self.entry.name} needs statistics of {' and '.join(self.method.layers)}: call learn(texts) with some hundred "
                "texts of the kind the network was trained on"
            )
        one = isinstance(texts, str)
        listed = [texts] if isinstance(texts, str) else list(texts)
        second = [pairs] if isinstance(pairs, str) else None if pairs is None else list(pairs)
        batch = self.loaded.tokenizer(listed, second)
        choice, asked = self._asked(target, len(batch))
        found = self.method.explain(batch, asked, progress=progress, **findable(self.method, self.entry.name, more))
        said = None if _is_no_class(target) else clean_answers(self.loaded, batch, choice)
        explanations = [self._explanation(batch, i, found[i], said) for i in range(len(batch))]
        return explanations[0] if one else explanations

    def _asked(self, target: Any, count: int) -> tuple[OutputChoice, Any]:
        """Return what is said of the network's output, and what is asked about."""
        known = self.loaded.output
        if isinstance(target, str):
            loaded, index = read_target(target, self.loaded, self.classes)
            assert not isinstance(index, Target)  # of networks for texts it is an index
            return loaded.output, index if loaded.output == known else target_of(loaded.output, index, count)
        if isinstance(target, list | tuple) and any(isinstance(entry, str) for entry in target):
            return known, [class_index(str(entry), self.classes) for entry in target]
        return known, target

    def _explanation(self, batch: TokenBatch, i: int, found: Attribution, said: Tensor | None) -> Explanation:
        values = [float(value) for value in found.map[0, : len(batch.tokens[i])]]
        text = batch.texts[i]
        words = tuple(
            ExplainedWord(
                text[slice(*word.span)], word.span, joined([values[p] for p in word.tokens], found.unit), word.tokens
            )
            for word in batch.words_of(i)
        )
        prediction, probability, shares = "", None, tuple[float, ...]()
        if said is not None:
            index = int(said[i].argmax())
            prediction, probability = class_name(str(index), self.classes), float(said[i, index])
            shares = tuple(said[i].tolist())
        target = class_name(found.targets[0], self.classes)
        signed = self.entry.signed or found.signed
        return Explanation(
            text,
            batch.tokens[i],
            tuple(values),
            words,
            target,
            prediction,
            probability,
            signed,
            found,
            batch.spans[i],
            shares,
        )


def clean_answers(loaded: Loaded, batch: TokenBatch, choice: OutputChoice) -> Tensor | None:
    """Ask a network about clean texts: the probability of each class, (N, classes) on the CPU; None of a regression."""
    device = next(loaded.model.parameters()).device
    found = []
    with frozen(loaded.model), torch.no_grad():
        for start in range(0, len(batch), _BATCH):
            inputs = {name: value[start : start + _BATCH].to(device) for name, value in batch.inputs.items()}
            output = loaded.model(**inputs)
            form = output_form(loaded.model, inputs, output, choice)
            if form.numbers == "regression":
                return None
            found.append(form.said(output).cpu())
    return torch.cat(found)


def _loaded(model: Any, tokenizer: Any) -> Loaded:
    if isinstance(model, nn.Module):
        if tokenizer is None:
            raise ModelError(f"{type(model).__name__} comes without a tokenizer: Explainer(model, tokenizer)")
        return described(model, tokenizer, type(model).__name__)
    if tokenizer is not None:
        raise ModelError("a loaded network has its own tokenizer: leave out the other")
    if isinstance(model, Loaded):
        return model
    if isinstance(model, str):
        return load_model(model, kind="text")
    network, own, task = (getattr(model, name, None) for name in ("model", "tokenizer", "task"))
    if not isinstance(network, nn.Module) or own is None or task != "text-classification":
        kind = type(model).__name__ if task is None else f"{type(model).__name__} for {task}"
        raise ModelError(
            f"{kind} is no text classifier: expected a module and its tokenizer, a text-classification pipeline, or the name of "
            "a network"
        )
    return described(network, own, type(network).__name__)


def _is_no_class(target: Any) -> bool:
    return isinstance(target, Target) or callable(target)
