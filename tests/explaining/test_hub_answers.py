"""Answers of networks of transformers: conversations by a chat's template, and decoders beside an encoder."""

import json

import pytest
import torch

from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.inputs import ModelInputs
from bitlens.core.spans import Span
from bitlens.errors import InputError, ModelError
from bitlens.explaining.answers import AnswerExplainer
from bitlens.models.load_language import load_language_model

transformers = pytest.importorskip("transformers")

WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<|a|>",
    "<|b|>",
    "system",
    "user",
    "assistant",
    *"abcdefghijklmnop",
    ".",
    "?",
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|a|>{{ m.role }} {{ m.content }}<|b|>{% endfor %}"
    "{% if add_generation_prompt %}<|a|>assistant {% endif %}"
)
CONVERSATION = [
    {"role": "system", "content": "a b."},
    {"role": "user", "content": "c d?"},
    {"role": "assistant", "content": "e f."},
    {"role": "user", "content": "g h?"},
]


def tokenizer(*, template=None, begins=False, ends=False):
    """Words of one letter; marks of a template in pieces of their own."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    frame = [*["<s>"] * begins, "$A", *["</s>"] * ends]
    made.post_processor = processors.TemplateProcessing(
        single=" ".join(frame), special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    made.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>", "<|a|>", "<|b|>"])
    own = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    own.chat_template = template
    return own


def decoder():
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.5}
    config = transformers.GPT2Config(**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return transformers.GPT2LMHeadModel(config).eval()


def t5():
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = transformers.T5Config(**sizes, initializer_factor=1.0, decoder_start_token_id=0, eos_token_id=2)
    return transformers.T5ForConditionalGeneration(config).eval()


def bart():
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2}
    sizes |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "init_std": 0.5}
    ids = {
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }
    return transformers.BartForConditionalGeneration(
        transformers.BartConfig(vocab_size=len(WORDS), **sizes, **ids)
    ).eval()


def test_each_message_is_a_source_and_the_marks_of_the_template_stand_as_they_are():
    explainer = AnswerExplainer(decoder(), tokenizer(template=TEMPLATE, begins=True), beta=1.0, steps=2)
    found = explainer(CONVERSATION, "i j.")
    text = found.prompt.text
    assert text == "<|a|>system a b.<|b|><|a|>user c d?<|b|><|a|>assistant e f.<|b|><|a|>user g h?<|b|><|a|>assistant "
    assert found.tokens[:3] == ("<s>", "<|a|>", "system")  # and one begin of the text, which the tokenizer puts there
    sources = {name: text[slice(*span)] for name, span in found.prompt.sources.items()}
    assert sources == {"system": "a b.", "user": "c d?", "assistant": "e f.", "user 2": "g h?"}
    (part,) = found.parts
    for token, value in zip(found.tokens, part.values, strict=True):
        assert (value > 0) == (token in {*"abcdefgh", ".", "?"})
    values = {piece.text: value for piece, value in found.grouped(part, "source")}
    assert list(values) == list(sources)
    assert sum(values.values()) == pytest.approx(float(part.attribution.total_bits[0]), rel=1e-5)


def test_a_message_may_say_what_stands_in_the_marks():
    explainer = AnswerExplainer(decoder(), tokenizer(template=TEMPLATE), beta=1.0, steps=1)
    told = [("user", "a"), ("assistant", "user"), ("user", " user ")]
    found = explainer([{"role": role, "content": said} for role, said in told], "i j.")
    text, sources = found.prompt.text, found.prompt.sources
    assert {name: text[slice(*span)] for name, span in sources.items()} == {
        "user": "a",
        "assistant": "user",
        "user 2": "user",
    }
    begun = [text[: span[0]].rstrip().rpartition("<|a|>")[2] for span in sources.values()]
    assert begun == [role for role, _ in told]


@pytest.mark.parametrize(
    ("messages", "template", "error", "said"),
    [
        (CONVERSATION, None, ModelError, "no chat template"),
        ([], TEMPLATE, InputError, "list of messages"),
        ([{"role": "user", "content": " "}], TEMPLATE, InputError, "list of messages"),
        (["c d?"], TEMPLATE, InputError, "list of messages"),
        (CONVERSATION, "{{ raise_exception('no system') }}", InputError, "takes no such conversation: no system"),
        (CONVERSATION, "{{ messages[-1].content | upper }}", InputError, "changes what the system says"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, template, error, said):
    explainer = AnswerExplainer(decoder(), tokenizer(template=template))
    with pytest.raises(error, match=said):
        explainer(messages, "i j.")


def test_a_conversation_takes_no_sources():
    explainer = AnswerExplainer(decoder(), tokenizer(template=TEMPLATE))
    with pytest.raises(InputError, match="its own sources"):
        explainer(CONVERSATION, "i j.", sources={"a.txt": "a b."})


@pytest.mark.slow
@pytest.mark.parametrize(("make", "begins"), [(t5, False), (bart, True)])
def test_a_decoder_beside_an_encoder_answers_by_what_the_encoder_reads(make, begins):
    network = make()
    own = tokenizer(begins=begins, ends=True)
    found = AnswerExplainer(network, own, beta=1.0, steps=2)("a b. c d?", "e f. g h i.", each="sentence")
    labels = own("e f. g h i.", return_tensors="pt")["input_ids"]
    read = own("a b. c d?", return_tensors="pt")
    with torch.no_grad():
        log_p = network(**{k: read[k] for k in ("input_ids", "attention_mask")}, labels=labels).logits.log_softmax(2)
    each = log_p[0].gather(1, labels[0][:, None])[begins:, 0]
    assert [part.tokens for part in found.parts] == [3, 4]
    assert [part.nats for part in found.parts] == pytest.approx(
        [float(each[:3].sum()), float(each[3:7].sum())], rel=1e-4
    )
    before = [float(part.attribution.evidence.before[0]) for part in found.parts]
    assert before == pytest.approx([float(each[:3].mean().exp()), float(each[3:7].mean().exp())], rel=1e-4)
    for part in found.parts:
        values = [value for value, span in zip(part.values, found.spans, strict=True) if span is not None]
        assert len(values) == 6
        assert min(values) > 0
        assert sum(values) == pytest.approx(float(part.attribution.total_bits[0]), rel=1e-5)


@pytest.mark.slow
def test_words_are_left_out_of_what_the_encoder_reads_and_of_nothing_else():
    network, own = t5(), tokenizer(ends=True)
    found = AnswerExplainer(network, own, method="leave-one-out", unit="token")("a b c d", "e f g h")  # of one length
    (part,) = found.parts

    def score(text):
        read, labels = own(text, return_tensors="pt"), own("e f g h", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            log_p = network(**{k: read[k] for k in ("input_ids", "attention_mask")}, labels=labels).logits.log_softmax(
                2
            )
        p = log_p[0].gather(1, labels[0][:, None])[:4, 0].sum().exp()
        return float((p / (1 - p)).log())

    left_out = ["b c d", "a c d", "a b d", "a b c"]
    expected = [score("a b c d") - score(text) for text in left_out]
    assert list(part.values)[:4] == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_it_says_its_own_answer():
    network, own = t5(), tokenizer(ends=True)
    found = AnswerExplainer(network, own, method="random")("a b. c d?", max_new_tokens=3)
    read, said = own("a b. c d?", return_tensors="pt"), torch.zeros(1, 1, dtype=torch.long)
    for _ in range(3):
        with torch.no_grad():
            logits = network(
                input_ids=read["input_ids"], attention_mask=read["attention_mask"], decoder_input_ids=said
            ).logits
        said = torch.cat([said, logits[:, -1:].argmax(2)], 1)
    assert found.answer == own.decode(said[0], skip_special_tokens=True)


@pytest.mark.slow
def test_what_the_decoder_has_written_is_explained_as_a_text_of_its_own():
    network = t5()
    ids = torch.randint(6, len(WORDS), (2, 7), generator=torch.Generator().manual_seed(0))
    said = torch.randint(6, len(WORDS), (2, 6), generator=torch.Generator().manual_seed(1))
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": said}
    with torch.no_grad():
        log_p = network(**given).logits.log_softmax(2)[:, 3:5].gather(2, said[:, 4:, None])[..., 0]
    iba = TokenIBA(network, "decoder.embed_tokens", special_tokens="whole", steps=2)
    found = iba.explain(ModelInputs.of(given, first="decoder_input_ids"), Span(said[:, 4:]))
    assert torch.allclose(found.evidence.before, log_p.mean(1).exp(), rtol=1e-4)
    assert float(found.map[:, :4].min()) > 0
    assert float(found.map[:, 4:].abs().max()) == 0


@pytest.mark.slow
def test_a_conversation_is_explained_on_the_command_line(bitlens, tmp_path):
    own = tokenizer(template=TEMPLATE, begins=True)
    own.save_pretrained(tmp_path / "model")
    decoder().save_pretrained(tmp_path / "model")
    chat = tmp_path / "chat.json"
    chat.write_text(json.dumps(CONVERSATION[:3]), "utf-8")
    asked = (
        "text",
        "explain",
        "--model",
        tmp_path / "model",
        "--chat",
        chat,
        "--method",
        "token-iba:steps=2",
        "--beta",
        1,
    )
    (found,) = json.loads(bitlens(*asked, "--group", "source", "--json").stdout)
    assert found["answer"] == "e f."
    assert [piece["text"] for piece in found["parts"][0]["sources"]] == ["system", "user"]
    assert "--sources are for --prompt" in bitlens(*asked, "--sources", chat, code=1).stderr
    chat.write_text('"a"', "utf-8")
    assert "holds no conversation" in bitlens(*asked, code=1).stderr


@pytest.mark.slow
def test_a_decoder_beside_an_encoder_is_loaded_from_a_folder(tmp_path):
    tokenizer(ends=True).save_pretrained(tmp_path)
    t5().save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path))
    assert type(loaded.model).__name__ == "T5ForConditionalGeneration"
    assert loaded.layer == "encoder.embed_tokens"
