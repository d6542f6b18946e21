"""The explainer of texts."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import nn

from bitlens.bottlenecks.layered import LayeredTokenIBA
from bitlens.core.told import BYPASSED
from bitlens.data.texts import open_texts
from bitlens.data.words import WordTokenizer
from bitlens.errors import LayerError, ModelError, SettingError, TargetError
from bitlens.explaining.explainer import Explainer
from bitlens.explaining.text_page import page
from bitlens.methods.lessons import TOKEN_STATISTICS, token_batches
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.load import load_model

TEXT = "It starts well,\nbut the second half is slow and badly written."
QUICK = {"steps": 3, "noise_samples": 2}


@pytest.fixture(scope="module")
def explainer():
    return Explainer("builtin/reviews", **QUICK)


class Bag(nn.Module):
    """Log-odds from the words' mean."""

    def __init__(self):
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask):
        mixed = self.mix(self.words(input_ids)) * attention_mask[..., None]
        return self.head(mixed.sum(1) / attention_mask.sum(1, keepdim=True))


@pytest.fixture
def own():
    return Bag().eval(), WordTokenizer(["<pad>", "<unk>", "good", "bad", "film", "a"], 8)


def test_one_text(explainer):
    found = explainer(TEXT)
    assert found.text == TEXT
    assert [word.text for word in found.words][:4] == ["It", "starts", "well", ","]
    assert (found.prediction, found.target, found.unit) == ("negative", "negative", "bits")
    assert found.probability == pytest.approx(float(found.attribution.evidence.before[0]), abs=1e-5)
    assert sum(word.value for word in found.words) == pytest.approx(float(found.attribution.total_bits[0]), rel=1e-4)
    assert max(found.words, key=lambda word: word.value).text == "badly"
    assert len(found.tokens) == len(found.values) == len(found.spans)


def test_texts_of_different_lengths_are_what_they_are_alone():
    explainer = Explainer("builtin/reviews", beta=0.1, **QUICK)
    texts = [TEXT, "A warm, funny film.", "Awful."]
    together, alone = explainer(texts), [explainer(text) for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.words[0].text == other.words[0].text
        torch.testing.assert_close(torch.tensor(one.values), torch.tensor(other.values), rtol=1e-3, atol=1e-4)


def test_targets_by_name_index_and_for_each_text(explainer):
    assert explainer(TEXT, target="positive").target == explainer(TEXT, target=1).target == "positive"
    assert [found.target for found in explainer([TEXT, TEXT], target=["positive", "negative"])] == [
        "positive",
        "negative",
    ]
    scored = explainer(TEXT, target=lambda output: output[:, 0])
    assert (scored.prediction, scored.probability) == ("", None)
    with pytest.raises(TargetError, match="mixed"):
        explainer(TEXT, target="mixed")


def test_both_targets_of_one_logit_are_handled(explainer):
    """The negative class is the positive one with its sign turned."""
    positive = Explainer("builtin/reviews", method="gradient-x-input")(TEXT, target="positive")
    negative = Explainer("builtin/reviews", method="gradient-x-input")(TEXT, target="negative")
    torch.testing.assert_close(torch.tensor(positive.values), -torch.tensor(negative.values))
    before = [explainer(TEXT, target=name).attribution.evidence.before for name in ("positive", "negative")]
    torch.testing.assert_close(sum(before), torch.ones(1))


def test_an_allowed_bypass_stands_below_the_text(explainer):
    one = explainer(TEXT)
    assert BYPASSED not in one.html()
    found = replace(one.attribution, evidence=replace(one.attribution.evidence, bypass_allowed=True))
    assert BYPASSED in replace(one, attribution=found).html()


def test_what_machines_get(explainer):
    found = json.loads(json.dumps(explainer(TEXT).as_dict()))
    assert found["words"][1] == {"word": "starts", "value": pytest.approx(found["tokens"][1]["value"]), "span": [3, 9]}
    assert found["tokens"][1]["word"] == 1
    assert {"prediction", "target", "method", "layer", "unit", "total_bits", "probability_under_noise"} <= found.keys()


def test_what_people_get(explainer, capsys):
    found = explainer(TEXT)
    for html in (found.html(), found._repr_html_(), page([found, found], "Two", same_scale=True)):
        assert "badly" in html
        assert "iba at embedding" in html
    console = Console(file=io.StringIO(), width=200)
    console.print(found)
    assert console.file.getvalue().startswith("negative, p = ")
    found.print()
    assert "bits of each word" in capsys.readouterr().out
    asked = explainer(TEXT, target="positive").shaded().title
    assert asked.startswith("positive? (negative, p = ")


def test_other_methods(explainer):
    assert explainer(TEXT).attribution.method == "token-iba"
    lime = Explainer("builtin/reviews", method="lime", seed=1)(TEXT)
    assert (lime.unit, lime.attribution.method) == ("score", "lime")
    assert lime.shaded().scale.signed
    assert Explainer("builtin/reviews", method="iba", **QUICK)(TEXT).attribution.method == "iba"
    with pytest.raises(SettingError, match="no method 'limes'"):
        Explainer("builtin/reviews", method="limes")


def test_your_own_network_may_learn_first(own):
    explainer = Explainer(*own, layer="mix", classes=["no", "maybe", "yes"], **QUICK)
    assert not explainer.ready
    assert "drawn from the vocabulary" in explainer("a good film").attribution.settings["statistics_data"]
    explainer = Explainer(*own, layer="mix", classes=["no", "maybe", "yes"], **QUICK)
    assert explainer.learn(["a good film", "a bad film"] * 200, data="made up").ready
    found = explainer(["a good film", "bad"])
    assert found[0].prediction in ("no", "maybe", "yes")
    assert found[0].attribution.settings["statistics_data"] == "made up"


def test_a_pair_of_texts_in_a_network_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)
    model = transformers.BertForSequenceClassification(config).eval()
    explainer = Explainer(model, transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt")), **QUICK)
    explainer.learn(["a good film", "bad films"] * 200)
    found = explainer("good films", "a film")
    assert found.text == "good films\na film"
    assert [word.text for word in found.words] == ["good", "films", "a", "film"]
    assert found.words[1].value == pytest.approx(found.values[2] + found.values[3])
    assert found.special == pytest.approx(found.values[0] + found.values[4] + found.values[7])
    assert any("on special tokens" in note for note in found.shaded().notes)
    assert found.target in ("LABEL_0", "LABEL_1")
    masked = Explainer(explainer.loaded, method="input-iba", statistics=None, **QUICK)
    masked.learn(["a good film", "bad films"] * 200)
    mask = masked("good films", "a film")
    assert (mask.unit, mask.attribution.layer) == ("mask", "bert.embeddings.word_embeddings")
    assert mask.words[1].value == pytest.approx((mask.values[2] + mask.values[3]) / 2)
    assert mask.special == pytest.approx(float(mask.attribution.cells[0, [0, 4, 7]].sum()))
    several = explainer(["good", "good films"], ["bad", "a film"])
    torch.testing.assert_close(torch.tensor(several[1].values), torch.tensor(found.values), rtol=1e-3, atol=1e-4)


def test_mistakes_in_what_is_given(own):
    model, tokenizer = own
    with pytest.raises(ModelError, match="comes without a tokenizer"):
        Explainer(model)
    with pytest.raises(ModelError, match="leave out the other"):
        Explainer("builtin/reviews", tokenizer)
    with pytest.raises(LayerError, match="no layer that suits by default"):
        Explainer(model, tokenizer)


def test_the_network_is_left_as_it_was(explainer):
    model = explainer.loaded.model
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    explainer(TEXT)
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module.training for module in model.modules())


