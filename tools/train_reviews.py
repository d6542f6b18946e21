"""Train the network of `reviews`: python tools/train_reviews.py --data jsonl:FILE --data tsv:FILE.

A last state at the end of hundreds of words gives little gradient, so during training the state at every word is asked
for the label as well. Reviews are read in windows that grow from epoch to epoch to whole reviews. Words are dropped
(replaced by the unknown word), so that the network stands by its answer when metrics remove some.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.bottlenecks.token_statistics import collect_token_statistics
from bitlens.data.texts import TextSample, open_texts
from bitlens.data.words import PAD, UNKNOWN, WordTokenizer, build_vocabulary, split_words
from bitlens.errors import DataError
from bitlens.models.builtin.reviews import LAYERS, MAX_LENGTH, STATISTICS, VOCABULARY, WEIGHTS, ReviewNetwork
from bitlens.system.arrays import write_arrays
from bitlens.system.files import write_text

__all__ = ["Example", "accuracy", "batches", "encode", "main", "train", "write_statistics"]

TOKENS_AT_ONCE = 2_000
LEARNING_RATE = 4e-3
WORD_DROPOUT = 0.15
EVERY_WORD = 0.5
HELD_OUT = 0.08
STATISTICS_TEXTS = 2_000


@dataclass(frozen=True)
class Example:
    """A text as indices, and its label (0 or 1)."""

    ids: list[int]
    label: int


def encode(samples: Sequence[TextSample], vocabulary: Sequence[str]) -> list[Example]:
    """Texts as indices.

    Raises:
        DataError: if a text has no label 0 or 1.
    """
    index = {word: number for number, word in enumerate(vocabulary)}
    unlabelled = [sample.name for sample in samples if sample.label not in (0, 1)]
    if unlabelled:
        raise DataError(f"{unlabelled[0]} has no label 0 or 1")
    return [Example([index.get(w, UNKNOWN) for w, _, _ in split_words(s.text)], int(s.label or 0)) for s in samples]


def batches(examples: Sequence[Example], window: int, source: random.Random | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of like length with about `TOKENS_AT_ONCE` words: indices (N, T) padded on the right, labels (N,).

    Args:
        examples: the texts.
        window: the most words of each.
        source: draws the window and the order; None takes the first words in the order of length.
    """

    def start(example: Example) -> int:
        spare = len(example.ids) - window
        return source.randint(0, spare) if source is not None and spare > 0 else 0

    cut = [(e.ids[(s := start(e)) : s + window], e.label) for e in examples]
    cut.sort(key=lambda entry: len(entry[0]))
    groups: list[list[tuple[list[int], int]]] = [[]]
    for entry in cut:
        if len(entry[0]) * (len(groups[-1]) + 1) > TOKENS_AT_ONCE:
            groups.append([])
        groups[-1].append(entry)
    if source is not None:
        source.shuffle(groups)
    for group in groups:
        ids = torch.full((len(group), max(len(words) for words, _ in group)), PAD)
        for row, (words, _) in enumerate(group):
            ids[row, : len(words)] = torch.tensor(words)
        yield ids, torch.tensor([float(label) for _, label in group])


