"""The bundled network for texts: its weights, its batches, the places where it can be restricted, its training."""

import json

import pytest
import torch
from torch import nn

from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.targets import logits_of
from bitlens.data.texts import open_texts
from bitlens.errors import ModelError
from bitlens.models.builtin import BUILTIN_TEXT
from bitlens.models.builtin import reviews as module
from bitlens.models.builtin.reviews import FEATURES, LAYERS, ReviewNetwork, bundled_statistics, reviews
from bitlens.probe import Probe
from bitlens.probe.fingerprint import weights_hash
from train_reviews import Example, accuracy, batches, encode, main

SAMPLES = open_texts("builtin:reviews")
TEXTS = [sample.text for sample in SAMPLES]


@pytest.fixture(scope="module")
def trained():
    return reviews()


def test_it_knows_most_bundled_reviews(trained):
    network, tokenizer = trained
    said = logits_of(network(**tokenizer(TEXTS).inputs)).argmax(1)
    labels = torch.tensor([sample.label for sample in SAMPLES])
    assert (said == labels).double().mean() > 0.8
    assert len(BUILTIN_TEXT["reviews"].classes) == 2


def test_it_fits_into_three_megabytes():
    files = [module.WEIGHTS, module.VOCABULARY, *module.STATISTICS.glob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) < 3 * 2**20


def test_texts_in_a_batch_are_what_they_are_alone(trained):
    network, tokenizer = trained
    together = network(**tokenizer(TEXTS[:8]).inputs)
    alone = torch.cat([network(**tokenizer([text]).inputs) for text in TEXTS[:8]])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_the_state_that_counts_is_the_one_at_the_last_word(trained):
    network, tokenizer = trained
    inputs = tokenizer([TEXTS[0]]).inputs
    changed = inputs["input_ids"].clone()
    changed[0, -1] = tokenizer.mask_id
    assert network(changed) != network(inputs["input_ids"])
    longer = torch.cat(
        [inputs["input_ids"], torch.tensor([[7, 8]])], 1
    )  # words, but the mask says that they are padding
    mask = torch.cat([inputs["attention_mask"], torch.zeros(1, 2, dtype=torch.long)], 1)
    torch.testing.assert_close(network(longer, mask), network(**inputs))


def test_a_text_without_words_gets_the_bias(trained):
    network, _ = trained
    empty = torch.zeros(2, 3, dtype=torch.long)
    torch.testing.assert_close(network(empty, empty), network.linear.bias.expand(2, 1))


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_passes_a_layer_by(trained, layer):
    """Without the layer's output, texts of one length cannot be told apart: no LSTM state goes round it."""
    network, tokenizer = trained
    recording = Probe(network, layer).record(tokenizer(["a warm and funny film", "the plot is very boring"]).inputs)
    with recording.suffix() as run, torch.no_grad():
        torch.testing.assert_close(run(recording.features), recording.output)
        first, second = run(torch.zeros_like(recording.features))
        swapped = run(recording.features.flip(0))
    assert (recording.output[0] - recording.output[1]).abs() > 0.5
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(swapped, recording.output.flip(0))


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_every_word_reaches_the_answer(trained, layer):
    network, tokenizer = trained
    recording = Probe(network, layer).record(tokenizer(["a warm and funny film"]).inputs)
    with recording.suffix() as run, torch.no_grad():
        for word in range(5):
            changed = recording.features.clone()
            changed[:, word] += 1.0
            assert (run(changed) - recording.output).abs() > 1e-4


def test_behind_the_last_lstm_only_the_last_word_is_read(trained):
    network, tokenizer = trained
    recording = Probe(network, "rnn_4").record(tokenizer([TEXTS[0]]).inputs)
    z = torch.zeros_like(recording.features)
    z[:, -1] = recording.features[:, -1]
    with recording.suffix() as run, torch.no_grad():
        torch.testing.assert_close(run(z), recording.output)


def test_its_statistics_belong_to_its_weights(trained):
    network, tokenizer = trained
    statistics = bundled_statistics()
    assert set(statistics) == set(LAYERS)
    assert {one.provenance.weights for one in statistics.values()} == {weights_hash(network)}
    iba = TokenIBA(network, FEATURES, statistics=statistics[FEATURES], steps=3)
    found = iba.explain(tokenizer(TEXTS[:3]), evidence_samples=4)
    assert (found.map.shape[0], found.unit) == (3, "bits/token")


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"none\.safetensors .*train_reviews"):
        reviews()


def test_batches_for_training_hold_every_text_once():
    examples = [Example(list(range(2, 3 + n)), n % 2) for n in range(40)]
    found = [
        (row[row != 0].tolist(), int(label))
        for ids, labels in batches(examples, 25, None)
        for row, label in zip(ids, labels, strict=True)
    ]
    assert sorted(found) == sorted((example.ids[:25], example.label) for example in examples)


def test_training_learns_two_words_and_writes_all_files(tmp_path, monkeypatch, capsys):
    lines = [
        json.dumps({"text": f"{word} film number {n}", "label": label})
        for n in range(160)
        for label, word in enumerate(("bad", "good"))
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), "utf-8")
    spec = f"jsonl:{tmp_path}/t.jsonl"
    sizes = ["--words", "20", "--width", "8", "--hidden", "8", "--epochs", "12"]
    monkeypatch.setattr("train_reviews.TOKENS_AT_ONCE", 100)
    monkeypatch.setattr("sys.argv", ["train", "--data", spec, "--test", spec, "--out", str(tmp_path), *sizes])
    main()
    assert "held out" in capsys.readouterr().out
    for name in ("WEIGHTS", "VOCABULARY", "STATISTICS"):
        monkeypatch.setattr(module, name, tmp_path / getattr(module, name).name)
    network, tokenizer = reviews()
    assert isinstance(network, ReviewNetwork)
    assert accuracy(network, encode(open_texts(spec), tokenizer.vocabulary)) > 0.95
    assert bundled_statistics()["rnn_1"].provenance.weights == weights_hash(network)
    assert not any(isinstance(m, nn.Dropout) and m.training for m in network.modules())