def taught(loaded, samples, *layers, progress=lambda _: None):
    """The statistics of layers, and the files in which they are kept."""
    bottleneck = LayeredTokenIBA(loaded.model, layers)
    places = Teacher(loaded, Source("some", samples, 64), progress=progress).teach(TOKEN_STATISTICS, bottleneck)
    return bottleneck.statistics, dict(zip(layers, places, strict=True))


def test_statistics_are_kept_for_the_same_texts_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path))
    loaded = load_model("builtin/reviews")
    samples = open_texts("builtin:reviews")
    seen = []
    first, places = taught(loaded, samples, "rnn_1", progress=seen.append)
    assert seen[-1] == 64
    again, there = taught(loaded, samples, "rnn_1", "rnn_2")
    assert there["rnn_1"] == places["rnn_1"]
    assert again["rnn_1"].fingerprint == first["rnn_1"].fingerprint
    assert first["rnn_1"].provenance.data == "some (64 texts)"
    places["rnn_1"].write_bytes(b"damaged")
    assert taught(loaded, samples, "rnn_1")[0]["rnn_1"].fingerprint == first["rnn_1"].fingerprint
    assert taught(loaded, samples[1:], "rnn_1")[1] != places


def test_batches_keep_the_order():
    loaded = load_model("builtin/reviews")
    samples = open_texts("builtin:reviews")[:7]
    texts = [text for batch in token_batches(samples, loaded, 3) for text in batch.texts]
    assert texts == [sample.text for sample in samples]


def test_the_curve_and_the_spread_are_shown_word_by_word():
    explainer = Explainer("builtin/reviews", keep=0.9, **QUICK)
    found = explainer(TEXT, curve=True, spread=2)
    curve, over = found.attribution.curve, found.attribution.spread
    shown, differs = found.passages()
    told = found.as_dict()
    assert len(told["curve"]) == 8
    for point, bits in zip(told["curve"], curve.bits[0].tolist(), strict=True):
        assert sum(point["tokens"]) == pytest.approx(bits, rel=1e-4)  # of every token, special ones included
    steps = [sum(piece.value or 0.0 for piece in one.pieces) for one in shown.curve]
    assert steps == sorted(steps)
    assert len({one.scale for one in shown.curve}) == 1  # so that levels can be compared
    assert told["spread"] == pytest.approx(over.std[0].tolist())
    assert [piece.value for piece in differs.pieces if piece.value is not None] == pytest.approx(told["spread"])
    console = Console(file=io.StringIO(), width=300)
    console.print(found)
    printed, html = console.file.getvalue(), found.html()
    for said in (shown.curve[0].title, shown.curve[-1].title, "standard deviation over 2 seeds", "2 seeds agree on"):
        assert said in printed
        assert said in html
    assert html.count("How few bits until the decision goes?") == 1
    assert "How few bits" not in explainer("Awful.").html()  # nobody asked


def test_a_curve_of_several_layers_is_their_mean():
    bag = Explainer("builtin/reviews", method="token-iba", keep=0.9, layer="embedding+rnn_1", **QUICK).method
    assert isinstance(bag, LayeredTokenIBA)
    batch = Explainer("builtin/reviews").loaded.tokenizer([TEXT])
    together = bag.explain(batch, curve=True).curve
    alone = [part.explain(batch, curve=True).curve for part in bag.parts]
    for name in ("kept", "bits", "maps"):
        mean = torch.stack([getattr(one, name) for one in alone]).mean(0)
        torch.testing.assert_close(getattr(together, name), mean, rtol=1e-4, atol=1e-3)


def test_what_a_method_cannot_find_is_refused():
    with pytest.raises(SettingError, match="'curve': it is of bottlenecks"):
        Explainer("builtin/reviews", method="occlusion")(TEXT, curve=True)
