"""What is found of the words that carry an answer, and what it costs.

    python benchmarks/language.py truth --count 500               # questions whose answers are stated in known words
    python benchmarks/language.py methods --count 60              # the same questions to methods that leave words out, and others
    python benchmarks/language.py cost --context 1024             # a decoder of GPT-2's shape, random weights

truth: `most`, the share of questions of which a word that carries the answer (what the text says of who is asked about, and
that name) has the most bits; `auc`, the rank AUC of these words among the words of the text, where two places say the same
of the better one; `still`, the share whose probability moves by less than 0.01 when noise replaces each word of less than 0.1 bit
(the mean over 8 noises); `both`, of two hops, the share of which both places are among as many words as carry the answer.
methods: besides, `drop-1` and `drop-3`, what ln P loses when the words of the highest scores are replaced by the unknown word;
`area`, between the curves of P as words are replaced, least and most relevant first; `lds`, the linear datamodelling score of
sentences; rows that went through the network forward alone and with a backward pass, and seconds, for each question, without
evidence. The bundled model has no attention that rollout could read. Seed 0 is reported; settings were chosen with others.
"""

import argparse
import json
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.layout import LAYOUTS
from bitlens.core.passes import in_precision, suffix_dtype
from bitlens.core.spans import Span
from bitlens.data.passages import Unit, units_of
from bitlens.data.recall import Question, questions
from bitlens.data.tokenizing import TokenBatch
from bitlens.data.words import UNKNOWN
from bitlens.errors import BitlensWarning
from bitlens.explaining.answers import AnswerExplainer
from bitlens.methods.naming import read_methods
from bitlens.metrics import Texts, linear_datamodelling_score, token_degradation, top_drop
from bitlens.models.load_language import load_language_model
from bitlens.models.loaded import Loaded

