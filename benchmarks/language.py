"""What is found of the words that carry an answer, and what it costs.

    python benchmarks/language.py truth --count 500 --store FOLDER      # questions whose answers are stated in known words
    python benchmarks/language.py methods --count 100 --store FOLDER    # the same questions to other methods as well
    python benchmarks/language.py cost --store FOLDER                   # a decoder of GPT-2's shape, random weights
    python tools/paired.py FOLDER                                       # tells what was found

truth: `most`, the share of questions of which a word that carries the answer (what the text says of who is asked about, and
that name) has the most bits; `auc`, the rank AUC of these words among the words of the text, where two places say the same
of the better one; `still`, the share whose probability moves by less than 0.01 when noise replaces each word of less than 0.1 bit
(the mean over 8 noises); `both`, of two hops, the share of which both places are among as many words as carry the answer.
methods: besides, `drop-1` and `drop-3`, what ln P loses when the words of the highest scores are replaced by the unknown word;
`area`, between the curves of P as words are replaced, least and most relevant first; `insertion` and `deletion`, the areas
under those of P as the highest words appear among unknown ones, and are replaced; `complexity`, the smallest share of them
with which P is nine tenths; `sds` and `sensitivity-n`, how scores go with what ln P loses without each word alone, and without
random words; `sparseness`, the Gini index of the scores; `lds`, the linear datamodelling score of sentences; rows that went
through the network forward alone and with a backward pass, and seconds, for each question, without evidence.
cost: `first`, with what a network needs once for texts of a length; `fit`, another; `floor`, its noisy rows there and
back alone. Seed 0 is reported; settings were chosen with others.
"""

import argparse
import re
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import rankdata
from stored import Stored
from torch import Tensor

from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.inputs import ModelInputs
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
from bitlens.metrics import (
    Texts,
    effective_complexity,
    linear_datamodelling_score,
    sparseness,
    token_degradation,
    token_insertion_deletion,
    token_sensitivity_n,
    token_single_deletion,
    top_drop,
)
from bitlens.models.load_language import load_language_model
from bitlens.models.loaded import Loaded

