"""InputIBA for texts: the limits of proposition 3, its stages, and what holds for every bottleneck of texts."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.bottlenecks.input import critics
from bitlens.bottlenecks.input.critics import GameSchedule
from bitlens.bottlenecks.input.presets import INPUT_STREAM, PRIORS
from bitlens.bottlenecks.input.prior import FirstStage
from bitlens.bottlenecks.input.texts import TokenInputIBA
from bitlens.bottlenecks.recorded import Recorded
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.family import Fitted
from bitlens.core.inputs import ModelInputs
from bitlens.errors import LayerError, SettingError
from bitlens.models.builtin.reviews import FEATURES, LAYER
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from bitlens.probe import Probe
from networks import model_state
from small_transformers import CLS, batches, small_classifier, texts

ENCODER, WORDS = "bert.encoder.layer.1", "bert.embeddings.word_embeddings"
REVIEWS = [
    "A warm and very funny film, I loved it.",
    "A dull story, badly told and far too long for what it says.",
    "Great.",
]
pytestmark = pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return small_classifier("Bert")


@pytest.fixture(scope="module")
def statistics(bert: nn.Module) -> dict[str, TokenStatistics]:
    return collect_token_statistics(bert, [ENCODER, WORDS], batches())


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_model("builtin/reviews")


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    few = GameSchedule((3,) * 5, (4,), 2)
    for name in ("_WGAN", "_OFFICIAL", "_WGAN_GP"):
        shorter = {places: replace(game, schedule=few) for places, game in getattr(critics, name).items()}
        monkeypatch.setattr(critics, name, shorter)


def _on_bert(bert: nn.Module, statistics: Mapping[str, TokenStatistics], **settings: Any) -> TokenInputIBA:
    chosen = {"precision": "float32", "steps": 5, **settings}
    return TokenInputIBA(bert, ENCODER, WORDS, statistics=statistics, **chosen)


def _on_reviews(loaded: Loaded, **settings: Any) -> TokenInputIBA:
    chosen = {"precision": "float32", "steps": 5, **settings}
    return TokenInputIBA(loaded.model, FEATURES, LAYER, statistics=loaded.statistics, **chosen)


def _masks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recorded, Fitted]]:
    """What is recorded at the embedding from now on, and the masks that are found for it."""
    kept: list[tuple[Recorded, Fitted]] = []
    find = TokenInputIBA.masks

    def watched(self: TokenInputIBA, recorded: Recorded) -> Fitted:
        kept.append((recorded, find(self, recorded)))
        return kept[-1][1]

    monkeypatch.setattr(TokenInputIBA, "masks", watched)
    return kept


def _nothing(stage: FirstStage) -> Tensor:
    return torch.full_like(stage.images, -torch.inf)


@pytest.mark.parametrize("mask", ["unit", "token"])
@pytest.mark.parametrize("prior", ["none", _nothing])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_a_prior_it_is_the_bottleneck_of_tokens_at_the_embedding(
    loaded: Loaded, mask: Any, prior: Any, seed: int
) -> None:
    batch = loaded.tokenizer(REVIEWS)
    ours = _on_reviews(loaded, prior=prior, mask=mask, readout="information", seed=seed)
    found = ours.explain(batch, [1, 0, 1], evidence_samples=4, keep_capacity=True)
    plain = TokenIBA(
        loaded.model, LAYER, mask=mask, statistics=loaded.statistics, precision="float32", seed=seed + INPUT_STREAM
    )
    plain.fit = ours.fit
    expected = plain.explain(batch, [1, 0, 1], evidence_samples=4, keep_capacity=True)
    assert expected.capacity is not None
    assert float(expected.map.max()) > 0.1
    torch.testing.assert_close(found.map, expected.map, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.capacity, expected.capacity, rtol=1e-6, atol=1e-6)
    assert found.evidence is not None
    assert expected.evidence is not None
    torch.testing.assert_close(found.evidence.under_noise, expected.evidence.under_noise, rtol=1e-6, atol=1e-6)


def _proposition_3(x: Tensor, passed: Tensor, known: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Algorithms D6, in float64."""
    x, passed, known, mu, sigma = (value.double() for value in (x, passed, known, mu, sigma))
    left = 1 - known * passed
    score = (x - mu).square() * passed.square() * (1 - known).square() / (2 * left.square() * sigma.square())
    return (left / (1 - passed)).log() + (1 - passed).square() / (2 * left.square()) + score - 0.5


