"""The bottleneck of texts, against the formulas, other families of networks, and its own promises."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.targets import Similarity
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import InputError, LayerError, SettingError, StatisticsError, TargetError
from small_transformers import CLS, FAMILIES, PAD, SEP, UNITS, batches, encoder_layer, small_classifier, texts

LAYER = "bert.encoder.layer.1"
PUBLISHED: dict[str, Any] = {
    "objective": "cross-entropy", "initial_logit": 5.0, "antithetic": False, "readout": "last_forward", "learning_rate": 1.0,
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return small_classifier("Bert")


@pytest.fixture(scope="module")
def statistics(bert: nn.Module) -> dict[str, TokenStatistics]:
    return collect_token_statistics(bert, [f"bert.encoder.layer.{i}" for i in range(3)], batches())


def _kinds(given: Mapping[str, Tensor]) -> Tensor:
    special = given["special_tokens_mask"].bool() & given["attention_mask"].bool()
    return torch.where(given["attention_mask"].bool(), torch.where(special, given["input_ids"], -1), -2)


def _reference(
    model: nn.Module,
    given: Mapping[str, Tensor],
    target: int,
    statistics: Mapping[str, TokenStatistics],
    layers: list[str],
    *,
    beta: float,
    steps: int,
    samples: int,
    mask: str = "token",
    whole: bool = False,
) -> Tensor:
    """One text without padding, by the formulas: the whole network in every step, hooks, autograd through everything."""
    kinds = _kinds(given)[0]
    restricted = (kinds == -1) if whole else torch.ones_like(kinds, dtype=torch.bool)
    length = len(kinds)

    def table(layer: str, name: str) -> Tensor:
        return torch.stack([getattr(statistics[layer].groups[int(k)], name).float() for k in kinds])

    mu, sigma = ({layer: table(layer, name) for layer in layers} for name in ("mean", "std"))
    seeds = [0, 0x2545F491]
    sources = {layer: torch.Generator().manual_seed(seed) for layer, seed in zip(layers, seeds, strict=False)}
    alpha = torch.full((length, 1 if mask == "token" else UNITS), 5.0, requires_grad=True)
    optimizer = torch.optim.Adam([alpha], lr=1.0)
    state: dict[str, Tensor] = {}

    def hook(layer: str) -> Any:
        def restrict(_module: nn.Module, _inputs: object, output: Any) -> Any:
            r = output[0] if isinstance(output, tuple) else output
            noise = mu[layer] + sigma[layer] * state[layer]
            z = torch.where(restricted[:, None], state["lam"] * r + (1 - state["lam"]) * noise, r)
            if layer == layers[0]:
                state["r"] = r[0].detach()
            return (z, *output[1:]) if isinstance(output, tuple) else z

        return restrict

    handles = [model.get_submodule(layer).register_forward_hook(hook(layer)) for layer in layers]
    arguments = {k: v.expand(samples, -1) for k, v in given.items() if k != "special_tokens_mask"}
    for _ in range(steps):
        state["lam"] = torch.sigmoid(alpha)
        for layer in layers:
            state[layer] = torch.randn(samples, 1, 32, UNITS, generator=sources[layer])[:, 0, :length]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(**arguments).logits, torch.full((samples,), target))
        q = torch.distributions.Normal(mu[layers[0]], sigma[layers[0]])
        lam = state["lam"]
        p = torch.distributions.Normal(lam * state["r"] + (1 - lam) * q.mean, (1 - lam) * q.stddev)
        kl = torch.distributions.kl_divergence(p, q)[restricted]
        (loss + beta * kl.mean()).backward()
        optimizer.step()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    bits = torch.zeros(length)
    bits[restricted] = kl.detach().sum(1) / torch.log(torch.tensor(2.0))
    return bits


@pytest.mark.parametrize("mask", ["token", "unit"])
@pytest.mark.parametrize("special", ["restricted", "whole"])
def test_map_of_the_formulas(bert: nn.Module, statistics: dict[str, TokenStatistics], mask: Any, special: Any) -> None:
    given = texts([13], seed=3)
    settings: dict[str, Any] = {"beta": 0.3, "steps": 6}
    iba = TokenIBA(
        bert, LAYER, mask=mask, special_tokens=special, noise_samples=4, statistics=statistics[LAYER],
        precision="float32", **settings, **PUBLISHED,
    )  # fmt: skip
    got = iba.explain(given, 2)
    expected = _reference(
        bert, given, 2, statistics, [LAYER], samples=4, mask=mask, whole=special == "whole", **settings
    )
    assert float(expected.std()) > 0.05 * float(expected.mean())  # a map, not a plane
    torch.testing.assert_close(got.map[0], expected, rtol=2e-3, atol=2e-4 * float(expected.max()))
    assert got.unit == "bits/token"
    if special == "whole":
        assert got.map[0, 0] == got.map[0, -1] == 0


def test_one_mask_for_several_layers(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    given = texts([13], seed=3)
    layers = ["bert.encoder.layer.0", "bert.encoder.layer.2"]
    settings: dict[str, Any] = {"beta": 0.3, "steps": 6, "noise_samples": 4, "precision": "float32", **PUBLISHED}
    iba = TokenIBA(bert, layers[0], deeper=layers[1:], statistics=statistics, **settings)
    got = iba.explain(given, 2)
    expected = _reference(bert, given, 2, statistics, layers, samples=4, beta=0.3, steps=6)
    torch.testing.assert_close(got.map[0], expected, rtol=2e-3, atol=2e-4 * float(expected.max()))
    alone = TokenIBA(bert, layers[0], statistics=statistics, **settings).explain(given, 2)
    assert float((alone.map - got.map).abs().max()) > 1e-2 * float(got.map.max())  # the deeper layer matters
    assert got.settings["deeper"] == layers[1:]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [0, 2])
def test_every_family_of_encoders(family: str, number: int) -> None:
    model = small_classifier(family)
    iba = TokenIBA(model, encoder_layer(model, number), steps=4, noise_samples=2, internal_batch_size=4)
    iba.fit_statistics(batches(3))
    given = texts([12, 7, 5])
    attribution = iba.explain(given, evidence_samples=4)
    assert attribution.map.shape == (3, 12)
    assert bool(torch.isfinite(attribution.map).all())
    assert bool((attribution.map >= 0).all())
    assert bool((attribution.map[given["attention_mask"] == 0] == 0).all())
    assert bool((attribution.map[given["attention_mask"] == 1] > 0).all())
    assert iba.probe.mode == "replay"
    arguments = {k: v for k, v in given.items() if k != "special_tokens_mask"}
    with torch.no_grad():
        expected = model(**arguments).logits.softmax(1).amax(1)
    assert attribution.evidence is not None
    torch.testing.assert_close(attribution.evidence.before, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_called_several_times() -> None:
    model = small_classifier("Albert")
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0"
    iba = TokenIBA(model, layer, call=1, steps=3, noise_samples=2).fit_statistics(batches(3))
    assert bool((iba.explain(texts([9]), evidence_samples=0).map > 0).all())
    with pytest.raises(LayerError, match="is called 3 times in one pass"):
        TokenIBA(model, layer).fit_statistics(batches(1))


@pytest.mark.parametrize("mask", ["token", "unit"])
@pytest.mark.parametrize("deeper", [[], ["bert.encoder.layer.2"]])
def test_a_batch_gives_what_single_texts_give(
    bert: nn.Module, statistics: dict[str, TokenStatistics], mask: Any, deeper: list[str]
) -> None:
    """Texts of different lengths, over the border of two blocks of noise, in an order of their own."""
    lengths = [5, 40, 12, 33]
    given, classes = texts(lengths), [0, 1, 2, 1]
    settings: dict[str, Any] = {
        "beta": 0.3, "steps": 4, "noise_samples": 4, "mask": mask, "deeper": deeper, "precision": "float32",
    }  # fmt: skip
    iba = TokenIBA(bert, LAYER, statistics=statistics, internal_batch_size=8, **settings)
    together = iba.explain(given, classes)
    assert together.targets == ("0", "1", "2", "1")
    for row, length in enumerate(lengths):
        single = {name: value[row : row + 1, :length] for name, value in given.items()}
        alone = iba.explain(single, classes[row])
        torch.testing.assert_close(
            together.map[row : row + 1, :length], alone.map, rtol=1e-3, atol=1e-3 * float(alone.map.max())
        )
        assert bool((together.map[row, length:] == 0).all())
        assert together.evidence is not None
        assert alone.evidence is not None
        torch.testing.assert_close(
            together.evidence.under_noise[row], alone.evidence.under_noise[0], rtol=1e-3, atol=1e-3
        )


def test_what_stands_in_the_padding_does_not_matter(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    given = texts([9, 16])
    other = {name: value.clone() for name, value in given.items()}
    other["input_ids"][0, 9:] = 17
    iba = TokenIBA(bert, LAYER, steps=4, noise_samples=2, statistics=statistics, precision="float32")
    first, second = (iba.explain(batch, 1).map for batch in (given, other))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4 * float(first.max()))


def test_the_mean_runs_over_real_tokens_only(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    """With the loss without weight, the first step of Adam is the same; with β tiny it is the loss that decides."""
    given = texts([6])
    long = {
        name: F.pad(value, (0, 30), value=1 if name == "special_tokens_mask" else 0) for name, value in given.items()
    }
    iba = TokenIBA(bert, LAYER, beta=3.0, steps=5, noise_samples=2, statistics=statistics, precision="float32")
    short, padded = iba.explain(given, 1).map, iba.explain(long, 1).map
    torch.testing.assert_close(padded[:, :6], short, rtol=1e-3, atol=1e-4 * float(short.max()))
    assert padded.shape == (1, 36)
    assert bool((padded[:, 6:] == 0).all())


def test_all_keyword_inputs_reach_the_network(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    """A pair of sentences is told apart by token_type_ids; positions may be given."""
    given = texts([14], seed=2)
    types = torch.tensor([[0] * 7 + [1] * 7])
    places = torch.arange(13, -1, -1)[None]
    iba = TokenIBA(bert, LAYER, steps=3, noise_samples=2, statistics=statistics)
    maps = [
        iba.explain({**given, **more}, 1)
        for more in ({}, {"token_type_ids": types}, {"position_ids": places}, {"token_type_ids": types[:, :1] * types})
    ]
    assert all(float((maps[0].map - other.map).abs().max()) > 1e-3 for other in maps[1:3])
    torch.testing.assert_close(maps[0].map, maps[3].map)
    arguments = {"input_ids": given["input_ids"], "attention_mask": given["attention_mask"], "token_type_ids": types}
    with torch.no_grad():
        expected = bert(**arguments).logits.softmax(1)[:, 1]
    assert maps[1].evidence is not None
    torch.testing.assert_close(maps[1].evidence.before, expected)


def test_a_token_batch_and_a_mapping_say_the_same(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    given = texts([9, 6])
    present = given["attention_mask"].bool()
    special = given["special_tokens_mask"].bool() & present
    empty = tuple(() for _ in range(2))
    inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    batch = TokenBatch(inputs, present & ~special, special, empty, empty, empty, ("", ""))
    iba = TokenIBA(bert, LAYER, steps=3, noise_samples=2, statistics=statistics)
    torch.testing.assert_close(iba.explain(batch, 1).map, iba.explain(given, 1).map)


def test_everything_that_is_kept(bert: nn.Module, statistics: dict[str, TokenStatistics], tmp_path: Any) -> None:
    given = texts([9, 16])
    iba = TokenIBA(bert, LAYER, steps=3, noise_samples=2, statistics=statistics)
    seen: list[int] = []
    attribution = iba.explain(given, keep_capacity=True, progress=seen.append)
    assert attribution.capacity is not None
    assert attribution.total_bits is not None
    torch.testing.assert_close(attribution.capacity.sum(2), attribution.map)
    torch.testing.assert_close(attribution.map.sum(1), attribution.total_bits)
    assert seen[-1] == 2
    assert attribution.settings["mask"] == "token"
    assert attribution.settings["statistics"] == "per hidden unit, 24 texts"
    attribution.save(tmp_path / "a.safetensors")
    again = bitlens.Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(again.map, attribution.map)
    assert again.settings == attribution.settings
    torch.testing.assert_close(iba.attribute(given), attribution.map)


def test_the_network_stays_as_it_was(bert: nn.Module) -> None:
    model = copy.deepcopy(bert)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seed = torch.random.get_rng_state()
    iba = TokenIBA(model, LAYER, deeper=["bert.encoder.layer.2"], steps=3, noise_samples=2).fit_statistics(batches(3))
    iba.explain(texts([9]))
    with pytest.raises(TargetError):
        iba.explain(texts([9]), lambda output: output.logits.sum().reshape(1))
    assert torch.equal(torch.random.get_rng_state(), seed)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any("forward" in module.__dict__ or module._forward_hooks for module in model.modules())


def test_a_large_beta_keeps_nothing_and_a_small_one_the_prediction(
    bert: nn.Module, statistics: dict[str, TokenStatistics]
) -> None:
    given = texts([20], seed=9)
    bits, kept = [], []
    for beta in (1e-3, 1.0, 1e3):
        iba = TokenIBA(bert, LAYER, beta=beta, steps=30, statistics=statistics)
        attribution = iba.explain(given)
        assert attribution.evidence is not None
        assert attribution.total_bits is not None
        bits.append(float(attribution.total_bits))
        kept.append(float(attribution.evidence.under_noise))
    assert bits == sorted(bits, reverse=True)
    assert kept[0] > float(attribution.evidence.before) - 0.05
    assert bits[2] < 1e-2 * bits[0]


def _clip() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": UNITS, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 40, "max_position_embeddings": 20, "eos_token_id": SEP, "pad_token_id": PAD}
    vision = {**tower, "image_size": 16, "patch_size": 4, "projection_dim": 8}
    config = transformers.CLIPConfig(
        text_config={**text, "initializer_factor": 10.0}, vision_config=vision, projection_dim=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.CLIPModel(config).eval()


def _cosine(output: Any) -> Tensor:
    return F.cosine_similarity(output.image_embeds, output.text_embeds, dim=1)


def test_m2ib_on_the_text_side_of_clip() -> None:
    """The objective of M2IB: what of the text is needed for its similarity to the image."""
    model, given = _clip(), texts([9, 6])
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    arguments = {**given, "pixel_values": images}
    layer = "text_model.encoder.layers.1"
    known = [{**batch, "pixel_values": images[:1].expand(4, -1, -1, -1)} for batch in _short(6)]
    iba = TokenIBA(model, layer, beta=0.1, statistics=None).fit_statistics(known)
    attribution = iba.explain(arguments, _cosine)
    assert attribution.map.shape == (2, 9)
    assert attribution.targets == ("_cosine", "_cosine")
    assert attribution.evidence is not None
    assert attribution.evidence.measure == "score"
    with torch.no_grad():
        expected = _cosine(model(**{k: v for k, v in arguments.items() if k != "special_tokens_mask"}))
    torch.testing.assert_close(attribution.evidence.before, expected)
    assert bool((attribution.map[1, 6:] == 0).all())
    assert float(attribution.map[1, :6].std()) > 0


def test_m2ib_on_the_image_side_of_clip() -> None:
    """The same from the other side, the text's embedding given."""
    transformers = pytest.importorskip("transformers")
    clip = _clip()
    tower = transformers.CLIPVisionModelWithProjection(clip.config.vision_config).eval()
    images = torch.randn(70, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    words = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    layer = "vision_model.encoder.layers.1"
    iba = bitlens.IBA(tower, layer, beta=0.1, steps=5, noise_samples=2, smoothing=0)
    iba.fit_statistics([{"pixel_values": images}], granularity="channel")
    attribution = iba.explain({"pixel_values": images[:2]}, Similarity(words))
    assert bool(torch.isfinite(attribution.map).all())
    assert float(attribution.map.std()) > 0
    with torch.no_grad():
        embedded = tower(pixel_values=images[:2]).image_embeds
    assert attribution.evidence is not None
    torch.testing.assert_close(attribution.evidence.before, F.cosine_similarity(embedded, words), rtol=1e-4, atol=1e-5)


def _short(count: int) -> list[dict[str, Tensor]]:
    return [texts([9, 16, 18, 12], 100 + i) for i in range(count)]


def test_settings_and_texts_that_make_no_sense(bert: nn.Module, statistics: dict[str, TokenStatistics]) -> None:
    with pytest.raises(SettingError, match="mask must be one of 'token', 'unit', got 'word'"):
        TokenIBA(bert, LAYER, mask="word")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="special_tokens must be one of"):
        TokenIBA(bert, LAYER, special_tokens="apart")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="internal_batch_size"):
        TokenIBA(bert, LAYER, internal_batch_size=0)
    with pytest.raises(LayerError, match="the layer itself"):
        TokenIBA(bert, LAYER, deeper=[LAYER])
    iba = TokenIBA(bert, LAYER, statistics=statistics)
    with pytest.raises(TargetError, match="3 targets for 2 samples"):
        iba.explain(texts([5, 6]), [0, 1, 2])
    with pytest.raises(InputError, match="text 1 has no token"):
        iba.explain(
            {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": torch.tensor([[1] * 4, [0] * 4])}
        )
    with pytest.raises(InputError, match="got Tensor"):
        iba.explain(torch.ones(2, 4))
    pooled = TokenIBA(bert, "bert.pooler.dense")
    pooled._statistics = {"bert.pooler.dense": statistics[LAYER]}
    with pytest.raises(LayerError, match="a vector for each token"):
        pooled.explain(texts([5]))


def test_statistics_of_another_network_are_refused(statistics: dict[str, TokenStatistics]) -> None:
    with pytest.raises(StatisticsError, match="other weights"):
        TokenIBA(small_classifier("Bert", seed=1), LAYER, statistics=statistics)
    assert CLS in statistics[LAYER].groups
    assert SEP in statistics[LAYER].groups