def _loss(network: ReviewNetwork, ids: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    real = ids != PAD
    dropped = (torch.rand(ids.shape, generator=generator) < WORD_DROPOUT) & real
    states = network.states(ids.masked_fill(dropped, UNKNOWN))
    every = network.linear(network.dropout(states))[..., 0]
    losses = F.binary_cross_entropy_with_logits(every, labels[:, None].expand_as(every), reduction="none")
    last = losses.gather(1, real.sum(1, keepdim=True) - 1).mean()
    return last + EVERY_WORD * (losses * real).sum() / real.sum()


def train(
    network: ReviewNetwork, examples: Sequence[Example], held_out: Sequence[Example], epochs: int, seed: int
) -> None:
    """Fit a network, and leave it with the weights of the epoch that did best on the held-out texts."""
    source, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    best, kept = 0.0, copy.deepcopy(network.state_dict())
    for epoch in range(epochs):
        began, progress = time.perf_counter(), epoch / max(1, epochs - 1)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - 0.9 * progress)
        window = round(40 + (MAX_LENGTH - 40) * min(1.0, 1.5 * progress))
        network.train()
        total, count = 0.0, 0
        for ids, labels in batches(examples, window, source):
            loss = _loss(network, ids, labels, generator)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            total, count = total + loss.item(), count + 1
        right = accuracy(network, held_out)
        if right >= best:
            best, kept = right, copy.deepcopy(network.state_dict())
        seconds = time.perf_counter() - began
        print(
            f"epoch {epoch + 1}/{epochs}  window {window}  loss {total / count:.4f}  held out {right:.4f}  {seconds:.0f} s",
            flush=True,
        )
    network.load_state_dict(kept)


@torch.no_grad()
def accuracy(network: ReviewNetwork, examples: Sequence[Example]) -> float:
    """The share of texts whose label has the higher probability."""
    network.eval()
    right = 0
    for ids, labels in batches(examples, MAX_LENGTH, None):
        logits = network(ids, (ids != PAD).long())[:, 0]
        right += int(((logits > 0) == (labels > 0.5)).sum())
    return right / len(examples)


def write_statistics(
    network: ReviewNetwork, samples: Sequence[TextSample], vocabulary: Sequence[str], out: Path
) -> None:
    """Write what every layer puts out for these texts, one file for each layer."""
    tokenizer = WordTokenizer(vocabulary, MAX_LENGTH)
    ordered = sorted((" ".join(w for w, _, _ in split_words(s.text)[:MAX_LENGTH]) for s in samples), key=len)
    found = collect_token_statistics(
        network,
        LAYERS,
        (tokenizer(ordered[start : start + 20]) for start in range(0, len(ordered), 20)),
        data=f"{len(ordered)} reviews that the network was trained on",
    )
    for layer, statistics in found.items():
        statistics.save(out / f"{layer}.safetensors")


def main() -> None:
    """Read the arguments, train, write vocabulary and weights, and test what was written."""
    parser = argparse.ArgumentParser(description="Train the network builtin/reviews on labelled reviews.")
    parser.add_argument(
        "--data", action="append", required=True, help="jsonl:FILE or tsv:FILE; several times for several"
    )
    parser.add_argument("--test", action="append", default=[], help="texts whose accuracy is reported; likewise")
    parser.add_argument("--out", type=Path, default=WEIGHTS.parent, help="folder of the weights and the vocabulary")
    parser.add_argument("--words", type=int, default=10_000, help="size of the vocabulary")
    parser.add_argument("--width", type=int, default=64, help="of the embedding")
    parser.add_argument("--hidden", type=int, default=64, help="units of each LSTM")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two threads that wait for each other crawl where other work shares the cores
    torch.manual_seed(arguments.seed)
    samples = [sample for spec in arguments.data for sample in open_texts(spec)]
    random.Random(arguments.seed).shuffle(samples)
    vocabulary = build_vocabulary((sample.text for sample in samples), arguments.words)
    examples = encode(samples, vocabulary)
    aside = round(HELD_OUT * len(examples))
    network = ReviewNetwork(len(vocabulary), arguments.width, arguments.hidden)
    train(network, examples[aside:], examples[:aside], arguments.epochs, arguments.seed)
    network.half().float().eval()  # what the file will hold
    write_arrays(arguments.out / WEIGHTS.name, {k: v.half() for k, v in network.state_dict().items()}, {})
    write_text(arguments.out / VOCABULARY.name, json.dumps(vocabulary, ensure_ascii=False))
    write_statistics(network, samples[aside:][:STATISTICS_TEXTS], vocabulary, arguments.out / STATISTICS.name)
    for spec in arguments.test:
        print(f"{spec}: accuracy {accuracy(network, encode(open_texts(spec), vocabulary)):.4f}")


if __name__ == "__main__":
    main()
