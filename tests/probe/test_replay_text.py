"""Tokens, attention masks, several inputs, tuples and model outputs."""

from typing import Any

import pytest
import torch
from replay_oracle import assert_replay_is_exact
from torch import Tensor, nn

from bitlens.errors import BitlensWarning, LayerError
from bitlens.probe import Probe

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=12, initializer_range=0.5, **SIZES)
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    return {"input_ids": torch.randint(1, 50, (2, 7)) * mask, "attention_mask": mask}


@pytest.mark.parametrize(
    "layer", ["bert.embeddings", "bert.encoder.layer.1", "bert.encoder.layer.1.attention.self.query", "bert.encoder"]
)
def test_bert_with_padding(bert: nn.Module, batch: dict[str, Tensor], layer: str) -> None:
    mode = "whole network" if layer == "bert.embeddings" else "replay"  # nothing comes before the embeddings
    assert_replay_is_exact(bert, layer, mode=mode, **batch)


def test_bert_batch_of_one_at_many_copies(bert: nn.Module, batch: dict[str, Tensor]) -> None:
    recording = Probe(bert, "bert.encoder.layer.1.output.dense").record({k: v[1:] for k, v in batch.items()})
    with recording.suffix() as run, torch.no_grad():
        logits = run(recording.features.expand(5, -1, -1)).logits
    torch.testing.assert_close(logits, recording.output.logits.expand(5, -1), rtol=1e-4, atol=1e-5)


def test_padding_is_carried_to_the_right_copies(bert: nn.Module, batch: dict[str, Tensor]) -> None:
    """What stands at padded places must not matter, for the padded sample of each copy and for no other."""
    recording = Probe(bert, "bert.encoder.layer.1").record(batch)
    z = torch.cat([recording.features] * 3)
    z[:, 5] += 10
    with recording.suffix() as run, torch.no_grad():
        logits = run(z).logits.view(3, 2, -1)
    assert (logits[:, 1] - recording.output.logits[1]).abs().max() < 1e-4
    assert (logits[:, 0] - recording.output.logits[0]).abs().max() > 1e-2


def test_vit_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(image_size=16, patch_size=4, initializer_range=0.3, num_labels=3, **SIZES)
    model = transformers.ViTForImageClassification(config).eval()
    layer = next(n for n, m in model.named_modules() if type(m).__name__ == "ViTLayer" and n.endswith(".1"))
    _, recording = assert_replay_is_exact(model, layer, pixel_values=torch.randn(2, 3, 16, 16))
    assert recording.features.shape == (2, 17, 16)


