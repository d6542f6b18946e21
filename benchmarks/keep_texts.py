r"""How well maps of texts hold, with what bits and at what cost: a price of bits against `keep`, with statistics and without.

Every map is judged by 64 noises that neither its fit nor its search has seen, and by 16 of the other statistics; removal is the
area between the curves of the probability as tokens are deleted, least and most relevant first.

    python benchmarks/keep_texts.py --model builtin/reviews --data jsonl:imdb_test_2500.jsonl.gz --longest 100 \
        --methods input-iba token-iba --out lstm.json
    python benchmarks/keep_texts.py --model examples/minilm_sentiment.py:build --data tsv:DATA/text/sst2_test.tsv \
        --statistics-from tsv:DATA/text/sst2_train.tsv --methods token-iba --out minilm.json
    python tools/held.py minilm.json

One text after the other, every procedure on each; what is in the file of --out is not done again.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from judging import judging, together, write_rows

from bitlens.bottlenecks.groups import Samples
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics, sampled_statistics
from bitlens.core.gaussian import NoiseSettings
from bitlens.data.texts import open_texts
from bitlens.errors import BitlensWarning
from bitlens.evaluation.case import TextCase
from bitlens.evaluation.token_scoring import removal
from bitlens.explaining.text import Text, read_text
from bitlens.methods.building import build_method
from bitlens.methods.specs import Spec
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded

PROCEDURES: dict[str, dict[str, Any]] = {
    "price": {},
    "price, sampled": {"statistics": {}},
    "keep": {"keep": 0.9},
    "keep, sampled": {"keep": 0.9, "statistics": {}},
}
_NOISE = NoiseSettings(min_std=0.01, activity_threshold=-1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin/reviews")
    for name in ("--data", "--statistics-from"):
        parser.add_argument(name)
    numbers = (
        ("--statistics-count", 1000),
        ("--limit", 60),
        ("--skip", 0),
        ("--step", 1),
        ("--longest", 70),
        ("--floors", 16),
    )
    for name, number in numbers:
        parser.add_argument(name, type=int, default=number)
    parser.add_argument("--methods", nargs="+", default=["token-iba"])
    parser.add_argument("--only", default=";".join(PROCEDURES), help="procedures, separated by ;")
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; what it has is not done again")
    return parser


def _texts(asked: argparse.Namespace, loaded: Loaded) -> list[Text]:
    found, wanted = list[Text](), asked.skip + asked.limit * asked.step
    for sample in open_texts(asked.data):
        if len(found) < wanted and len(sample.text.split()) <= asked.longest:
            text = read_text(sample, loaded, None, predicted=True)  # what the network says, right or wrong
            if text.batch.real.shape[1] <= asked.longest:
                found.append(text)
    return found[asked.skip :: asked.step][: asked.limit]


def _learnt(asked: argparse.Namespace, loaded: Loaded, layers: list[str]) -> dict[str, TokenStatistics]:
    if asked.statistics_from is None:
        return {name: loaded.statistics[name] for name in layers}
    samples = open_texts(asked.statistics_from)
    chosen = [samples[i] for i in range(0, len(samples), max(1, len(samples) // asked.statistics_count))]
    chosen = chosen[: asked.statistics_count]
    texts = [sample.text for sample in chosen]
    batches = [loaded.tokenizer(texts[start : start + 16]) for start in range(0, len(texts), 16)]
    return collect_token_statistics(loaded.model, layers, batches, data=asked.statistics_from)


def main() -> None:
    """Measure each procedure on the texts, and store what was found."""
    asked = _parser().parse_args()
    warnings.simplefilter("ignore", BitlensWarning)
    loaded = load_model(asked.model, kind="text")
    rows = [0]

    def count(_module: Any, _arguments: Any, output: Any) -> None:
        rows[0] += len(output if isinstance(output, torch.Tensor) else output.logits)

    table = dict[str, dict[str, Any]]()
    if asked.out.exists():
        table = json.loads(asked.out.read_text("utf-8"))
    plain = {name: build_method(Spec(name, {}), loaded) for name in asked.methods}
    layers = sorted({layer for method in plain.values() for layer in method.layers})
    known = _learnt(asked, loaded, layers)
    texts = _texts(asked, loaded)
    begun, ended = Samples.of_texts(texts[0].batch).frame
    sampled = sampled_statistics(loaded.model, layers, begun=begun, ended=ended)
    loaded.model.register_forward_hook(count)
    methods = {
        f"{name}: {procedure}": build_method(Spec(name, {"statistics": known, **PROCEDURES[procedure]}), loaded)
        for name in asked.methods
        for procedure in asked.only.split(";")
    }
    for text in texts:
        for name, method in methods.items():
            if text.fingerprint in table.get(name, {}):
                continue
            others = known if name.endswith("sampled") else sampled

            def other(recorded: Any, others: Any = others) -> Any:
                kinds = recorded.group.kinds
                noise = others[recorded.layer].for_kinds(kinds).noise(_NOISE, kinds)
                return type(noise)(noise.mean, noise.std, noise.active, noise.clamp, recorded.noise.hidden)

            if name not in table:
                method.explain(text.batch, text.target)  # what is measured of a network once is not counted
            judged: list[dict[str, float]] = []
            rows[0] = 0
            with judging(judged, rows, other, asked.floors):
                map_ = method.explain(text.batch, text.target)
            found = together(judged) | {"rows": rows[0], "bits": float(map_.total_bits[0])}
            found["tokens"] = int(text.batch.real.sum())
            found["removal"] = removal(TextCase(text, loaded, method, 0, map_.map[0], rows=16)).value
            table.setdefault(name, {})[text.fingerprint] = found
        write_rows(asked.out, table)
    print(f"rows are in {asked.out}; a table of them: python tools/held.py {asked.out}")


if __name__ == "__main__":
    main()