def test_information_beyond_the_prior_is_that_of_proposition_3(loaded: Loaded, monkeypatch: Any) -> None:
    kept = _masks(monkeypatch)
    batch = loaded.tokenizer(REVIEWS[:1])
    found = _on_reviews(loaded, prior="feature-map", readout="beyond-prior").explain(batch, 1, evidence_samples=0)
    group, fitted = kept[-1]
    assert group.noise.hidden is not None
    passed, known = 1 - fitted.u.double(), 1 - group.noise.hidden.double()
    expected = _proposition_3(group.features, passed, known, group.noise.mean, group.noise.std)
    torch.testing.assert_close(found.map, (expected.sum(2) / math.log(2)).float(), rtol=1e-4, atol=1e-5)


def test_limits_of_the_prior(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    """λ_G = 1 makes everything free; what it leaves out costs as ever."""

    def first_half(stage: FirstStage) -> Tensor:
        logits = torch.full_like(stage.images, -torch.inf)
        logits[:, : logits.shape[1] // 2] = torch.inf
        return logits

    chosen: dict[str, Any] = {"readout": "beyond-prior", "steps": 20, "beta_input": 3.0}
    found, dear = (
        _on_bert(bert, statistics, prior=prior, **chosen).explain(texts([12]), 1) for prior in (first_half, "none")
    )
    assert found.cells is not None
    assert dear.cells is not None
    assert float(found.map[:, :6].abs().max()) < 1e-6
    assert float(found.map[:, 6:].sum()) > 0.1
    assert float(found.cells[:, :6].sum()) > 2 * float(dear.cells[:, :6].sum())  # nothing holds back what is free


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize(
    ("prior", "special"), [*((prior, "restricted") for prior in PRIORS), ("wgan", "whole"), ("none", "whole")]
)
def test_a_text_has_the_map_that_it_has_alone(
    bert: nn.Module, statistics: dict[str, TokenStatistics], prior: Any, special: Any
) -> None:
    lengths = [6, 40, 11]
    given = texts(lengths)
    ours = _on_bert(bert, statistics, prior=prior, special_tokens=special, internal_batch_size=6)
    seen: list[int] = []
    stages = ours.stages(given, [0, 1, 2], progress=seen.append)
    assert (stages.input.map.shape, stages.prior.shape, seen[-1]) == ((3, 40), (3, 40, 16), 3)
    for row, length in enumerate(lengths):
        alone = ours.stages({name: value[row : row + 1, :length] for name, value in given.items()}, row)
        rounding = {"wgan-gp": 0.1, "feature-matching": 5e-3}.get(str(prior), 1e-3)  # what an optimisation makes of it
        torch.testing.assert_close(stages.prior[row : row + 1, :length], alone.prior, rtol=rounding, atol=rounding)
        torch.testing.assert_close(stages.input.map[row, :length], alone.input.map[0], rtol=rounding, atol=rounding)
        for values in (stages.input.map, stages.input.cells, stages.prior):
            assert values is not None
            assert not bool(values[row, length:].any())  # padding
    ends = stages.input.map[0, [0, 5]]
    assert bool((ends == 0).all() if special == "whole" else (ends > 0).all())


@pytest.mark.parametrize("prior", ["none", "feature-map", "feature-matching"])
def test_what_stands_in_the_padding_does_not_matter(
    bert: nn.Module, statistics: dict[str, TokenStatistics], prior: Any
) -> None:
    given = texts([9, 16])
    other = {name: value.clone() for name, value in given.items()}
    other["input_ids"][0, 9:] = 17
    ours = _on_bert(bert, statistics, prior=prior)
    first, second = (ours.explain(batch, 1, evidence_samples=0).map for batch in (given, other))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_every_stage_can_be_looked_at(loaded: Loaded) -> None:
    batch = loaded.tokenizer(REVIEWS)
    ours = _on_reviews(loaded)
    stages = ours.stages(batch)
    first = TokenIBA(
        loaded.model, FEATURES, mask="unit", statistics=loaded.statistics, precision="float32",
        objective=ours.feature_bottleneck.objective,
    )  # fmt: skip
    first.fit = ours.feature_bottleneck.fit
    assert stages.features is not None
    torch.testing.assert_close(stages.features.map, first.explain(batch, evidence_samples=0).map)
    expected = torch.where(batch.present, torch.sigmoid(stages.features.map), 0)
    torch.testing.assert_close(stages.prior, expected[..., None].expand_as(stages.prior))
    assert torch.equal(stages.input.map, ours.explain(batch).map)
    assert stages.input.layer == LAYER
    assert stages.input.settings["stage1_layer"] == FEATURES
    without = _on_reviews(loaded, prior="none").stages(batch)
    assert without.features is None
    assert not bool(without.prior.any())


@pytest.mark.parametrize("readout", ["mask", "information", "beyond-prior"])
def test_read_outs_say_their_unit(loaded: Loaded, readout: Any) -> None:
    found = _on_reviews(loaded, readout=readout).explain(loaded.tokenizer(REVIEWS), keep_capacity=True)
    assert (found.unit, found.method) == ("mask" if readout == "mask" else "bits/token", "input-iba")
    assert found.cells is not None
    assert found.capacity is not None
    assert found.total_bits is not None
    torch.testing.assert_close(found.capacity.sum(2), found.cells)
    torch.testing.assert_close(found.cells.sum(1), found.total_bits)
    if readout == "mask":
        assert 0 <= float(found.map.min()) <= float(found.map.max()) <= 1
    elif readout == "information":
        assert torch.equal(found.map, found.cells)
    else:
        assert bool((found.map <= found.cells + 1e-4).all())


def test_the_mask_is_the_mean_over_dimensions(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _masks(monkeypatch)
    found = _on_reviews(loaded, mask="unit").explain(loaded.tokenizer(REVIEWS[:1]))
    assert kept[-1][1].logits.shape == (*found.map.shape, 64)
    torch.testing.assert_close(found.map, torch.sigmoid(kept[-1][1].logits).mean(2))


def test_noise_is_that_of_the_embeddings_or_standard(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = _masks(monkeypatch)
    batch = loaded.tokenizer(REVIEWS[:1])
    for chosen in ("statistics", "standard"):
        _on_reviews(loaded, noise=chosen, prior="none").explain(batch)
    kept, known = [recorded.noise for recorded, _ in masks], loaded.statistics[LAYER].groups[-1]
    torch.testing.assert_close(kept[0].mean[0, 0], known.mean.float())
    torch.testing.assert_close(kept[0].std[0, 0], known.std.float().clamp_min(0.01))
    assert torch.equal(kept[1].std, torch.ones(64))
    assert not bool(kept[1].mean.any())
    alone = TokenInputIBA(loaded.model, FEATURES, LAYER, noise="standard", prior="none")
    assert alone.layers == ()
    assert alone.explain(batch).total_bits is not None  # needs no statistics


@pytest.mark.parametrize("quality", ["fast", "paper", "official"])
@pytest.mark.usefixtures("_short")
def test_presets(loaded: Loaded, quality: Any) -> None:
    ours = TokenInputIBA(loaded.model, FEATURES, LAYER, quality=quality, statistics=loaded.statistics, steps=2)
    found = ours.explain(loaded.tokenizer(REVIEWS), evidence_samples=2)
    assert bool(torch.isfinite(found.map).all())
    told = found.settings
    if quality != "fast":
        assert (told["beta"], told["stage1_beta"], told["noise_samples"], told["learning_rate"]) == (30, 15, 10, 0.5)
        assert told["noise"] == ("statistics" if quality == "paper" else "standard")
        assert told["prior"] == ("wgan" if quality == "paper" else "official")


@pytest.mark.parametrize("seed", range(3))
def test_feature_matching_brings_the_features_nearer_to_z(loaded: Loaded, seed: int) -> None:
    stages: list[tuple[FirstStage, Tensor]] = []

    def kept(stage: FirstStage) -> Tensor:
        stages.append((stage, stage.reach(stage.images, torch.zeros(1, dtype=torch.long)).detach()))
        return PRIORS["feature-matching"](stage)  # type: ignore[misc]

    def distance(stage: FirstStage, logits: Tensor, reach: Any) -> float:
        standard = torch.randn(64, 1, *stage.images.shape[1:], generator=torch.Generator().manual_seed(9))
        masked = torch.lerp(standard, stage.images, torch.sigmoid(logits))
        features = reach(masked.flatten(0, 1)).reshape(64, *stage.features.shape)
        wanted = torch.lerp(stage.features, stage.noise.mean, stage.u)
        return float(((features.mean(0) - wanted) / stage.noise.std).square().mean())

    batch = loaded.tokenizer(REVIEWS[1:2])
    found = _on_reviews(loaded, prior=kept, seed=seed).stages(batch)

    def reach(vectors: Tensor) -> Tensor:
        with torch.no_grad():
            states = vectors
            for name in ("rnn_1", "rnn_2", "rnn_3"):
                states, _ = loaded.model.get_submodule(name)(states)
            return states

    ((stage, reached),) = stages
    torch.testing.assert_close(reached, stage.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reach(stage.images), stage.features, rtol=1e-4, atol=1e-5)
    start = distance(stage, stage.maps, reach)
    assert distance(stage, torch.logit(found.prior), reach) < start


def test_the_way_from_the_embedding_to_the_layer(bert: nn.Module) -> None:
    given = {name: value for name, value in texts([9, 14]).items() if name != "special_tokens_mask"}
    inputs = ModelInputs.of(given)
    layer, words = Probe(bert, ENCODER), Probe(bert, WORDS)
    vectors, expected, state = words.features(inputs), layer.features(inputs), model_state(bert)
    with layer.reaching(inputs, None, words) as run, torch.enable_grad():
        leaf = vectors[[1, 1, 0]].clone().requires_grad_()
        got = run(leaf, torch.tensor([1, 1, 0]))
        (slope,) = torch.autograd.grad(got[0].square().sum(), leaf)
    torch.testing.assert_close(got.detach(), expected[[1, 1, 0]])
    assert float(slope[0].abs().max()) > 0
    assert not bool(slope[1:].any())
    assert model_state(bert) == state
    with words.reaching(inputs, None, words) as run:
        assert torch.equal(run(2 * vectors, torch.arange(2)), 2 * vectors)


def test_words_of_a_text_get_most_where_they_decide(loaded: Loaded) -> None:
    batch = loaded.tokenizer(["the story was about a man who was wonderful and the house where he lived"])
    decides = batch.tokens[0].index("wonderful")
    for seed in range(3):
        found = TokenInputIBA(loaded.model, FEATURES, LAYER, statistics=loaded.statistics, seed=seed).explain(batch, 1)
        assert int(found.map[0].argmax()) == decides


def test_the_network_stays_as_it_was(loaded: Loaded) -> None:
    before, seed = model_state(loaded.model), torch.random.get_rng_state()
    _on_reviews(loaded, prior="feature-matching").explain(loaded.tokenizer(REVIEWS))
    assert torch.equal(torch.random.get_rng_state(), seed)
    assert model_state(loaded.model) == before


def test_what_makes_no_sense(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    with pytest.raises(SettingError, match="prior must be one of"):
        TokenInputIBA(bert, ENCODER, WORDS, prior="gan")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="noise must be one of 'statistics', 'standard'"):
        TokenInputIBA(bert, ENCODER, WORDS, noise="none")  # type: ignore[arg-type]
    with pytest.raises(LayerError, match="has no layer 'embedding'"):
        TokenInputIBA(bert, ENCODER, "embedding")
    only = {WORDS: statistics[WORDS]}
    assert TokenInputIBA(bert, ENCODER, WORDS, statistics=only, prior="none").explain(texts([5])).map.shape == (1, 5)
    learnt = TokenInputIBA(bert, ENCODER, WORDS).fit_statistics(batches(2))
    assert set(learnt.statistics) == {ENCODER, WORDS}
    assert CLS in learnt.statistics[WORDS].groups
