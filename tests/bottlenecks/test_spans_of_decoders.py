"""Spans of language models: bits belong to the words of the context that a span used, and to nothing else."""

import pytest
import torch
from torch import nn

from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.spans import Span
from bitlens.errors import InputError, LayerError, ModelError
from bitlens.models.load_text import text_layers, word_embedding
from bitlens.probe.fingerprint import weights_hash

VOCABULARY, WIDTH = 24, 16
FAMILIES = ["GPT2", "Llama", "Qwen2", "Gemma", "Mistral", "Phi"]


class Copies(nn.Module):
    """Foresees, at every position, a token that the one at `source` decides, and no other."""

    def __init__(self, source: int):
        super().__init__()
        self.source = source
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(self.embedding.weight * 2)

    def forward(self, input_ids, attention_mask=None):  # noqa: ARG002
        states = self.embedding(input_ids)
        read = states + states[:, self.source : self.source + 1]
        for block in self.blocks:
            read = block(read)
        return self.head(read - states)


def copies(source=2):
    torch.manual_seed(0)
    return Copies(source).eval()


def texts(model, rows=2, length=9, asked=3, seed=0):
    """Texts that end with the tokens which the planted one decides."""
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    ids[:, length - asked :] = ids[:, model.source, None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, Span(ids[:, length - asked :])


def test_a_span_uses_the_token_that_decides_it_and_no_other():
    model = copies()
    inputs, asked = texts(model)
    found = TokenIBA(model, "embedding", special_tokens="whole", keep=0.9).explain(inputs, asked)
    assert bool((found.map[:, 2] > 2).all())
    others = found.map.clone()
    others[:, 2] = 0
    assert float(others.max()) < 0.05
    assert float(others[:, 6:].abs().max()) == 0  # the span itself is never noise
    assert float(found.evidence.kept.min()) >= 0.9
    assert found.targets == ("3 tokens", "3 tokens")


def test_a_longer_span_takes_as_many_passes_as_a_shorter():
    passes = []
    for asked in (1, 5):
        model = copies()
        inputs, span = texts(model, length=12, asked=asked)
        rows = []
        model.head.register_forward_hook(lambda *_, rows=rows: rows.append(len(_[2])))
        TokenIBA(model, "embedding", special_tokens="whole").explain(inputs, span, evidence_samples=0)
        passes.append(sum(rows))
    assert passes[0] == passes[1]


def test_a_text_has_the_bits_that_it_has_alone():
    model = copies(source=1)
    inputs, _ = texts(model, rows=2, length=10)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    ids[1, 7:], mask[1, 7:] = 0, 0
    tokens = torch.stack([ids[0, 8:], ids[1, 5:7]])
    iba = TokenIBA(model, "embedding", special_tokens="whole")
    both = iba.explain(inputs, Span(tokens), evidence_samples=0)
    alone = iba.explain({k: v[1:, :7] for k, v in inputs.items()}, Span(tokens[1:]), evidence_samples=0)
    assert torch.allclose(both.map[1, :7], alone.map[0], rtol=1e-4, atol=1e-5)


def test_a_layer_at_which_the_span_has_read_the_context_is_refused():
    model = copies()
    inputs, asked = texts(model)
    with pytest.raises(LayerError, match="restrict the word embedding"):
        TokenIBA(model, "blocks.0", special_tokens="whole").explain(inputs, asked)


def test_a_span_without_a_context_is_refused():
    model = copies()
    inputs, _ = texts(model, length=4, asked=3)
    special = torch.tensor([[1, 0, 0, 0]] * 2)
    with pytest.raises(InputError, match="put words in front"):
        TokenIBA(model, "embedding", special_tokens="whole").explain(
            {**inputs, "special_tokens_mask": special}, Span(inputs["input_ids"][:, 1:])
        )


def decoder(family, *, tied=None, **changes):
    """A small random language model of this family, whose answers depend much on what it reads."""
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.5}
    if family == "GPT2":
        sizes |= {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 128}
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
        sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 128}
    sizes |= {"head_dim": 8} if family == "Gemma" else {}
    sizes |= {} if tied is None else {"tie_word_embeddings": tied}
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**sizes)
    kind = getattr(transformers, f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")
    return kind._from_config(config, **changes).eval()


def sentences(rows=2, length=14, asked=4):
    ids = torch.randint(3, 40, (rows, length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, Span(ids[:, length - asked :])


class Everywhere(nn.Module):
    """A language model that gives the logits of all positions, whatever it is asked for."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask=None):
        return self.model(input_ids, attention_mask)


def test_logits_before_a_span_are_not_asked_for_and_change_nothing():
    model = decoder("Llama")
    inputs, _ = sentences(rows=3)
    for row, length in enumerate((14, 12, 9)):
        inputs["input_ids"][row, length:], inputs["attention_mask"][row, length:] = 0, 0
    ids = inputs["input_ids"]
    tokens = torch.stack([ids[0, 11:14], torch.tensor([*ids[1, 10:12], -1]), ids[2, 6:9]])
    widths = set()
    hook = model.lm_head.register_forward_hook(lambda *_: widths.add(_[2].shape[1]))
    settings = {"special_tokens": "whole", "steps": 3, "signed": True, "precision": "float32"}
    many, _ = sentences(rows=200)
    iba = TokenIBA(model, "model.embed_tokens", **settings).fit_statistics([many])
    widths.clear()
    found = iba.explain(inputs, Span(tokens))
    assert (9 in widths, 14 in widths) == (
        True,
        False,
    )  # from what foresees a span's first token to the longest text's end
    hook.remove()
    other = TokenIBA(Everywhere(model).eval(), "model.model.embed_tokens", **settings).fit_statistics([many])
    whole = other.explain(inputs, Span(tokens))
    assert torch.allclose(found.for_, whole.for_, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.against, whole.against, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.evidence.before, whole.evidence.before, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_restricted_at_its_embedding(family):
    model = decoder(family)
    inputs, asked = sentences()
    before = model.config.use_cache
    found = TokenIBA(model, word_embedding(model), special_tokens="whole", steps=3).explain(inputs, asked)
    logits = model(**inputs).logits.float()
    log_p = logits[:, 9:13].log_softmax(2).gather(2, inputs["input_ids"][:, 10:, None])[..., 0]
    assert torch.allclose(found.evidence.before, log_p.mean(1).exp(), rtol=1e-4)
    assert float(found.map[:, 10:].abs().max()) == 0
    assert float(found.map[:, :10].min()) > 0
    assert model.config.use_cache == before
    with pytest.raises(LayerError, match="restrict the word embedding"):
        TokenIBA(model, text_layers(model)[0], special_tokens="whole").explain(inputs, asked)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["GPT2", "Llama"])
def test_fused_attention_gives_the_bits_of_written_attention(family):
    inputs, asked = sentences()
    maps = []
    for attention in ("eager", "sdpa"):
        model = decoder(family, attn_implementation=attention)
        iba = TokenIBA(model, word_embedding(model), special_tokens="whole", steps=3)
        maps.append(iba.explain(inputs, asked, evidence_samples=0).map)
    assert (
        torch.corrcoef(torch.stack([one[:, :10].flatten() for one in maps]))[0, 1] > 0.99
    )  # rounding grows with steps


@pytest.mark.slow
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_bits_of_single(precision):
    inputs, asked = sentences()
    maps = []
    for dtype in (torch.float32, precision):
        model = decoder("Llama").to(dtype)
        iba = TokenIBA(model, word_embedding(model), special_tokens="whole", steps=3)
        maps.append(iba.explain(inputs, asked, evidence_samples=0).map)
    assert torch.corrcoef(torch.stack([one[:, :10].flatten() for one in maps]))[0, 1] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("precision", "attention", "tied"), [(torch.bfloat16, "eager", True), (torch.float16, "sdpa", False)]
)
def test_every_family_in_half_precision_with_either_attention(family, precision, attention, tied):
    model = decoder(family, tied=tied, attn_implementation=attention).to(precision)
    assert model.config.use_cache
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    inputs, asked = sentences()
    with torch.no_grad():
        logits = model(**inputs).logits.float()
    log_p = logits[:, 9:13].log_softmax(2).gather(2, inputs["input_ids"][:, 10:, None])[..., 0]
    found = TokenIBA(model, word_embedding(model), special_tokens="whole", steps=2).explain(inputs, asked)
    assert torch.allclose(found.evidence.before, log_p.mean(1).exp(), rtol=0.05)
    assert float(found.map[:, :10].min()) > 0
    assert float(found.map[:, 10:].abs().max()) == 0
    assert model.config.use_cache
    assert {p.dtype for p in model.parameters()} == {precision}


@pytest.mark.slow
def test_layers_on_disk_give_the_bits_of_layers_in_memory(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    inputs, asked = sentences()
    whole = decoder("Llama")
    whole.save_pretrained(tmp_path)
    here = ("embed_tokens", "layers.0", "norm", "rotary_emb")
    places = {f"model.{part}": "cpu" for part in here} | {"lm_head": "cpu"}
    places |= {"model.layers.1": "disk", "model.layers.2": "disk"}
    parted = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, device_map=places, offload_folder=tmp_path / "kept"
    ).eval()
    assert any(p.is_meta for p in parted.parameters())
    found = [
        TokenIBA(model, word_embedding(model), special_tokens="whole", steps=2).explain(inputs, asked)
        for model in (whole, parted)
    ]
    assert torch.allclose(found[0].map, found[1].map, rtol=1e-4, atol=1e-5)
    assert found[0].settings["weights"] == found[1].settings["weights"]
    with pytest.raises(ModelError, match="have no numbers"):
        weights_hash(nn.Linear(2, 2, device="meta"))