class Encoder(nn.Module):
    """PyTorch's own encoder, which in eval mode would take a fused path that calls none of its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, padding: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(ids), src_key_padding_mask=padding)[:, 0])


@pytest.mark.parametrize("layer", ["encoder.layers.1", "encoder.layers.1.linear1", "encoder.layers.1.self_attn"])
def test_transformer_encoder_of_pytorch(layer: str) -> None:
    model = Encoder().eval()
    ids, padding = torch.randint(0, 20, (2, 6)), torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 4:] = True
    was_fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # for the oracle's hooks
        assert_replay_is_exact(model, layer, ids, padding)
        torch.backends.mha.set_fastpath_enabled(True)
        recording = Probe(model, layer).record((ids, padding))
        with recording.suffix() as run, torch.no_grad():
            assert (run(recording.features.flip(0)) - recording.output).abs().max() > 1e-3
        assert torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool, use_state: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=batch_first)
        self.head = nn.Linear(6, 3)
        self.batch_first, self.use_state = batch_first, use_state

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        states, (last, _) = self.lstm(x if self.batch_first else x.transpose(0, 1))
        pooled = states.mean(1 if self.batch_first else 0)
        return self.head(pooled + last[0] if self.use_state else pooled)


@pytest.mark.parametrize("batch_first", [True, False])
def test_lstm_with_samples_on_either_axis(batch_first: bool) -> None:
    _, recording = assert_replay_is_exact(
        Recurrent(batch_first, use_state=False).eval(),
        "lstm",
        torch.randint(0, 20, (2, 5)),
        axis=0 if batch_first else 1,
    )
    assert recording.features.shape == (2, 5, 6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_further_tensors_that_are_used_are_refused(batch_first: bool) -> None:
    with pytest.raises(LayerError, match=r"'lstm' gives out several tensors .* before or after"):
        Probe(Recurrent(batch_first, use_state=True).eval(), "lstm").record(torch.randint(0, 20, (2, 5)))


class SequenceFirst(nn.Module):
    """After the layer come views that need the memory laid out as the layer puts it out: (T, N, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.mix(self.embed(ids).transpose(0, 1).contiguous())
        return self.head(x.view(-1, 8).view(ids.shape[1], ids.shape[0], 8).mean(0))


def test_views_behind_a_layer_with_samples_on_the_second_axis() -> None:
    assert_replay_is_exact(SequenceFirst().eval(), "mix", torch.randint(0, 20, (2, 5)), axis=1)


class Tupled(nn.Module):
    def __init__(self, leak: bool) -> None:
        super().__init__()
        self.stem, self.pair, self.head, self.leak = nn.Linear(4, 5), Pair(), nn.Linear(5, 3), leak

    def forward(self, x: Tensor) -> Any:
        a, b = self.pair(self.stem(x))
        return (self.head(a), b) if self.leak else self.head(a)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.tanh(), x.exp()


def test_unused_second_tensor_is_fine_and_a_returned_one_is_not() -> None:
    x = torch.randn(2, 4)
    assert_replay_is_exact(Tupled(leak=False).eval(), "pair", x)
    with pytest.raises(LayerError, match="several tensors"):
        Probe(Tupled(leak=True).eval(), "pair").record(x)


class Weighted(nn.Module):
    """Two images per sample and an argument that belongs to no sample, but happens to have two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 5), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor, y: Tensor, mix: Tensor, scale: float = 1.0) -> Tensor:
        return self.head(mix[0] * self.b(y) + mix[1] * self.a(x)) * scale


@pytest.mark.parametrize("layer", ["a", "b", "head"])
@pytest.mark.filterwarnings("error")
def test_several_inputs_and_one_that_belongs_to_no_sample(layer: str) -> None:
    model, x, y, mix = Weighted().eval(), torch.randn(3, 4), torch.randn(3, 6), torch.rand(2, 5)
    recording = Probe(model, layer).record((x, y, mix))
    with recording.suffix() as run, torch.no_grad():
        out = run(torch.cat([recording.features] * 4))
    torch.testing.assert_close(out, torch.cat([model(x, y, mix)] * 4).detach())


def test_additive_mask_with_minus_infinity() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.attend, self.head = (
                nn.Linear(4, 4),
                nn.MultiheadAttention(4, 1, batch_first=True),
                nn.Linear(4, 2),
            )

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(self.attend(x, x, x, attn_mask=mask)[0])

    assert_replay_is_exact(
        Causal().eval(), "attend", torch.randn(2, 5, 4), nn.Transformer.generate_square_subsequent_mask(5)
    )


def test_masked_logits_are_compared_where_they_are_finite() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.stem(x)).masked_fill(torch.tensor([False, True, False, False]), -torch.inf)

    probe = Probe(Masked().eval(), "head")
    probe.record(torch.randn(2, 4))
    assert probe.mode == "replay"


def test_dataclass_outputs_are_compared_too() -> None:
    class Answer:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    class Keeping(nn.Module):
        """Its stem keeps its result for itself, so the replay of another pass would be wrong."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.layer = Keeper(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Answer:
            self.stem(x)
            return Answer(self.layer(x) + self.stem.kept.sum(1, keepdim=True))

    class Keeper(nn.Linear):
        kept: Tensor

        def __init__(self) -> None:
            super().__init__(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.kept = super().forward(x)
            return self.kept

    probe = Probe(Keeping().eval(), "layer")
    with pytest.warns(BitlensWarning, match="whole network"):
        probe.record(torch.randn(2, 4))
    assert probe.mode == "whole network"