AT_ONCE, NOISES, LITTLE = 50, 8, 0.1
KINDS = ("once", "twice", "two hops")
UNITS: tuple[Unit, ...] = ("word", "sentence")
METHODS = (
    "token-iba", "token-iba:beta=3:steps=8", "random", "gradient-x-input", "integrated-gradients",
    "integrated-gradients:steps=16", "leave-one-out", "leave-one-out:unit=sentence", "context-cite",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """Questions as the model reads them: the texts, their spans, and which tokens carry the answers.

    Attributes:
        batch: prompts and answers, whose tokens count as special.
        span: the answers.
        told: (n, T) tokens of the texts, without the questions.
        places: of each question, for each of its places, (T,) the tokens that carry the answer there.
        who: (n, T) the names that are asked about.
    """

    batch: TokenBatch
    span: Span
    told: Tensor
    places: list[list[Tensor]]
    who: Tensor


def read(asked: Sequence[Question], loaded: Loaded) -> Asked:
    """Read questions with their answers."""
    batch = loaded.tokenizer([f"{one.prompt} {one.answer}" for one in asked])

    def within(row: int, spans: Sequence[tuple[int, int]]) -> Tensor:
        found = torch.zeros(batch.real.shape[1], dtype=torch.bool)
        for place, span in enumerate(batch.spans[row]):
            found[place] = span is not None and any(start <= span[0] < end for start, end in spans)
        return found

    prompts = torch.stack([within(row, [(0, len(one.prompt))]) for row, one in enumerate(asked)])
    told = torch.stack([within(row, [(0, len(one.text))]) for row, one in enumerate(asked)])
    answers = batch.real & ~prompts
    tokens = torch.full((len(asked), int(answers.sum(1).max())), -1)
    for row, own in enumerate(answers):
        tokens[row, : int(own.sum())] = batch.inputs["input_ids"][row, own]
    places = [[within(row, place) for place in one.places] for row, one in enumerate(asked)]
    who = torch.stack([within(row, [one.who]) for row, one in enumerate(asked)])
    return Asked(replace(batch, real=prompts, special=answers), Span(tokens), told, places, who)


def auc(scores: Tensor, right: Tensor) -> float:
    """The share of pairs in which a right one has the higher score; ties count one half."""
    ranks = rankdata(scores.numpy())
    count, others = int(right.sum()), int((~right).sum())
    return float((ranks[right.numpy()].sum() - count * (count + 1) / 2) / (count * others))


def found_truth(one: Question, scores: Tensor, asked: Asked, row: int) -> dict[str, float]:
    """What a map says of one question."""
    places, who = asked.places[row], asked.who[row]
    carrying = torch.stack([*places, who]).any(0)
    ranked = scores.masked_fill(~asked.batch.real[row], -torch.inf)
    told = asked.told[row]
    if one.kind == "twice":
        each = [auc(scores[told & ~other], here[told & ~other]) for here, other in (places, places[::-1])]
        area = max(each)
    else:
        area = auc(scores[told], torch.stack(places).any(0)[told])
    result = {"most": float(carrying[ranked.argmax()]), "auc": area}
    if one.kind == "two hops":
        top = ranked.topk(int(carrying.sum())).indices
        result["both"] = float(all(bool(place[top].any()) for place in places))
    return result


@torch.no_grad()
def moved(loaded: Loaded, asked: Asked, bits: Tensor) -> Tensor:
    """How far the probability of each answer moves (n,) when words with little are noise; their others stay as they are."""
    network: Any = loaded.model
    vectors = network.embedding(asked.batch.inputs["input_ids"])
    table = network.embedding.weight
    gone = (asked.batch.real & (bits < LITTLE))[..., None]
    span = asked.span.at(asked.batch.present.sum(1) - 1)
    clean = span.nats(network.after(vectors)).exp()
    under = []
    for seed in range(NOISES):
        noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
        noisy = torch.where(gone, table.mean(0) + table.std(0) * noise, vectors)
        under.append(span.nats(network.after(noisy)).exp())
    return (torch.stack(under).mean(0) - clean).abs()


def truth(options: argparse.Namespace) -> dict[str, Any]:
    """The bits of `count` questions against the words that carry their answers."""
    loaded = load_language_model("builtin/recall")
    settings = json.loads(options.settings)
    explainer = AnswerExplainer(loaded, **settings)
    rows = Rows(options.rows)
    for some in rows.missing(questions(options.count, options.seed), options.at_most):
        asked, begun = read(some, loaded), time.process_time()
        found = explainer.method.explain(asked.batch, asked.span)
        seconds = (time.process_time() - begun) / len(some)
        far = moved(loaded, asked, found.map)
        for row, one in enumerate(some):
            told = found_truth(one, found.map[row], asked, row)
            told |= {"still": float(far[row] < 0.01), "bits": float(found.total_bits[row]), "seconds": seconds}
            told |= {"kept": float(found.evidence.kept[row]), "p": float(found.evidence.before[row])}
            rows.add({"name": one.name, "kind": one.kind, **told})
        print(json.dumps({"done": len(rows.known), **mean(rows.known)}), flush=True)
    kinds = {kind: mean([row for row in rows.known if row["kind"] == kind]) for kind in KINDS}
    return {"settings": settings, "questions": len(rows.known), "all": mean(rows.known), **kinds}


class Rows:
    """What was measured of each question, kept in a file of lines if one is named, so that a run goes on where it was.

    Args:
        file: of the lines; None to keep nothing.
        method: whose rows these are; empty where there is one.
    """

    def __init__(self, file: Path | None, method: str = "") -> None:
        self.file, self.method = file, method
        lines = file.read_text("utf-8").splitlines() if file is not None and file.exists() else []
        self.known = [row for row in map(json.loads, lines) if row.get("method", "") == method]

    def missing(self, drawn: Sequence[Question], most: int) -> Iterator[Sequence[Question]]:
        """Give, some at once, at most so many questions of which there is no row yet."""
        done = {row["name"] for row in self.known}
        left = [one for one in drawn if one.name not in done][:most]
        for start in range(0, len(left), AT_ONCE):
            yield left[start : start + AT_ONCE]

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.known.append({**({"method": self.method} if self.method else {}), **row})
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(self.known[-1]) + "\n")


