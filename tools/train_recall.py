"""Train the language model `builtin/recall-trained`: python tools/train_recall.py; some minutes on one core.

Every text is new. In training several people are asked about, one after the other, so that a text says more; what stands behind
an answer is padding. Texts are short at first, and grow whenever nine of ten answers are right. In the second part words that
carry no answer are noise in most texts, a share of them that is drawn for each, so that the network stands by its answers
without them; so are words that carry one, in part.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.data.recall import ASKED, Kind, questions, story
from bitlens.data.words import PAD, WordTokenizer, split_words
from bitlens.models.builtin.recall import MAX_LENGTH, vocabulary
from bitlens.models.builtin.recall_trained import WEIGHTS, TrainedRecall
from bitlens.system.arrays import write_arrays

KINDS: tuple[Kind, ...] = ("once", "twice", "two hops")
BATCH, RATE, WARM, CLIPPED = 48, 2e-3, 100, 1.0
FACTS, IDLE = 6, 4  # of the texts in the end, as in `builtin:recall`
GROWN = 0.9  # right answers at which texts grow
NOISY = 0.7  # of the texts, in the second part
SHADED = 0.3  # how much of a word that carries an answer may be noise there


@dataclass(frozen=True)
class Batch:
    """Texts with questions, (N, T) each.

    Attributes:
        ids: of words.
        behind: the word that is asked for behind each; -1 where any may stand.
        carries: whether an answer that is asked for needs the word.
    """

    ids: Tensor
    behind: Tensor
    carries: Tensor


def draw(source: random.Random, words: dict[str, int], facts: int, idle: int, *, alone: bool) -> Batch:
    """Draw texts, and ask about all people of each, or about one alone."""
    rows: list[tuple[list[int], dict[int, int], set[int]]] = []
    for _ in range(BATCH):
        told = story(source, source.choice(KINDS), facts, idle)
        found = split_words(told.text)
        ids, behind, needed = [words[word] for word, _, _ in found], dict[int, int](), set[int]()
        for person in source.sample(range(facts), 1 if alone else facts):
            spans = {span for place in told.places[person] for span in place}
            needed |= {at for at, (_, start, end) in enumerate(found) if (start, end) in spans}
            question = [words[word] for word, _, _ in split_words(ASKED.format(told.people[person]))]
            needed.add(len(ids) + question.index(words[told.people[person].lower()]))
            ids += question
            answer = words[told.answers[person]]
            behind |= {len(ids) - 1: answer, len(ids): PAD}
            ids.append(answer)
        rows.append((ids, behind, needed))
    size = (BATCH, max(len(ids) for ids, _, _ in rows))
    batch = Batch(torch.full(size, PAD), torch.full(size, -1), torch.zeros(size, dtype=torch.bool))
    for row, (ids, behind, needed) in enumerate(rows):
        batch.ids[row, : len(ids)] = torch.tensor(ids)
        batch.behind[row, list(behind)] = torch.tensor(list(behind.values()))
        batch.carries[row, list(needed)] = True
    return batch


def noised(network: TrainedRecall, batch: Batch) -> Tensor:
    """Return embedded words (N, T, width), in most texts a share of those that carry nothing noise, and a part of the others."""
    own, table = network.embedding(batch.ids), network.embedding.weight.detach()
    noise = table.mean(0) + table.std(0) * torch.randn(own.shape)
    chosen = torch.rand(BATCH, 1) < NOISY
    gone = (torch.rand(batch.ids.shape) < torch.rand(BATCH, 1)) & chosen & ~batch.carries
    part = torch.where(batch.carries & chosen, SHADED * torch.rand(BATCH, 1), gone.float())[..., None]
    mixed: Tensor = own + part * (noise - own)
    return mixed


def train(network: TrainedRecall, words: dict[str, int], clean: int, noisy: int, seed: int) -> None:
    """Fit a network by so many steps on clean texts, and by so many where words are noise."""
    source, begun = random.Random(seed), time.perf_counter()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    facts, idle, right = 2, 0, 0.0
    for step in range(clean + noisy):
        left = (clean + noisy - step) / (clean + noisy)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM, 0.02 + 3 * left)
        late = step >= clean
        batch = draw(source, words, facts, idle, alone=late and step % 2 == 0)
        logits = network.after(noised(network, batch) if late else network.embedding(batch.ids))
        asked = batch.behind >= 0
        loss = F.cross_entropy(logits[asked], batch.behind[asked])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIPPED)
        optimizer.step()
        answers = batch.behind > PAD
        right = 0.95 * right + 0.05 * float((logits[answers].argmax(1) == batch.behind[answers]).float().mean())
        if right > GROWN and (facts, idle) != (FACTS, IDLE):
            facts, idle, right = min(FACTS, facts + 1), min(IDLE, idle + 1), 0.5
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - begun
            print(
                f"step {step + 1}  {facts} people  loss {float(loss.detach()):.4f}  right {right:.4f}  {seconds:.0f} s",
                flush=True,
            )


@torch.no_grad()
def accuracy(network: TrainedRecall, tokenizer: WordTokenizer, count: int, seed: int) -> Sequence[float]:
    """The share of questions of `builtin:recall` that are answered, of each kind."""
    asked = questions(count, seed)
    batch = tokenizer([one.prompt for one in asked])
    last = batch.real.sum(1) - 1
    said = network(batch.inputs["input_ids"])[torch.arange(count), last].argmax(1).tolist()
    hits = [tokenizer.vocabulary[word] == one.answer for word, one in zip(said, asked, strict=True)]
    return [sum(hits[start::3]) / len(hits[start::3]) for start in range(3)]


def main() -> None:
    """Read the arguments, train, write weights, and test what was written."""
    parser = argparse.ArgumentParser(description="Train the network builtin/recall-trained on texts that are drawn.")
    parser.add_argument("--clean", type=int, default=1100, help="steps on texts as they are")
    parser.add_argument("--noisy", type=int, default=1300, help="steps on texts of which words are noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    listed = vocabulary()
    network = TrainedRecall(len(listed))
    train(network, {word: number for number, word in enumerate(listed)}, given.clean, given.noisy, given.seed)
    network.half().float().eval()  # what the file will hold
    write_arrays(given.out, {name: value.half() for name, value in network.state_dict().items()}, {})
    once, twice, hops = accuracy(network, WordTokenizer(listed, MAX_LENGTH), 999, 12345)
    print(f"of 333 questions each: stated once {once:.4f}, twice {twice:.4f}, in two hops {hops:.4f}")


if __name__ == "__main__":
    main()
