"""Statistics of texts that nobody gave texts for, and how far what is said of texts is proved."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.groups import ORDINARY, Samples
from bitlens.bottlenecks.settling import _floors
from bitlens.bottlenecks.token_statistics import sampled_statistics
from bitlens.core.holding import TEXTS, fewest_that_hold
from bitlens.core.proofs import MOST, mean_and_error
from bitlens.probe.ids import texts_of_chance
from small_transformers import CLS, SEP, encoder_layer, small_classifier, texts


class Words(nn.Module):
    """Two classes by the mean of word vectors."""

    def __init__(self, many: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(many, 4), nn.Linear(4, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        said: Tensor = self.head(self.embedding(input_ids).mean(1))
        return said


@pytest.mark.parametrize("left", [False, True])
def test_a_frame_is_what_stands_around_the_first_text(left: bool) -> None:
    batch = texts([6, 9])
    if left:
        batch = {name: value.flip(1) for name, value in batch.items()}
    first, last = (SEP, CLS) if left else (CLS, SEP)
    assert Samples.of_texts(batch).frame == ([first], [last])


def test_a_text_without_special_tokens_has_no_frame() -> None:
    assert Samples.of_texts({"input_ids": torch.randint(3, 9, (2, 5))}).frame == ([], [])


def test_special_tokens_have_noise_of_their_own_without_texts() -> None:
    model = small_classifier("Bert", max_position_embeddings=160)
    layer = encoder_layer(model, 1)
    method = bitlens.TokenIBA(model, layer, steps=2)
    method.explain(texts([7, 9]))
    assert set(method.statistics.groups) == {ORDINARY, CLS, SEP}
    framed = sampled_statistics(model, [layer], begun=[CLS], ended=[SEP])[layer]
    assert framed.groups[CLS].observations == framed.groups[SEP].observations == 32
    assert framed.groups[ORDINARY].observations == 32 * 64
    ordinary, special = (framed.groups[kind].mean for kind in (ORDINARY, CLS))
    assert float((ordinary - special).abs().max()) > 0.1


def test_common_tokens_are_drawn_more_often_than_rare_ones() -> None:
    ids = texts_of_chance(Words(30_000), 32, 64, 0, begun=[7], ended=[8, 9])["input_ids"]
    assert ids.shape == (32, 67)
    assert ids[:, 0].unique().tolist() == [7]
    assert ids[0, -2:].tolist() == [8, 9]
    drawn = ids[:, 1:-2]
    assert 3_500 < float(drawn.float().median()) < 6_000
    assert int(drawn.max()) > 25_000
    few = texts_of_chance(Words(20), 32, 64, 0)["input_ids"]
    assert few.unique().tolist() == list(range(20))


class Floors:
    """Values without seeing anything, one after the other."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.seeds = values * 128, set[int]()

    def part(self, _samples: Tensor) -> "Floors":
        return self

    def floor(self, count: int, seed: int) -> Tensor:
        self.seeds.add(seed)
        taken, self.values = self.values[:count], self.values[count:]
        return torch.tensor(taken)[:, None]


@pytest.mark.parametrize(
    ("values", "count"), [([0.01], 2), ([0.28, 0.32], 8), ([0.0, 1.0], 32), ([0.95], 32), ([0.9] * 9 + [0.5], 128)]
)  # low, clear, by chance, none needed, hardly any
def test_nothing_is_needed_only_where_many_noises_say_so(values: list[float], count: int) -> None:
    held: Any = Floors(values)
    assert len(_floors(held, torch.tensor([0.9]), 5, 2)) == count
    assert held.seeds == set(range(5, 5 + {2: 1, 8: 2, 32: 3, 128: 4}[count]))


@pytest.mark.parametrize("centre", [-4.0, -1.75, 1.0])
def test_a_gentle_slope_takes_few_looks(centre: float) -> None:
    looks: list[int] = []

    def look(shift: Tensor, samples: Tensor, count: int, _turn: int) -> Tensor:
        looks.append(count * len(samples))
        return torch.sigmoid(1.5 * (shift - centre)).expand(count, -1)

    needed = torch.ones(1, dtype=torch.bool)
    shift, values = fewest_that_hold(look, lambda v, _: mean_and_error(v)[::2], 0.9, needed, proof=24, cliff=TEXTS)
    assert values.shape == (24, 1)
    assert 0.9 <= float(torch.sigmoid(1.5 * (shift - centre))) < 0.996
    assert sum(looks) <= 24 + 3 * 4


def test_texts_are_proved_by_more_noises_than_images() -> None:
    model = small_classifier("Bert", max_position_embeddings=160)
    layer = encoder_layer(model, 1)
    found = bitlens.TokenIBA(model, layer, steps=2, keep=0.9).explain(texts([7]))
    assert found.evidence is not None
    assert found.evidence.noise_samples == MOST
    assert bitlens.IBA(model, layer, keep=0.9).proof == 8
