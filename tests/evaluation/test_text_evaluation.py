"""The evaluation of methods for texts: what is measured, what is done once, what a run that goes on finds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bitlens.baselines.occlusion import TextOcclusion
from bitlens.errors import DataError, InputError, SettingError
from bitlens.evaluation.context import open_context
from bitlens.evaluation.measures import read_metrics
from bitlens.evaluation.plan import Plan
from bitlens.evaluation.plots import draw_plots
from bitlens.evaluation.run import carry_out, find_tasks, select_samples
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import Selection, build_table
from bitlens.explaining.text import tokenised
from bitlens.methods.naming import read_methods
from bitlens.metrics import Texts, token_degradation, token_insertion_deletion
from small_texts import MASK, WORDS, BlankTokenizer, small_lstm

NETWORK = """
from small_texts import BlankTokenizer, small_lstm

def build():
    return small_lstm().model, BlankTokenizer()

def other():
    return small_lstm(seed=1).model, BlankTokenizer()
"""
FAST = "removal:points=4"
ALL = "removal:points=4,insertion:points=4,deletion:points=4,sensitivity-n:sets=8"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(NETWORK)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size=3 if n < 2 else 5)) for n in range(6)]
    lines = [{"text": text, **({"label": n % 2} if n != 3 else {})} for n, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = generator.choice(WORDS, size=(130, 10)).tolist()
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": " ".join(text)}) for text in words))
    return tmp_path


def context_for(home, methods, metrics, out="out", **others):
    plan = Plan(
        **{
            "model": f"{home / 'net.py'}:build",
            "data": f"jsonl:{home / 'texts.jsonl'}",
            "methods": read_methods(methods, "text"),
            "metrics": read_metrics(metrics, "text"),
            "kind": "text",
            **others,
        }
    )
    return open_context(plan, home / out, "cpu", lambda *_: None)


def run(context, folder, limit=None):
    tasks = find_tasks(context, folder, select_samples(len(context.samples), (1, 1), limit))
    carry_out(context, folder, tasks)
    return len(tasks)


def numbers(folder):
    found = RowStore(folder / "rows").series()
    return {pair: (s.index.tolist(), s.value.tolist(), s.scale.tolist(), dict(s.failures)) for pair, s in found.items()}


def test_values_are_those_of_the_metrics_themselves(home):
    context = context_for(home, "occlusion", f"{FAST}:precision=float32")
    run(context, home / "out")
    found = RowStore(home / "out" / "rows").series()
    loaded, sample = small_lstm(), context.samples[4]
    batch = loaded.tokenizer([sample.text])
    maps = TextOcclusion(loaded).explain(batch, sample.label).map

    def answer(ids, present):
        with torch.no_grad():
            logit = loaded.model(input_ids=ids, attention_mask=present.long())[:, 0]
        return (logit if sample.label else -logit).sigmoid()

    texts = Texts(batch.inputs["input_ids"], Texts.each_token(batch.real), batch.present, MASK)
    for mode in ("delete", "replace"):
        curves = token_degradation(answer, texts, maps, mode=mode, points=4)
        series = found["occlusion", f"removal-{mode}[points=4,precision=float32]"]
        assert series.value[4] == pytest.approx(float(curves.areas()), abs=1e-6)
        assert np.isnan(series.scale[4])
        assert series.probability[4] == pytest.approx(float(curves.morf[0, 0]), abs=1e-6)


def test_equation_9_on_request(home):
    context = context_for(home, "occlusion", "removal-delete:normalise=set:points=4")
    run(context, home / "out", 2)
    (series,) = RowStore(home / "out" / "rows").series().values()
    assert np.isfinite(series.scale).all()


def test_all_metrics_and_a_bottleneck(home):
    train = f"jsonl:{home / 'train.jsonl'}"
    context = context_for(home, "occlusion,token-iba:steps=2", ALL, layer="embedding", statistics_from=train)
    run(context, home / "out", 3)
    table = build_table(home / "out")
    assert table.reference == "occlusion"
    assert table.metrics == [
        "removal-delete[points=4]",
        "removal-replace[points=4]",
        "insertion-tokens[points=4]",
        "deletion-tokens[points=4]",
        "sensitivity-n-tokens[sets=8]",
    ]
    assert all(cell.mean.count == 3 and not cell.failures for cell in table.cells.values())
    assert table.cells["occlusion", "sensitivity-n-tokens[sets=8]"].mean.mean > 0.5
    names = [path.name for path in draw_plots(home / "out", home / "plots", Selection(metrics=["removal-delete"]))]
    assert names == ["scores.png", "curves-removal-delete-points-4.png"]
    assert len(list((home / "out" / "learned").iterdir())) == 1


def test_sensitivity_is_measured_once_for_all_methods(home, monkeypatch):
    from bitlens.evaluation import token_scoring as scoring

    measured = []
    real = scoring.token_sensitivity_n
    monkeypatch.setattr(scoring, "token_sensitivity_n", lambda *a, **k: measured.append(1) or real(*a, **k))
    context = context_for(home, "random,occlusion", "sensitivity-n:sets=8")
    run(context, home / "out", 2)
    assert len(measured) == 2
    index = select_samples(6)[0]
    case = context.case(context.read(context.samples[index]), "occlusion")
    expected = real(case.answer("score", "float32"), case.text.units("token"), case.map, sets=8).means()
    series = RowStore(home / "out" / "rows").series()["occlusion", "sensitivity-n-tokens[sets=8]"]
    assert series.value[series.index.tolist().index(index)] == pytest.approx(float(expected), abs=1e-9)


def test_the_metrics_of_photos_that_texts_can_have(home):
    """Closed forms: occlusion is the loss itself, a map's own number, and what is random by a seed and what is not."""
    train = f"jsonl:{home / 'train.jsonl'}"
    listed = "sds,sparseness,complexity:points=4,seed-stability,insertion:points=4"
    context = context_for(
        home, "occlusion,leave-one-out,random,token-iba:steps=2", listed, layer="embedding", statistics_from=train
    )
    run(context, home / "out", 4)
    found = RowStore(home / "out" / "rows").series()
    assert found["occlusion", "sds-tokens"].value == pytest.approx(1.0)
    assert found["random", "sds-tokens"].value.min() < 0.9
    assert found["occlusion", "seed-stability-tokens"].value == pytest.approx(1.0)
    assert found["random", "seed-stability-tokens"].value.mean() < 0.9
    for index, share in zip(*numbers(home / "out")["occlusion", "complexity-tokens[points=4]"][:2], strict=True):
        case = context.case(context.read(context.samples[index]), "occlusion")
        asked = case.asked("value", "token", "auto")
        curve = token_insertion_deletion(*asked, case.map, points=4, **case.run)
        enough = [said >= 0.9 * float(curve.insertion[0, -1]) for said in curve.insertion[0].tolist()]
        assert share == pytest.approx(float(curve.share[0, enough.index(True)]), abs=1e-9)
        real = case.map[0, case.text.batch.real[0]].abs().double().sort().values
        gini = ((2 * torch.arange(1, len(real) + 1) - len(real) - 1) * real).sum() / (len(real) * real.sum())
        series = found["occlusion", "sparseness-tokens"]
        assert series.value[series.index.tolist().index(index)] == pytest.approx(float(gini), abs=1e-6)


