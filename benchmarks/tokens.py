"""What `TokenIBA` costs over the least that its passes can cost: a long text on a network of the size of MiniLM.

    python benchmarks/tokens.py FOLDER                # 512 tokens, 6 layers of 384 hidden units, random weights
    python benchmarks/tokens.py FOLDER --tokens 128 --repeats 5
    python tools/paired.py FOLDER

  floor   forward and backward of the suffix for as many noisy copies as the fit takes, and forward for the evidence
  first   the first text of its length: what comes before the layer is traced and the replay checked
  next    another text of this length
Weights are random: the time does not depend on them. Times are processor seconds of runs that
alternate; each is also told over the floor of its turn.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from stored import Stored
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from bitlens import TokenIBA
from bitlens.core.layout import LAYOUTS
from bitlens.core.passes import in_precision, suffix_dtype
from bitlens.errors import BitlensWarning
from bitlens.system.memory import keep_freed_memory

EVIDENCE = 32
ROWS = 8


def network() -> nn.Module:
    """A sequence classifier as large as all-MiniLM-L6-v2, without its vocabulary."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    return BertForSequenceClassification(BertConfig(vocab_size=1000, **sizes)).eval()


def text(tokens: int, count: int = 1) -> dict[str, Tensor]:
    """Texts of random tokens."""
    return {"input_ids": torch.randint(5, 1000, (count, tokens)), "attention_mask": torch.ones(count, tokens).long()}


def floor_of(iba: TokenIBA, given: dict[str, Tensor]) -> Callable[[], None]:
    """The suffix passes of one map, and nothing else."""
    recording = iba.probe.record(given)
    dtype = suffix_dtype(iba.precision, recording.features, iba.model)

    def passes() -> None:
        with recording.suffix(dtype) as suffix:
            run = in_precision(suffix, dtype, recording.features, LAYOUTS["TD"])
            for step in range(iba.fit.updates):
                copies = iba.fit.copies_at(step)
                z = recording.features.expand(copies, -1, -1).clone().requires_grad_()
                run(z).logits.sum().backward()
            with torch.no_grad():
                for _ in range(EVIDENCE // ROWS):
                    run(recording.features.expand(ROWS, -1, -1))

    return passes


def seconds(work: Callable[[], object]) -> float:
    """Processor time that it takes, which other programs on the machine do not change."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and keep what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the rows")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--layer", type=int, default=2, help="counted from 0")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    warnings.simplefilter("ignore", BitlensWarning)
    model, given = network(), text(options.tokens)
    layer = f"bert.encoder.layer.{options.layer}"

    def bottleneck() -> TokenIBA:
        return TokenIBA(model, layer, internal_batch_size=ROWS).fit_statistics([text(64, 16)])

    stored = Stored(options.out)
    for turn in range(options.repeats):
        iba = bottleneck()
        found = {
            "first": seconds(lambda iba=iba: iba.explain(given, 0, evidence_samples=EVIDENCE)),
            "next": seconds(lambda iba=iba: iba.explain(given, 0, evidence_samples=EVIDENCE)),
            "floor": seconds(floor_of(iba, given)),
        }
        for name, taken in found.items():
            stored.add(name, turn, {"seconds": taken, "over the floor": taken / found["floor"]})


if __name__ == "__main__":
    main()