def mean(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means of what rows have a number of."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("kind", "name", "method"))
    return {name: round(float(np.nanmean([row[name] for row in rows if name in row])), 4) for name in names}


def methods(options: argparse.Namespace) -> dict[str, Any]:
    """Methods side by side: the truth, removal, the linear datamodelling score, passes and seconds."""
    loaded = load_language_model("builtin/recall")
    network: Any = loaded.model
    drawn, result = questions(options.count, options.seed), {}
    for name in options.methods.split(",") if options.methods else METHODS:
        (spec,) = read_methods(name, "text").values()
        explainer, rows = AnswerExplainer(loaded, method=spec.name, **spec.settings), Rows(options.rows, name)
        proof = {} if explainer.entry.unit == "score" else {"evidence_samples": 0}
        passes = [0, 0]

        def count(_: Any, __: Any, output: Tensor, passes: list[int] = passes) -> None:
            passes[output.requires_grad] += len(output)

        hook = network.head.register_forward_hook(count)
        for some in rows.missing(drawn, options.at_most):
            asked, begun = read(some, loaded), time.process_time()
            passes[:] = 0, 0
            found = explainer.method.explain(asked.batch, asked.span, **proof)
            taken = [number / len(some) for number in passes]
            seconds = (time.process_time() - begun) / len(some)
            judged = judge(network, asked, found.map)
            for row, one in enumerate(some):
                own = {metric: float(values[row]) for metric, values in judged.items()}
                own |= {"forward": taken[0], "with backward": taken[1], "seconds": seconds}
                rows.add({"name": one.name, "kind": one.kind, **found_truth(one, found.map[row], asked, row), **own})
        hook.remove()
        result[name] = {"questions": len(rows.known), **mean(rows.known)}
        print(json.dumps({name: result[name]}), flush=True)
    return result


def judge(network: Any, asked: Asked, scores: Tensor) -> dict[str, Tensor]:
    """What the answers lose without the words of the highest scores and of the lowest, and how well scores foretell ablations."""
    found: dict[str, list[Tensor]] = {"drop-1": [], "drop-3": [], "area": [], "lds": []}
    for row in range(len(scores)):
        length = len(asked.batch.tokens[row])
        ids = asked.batch.inputs["input_ids"][row, :length]
        words, whole = (
            Texts(
                ids[None],
                units_of(asked.batch, unit)[row : row + 1, :length],
                torch.ones(1, length, dtype=torch.bool),
                UNKNOWN,
            )
            for unit in UNITS
        )
        span = asked.span.select(torch.tensor([row]))

        def nats(tokens: Tensor, present: Tensor, span: Span = span) -> Tensor:
            ends = present.sum(1) - 1
            many = Span(span.tokens.expand(len(tokens), -1)).at(ends)
            return many.nats(network(torch.where(present, tokens, 0)))

        def p(tokens: Tensor, present: Tensor, nats: Any = nats) -> Tensor:
            said: Tensor = nats(tokens, present).exp()
            return said

        own = scores[row : row + 1, :length]
        drop = top_drop(nats, words, own, tops=(1, 3), mode="replace", rows=64)[0]
        found["drop-1"].append(drop[0])
        found["drop-3"].append(drop[1])
        found["area"].append(token_degradation(p, words, own, mode="replace", rows=64).areas()[0])
        found["lds"].append(linear_datamodelling_score(nats, whole, own, sets=32, rows=64)[0])
    return {name: torch.stack(values) for name, values in found.items()}


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """What a fit costs over its passes, for spans of several lengths, on 12 layers of 768 hidden units."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_positions=2048, pad_token_id=0)).eval()
    result: dict[str, Any] = {"context": options.context, "rows": options.steps * 2, "precision": options.precision}
    for length in map(int, options.spans.split(",")):
        ids = torch.randint(5, 50_000, (1, options.context + length))
        given, span = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, Span(ids[:, options.context :])
        iba = TokenIBA(
            model, "transformer.wte", special_tokens="whole", steps=options.steps, precision=options.precision,
            internal_batch_size=2,
        )  # fmt: skip
        iba.explain(
            {k: v[:, -200:] for k, v in given.items()}, Span(ids[:, -16:]), evidence_samples=0
        )  # traces and checks once
        works = {"floor": floor_of(iba, given), "fit": partial(iba.explain, given, span, evidence_samples=0)}
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.repeats):
            for name, work in works.items():
                begun = time.process_time()
                work()
                times[name].append(time.process_time() - begun)
        told = {name: round(statistics.median(values), 2) for name, values in times.items()}
        told["over the floor"] = round(told["fit"] / told["floor"], 2)
        told["most memory so far, GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
        result[f"span {length}"] = told
        print(json.dumps(result), flush=True)
    return result


def floor_of(iba: TokenIBA, given: dict[str, Tensor]) -> Callable[[], None]:
    """The passes of one fit, and nothing else."""
    recording = iba.probe.record(given)
    dtype = suffix_dtype(iba.precision, recording.features, iba.model)

    def passes() -> None:
        with recording.suffix(dtype) as suffix:
            run = in_precision(suffix, dtype, recording.features, LAYOUTS["TD"])
            for step in range(iba.fit.updates):
                z = recording.features.expand(iba.fit.copies_at(step), -1, -1).clone().requires_grad_()
                run(z).logits.sum().backward()

    return passes


def main() -> None:
    """Read the arguments, measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("truth", "methods", "cost"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", default="{}", help="of token-iba, as JSON")
    parser.add_argument("--methods", default="", help="by name")
    parser.add_argument("--rows", type=Path, help="a file of lines, one for each question, that a run goes on from")
    parser.add_argument("--at-most", type=int, default=1_000_000, help="questions in this run, of each method")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--spans", default="16,64,256")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", BitlensWarning)
    found = {"truth": truth, "methods": methods, "cost": cost}[options.what](options)
    print(json.dumps(found, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
