"""Metrics on texts: what is removed, closed forms, and a transformer that is asked about texts of different lengths."""

import numpy as np
import pytest
import torch
from torch import nn

from bitlens.errors import InputError, SettingError
from bitlens.metrics import (
    Degradation,
    Texts,
    token_degradation,
    token_insertion_deletion,
    token_sensitivity_n,
    token_single_deletion,
)

PAD, CLS, SEP, UNKNOWN = 0, 1, 2, 3
WORDS = [[7, 5, 9, 4, 8, 6], [6, 4, 10], [11, 5, 12, 13]]


def texts(words=WORDS, padding=0, replacement=UNKNOWN):
    """[CLS] words [SEP], padded to one length."""
    length = max(map(len, words)) + 2 + padding
    tokens = torch.tensor([[CLS, *text, SEP, *[PAD] * (length - len(text) - 2)] for text in words])
    return Texts(tokens, Texts.each_token(tokens > UNKNOWN), tokens != PAD, replacement)


def scores_for(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(40, generator=generator)[: batch.tokens.shape[1]] for _ in batch.tokens])


def bag(worth):
    """The sum of what each present token is worth."""
    return lambda tokens, present: (worth[tokens] * present).sum(1)


WORTH = torch.tensor([0.0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512])


class Recorder:
    """Remembers every text it is asked about."""

    def __init__(self):
        self.texts = []

    def __call__(self, tokens, present):
        self.texts += [t[p].tolist() for t, p in zip(tokens, present, strict=True)]
        return torch.zeros(len(tokens))


@pytest.mark.parametrize("mode", ["delete", "replace"])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_what_is_removed(mode, rows):
    batch, seen = texts(), Recorder()
    scores = scores_for(batch)
    result = token_degradation(seen, batch, scores, mode=mode, rows=rows)
    expected = []
    for direction in (-1, 1):
        for share in np.linspace(0, 1, 10):
            for text, words in enumerate(WORDS):
                order = np.argsort(direction * scores[text, 1 : 1 + len(words)].numpy())
                gone = set(order[: round(share * len(words))].tolist())
                kept = [UNKNOWN if i in gone else w for i, w in enumerate(words) if mode == "replace" or i not in gone]
                expected.append([CLS, *kept, SEP])
    assert seen.texts == expected
    assert result.morf.shape == result.lerf.shape == (3, 10)


@pytest.mark.parametrize("mode", ["delete", "replace"])
def test_a_sum_of_tokens_loses_what_each_adds(mode):
    batch = texts([[4, 6, 5, 7]])
    result = token_degradation(bag(WORTH), batch, WORTH[batch.tokens], mode=mode, points=5)
    assert result.morf.tolist() == [[15, 7, 3, 1, 0]]
    assert result.lerf.tolist() == [[15, 14, 12, 8, 0]]
    assert isinstance(result, Degradation)
    assert result.score().value == pytest.approx((7 + 9 + 7) / 4 / 15)


def test_words_go_as_a_whole():
    tokens = torch.tensor([[CLS, 7, 5, 9, 4, SEP]])
    units = torch.tensor([[-1, 0, 0, 1, 2, -1]])
    seen = Recorder()
    batch = Texts(tokens, units, tokens != PAD, UNKNOWN)
    token_degradation(seen, batch, torch.tensor([[9.0, 1, 1, 1.5, 0, 9]]), points=4)
    assert seen.texts[:4] == [[CLS, 7, 5, 9, 4, SEP], [CLS, 9, 4, SEP], [CLS, 4, SEP], [CLS, SEP]]


