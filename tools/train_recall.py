"""Train the network of `recall`: python tools/train_recall.py; about half an hour on one core.

Texts and questions are drawn anew for every step. In most texts some of the words that carry nothing of an answer, or all of
them, are noise, more or less of it, as a bottleneck puts it there: the network learns to answer by those that do alone, so that
these words, and no others, are what it needs.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.data.recall import COLOURS, IDLE, NAMES, PLACES, THINGS, Kind, Question, questions, story
from bitlens.data.tokenizing import Span, TokenBatch
from bitlens.data.words import PAD, WordTokenizer, split_words
from bitlens.models.builtin.recall import MAX_LENGTH, VOCABULARY, WEIGHTS, RecallNetwork
from bitlens.system.arrays import write_arrays
from bitlens.system.files import write_text

__all__ = ["main", "vocabulary"]

TEXTS_AT_ONCE = 32
QUESTIONS = 4  # to each text of the training at most, one behind the other
LEARNING_RATE = 2e-3
NOISE = 0.7  # the share of texts with noise in them


def vocabulary() -> list[str]:
    """List all words of the texts, padding and the unknown word first."""
    some = [part for q in questions(300) for part in (q.text, q.asked, q.answer)]
    listed = (*some, *NAMES, *COLOURS, *THINGS, *PLACES, *IDLE)
    return ["<pad>", "<unk>", *sorted({word for text in listed for word, _, _ in split_words(text)})]


def _line(source: random.Random, hardness: float) -> tuple[str, list[Span], list[Span]]:
    """Draw a text with its questions and answers: all its characters, those that carry answers, and the answers' own."""
    facts = source.randint(2, round(2 + 5 * hardness))
    kinds: list[Kind] = [source.choice(("once", "twice", "two hops")) for _ in range(min(QUESTIONS, facts))]
    asked = story(source, kinds, facts, source.randint(0, round(4 * hardness)))
    line = asked[0].text
    carrying: list[Span] = []
    answers: list[Span] = []
    for question in asked:
        carrying += [span for place in _needed(question, source) for span in place]
        shift = len(line) + 1 - len(question.text) - 1
        carrying.append((question.who[0] + shift, question.who[1] + shift))
        line += f" {question.asked} "
        answers.append((len(line), len(line) + len(question.answer)))
        line += question.answer
    return line, carrying, answers


def _needed(question: Question, source: random.Random) -> Sequence[tuple[Span, ...]]:
    """Return the places that stay; of two that say the same sometimes one."""
    return (source.choice(question.places),) if question.kind == "twice" and source.random() < 0.5 else question.places


def _covered(batch: TokenBatch, spans: Sequence[Sequence[Span]]) -> Tensor:
    """Mark (N, T) the tokens within some characters of each text."""
    found = torch.zeros(batch.real.shape, dtype=torch.bool)
    for row, own in enumerate(spans):
        inside = {character for start, end in own for character in range(start, end)}
        marked = [span is not None and span[0] in inside for span in batch.spans[row]]
        found[row, : len(marked)] = torch.tensor(marked)
    return found


def _loss(network: RecallNetwork, tokenizer: WordTokenizer, source: random.Random, hardness: float) -> Tensor:
    lines = [_line(source, hardness) for _ in range(TEXTS_AT_ONCE)]
    batch = tokenizer([line for line, _, _ in lines])
    ids, answers = batch.inputs["input_ids"], _covered(batch, [own for _, _, own in lines])
    free = ~answers & ~_covered(batch, [own for _, own, _ in lines])
    states = network.embedding(ids)
    noisy = NOISE * max(0.0, min(1.0, 2 * hardness - 0.5))
    share = torch.rand(len(lines), 1) * (torch.rand(len(lines), 1) < noisy)
    share = torch.where(torch.rand(len(lines), 1) < 0.3 * noisy, 1.0, share)
    passing = torch.where(torch.rand(len(lines), 1) < 0.5, torch.rand(ids.shape), 0.0)
    passing = torch.where(free & (torch.rand(ids.shape) < share), passing, 1.0)[..., None]
    table = network.embedding.weight.detach()
    noise = table.mean(0) + table.std(0) * torch.randn_like(states)
    logits = network.after(passing * states + (1 - passing) * noise)
    following = F.pad(ids[:, 1:], (0, 1), value=PAD)
    behind = ~F.pad(answers[:, 1:], (0, 1))
    following = torch.where(answers & behind, PAD, following)  # padding ends an answer
    asked = answers | ~behind
    return F.cross_entropy(logits[asked], following[asked])


def _train(network: RecallNetwork, tokenizer: WordTokenizer, steps: int, seed: int, out: Path) -> None:
    """Fit the network, and write it now and then; texts get longer over the first half."""
    source, began = random.Random(seed), time.perf_counter()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    total = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            fall = (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = LEARNING_RATE * min((step + 1) / 100, 0.02 + 0.98 * fall)
        loss = _loss(network, tokenizer, source, min(1.0, 2 * step / steps))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            right, seconds = _right(network, tokenizer, 100), time.perf_counter() - began
            print(f"step {step + 1}/{steps}  loss {total / 100:.4f}  answered {right:.2f}  {seconds:.0f} s", flush=True)
            _write(network, out)
            total = 0.0


def _write(network: RecallNetwork, out: Path) -> None:
    write_arrays(out / WEIGHTS.name, {k: v.half() for k, v in network.state_dict().items() if k != "head.weight"}, {})


@torch.no_grad()
def _right(network: RecallNetwork, tokenizer: WordTokenizer, count: int) -> float:
    """Return the share of questions that nobody trained on whose every word is answered."""
    right = 0
    for question in questions(count, seed=1_000_000):
        batch = tokenizer([f"{question.prompt} {question.answer}"])
        begin = len(split_words(question.prompt))
        said = network(batch.inputs["input_ids"])[0, begin - 1 :].argmax(1)
        right += bool((said == F.pad(batch.inputs["input_ids"][0, begin:], (0, 1), value=PAD)).all())
    return right / count


def main() -> None:
    """Read the arguments, train, write vocabulary and weights, and test what was written."""
    parser = argparse.ArgumentParser(description="Train the network builtin/recall.")
    parser.add_argument("--out", type=Path, default=WEIGHTS.parent, help="folder of the weights and the vocabulary")
    parser.add_argument("--steps", type=int, default=1_200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two threads that wait for each other crawl where other work shares the cores
    torch.manual_seed(arguments.seed)
    words = vocabulary()
    network, tokenizer = RecallNetwork(len(words)), WordTokenizer(words, MAX_LENGTH)
    write_text(arguments.out / VOCABULARY.name, json.dumps(words))
    _train(network, tokenizer, arguments.steps, arguments.seed, arguments.out)
    network.half().float()  # what the file holds
    _write(network, arguments.out)
    print(f"answered: {_right(network, tokenizer, 1_000):.4f} of 1000 questions")


if __name__ == "__main__":
    main()
