"""One contract, kept by every method of the list for texts."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bitlens.errors import InputError, LayerError, SettingError, TargetError
from bitlens.methods import METHODS, method
from bitlens.models.loaded import Loaded
from networks import default_type, model_state
from small_texts import TEXTS, small_lstm, small_transformer

pytest.importorskip("transformers")

EVERY = pytest.mark.parametrize("name", list(METHODS["text"]))
ATTENTION = {"attention-rollout", "gradient-attention-rollout"}
BOTTLENECKS = {"iba", "token-iba", "input-iba"}
LIGHT: dict[str, dict[str, Any]] = {
    **{name: {"samples": 40} for name in ("lime", "kernel-shap")},
    "context-cite": {"unit": "token", "penalty": 1e-5},
    **{name: {"steps": 3, "noise_samples": 2} for name in BOTTLENECKS},
    "input-iba": {
        "steps": 3,
        "noise_samples": 2,
        "prior": "none",
    },  # stage 1 needs a layer that gives a vector for each token
}
"""Settings for methods whose own ones take long."""


def _network(name: str) -> Loaded:
    """In three classes: an LSTM, for it is fast, where the method supports it."""
    return small_transformer() if name in ATTENTION else small_lstm(classes=3)


def _make(name: str, loaded: Loaded | None = None, **settings: Any) -> tuple[Any, Loaded]:
    """The method with what it needs, and the network."""
    loaded = loaded or _network(name)
    ready: Any = method(name, loaded, **LIGHT.get(name, {}), **settings)
    if METHODS["text"][name].lesson is not None:
        ready.fit_statistics([loaded.tokenizer(TEXTS * 60)])
    return ready, loaded


@EVERY
def test_what_type_tensors_have_by_default_changes_nothing(name: str) -> None:
    loaded = _network(name)
    batch = loaded.tokenizer(TEXTS)
    usual = _make(name, loaded)[0].explain(batch, [1, 0, 1, 1])
    with default_type(torch.float64):
        found = _make(name, loaded)[0].explain(batch, [1, 0, 1, 1])
    assert found.map.dtype == torch.float32
    torch.testing.assert_close(found.map, usual.map, rtol=1e-4, atol=1e-5 * float(usual.map.abs().max()))


@EVERY
@pytest.mark.parametrize("transformer", [False, True])
def test_a_score_for_every_token_as_for_its_text_alone(name: str, transformer: bool) -> None:
    loaded = small_transformer() if transformer else _network(name)
    ready, _ = _make(name, loaded)
    batch = loaded.tokenizer(TEXTS)
    result = ready.explain(batch, [1, 0, 1, 1])
    assert (result.map.shape, result.map.dtype, result.map.device.type) == (batch.real.shape, torch.float32, "cpu")
    assert bool(torch.isfinite(result.map).all())
    assert not result.map.requires_grad
    assert (result.unit, result.method) == (METHODS["text"][name].unit, name)
    assert not bool(result.map[~batch.present].any())
    if result.unit == "score":
        assert not bool(result.map[batch.special].any())
    assert all(row[real].abs().sum() > 0 for row, real in zip(result.map, batch.real, strict=True))
    alone = ready.explain(loaded.tokenizer([TEXTS[1]]), 0).map
    wide = torch.nn.functional.pad(alone[0], (0, batch.real.shape[1] - alone.shape[1]))
    torch.testing.assert_close(result.map[1], wide, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


@EVERY
def test_targets_are_those_that_were_asked(name: str) -> None:
    ready, loaded = _make(name)
    batch = loaded.tokenizer(TEXTS)
    found = [ready.explain(batch, targets) for targets in (2, [2, 0, 2, 1], torch.tensor([2, 0, 2, 1]))]
    assert [one.targets for one in found] == [("2",) * 4, ("2", "0", "2", "1"), ("2", "0", "2", "1")]
    assert torch.equal(found[1].map, found[2].map)
    if name not in {"random", "attention-rollout"}:
        assert not torch.allclose(found[0].map[1], found[1].map[1])


@EVERY
def test_the_same_again_and_another_seed(name: str) -> None:
    maps = []
    loaded = _network(name)
    for seed in (0, 0, 1):
        maps.append(_make(name, loaded, seed=seed)[0].explain(loaded.tokenizer(TEXTS[:2]), 1).map)
    assert torch.equal(maps[0], maps[1])
    draws = name in {*BOTTLENECKS, "random", "lime", "context-cite"}
    assert torch.equal(maps[0], maps[2]) != draws


@pytest.mark.parametrize("name", ["integrated-gradients", "occlusion", "lime"])
def test_few_rows_at_once_change_nothing(name: str) -> None:
    loaded = small_lstm()
    batch = loaded.tokenizer(TEXTS)
    maps = [method(name, loaded, internal_batch_size=rows).explain(batch).map for rows in (1, 3, 16)]
    for other in maps[1:]:
        torch.testing.assert_close(maps[0], other, rtol=1e-4, atol=1e-6)


@EVERY
@pytest.mark.parametrize("fails", [False, True])
def test_network_inputs_and_random_state_are_left_as_found(name: str, fails: bool) -> None:
    ready, loaded = _make(name)
    next(loaded.model.parameters()).requires_grad_(False)
    batch = loaded.tokenizer(TEXTS[:2])
    state, copies, random = model_state(loaded.model), batch.inputs["input_ids"].clone(), torch.get_rng_state()
    calls = [0]

    def target(output: Any) -> Tensor:
        calls[0] += 1
        if fails:
            raise ZeroDivisionError("asked to fail")
        return getattr(output, "logits", output)[:, 1]

    if fails:
        with pytest.raises(ZeroDivisionError, match="asked to fail"):
            ready.explain(batch, target)
    else:
        ready.explain(batch, target)
    assert calls[0] > 0
    assert model_state(loaded.model) == state
    assert torch.equal(batch.inputs["input_ids"], copies)
    assert torch.equal(torch.get_rng_state(), random)


@EVERY
def test_progress_and_wrong_use(name: str) -> None:
    ready, loaded = _make(name)
    seen: list[int] = []
    ready.explain(loaded.tokenizer(TEXTS[:2]), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 2
    with pytest.raises(TargetError, match="class 7 does not exist: the network has classes 0 to 2"):
        ready.explain(loaded.tokenizer(TEXTS[:2]), 7)
    with pytest.raises(InputError):
        ready.explain(["the film was good"])


@EVERY
def test_entries_say_what_they_need(name: str) -> None:
    entry = METHODS["text"][name]
    assert entry.name == name == name.lower()
    assert all((entry.summary, entry.paper, entry.passes))
    assert entry.unit in {"bits/token", "score", "mask"}


@pytest.mark.parametrize("name", sorted(ATTENTION))
def test_rollout_refuses_a_network_without_attention(name: str) -> None:
    ready, loaded = _make(name, small_lstm())
    with pytest.raises(SettingError, match=f"^{name} needs a transformer: Lstm computes no attention between tokens$"):
        ready.explain(loaded.tokenizer(TEXTS))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SettingError, match="there is no method 'rnadom' for texts; did you mean 'random'"):
        method("rnadom", small_lstm())
    with pytest.raises(LayerError, match="no layer 'nowhere'"):
        method("token-iba", small_lstm(), layer="nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "DebertaV2", "Electra"])
@EVERY
def test_every_family_of_transformers(name: str, kind: str) -> None:
    ready, loaded = _make(name, small_transformer(kind))
    batch = loaded.tokenizer(TEXTS)
    maps = ready.explain(batch, 1).map
    alone = ready.explain(loaded.tokenizer(TEXTS[1:2]), 1).map
    torch.testing.assert_close(maps[1, : alone.shape[1]], alone[0], rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
