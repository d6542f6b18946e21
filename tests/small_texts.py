"""Small networks for texts with a tokenizer of blanks, with random weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.data.tokenizing import TokenBatch, delete_tokens
from bitlens.models.load_text import default_text_layer, word_embedding
from bitlens.models.loaded import Loaded

CLS, SEP, PAD, MASK = 0, 1, 2, 3
WORDS = [
    "the",
    "a",
    "film",
    "story",
    "actor",
    "plot",
    "is",
    "was",
    "not",
    "never",
    "good",
    "bad",
    "great",
    "awful",
    "dull",
]
WORDS += ["fine", "long", "short", "very", "so"]
TEXTS = ["the film was good", "a dull story", "the plot is never so very long and awful", "great"]


class BlankTokenizer:
    """[CLS] words [SEP]; every word is a token, unknown ones are [MASK]."""

    pad_id, mask_id = PAD, MASK

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TokenBatch:
        assert pairs is None
        words = [text.split() for text in texts]
        length = max(map(len, words)) + 2
        ids = torch.full((len(texts), length), PAD)
        special = torch.zeros(len(texts), length, dtype=torch.bool)
        for row, own in enumerate(words):
            known = [4 + WORDS.index(word) if word in WORDS else MASK for word in own]
            ids[row, : len(own) + 2] = torch.tensor([CLS, *known, SEP])
            special[row, [0, len(own) + 1]] = True
        return TokenBatch(
            {"input_ids": ids, "attention_mask": (ids != PAD).long(), "token_type_ids": torch.zeros_like(ids)},
            (ids != PAD) & ~special,
            special,
            tuple(("[CLS]", *own, "[SEP]") for own in words),
            tuple((None, *_spans(text), None) for text in texts),
            tuple((None, *range(len(own)), None) for own in words),
            tuple(texts),
        )

    def without(self, batch: TokenBatch, removed: Tensor) -> TokenBatch:
        return delete_tokens(batch, removed, {"input_ids": PAD})


def _spans(text: str) -> list[tuple[int, int]]:
    spans, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        spans.append((start, at))
    return spans


class Lstm(nn.Module):
    """Two stacked LSTMs, mean over the words, one logit."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4 + len(WORDS), 8, padding_idx=PAD)
        self.lstm = nn.LSTM(8, 8, 2, batch_first=True)
        self.head = nn.Linear(8, classes)
        self.bitlens_output = "binary" if classes == 1 else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(input_ids), attention_mask.sum(1).clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )
        hidden, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        mask = attention_mask[:, : hidden.shape[1], None]
        return self.head((hidden * mask).sum(1) / mask.sum(1).clamp_min(1))


def small_lstm(seed: int = 0, classes: int = 1) -> Loaded:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Lstm(classes).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.6)
    names = ("negative", "positive", "other")[: max(2, classes)]
    return Loaded("small", model, BlankTokenizer(), names, "embedding", "embedding")


def small_transformer(kind: str = "Bert", seed: int = 0) -> Loaded:
    """A classifier in three classes of one of the families of transformers."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "DistilBert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=4 + len(WORDS),
        max_position_embeddings=40,
        pad_token_id=PAD,
        initializer_range=0.4,
        num_labels=3,
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    names = ("negative", "positive", "other")
    return Loaded("small", model, BlankTokenizer(), names, default_text_layer(model), word_embedding(model))