AT_ONCE, NOISES, LITTLE = 50, 8, 0.1
UNITS: tuple[Unit, ...] = ("word", "sentence")
METHODS = (
    "token-iba", "token-iba:beta=3:steps=8", "token-iba:beta=3:steps=3:noise_samples=1:learning_rate=1",
    "token-iba:beta=3:steps=2:noise_samples=1:learning_rate=1:initial_logit=2",
    "integrated-gradients", "integrated-gradients:steps=16", "integrated-gradients:steps=8", "integrated-gradients:steps=4",
    "integrated-gradients:steps=2", "gradient-x-input", "leave-one-out", "leave-one-out:unit=sentence", "context-cite",
    "attention-rollout", "gradient-attention-rollout", "random", "token-iba:seed=1", "context-cite:seed=1", "random:seed=1",
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


def truth(options: argparse.Namespace) -> None:
    """The bits of `count` questions against the words that carry their answers."""
    loaded, stored = load_language_model(options.model), Stored(options.store)
    explainer = AnswerExplainer(loaded)
    for some in missing(stored, "token-iba", options):
        asked, begun = read([one for _, one in some], loaded), time.process_time()
        found = explainer.method.explain(asked.batch, asked.span)
        seconds = (time.process_time() - begun) / len(some)
        far = moved(loaded, asked, found.map)
        for row, (number, one) in enumerate(some):
            told = found_truth(one, found.map[row], asked, row)
            told |= {"still": float(far[row] < 0.01), "bits": float(found.total_bits[row])}
            stored.add("token-iba", number, {**told, "kept": float(found.evidence.kept[row]), "seconds": seconds})


def missing(stored: Stored, method: str, options: argparse.Namespace) -> Iterator[Sequence[tuple[int, Question]]]:
    """Give questions of which a method was not asked yet, by number, some at once."""
    drawn = enumerate(questions(options.count, options.seed))
    left = [(number, one) for number, one in drawn if not stored.has(method, number)]
    for start in range(0, len(left), AT_ONCE):
        yield left[start : start + AT_ONCE]


def methods(options: argparse.Namespace) -> None:
    """Methods side by side: the truth, removal, the linear datamodelling score, passes and seconds."""
    loaded, stored = load_language_model(options.model), Stored(options.store)
    network: Any = loaded.model
    for name in options.methods.split(",") if options.methods else METHODS:
        (spec,) = read_methods(name, "text").values()
        explainer = AnswerExplainer(loaded, method=spec.name, **spec.settings)
        proof = {} if explainer.entry.unit == "score" else {"evidence_samples": 0}
        passes = [0, 0]

        def count(_: Any, __: Any, output: Tensor, passes: list[int] = passes) -> None:
            passes[output.requires_grad] += len(output)

        hook = network.head.register_forward_hook(count)
        for some in missing(stored, name, options):
            asked, begun = read([one for _, one in some], loaded), time.process_time()
            passes[:] = 0, 0
            found = explainer.method.explain(asked.batch, asked.span, **proof)
            work = {"forward": passes[0], "backward": passes[1], "seconds": time.process_time() - begun}
            judged = judge(network, asked, found.map)
            for row, (number, one) in enumerate(some):
                own = {metric: float(values[row]) for metric, values in judged.items()}
                own |= {what: much / len(some) for what, much in work.items()}
                stored.add(name, number, found_truth(one, found.map[row], asked, row) | own)
        hook.remove()


def judge(network: Any, asked: Asked, scores: Tensor) -> dict[str, Tensor]:
    """What the answers lose without the words of the highest scores and of the lowest, and how well scores foretell ablations."""
    found: dict[str, list[Tensor]] = defaultdict(list)
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
        curves = token_insertion_deletion(p, words, own, points=10, rows=64)
        found["insertion"].append(curves.insertion_areas()[0])
        found["deletion"].append(curves.deletion_areas()[0])
        found["complexity"].append(effective_complexity(curves)[0])
        found["sds"].append(token_single_deletion(nats, words, own, rows=64).correlations()[0])
        found["sensitivity-n"].append(token_sensitivity_n(nats, words, own, sets=10, rows=64).means()[0])
        found["sparseness"].append(sparseness(words.sums(own))[0])
        found["lds"].append(linear_datamodelling_score(nats, whole, own, sets=32, rows=64)[0])
    return {name: torch.stack(values) for name, values in found.items()}


def cost(options: argparse.Namespace) -> None:
    """What a fit costs over its passes, for spans of several lengths in turns, on 12 layers of 768 hidden units."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_positions=2048, pad_token_id=0)).eval()
    works: dict[str, dict[str, Callable[[], object]]] = {}
    stored = Stored(options.store)
    for turn in range(options.repeats):
        for length in map(int, options.spans.split(",")):
            name, found = f"a span of {length}", {}
            if stored.has(name, turn):
                continue
            if name not in works:
                ids = torch.randint(5, 50_000, (1, options.context + length))
                given, span = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, Span(ids[:, -length:])
                iba = TokenIBA(
                    model, "transformer.wte", special_tokens="whole", steps=options.steps, precision=options.precision
                )
                fit = partial(iba.explain, given, span, evidence_samples=0)
                works[name] = {"floor": floor_of(iba, iba.read(given, span).inputs), "fit": fit}
                found |= measured(fit, "first")
            for what, work in works[name].items():
                found |= measured(work, what)
            stored.add(name, turn, {**found, "over the floor": found["fit"] / found["floor"]})
            print(name, found, flush=True)


def measured(work: Callable[[], object], name: str) -> dict[str, float]:
    """Return seconds of the processor that it takes, and the most memory of this process meanwhile, in GB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the most so far is what there is now
    begun = time.process_time()
    work()
    seconds = time.process_time() - begun
    most = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text("utf-8"))
    return {name: seconds, f"{name} GB": int(most[1]) / 1e6 if most is not None else float("nan")}


def floor_of(iba: TokenIBA, given: ModelInputs) -> Callable[[], None]:
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
    parser.add_argument("--model", default="builtin/recall", help="which language model that comes with bitlens")
    parser.add_argument("--methods", default="", help="by name")
    parser.add_argument("--store", type=Path, required=True, help="a folder of rows, that a run goes on from")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--spans", default="16,256")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", BitlensWarning)
    {"truth": truth, "methods": methods, "cost": cost}[options.what](options)


if __name__ == "__main__":
    main()
