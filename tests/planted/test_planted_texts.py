"""Networks for texts whose decisive word is known: every family, every way a batch can be padded, every way a layer is named."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import bitlens
from bitlens.bottlenecks.groups import Samples
from bitlens.bottlenecks.input.texts import TokenInputIBA
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.cli import app
from bitlens.core.targets import Score, TextScore, as_target, last_token
from bitlens.data.tokenizing import HubTokenizer
from bitlens.errors import LayerError, ModelError, TargetError
from bitlens.explaining.layer_pictures import short_names
from bitlens.models.load_text import described, text_layers, word_embedding
from bitlens.models.loaded import Loaded
from bitlens.probe import Probe
from planted_texts import DECISIVE, FILLERS, PAD, SEP, WORDS, taught, texts, tokenizer, untaught

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")

_FAMILIES: dict[str, Loaded] = {}
BLOCK = "albert.encoder.albert_layer_groups.0.albert_layers.0"


def _family(name: str) -> Loaded:
    if name not in _FAMILIES:
        _FAMILIES[name] = taught(name)
    return _FAMILIES[name]


def _many(loaded: Loaded) -> list[Any]:
    return [loaded.tokenizer(texts(64, seed)[0]) for seed in (5, 6)]


def _places(batch: Any, words: list[int]) -> Tensor:
    """The position of the token of a word."""
    return torch.tensor([batch.words[row].index(word) for row, word in enumerate(words)])


@pytest.mark.parametrize("family", ["Albert", "XLNet", "GPT2", "Llama", "T5"])
def test_the_decisive_word_is_found(family: str) -> None:
    loaded = _family(family)
    written, words, _ = texts(16, 999, fewest=6, most=6)
    batch = loaded.tokenizer(written)
    places = _places(batch, words)
    iba = TokenIBA(loaded.model, loaded.embedding, precision="float32").fit_statistics(_many(loaded))
    found = iba.explain(batch)
    share = found.map[range(16), places] / found.map.sum(1)
    assert float((found.map.argmax(1) == places).float().mean()) >= 0.8
    assert float(share.mean()) > 0.25
    occlusion = bitlens.method("occlusion", loaded).explain(batch).map
    assert float((occlusion.argmax(1) == places).float().mean()) >= 0.6
    if family != "XLNet":  # whose gradients along the way from no embedding say little
        slopes = bitlens.method("integrated-gradients", loaded).explain(batch).map
        assert float((slopes.argmax(1) == places).float().mean()) >= 0.4  # by chance 0.17


@pytest.mark.parametrize(("family", "read"), [("Albert", 0), ("GPT2", -1), ("Llama", -1), ("XLNet", -1)])
def test_behind_the_last_layer_only_what_the_head_reads_counts(family: str, read: int) -> None:
    loaded = _family(family)
    batch = loaded.tokenizer(texts(8, 998, fewest=6, most=6)[0])
    layer = text_layers(loaded.model)[-1]
    iba = TokenIBA(loaded.model, layer, precision="float32").fit_statistics(_many(loaded))
    found = iba.explain(batch)
    assert iba.probe.mode == "replay"
    assert torch.equal(found.map.argmax(1), torch.full((8,), read % found.map.shape[1]))
    assert float((found.map[:, read] / found.map.sum(1)).min()) > 0.95
    assert found.evidence is not None
    assert float(found.evidence.under_noise.min()) > 0.9


def test_blocks_of_t5_are_layers_though_they_put_out_a_position_bias() -> None:
    loaded = _family("T5")
    assert text_layers(loaded.model) == tuple(f"encoder.encoder.block.{i}" for i in range(3))
    written, words, _ = texts(16, 997, fewest=6, most=6)
    batch = loaded.tokenizer(written)
    iba = TokenIBA(loaded.model, "encoder.encoder.block.0", precision="float32").fit_statistics(_many(loaded))
    found = iba.explain(batch)
    assert iba.probe.mode == "replay"
    assert float((found.map.argmax(1) == _places(batch, words)).float().mean()) >= 0.7


def test_a_layer_that_gives_no_vector_for_each_token() -> None:
    loaded = _family("Albert")
    with pytest.raises(LayerError, match="choose one that gives a vector for each token"):
        collect_token_statistics(loaded.model, ["albert.pooler"], _many(loaded))
    with pytest.raises(LayerError, match="choose one that gives a vector for each token"):
        TokenIBA(_Turned().eval(), "turn").fit_statistics(_many(loaded))


class _Turned(nn.Module):
    """Channels before tokens, as SqueezeBERT has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.turn, self.head = nn.Embedding(30, 6), nn.Conv1d(6, 6, 1), nn.Linear(6, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head((self.turn(self.embedding(input_ids).mT) * attention_mask[:, None]).mean(2))


class _Block(nn.Module):
    def __init__(self, *, leaks: bool) -> None:
        super().__init__()
        self.linear, self.leaks = nn.Linear(4, 4), leaks

    def forward(self, x: Tensor, mask: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        own = mask[:, None, :] * torch.ones(1, x.shape[1], 1) if bias is None else bias
        return self.linear(x), own + x.mean(2)[:, None] * 1e-3 if self.leaks else own


class _TwoOutputs(nn.Module):
    """Blocks that hand on a second tensor: where places are, or a little of what stands there."""

    def __init__(self, *, leaks: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 4)
        self.blocks = nn.ModuleList(_Block(leaks=leaks) for _ in range(2))
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x, bias = self.embedding(input_ids), None
        for block in self.blocks:
            x, bias = block(x, attention_mask.float(), bias)
        assert bias is not None
        return self.head((bias @ x).mean(1))


@pytest.mark.parametrize("leaks", [False, True])
def test_a_second_output_may_say_where_but_not_what(*, leaks: bool) -> None:
    model = _TwoOutputs(leaks=leaks).eval()
    given = {
        "input_ids": torch.tensor([[5, 6, 7, 8], [9, 5, 7, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
    }
    iba = TokenIBA(model, "blocks.0", precision="float32").fit_statistics([given])
    if leaks:
        with pytest.raises(LayerError, match="gives out several tensors that the network goes on to use"):
            iba.explain(given)
    else:
        assert iba.explain(given).map.shape == (2, 4)


# --- calls of one block are layers


def test_calls_are_layers() -> None:
    loaded = _family("Albert")
    layers = text_layers(loaded.model)
    assert [layer.partition("#")[2] for layer in layers] == ["0", "1", "2"]
    assert loaded.layer == layers[2]
    batch, many = loaded.tokenizer(texts(4, 1)[0]), _many(loaded)
    maps = {}
    for call in range(3):
        named = TokenIBA(loaded.model, f"{BLOCK}#{call}", precision="float32").fit_statistics(many).explain(batch)
        told = TokenIBA(loaded.model, BLOCK, call=call, precision="float32").fit_statistics(many).explain(batch)
        assert torch.equal(named.map, told.map)
        assert named.layer == f"{BLOCK}#{call}"
        maps[call] = named.map
    assert not torch.allclose(maps[0], maps[1], rtol=0.1)
    known = collect_token_statistics(loaded.model, [f"{BLOCK}#{call}" for call in range(3)], many)
    alone = [collect_token_statistics(loaded.model, [BLOCK], many, call=call)[BLOCK] for call in range(3)]
    for call in range(3):
        assert known[f"{BLOCK}#{call}"].fingerprint == alone[call].fingerprint


@pytest.mark.parametrize(
    ("layer", "call", "says"),
    [
        (BLOCK, None, rf"is called 3 times .* by name {BLOCK}#0 to {BLOCK}#2"),
        (f"{BLOCK}#3", None, "call=3, but .* is called 3 time"),
        (f"{BLOCK}#1", 2, "name different calls"),
        (f"{BLOCK}#x", None, "has no layer"),
        ("nothing#1", None, "has no layer 'nothing'"),
        ("classifier#1", None, "called 1 time"),
    ],
)
def test_calls_that_are_none(layer: str, call: int | None, says: str) -> None:
    with pytest.raises(LayerError, match=says):
        Probe(_family("Albert").model, layer, call=call).record(_family("Albert").tokenizer(["the film"]).inputs)


def test_a_layer_of_several_calls_is_none_of_the_deeper_ones() -> None:
    with pytest.raises(LayerError, match="deeper holds one of several calls"):
        TokenIBA(_family("Albert").model, f"{BLOCK}#0", deeper=[f"{BLOCK}#1"])


class _Looped(nn.Module):
    """A block of its own that is called for every layer, without a list and without a configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS) + 5, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        for _ in range(4):
            x = x + self.block(x)
        return self.head((x * attention_mask[..., None]).sum(1))


def test_blocks_that_are_shared_without_a_list() -> None:
    assert text_layers(_Looped()) == ("block#0", "block#1", "block#2", "block#3")
    groups = untaught("Albert", num_hidden_layers=4, num_hidden_groups=2)
    assert [name[-3:] for name in text_layers(groups)] == ["0#0", "0#1", "1#0", "1#1"]


def test_the_explainer_and_the_default_layer() -> None:
    loaded = _family("Albert")
    written, _, labels = texts(40, 3)
    explainer = bitlens.Explainer(loaded.model, loaded.tokenizer, layer=f"{BLOCK}#1", precision="float32").learn(
        written
    )
    found = explainer(written[0])
    assert found.attribution.layer == f"{BLOCK}#1"
    assert found.prediction == f"LABEL_{labels[0]}"
    six = described(untaught("Albert", num_hidden_layers=6), tokenizer(special=True))
    usual = bitlens.Explainer(six, precision="float32").learn(written)
    assert usual.method.layers == text_layers(six.model)[:4]
    assert usual(written[0]).attribution.total_bits is not None


@pytest.fixture
def albert_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    loaded = _family("Albert")
    torch.save(loaded.model.state_dict(), tmp_path / "w.pt")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom planted_texts import tokenizer, untaught\n"
        "def build():\n    model = untaught('Albert')\n    model.load_state_dict(torch.load('w.pt'))\n"
        "    return model, tokenizer(special=True)\n"
    )
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(*texts(60, 4)[::2], strict=True)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    return f"{tmp_path}/net.py:build"


def test_the_command_line_takes_calls(albert_file: str, tmp_path: Path) -> None:
    source = ["--model", albert_file, "--statistics-from", f"jsonl:{tmp_path}/texts.jsonl"]
    done = CliRunner().invoke(
        app, ["text", "explain", "the film was great", *source, "--layer", f"{BLOCK}#1", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["layer"] == f"{BLOCK}#1"
    more = ["--betas", "1", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["text", "layers", "the film was great", *source, *more])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["layer"] for row in rows] == list(text_layers(_family("Albert").model))
    assert len({row["total_bits"] for row in rows}) == 3
    assert short_names([row["layer"] for row in rows]) == ["layer 1", "layer 2", "layer 3"]
    assert short_names(["g.0#0", "g.1#0", "embedding"]) == ["g.0#0", "g.1#0", "embedding"]


# --- padding


def _left(inputs: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    fill = {"input_ids": PAD, "special_tokens_mask": 1}
    return {name: nn.functional.pad(value, (count, 0), value=fill.get(name, 0)) for name, value in inputs.items()}


def _given(loaded: Loaded, text: str, *, positions: bool) -> dict[str, Tensor]:
    inputs = dict(loaded.tokenizer([text]).inputs)
    return {**inputs, "position_ids": torch.arange(inputs["input_ids"].shape[1])[None]} if positions else inputs


@pytest.mark.parametrize(("family", "positions"), [("Llama", False), ("GPT2", True)])
@pytest.mark.parametrize("where", ["embedding", "layer"])
def test_padding_on_the_left_changes_nothing(family: str, where: str, *, positions: bool) -> None:
    loaded = _family(family)
    layer = loaded.embedding if where == "embedding" else text_layers(loaded.model)[1]
    statistics = collect_token_statistics(loaded.model, [layer], _many(loaded))[layer]
    iba = TokenIBA(loaded.model, layer, statistics=statistics, precision="float32", mask="unit")
    short, long = (
        _given(loaded, text, positions=positions) for text in ("the great film", " ".join(FILLERS[:9]) + " awful")
    )
    more = long["input_ids"].shape[1] - 3
    padded = _left(short, more)
    both = {name: torch.cat([padded[name], long[name]]) for name in short}
    single, other = iba.explain(short), iba.explain(long)
    for found, row in ((iba.explain(padded), 0), (iba.explain(both), 0)):
        assert not found.map[row, :more].any()
        torch.testing.assert_close(found.map[row, more:], single.map[0], rtol=1e-3, atol=1e-4)
        assert single.evidence is not None
        assert found.evidence is not None
        torch.testing.assert_close(found.evidence.under_noise[:1], single.evidence.under_noise, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(iba.explain(both).map[1], other.map[0], rtol=1e-3, atol=1e-4)


def test_several_layers_with_one_mask_and_padding_on_the_left() -> None:
    loaded = _family("Llama")
    layer, *deeper = (loaded.embedding, *text_layers(loaded.model)[:2])
    iba = TokenIBA(loaded.model, layer, deeper=deeper, precision="float32").fit_statistics(_many(loaded))
    short = _given(loaded, "the great film was so very long", positions=False)
    single, padded = iba.explain(short), iba.explain(_left(short, 4))
    torch.testing.assert_close(padded.map[0, 4:], single.map[0], rtol=1e-3, atol=1e-4)


def test_statistics_of_texts_padded_on_the_left_are_the_same() -> None:
    loaded = _family("Llama")
    batch = dict(loaded.tokenizer(texts(8, 7, fewest=6, most=6)[0]).inputs)
    layer = text_layers(loaded.model)[1]
    right, left = (
        collect_token_statistics(loaded.model, [layer], [given])[layer] for given in (batch, _left(batch, 4))
    )
    torch.testing.assert_close(left.groups[-1].mean, right.groups[-1].mean, rtol=1e-4, atol=1e-5)
    assert left.groups[-1].observations == right.groups[-1].observations == 48


def test_the_bottleneck_at_the_embedding_of_texts_padded_on_the_left() -> None:
    loaded = _family("Llama")
    iba = TokenInputIBA(loaded.model, text_layers(loaded.model)[1], loaded.embedding, precision="float32")
    iba.fit_statistics(_many(loaded))
    short = _given(loaded, "the great film was so very long", positions=False)
    single, padded = iba.explain(short), iba.explain(_left(short, 5))
    torch.testing.assert_close(padded.map[0, 5:], single.map[0], rtol=5e-3, atol=1e-3 * float(single.map.max()))


def test_batches_of_as_many_texts_as_tokens_have_the_right_statistics() -> None:
    loaded = _family("XLNet")  # tokens first: (T, N, D)
    batch = dict(loaded.tokenizer(texts(6, 8, fewest=6, most=6)[0]).inputs)
    assert batch["input_ids"].shape == (6, 6)
    batch["attention_mask"] = batch["attention_mask"].clone()
    batch["attention_mask"][0, 3:] = 0
    layer = text_layers(loaded.model)[1]
    whole = collect_token_statistics(loaded.model, [layer], [batch])[layer]
    rows: TokenStatistics | None = None
    for row in range(6):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        own = collect_token_statistics(loaded.model, [layer], [one])[layer]
        rows = own if rows is None else rows.merge(own)
    assert rows is not None
    torch.testing.assert_close(whole.groups[-1].mean, rows.groups[-1].mean, rtol=1e-4, atol=1e-5)


def test_texts_of_a_network_that_reads_padding_share_no_pass_with_longer_ones() -> None:
    loaded = _family("XLNet")  # whose head reads the last position, whatever stands there
    written = ["the great film", "the story is so very long and awful", "an awful plot"]
    for layer in text_layers(loaded.model)[1:]:
        iba = TokenIBA(loaded.model, layer, precision="float32").fit_statistics(_many(loaded))
        together = iba.explain(loaded.tokenizer(written))
        for row, text in enumerate(written):
            alone = iba.explain(loaded.tokenizer([text]))
            length = alone.map.shape[1]
            torch.testing.assert_close(together.map[row, :length], alone.map[0], rtol=1e-3, atol=1e-4)
            assert not together.map[row, length:].any()
            assert float(alone.map.sum()) > 1
    others = loaded.tokenizer(written)
    usual = _family("T5")
    assert not TokenIBA(usual.model, "encoder.encoder.block.0").reads_padding(Samples.of_texts(others))


# --- causal language models: what stands at the last token


def _language_model() -> Loaded:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=len(WORDS) + 5, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=None, eos_token_id=SEP,
        pad_token_id=PAD, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return described(transformers.GPT2LMHeadModel(config).eval(), tokenizer(), "lm")


def _says_great(output: Any, last: Tensor) -> Tensor:
    word = 4 + WORDS.index(DECISIVE[1])
    rows = torch.arange(len(last))
    return output.logits.log_softmax(-1)[rows, last, word]


def test_a_target_is_told_where_each_text_ends() -> None:
    loaded = _language_model()
    written = ["the film was so", "a", "it is a very long story and the plot"]
    whole = loaded.tokenizer(written)
    layer = loaded.embedding
    statistics = collect_token_statistics(loaded.model, [layer], _many(loaded))[layer]
    iba = TokenIBA(loaded.model, layer, statistics=statistics, precision="float32")
    methods = [iba, *(bitlens.method(name, loaded) for name in ("occlusion", "integrated-gradients"))]
    for method in methods:
        together = method.explain(whole, _says_great)
        for row, text in enumerate(written):
            one = loaded.tokenizer([text])
            alone = method.explain(one, _says_great).map[0]
            torch.testing.assert_close(together.map[row, : len(alone)], alone, rtol=1e-3, atol=1e-4)
            at_end = method.explain(one, lambda output: _says_great(output, torch.tensor([-1] * len(output.logits))))
            if method is not methods[1]:  # without its only token a text is padding
                torch.testing.assert_close(at_end.map[0], alone, rtol=1e-3, atol=1e-4)
    assert float(iba.explain(whole, _says_great).map.sum()) > 1


def test_which_callables_are_told() -> None:
    output, last = torch.arange(12.0).reshape(2, 6), torch.tensor([2, 5])
    told = as_target(lambda output, last: output[torch.arange(len(last)), last], output, 2, last=last)
    assert isinstance(told, TextScore)
    assert told.value(output).tolist() == [2, 11]
    assert told.value(torch.cat([output, output + 1])).tolist() == [2, 11, 3, 12]
    assert told.select(torch.tensor([1])).value(output[1:]).tolist() == [11]
    for alone in (lambda output: output[:, 0], lambda output, column=0: output[:, column], nn.Flatten(0)):
        assert type(as_target(alone, output, 2, last=last)) is Score
    with pytest.raises(TargetError, match="the inputs are no texts"):
        as_target(lambda output, last: output[:, 0] + last, output, 2).value(output)
    assert last_token(torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0]]).bool()).tolist() == [1, 2, 0]


# --- networks that come without a padding token


def test_a_network_of_ones_own_without_padding_says_what_to_set() -> None:
    model, own = untaught("GPT2", pad_token_id=None), tokenizer(padding=False)
    with pytest.raises(ModelError, match=r"tokenizer\.pad_token = .* and model\.config\.pad_token_id = ") as caught:
        bitlens.Explainer(model, own)
    own.pad_token = own.eos_token
    model.config.pad_token_id = own.pad_token_id
    assert "GPT2ForSequenceClassification" in str(caught.value)
    explainer = bitlens.Explainer(model, own, precision="float32").learn(texts(40, 1)[0])
    assert len(explainer("the film was great").tokens) == 4
    assert len(explainer(["the film was great", "awful"])) == 2


def test_a_network_by_name_without_padding_is_given_one(tmp_path: Path) -> None:
    untaught("GPT2", pad_token_id=None).save_pretrained(tmp_path)
    tokenizer(padding=False).save_pretrained(tmp_path)
    explainer = bitlens.Explainer(str(tmp_path), precision="float32").learn(texts(40, 1)[0])
    single, both = (
        explainer("the film was great"),
        explainer(["the film was great", "awful so very long and short story"]),
    )
    assert [word.value for word in both[0].words] == pytest.approx([word.value for word in single.words], rel=1e-3)


def test_several_texts_with_a_tokenizer_that_cannot_pad() -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.pad_token = .* and model\.config\.pad_token_id = "):
        HubTokenizer(tokenizer(padding=False), 32)(["the film", "a"])


# --- decoders keep no cache


@pytest.mark.parametrize("family", ["GPT2", "Llama"])
def test_decoders_replay_and_their_settings_come_back(family: str) -> None:
    model = untaught(family)
    inner: Any = nn.Module()
    inner.network = model  # one that calls a decoder, and does not pass on what it is called with
    inner.forward = lambda input_ids, attention_mask: model(input_ids=input_ids, attention_mask=attention_mask).logits
    given = dict(tokenizer()(["the film was so great"], return_tensors="pt"))
    for network, prefix in ((model, ""), (inner, "network.")):
        network.eval()
        probe = Probe(network, prefix + text_layers(model)[1])
        probe.record(given)  # a warning would be an error here
        assert probe.mode == "replay"
        assert model.config.use_cache is True


# --- words, embeddings, pipelines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the film was great", ["the", "film", "was", "great"]),
        ("  the  film\nwas\t great ", ["the", "film", "was", "great"]),
        ("great", ["great"]),
        ("the unknownword film", ["the", "unknownword", "film"]),
    ],
)
def test_words_of_a_tokenizer_without_pre_tokenizer(text: str, words: list[str]) -> None:
    own = tokenizer(spaces=False)
    assert len(set(own(text).encodings[0].word_ids)) == 1  # which takes all for one word
    batch = HubTokenizer(own, 32)([text])
    assert [text[slice(*word.span)] for word in batch.words_of(0)] == words
    assert sorted(p for word in batch.words_of(0) for p in word.tokens) == batch.real[0].nonzero().flatten().tolist()


def test_words_of_pairs_and_of_scripts_without_spaces() -> None:
    import transformers
    from tokenizers import Tokenizer, models, normalizers

    own = Tokenizer(
        models.Unigram([("[UNK]", -9.0), *((w, -1.0) for w in ("▁", "我", "喜欢", "电影", "▁ok", "of▁the"))], 0)
    )
    own.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    hub = HubTokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=own, unk_token="[UNK]"), 32)
    batch = hub(["我喜欢电影", "of the ok"][:1])
    assert [batch.texts[0][slice(*word.span)] for word in batch.words_of(0)] == ["我", "喜欢", "电影"]
    batch = hub(["ok of the"])
    assert [batch.texts[0][slice(*word.span)] for word in batch.words_of(0)] == ["ok", "of the"]
    batch = hub(["ok 喜欢"], ["电影 ok"])
    assert [batch.texts[0][slice(*word.span)] for word in batch.words_of(0)] == ["ok", "喜欢", "电影", "ok"]


class _Misleading(nn.Module):
    """Reads words with a small table, and has a larger one for places; `said` is what it says of itself."""

    def __init__(self, *, shifted: bool = False) -> None:
        super().__init__()
        self.places = nn.Embedding(500, 4)
        self.kinds = nn.Embedding(600, 4)
        self.words = nn.Embedding(40, 4)
        self.head = nn.Linear(4, 2)
        self.shifted = shifted

    def get_input_embeddings(self) -> nn.Module:
        return self.places

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        here = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        ids = input_ids + 1 if self.shifted else input_ids
        x = self.places(here) + self.kinds(torch.zeros_like(here)) + self.words(ids)
        return self.head((x * attention_mask[..., None]).mean(1))


@pytest.mark.parametrize("shifted", [False, True])
def test_the_word_embedding_is_what_reads_the_ids(*, shifted: bool) -> None:
    assert word_embedding(_Misleading(shifted=shifted)) == "words"
    model = copy.deepcopy(_family("Llama").model)
    model.get_input_embeddings = lambda: None  # type: ignore[method-assign]
    assert word_embedding(model) == "model.embed_tokens"


def test_a_pipeline_is_explained_by_its_network_and_tokenizer() -> None:
    import transformers

    loaded = _family("Albert")
    own: Any = loaded.tokenizer
    pipeline = transformers.pipeline("text-classification", model=loaded.model, tokenizer=own.tokenizer, device="cpu")
    explainer = bitlens.Explainer(pipeline, precision="float32").learn(texts(40, 1)[0])
    found = explainer("the film was so great")
    assert found.prediction == pipeline("the film was so great")[0]["label"]
    assert found.probability == pytest.approx(pipeline("the film was so great")[0]["score"], abs=1e-4)
    pipeline.task = "token-classification"
    with pytest.raises(ModelError, match="for token-classification is no text classifier"):
        bitlens.Explainer(pipeline)
    with pytest.raises(ModelError, match="dict is no text classifier"):
        bitlens.Explainer({})


class _Particular(nn.Module):
    """A network that must be told kinds of tokens too."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.words = nn.Embedding(900, 4), nn.Embedding(40, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return ((self.words(input_ids) + self.rows(token_type_ids)) * attention_mask[..., None]).mean(1)


def test_a_network_that_must_be_told_kinds_of_tokens() -> None:
    assert word_embedding(_Particular()) == "words"


def test_layers_in_lists_of_lists() -> None:
    import transformers

    config = transformers.FunnelConfig(
        vocab_size=30, num_labels=2, block_sizes=[2, 2], d_model=16, n_head=2, d_head=8, d_inner=32
    )
    layers = text_layers(transformers.FunnelForSequenceClassification(config))
    assert layers == tuple(f"funnel.encoder.blocks.{i}.{j}" for i in range(2) for j in range(2))