def test_special_tokens_do_not_make_a_map_sparse(home):
    context = context_for(home, "random", "sparseness")
    case = context.case(context.read(context.samples[0]), "random")
    real = case.text.batch.real
    even = real.float()  # special tokens hold nothing
    assert case.scored(even).shape == (1, int(real.sum()))
    assert bool((case.scored(even) == 1).all())


def test_what_is_there_is_not_done_again_and_gives_the_same(home):
    assert run(context_for(home, "random", FAST), home / "out", 2) == 2
    assert run(context_for(home, "random", FAST), home / "out", 2) == 0
    assert run(context_for(home, "random,occlusion", FAST), home / "out", 4) == 4
    run(context_for(home, "random,occlusion", FAST, "whole"), home / "whole", 4)
    one, other = (json.dumps(build_table(home / name).plain()["rows"], sort_keys=True) for name in ("out", "whole"))
    assert one == other
    assert json.dumps(numbers(home / "out")["random", "removal-delete[points=4]"]) == json.dumps(
        numbers(home / "whole")["random", "removal-delete[points=4]"]
    )


def test_which_class_is_asked_about(home):
    context = context_for(home, "random", FAST)
    found = [context.read(sample) for sample in context.samples]
    assert [text.target for n, text in enumerate(found) if n != 3] == [0, 1, 0, 0, 1]
    assert found[3].target == found[3].predicted
    context = context_for(home, "random", FAST, asked="predicted")
    assert all(text.target == text.predicted for text in map(context.read, context.samples))


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"model": "other"}, "model was .*net.py:build"),
        ({"max_tokens": 5}, "max_tokens was null, now 5"),
        ({"asked": "predicted"}, 'asked was "label"'),
    ],
)
def test_other_settings_are_refused(home, others, words):
    run(context_for(home, "random", FAST), home / "out", 1)
    if "model" in others:
        others = {"model": f"{home / 'net.py'}:other"}
    with pytest.raises(SettingError, match=words):
        run(context_for(home, "random", FAST, **others), home / "out", 1)


def test_other_texts_under_the_same_names_are_refused(home):
    run(context_for(home, "random", FAST), home / "out")
    place = home / "texts.jsonl"
    place.write_text(place.read_text().replace('"text": "', '"text": "so '))
    with pytest.raises(SettingError, match="use another --out"):
        run(context_for(home, "random", FAST), home / "out")


def test_a_method_that_fails_does_not_stop_the_others(home):
    run(context_for(home, "attention-rollout,random", FAST), home / "out", 2)
    table = build_table(home / "out")
    assert table.cells["random", "removal-delete[points=4]"].mean.count == 2
    assert {reason for _, _, reason in table.reasons} == {
        "attention-rollout needs a transformer: Lstm computes no attention between tokens"
    }


def test_long_texts_are_cut_and_keep_their_special_tokens(home):
    sample = context_for(home, "random", FAST).samples[5]
    batch = tokenised(sample, BlankTokenizer(), 6)
    assert batch.tokens[0] == ("[CLS]", *sample.text.split()[:4], "[SEP]")
    assert tokenised(sample, BlankTokenizer(), 10).tokens[0][1:-1] == tuple(sample.text.split())
    with pytest.raises(InputError, match="2 tokens are taken by special ones"):
        tokenised(sample, BlankTokenizer(), 2)


def test_words_go_as_a_whole(home):
    context = context_for(home, "random", "removal-delete:unit=word:points=3")
    text = context.read(context.samples[0])
    text = replace(text, batch=replace(text.batch, words=((None, 0, 0, 1, None),)))
    assert text.units("word").units.tolist() == [[-1, 0, 0, 1, -1]]
    assert text.units("token").units.tolist() == [[-1, 0, 1, 2, -1]]


def test_a_data_set_that_is_missing_is_named(home):
    with pytest.raises(DataError, match="there is no file"):
        context_for(home, "random", FAST, data="jsonl:nowhere.jsonl")
