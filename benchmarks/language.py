"""What is found of the words that carry an answer, and what it costs.

    python benchmarks/language.py truth --count 500               # questions whose answers are stated in known words
    python benchmarks/language.py methods --count 100             # the same questions to methods that leave words out, and others
    python benchmarks/language.py cost --context 1024             # a decoder of GPT-2's shape, random weights

truth: `most`, the share of questions of which a word that carries the answer (what the text says of who is asked about, and
that name) has the most bits; `auc`, the rank AUC of these words among the words of the text, where two places say the same
of the better one; `still`, the share whose probability moves by less than 0.01 when noise replaces each word of less than 0.1 bit
(the mean over 8 noises); `both`, of two hops, the share of which both places are among as many words as carry the answer.
Seed 0 is reported; settings were chosen with others.
"""

import argparse
import json
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
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
from bitlens.errors import BitlensWarning
from bitlens.explaining.answers import AnswerExplainer
from bitlens.metrics import Texts, linear_datamodelling_score, top_drop
from bitlens.models.load_language import load_language_model
from bitlens.models.loaded import Loaded

AT_ONCE, NOISES, LITTLE = 50, 8, 0.1
METHODS = (
    "token-iba", "random", "attention-rollout", "gradient-x-input", "integrated-gradients", "leave-one-out:unit=token",
    "leave-one-out", "leave-one-out:unit=sentence", "context-cite", "context-cite:unit=word",
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
    drawn, rows = questions(options.count, options.seed), []
    begun = time.process_time()
    for start in range(0, len(drawn), AT_ONCE):
        some = drawn[start : start + AT_ONCE]
        asked = read(some, loaded)
        found = explainer.method.explain(asked.batch, asked.span)
        far = moved(loaded, asked, found.map)
        for row, one in enumerate(some):
            told = found_truth(one, found.map[row], asked, row)
            told |= {"still": float(far[row] < 0.01), "bits": float(found.total_bits[row])}
            told |= {"kept": float(found.evidence.kept[row]), "p": float(found.evidence.before[row])}
            rows.append({"kind": one.kind, **told})
        print(json.dumps({"done": start + len(some), **mean(rows)}), flush=True)
    kinds = {
        kind: mean([row for row in rows if row["kind"] == kind]) for kind in dict.fromkeys(one.kind for one in drawn)
    }
    return {"settings": settings, "seconds": round(time.process_time() - begun, 1), "all": mean(rows), **kinds}


def mean(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means of what rows have a number of."""
    names = dict.fromkeys(name for row in rows for name in row if name != "kind")
    return {name: round(float(np.nanmean([row[name] for row in rows if name in row])), 4) for name in names}


def methods(options: argparse.Namespace) -> dict[str, Any]:
    """Methods side by side: the truth, the drop without the top units, the linear datamodelling score, passes and seconds."""
    loaded = load_language_model("builtin/recall")
    network: Any = loaded.model
    drawn, result = questions(options.count, options.seed), {}
    for name in options.methods.split(",") if options.methods else METHODS:
        word, _, setting = name.partition(":")
        chosen = dict([setting.split("=")]) if setting else {}
        explainer = AnswerExplainer(loaded, method=word, **chosen)
        rows: list[dict[str, Any]] = []
        seconds, passes = 0.0, [0]
        hook = network.embedding.register_forward_hook(
            lambda *call, passes=passes: passes.__setitem__(0, passes[0] + len(call[2]))
        )
        for start in range(0, len(drawn), AT_ONCE):
            some = drawn[start : start + AT_ONCE]
            asked = read(some, loaded)
            begun = time.process_time()
            found = explainer.method.explain(asked.batch, asked.span)
            seconds += time.process_time() - begun
            judged = judge(network, asked, found.map)
            for row, one in enumerate(some):
                own = {name: float(values[row]) for name, values in judged.items()}
                rows.append({"kind": one.kind, **found_truth(one, found.map[row], asked, row), **own})
        hook.remove()
        result[name] = {**mean(rows), "seconds per question": round(seconds / len(drawn), 3)}
        print(json.dumps({name: result[name]}), flush=True)
    return result


def judge(network: Any, asked: Asked, scores: Tensor, unit: Unit = "word") -> dict[str, Tensor]:
    """What the answers lose without the units of the highest scores, and how well scores foretell random ablations."""
    found: dict[str, list[Tensor]] = {"drop-1": [], "drop-3": [], "lds": []}
    for row in range(len(scores)):
        length = len(asked.batch.tokens[row])
        ids = asked.batch.inputs["input_ids"][row, :length]
        units = units_of(asked.batch, unit)[row : row + 1, :length]
        span = asked.span.select(torch.tensor([row]))
        texts = Texts(ids[None], units, torch.ones(1, length, dtype=torch.bool), 1)

        def answer(tokens: Tensor, present: Tensor, span: Span = span) -> Tensor:
            ends = present.sum(1) - 1
            many = Span(span.tokens.expand(len(tokens), -1)).at(ends)
            return many.nats(network(torch.where(present, tokens, 0)))

        own = scores[row : row + 1, :length]
        drop = top_drop(answer, texts, own, tops=(1, 3), rows=64)[0]
        found["drop-1"].append(drop[0])
        found["drop-3"].append(drop[1])
        found["lds"].append(linear_datamodelling_score(answer, texts, own, sets=32, rows=64)[0])
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
    dtype = suffix_dtype(iba.precision, recording.features)

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
    parser.add_argument("--methods", default="")
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
