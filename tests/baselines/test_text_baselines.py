"""The baselines for texts against closed forms and Captum, on a network whose score is a sum over words."""

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import nn

from bitlens.baselines.gradient import TextGradientXInput, TextIntegratedGradients, TextSaliency
from bitlens.baselines.occlusion import LeaveOneOut, TextOcclusion
from bitlens.baselines.random import TextRandom
from bitlens.baselines.surrogate import ContextCite, TextKernelSHAP, TextLIME
from bitlens.data.passages import units_of
from bitlens.errors import InputError, SettingError
from bitlens.models.loaded import Loaded
from small_texts import MASK, PAD, TEXTS, WORDS, BlankTokenizer, small_lstm, small_transformer


class Bag(nn.Module):
    """The logit of class 1 is the sum of what each present token is worth; [MASK] and [CLS] are worth something, too."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4 + len(WORDS), 3)
        self.worth = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, input_ids, attention_mask, **_):
        sums = ((self.embedding(input_ids) @ self.worth) * attention_mask).sum(1)
        return torch.stack([torch.zeros_like(sums), sums], 1)


@pytest.fixture
def bag():
    return Loaded("bag", Bag().eval(), BlankTokenizer(), ("no", "yes"), "embedding", "embedding")


def worths(loaded, batch):
    """Of each token; special tokens and padding 0."""
    value = (loaded.model.embedding.weight @ loaded.model.worth).detach()
    return torch.where(batch.real, value[batch.inputs["input_ids"]], 0), value


def test_a_sum_over_words_is_found(bag):
    batch = bag.tokenizer(TEXTS)
    own, value = worths(bag, batch)
    from_mask, from_pad = (torch.where(batch.real, own - value[other], 0) for other in (MASK, PAD))
    expected = {
        TextGradientXInput(bag): own,
        TextIntegratedGradients(bag, baseline="zero"): own,
        TextIntegratedGradients(bag): from_pad,
        TextIntegratedGradients(bag, baseline="mask"): from_mask,
        TextOcclusion(bag): from_mask,
        TextOcclusion(bag, removal="delete"): own,
        LeaveOneOut(bag, unit="token"): own,
        LeaveOneOut(bag, unit="token", removal="replace"): from_mask,
        ContextCite(bag, unit="token", penalty=1e-6, samples=200): own,
        TextLIME(bag, ridge=0, samples=200): from_mask,
        TextLIME(bag, ridge=0, samples=200, removal="delete"): own,
        TextKernelSHAP(bag, samples=200): from_mask,
        TextKernelSHAP(bag, samples=200, removal="delete"): own,
    }
    for method, wanted in expected.items():
        found = method.explain(batch, 1)
        torch.testing.assert_close(found.map, wanted, rtol=1e-3, atol=1e-4, msg=f"{method.method} {method.settings()}")
        opposite = method.explain(batch, lambda output: -output[:, 1]).map
        torch.testing.assert_close(opposite, -wanted, rtol=1e-3, atol=1e-4)
    saliency = TextSaliency(bag).explain(batch, 1).map
    torch.testing.assert_close(saliency, batch.real * bag.model.worth.norm().detach())


def test_what_is_left_out_as_a_whole_shares_what_it_is_worth(bag):
    batch = bag.tokenizer(TEXTS)
    own, _ = worths(bag, batch)
    for unit in ("word", "sentence"):
        units = units_of(batch, unit)
        for method in (LeaveOneOut(bag, unit=unit), ContextCite(bag, unit=unit, penalty=1e-6, samples=200)):
            found = method.explain(batch, 1).map
            for row in range(len(batch)):
                for number in range(int(units[row].max()) + 1):
                    inside = units[row] == number
                    assert found[row, inside].sum() == pytest.approx(float(own[row, inside].sum()), rel=1e-3, abs=1e-3)
                    assert len(found[row, inside].unique()) == 1


def test_a_strict_lasso_leaves_values_to_few(bag):
    batch = bag.tokenizer(TEXTS)
    strict, loose = (ContextCite(bag, unit="token", penalty=p).explain(batch, 1).map for p in (0.3, 1e-6))
    assert (strict != 0).sum() < (loose != 0).sum()
    assert bool((strict.abs() <= loose.abs() + 1e-3).all())


def test_shapley_values_sum_to_what_all_tokens_are_worth():
    loaded = small_lstm()
    batch = loaded.tokenizer(TEXTS)
    empty = torch.where(batch.real, MASK, batch.inputs["input_ids"])
    with torch.no_grad():
        whole = loaded.model(**batch.inputs)[:, 0]
        nothing = loaded.model(**{**batch.inputs, "input_ids": empty})[:, 0]
    maps = TextKernelSHAP(loaded, samples=60).explain(batch, 1).map
    torch.testing.assert_close(maps.sum(1), whole - nothing, rtol=1e-4, atol=1e-5)


def test_integrated_gradients_are_captums_on_the_embedding_layer():
    loaded = small_transformer()
    batch = loaded.tokenizer(TEXTS[:2])
    ids = batch.inputs["input_ids"]
    model, embedding = loaded.model, loaded.model.get_submodule(loaded.embedding)

    def forward(input_ids, attention_mask):
        return model(input_ids=input_ids, attention_mask=attention_mask).logits

    expected = LayerIntegratedGradients(forward, embedding).attribute(
        ids, torch.where(batch.real, PAD, ids), target=1, additional_forward_args=(batch.inputs["attention_mask"],)
    )
    found = TextIntegratedGradients(loaded).explain(batch, 1)
    torch.testing.assert_close(found.map, torch.where(batch.real, expected.sum(2), 0).float(), rtol=1e-3, atol=1e-4)
    assert found.layer == loaded.embedding


def test_random_orders_belong_to_the_text():
    loaded = small_lstm()
    maps = TextRandom(loaded).explain(loaded.tokenizer([TEXTS[2], TEXTS[2], TEXTS[2].replace("long", "short")])).map
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    assert sorted(maps[0, 1:10].tolist()) == pytest.approx(torch.linspace(-1, 1, 9).tolist())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda loaded: TextIntegratedGradients(loaded, steps=0), "steps must be at least 1, got 0"),
        (lambda loaded: TextIntegratedGradients(loaded, baseline="grey"), "baseline"),
        (lambda loaded: TextOcclusion(loaded, removal="hide"), "removal"),
        (lambda loaded: TextLIME(loaded, samples=1), "samples must be at least 2, got 1"),
        (lambda loaded: TextLIME(loaded, width=0), "width must be positive"),
        (lambda loaded: TextRandom(loaded, internal_batch_size=0), "internal_batch_size"),
    ],
)
def test_settings_without_sense_are_refused(build, words):
    with pytest.raises(SettingError, match=words):
        build(small_lstm())


def test_only_token_batches_are_explained():
    with pytest.raises(
        InputError, match="random needs a TokenBatch, as the network's tokenizer makes of texts, got list"
    ):
        TextRandom(small_lstm()).explain(["the film was good"])


def test_a_score_without_gradient_is_refused():
    loaded = small_lstm()
    with pytest.raises(SettingError, match="the score has no gradient at the word embedding"):
        TextSaliency(loaded).explain(loaded.tokenizer(TEXTS[:1]), lambda output: output.detach()[:, 0])