class Reader(nn.Module):
    """A small transformer with positions and a padding mask, asked for the probability of class 1."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(14, 8, _weight=torch.randn(14, 8)), nn.Embedding(40, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0)
        self.head = nn.Linear(8, 2)

    def forward(self, tokens, present):
        x = (self.embed(tokens) if tokens.dim() == 2 else tokens) + self.place.weight[: tokens.shape[1]]
        return self.head(self.layer(x, src_key_padding_mask=~present)[:, 0]).softmax(1)[:, 1]


@pytest.mark.parametrize("mode", ["delete", "replace"])
def test_neither_batch_nor_padding_change_a_text(mode):
    model = Reader().eval()
    scores = scores_for(texts())
    together = token_degradation(model, texts(), scores, mode=mode)
    padded = token_degradation(model, texts(padding=9), scores_for(texts(padding=9)), mode=mode)
    for text, words in enumerate(WORDS):
        one = texts([words])
        alone = token_degradation(model, one, scores[text : text + 1, : one.tokens.shape[1]], mode=mode, rows=3)
        for other in (together, padded):
            torch.testing.assert_close(alone.morf[0], other.morf[text], atol=1e-5, rtol=0)
            torch.testing.assert_close(alone.lerf[0], other.lerf[text], atol=1e-5, rtol=0)
    nothing = torch.tensor([[CLS, SEP]])
    if mode == "delete":
        expected = model(nothing, nothing != PAD).item()
        assert together.morf[1, -1].item() == pytest.approx(expected, abs=1e-5)


def test_equal_scores_do_not_depend_on_the_padding():
    short, long = Recorder(), Recorder()
    token_degradation(short, texts(), torch.zeros(3, 8))
    token_degradation(long, texts(padding=20), torch.zeros(3, 28))
    assert short.texts == long.texts


def test_embeddings_are_replaced_like_ids():
    model, batch = Reader().eval(), texts(replacement=UNKNOWN)
    embedded = Texts(
        model.embed(batch.tokens).detach(), batch.units, batch.present, model.embed.weight[UNKNOWN].detach()
    )
    scores = scores_for(batch)
    for mode in ("delete", "replace"):
        ids, vectors = (token_degradation(model, b, scores, mode=mode) for b in (batch, embedded))
        torch.testing.assert_close(ids.morf, vectors.morf)
    zero = Texts(torch.ones(3, 8, 2), batch.units, batch.present, 0.0)
    result = token_insertion_deletion(lambda x, present: (x.sum(2) * present).sum(1), zero, scores, points=2)
    assert result.deletion[:, -1].tolist() == [4, 4, 4]


def test_tokens_that_count_alike_give_straight_lines():
    batch = texts([[4] * 20, [4] * 10])
    answer = bag(WORTH / torch.tensor(20.0))
    result = token_insertion_deletion(answer, batch, scores_for(batch), points=10)
    assert result.share[0].tolist() == pytest.approx(np.linspace(0, 1, 11).tolist())
    torch.testing.assert_close(result.insertion[0].double(), result.share[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(result.deletion[0].double(), 1 - result.share[0], atol=1e-6, rtol=0)
    assert result.insertion_areas().tolist() == pytest.approx([0.5, 0.25])


def test_steps_in_tokens_and_a_limit():
    batch = texts([[4] * 20, [4] * 10])
    result = token_insertion_deletion(bag(WORTH), batch, scores_for(batch), step=2, limit=0.4)
    assert result.deletion.tolist() == [[20, 18, 16, 14, 12], [10, 8, 6, 6, 6]]
    assert result.insertion.tolist() == [[0, 2, 4, 6, 8], [0, 2, 4, 4, 4]]
    assert result.share[1].tolist() == pytest.approx([0, 0.2, 0.4, 0.4, 0.4])
    assert result.deletion_areas().tolist() == pytest.approx([16, 8])
    assert result.deletion_areas("released").tolist() == pytest.approx([(17 + 15 + 13) / 4, 7 / 2])
    whole = token_insertion_deletion(bag(WORTH), batch, scores_for(batch), step=10)
    assert whole.deletion.tolist() == [[20, 10, 0], [10, 0, 0]]


def test_exact_relevance_of_a_sum_correlates_fully():
    batch = texts([[4, 5, 6, 7, 8, 9, 10], [9, 9, 4, 7], [5, 12, 11, 6, 4, 4, 8]])
    scores = WORTH[batch.tokens]
    scores[:, 0] = 100  # nobody asks about [CLS]
    result = token_sensitivity_n(bag(WORTH), batch, scores, shares=[0.2, 0.5, 0.8], sets=30, rows=7)
    torch.testing.assert_close(result.correlations(), torch.ones(3, 3).double())
    torch.testing.assert_close(result.attributed, result.dropped.double())
    assert result.scores.tolist() == WORTH[batch.tokens].sum(1).tolist()
    padded = texts([[9, 9, 4, 7]], padding=5)
    alone = token_sensitivity_n(bag(WORTH), padded, WORTH[padded.tokens], shares=[0.2, 0.5, 0.8], sets=30)
    assert torch.equal(alone.dropped[0], result.dropped[1])


def test_what_makes_no_sense_is_refused():
    batch = texts()
    scores = scores_for(batch)
    answer = bag(WORTH)
    with pytest.raises(InputError, match="no unit"):
        Texts(batch.tokens, torch.full_like(batch.tokens, -1), batch.present, PAD)
    with pytest.raises(InputError, match=r"\(N, T\)"):
        Texts(batch.tokens, batch.units[:, 1:], batch.present, PAD)
    with pytest.raises(InputError, match="scores"):
        token_degradation(answer, batch, scores[:, 1:])
    with pytest.raises(InputError, match="scores"):
        token_degradation(answer, batch, scores.where(batch.units != 1, torch.nan))
    with pytest.raises(SettingError, match="mode"):
        token_degradation(answer, batch, scores, mode="hide")
    with pytest.raises(SettingError, match="points"):
        token_degradation(answer, batch, scores, points=1)
    with pytest.raises(SettingError, match="limit"):
        token_insertion_deletion(answer, batch, scores, limit=1.5)
    with pytest.raises(SettingError, match="step"):
        token_insertion_deletion(answer, batch, scores, step=0)
    with pytest.raises(SettingError, match="shares"):
        token_sensitivity_n(answer, batch, scores, shares=[0.5, 1.0])


@pytest.mark.parametrize("mode", ["delete", "replace"])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_each_unit_alone_goes_once(mode, rows):
    batch, seen = texts(padding=2), Recorder()
    token_single_deletion(seen, batch, scores_for(batch), mode=mode, rows=rows)
    expected = [[CLS, *words, SEP] for words in WORDS]
    for gone in range(max(map(len, WORDS))):
        for words in WORDS:
            other = [UNKNOWN if i == gone else w for i, w in enumerate(words) if mode == "replace" or i != gone]
            expected.append([CLS, *other, SEP])
    assert seen.texts == expected


def test_a_map_of_what_each_token_is_worth_orders_single_deletion_wholly():
    batch = texts()
    worth = WORTH[batch.tokens]
    found = token_single_deletion(bag(WORTH), batch, worth, mode="delete")
    for text, words in enumerate(WORDS):
        own = found.dropped[text, : len(words)]
        torch.testing.assert_close(own, WORTH[torch.tensor(words)].double())
        assert bool(found.dropped[text, len(words) :].isnan().all())
    assert found.correlations().tolist() == [1, 1, 1]
    assert token_single_deletion(bag(WORTH), batch, -worth, mode="delete").correlations().tolist() == [-1, -1, -1]
    assert token_single_deletion(bag(WORTH), batch, 0 * worth).correlations().tolist() == [0, 0, 0]
    nothing = token_single_deletion(bag(0 * WORTH), batch, worth)
    assert bool(nothing.correlations().isnan().all())


def test_single_deletion_is_the_rank_correlation_of_another_library():
    from scipy.stats import spearmanr

    def twisted(tokens, present):
        values = WORTH[tokens].double() * present
        return (values * torch.arange(1, tokens.shape[1] + 1)).sin().sum(1)

    batch = texts()
    scores = scores_for(batch)
    found = token_single_deletion(twisted, batch, scores).correlations()
    for text, words in enumerate(WORDS):
        line = torch.tensor([[CLS, *words, SEP]])
        everyone = torch.ones_like(line, dtype=torch.bool)
        whole = float(twisted(line, everyone))
        drops = []
        for place in range(1, 1 + len(words)):
            other = line.clone()
            other[0, place] = UNKNOWN
            drops.append(whole - float(twisted(other, everyone)))
        expected = spearmanr(scores[text, 1 : 1 + len(words)].numpy(), drops).statistic
        assert float(found[text]) == pytest.approx(expected, abs=1e-9)


def test_single_deletion_takes_words_as_a_whole():
    tokens = torch.tensor([[CLS, 7, 5, 9, 4, SEP]])
    batch = Texts(tokens, torch.tensor([[-1, 0, 0, 1, 2, -1]]), tokens != PAD, UNKNOWN)
    found = token_single_deletion(bag(WORTH), batch, torch.tensor([[9.0, 1, 1, 1.5, 0, 9]]), mode="delete")
    assert found.attributed.tolist() == [[2, 1.5, 0]]
    assert found.dropped.tolist() == [[10, 32, 1]]
    assert found.correlations().tolist() == [0.5]
