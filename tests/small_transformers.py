"""Small transformers with random weights, and texts for them that are nothing but numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

CLS, SEP, PAD = 1, 2, 0
VOCABULARY, UNITS = 40, 16
FAMILIES = ["Bert", "Roberta", "DistilBert", "Deberta", "DebertaV2", "Electra"]


def small_classifier(family: str, seed: int = 0, **changes: Any) -> nn.Module:
    """A sequence classifier of this family: 3 layers of 16 hidden units, 3 classes, 48 positions."""
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "num_labels": 3, "pad_token_id": PAD, "initializer_range": 0.3}
    if family == "DistilBert":
        sizes |= {"dim": UNITS, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 48}
    else:
        sizes |= {
            "hidden_size": UNITS,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 50,
        }
    if family == "DebertaV2":
        sizes |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
    if family == "Deberta":
        sizes |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
    if family == "Electra":
        sizes |= {"embedding_size": UNITS}
    if family == "Albert":
        sizes |= {"embedding_size": UNITS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = getattr(transformers, f"{family}Config")(**{**sizes, **changes})
        return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def encoder_layer(model: nn.Module, number: int) -> str:
    """The dotted name of an encoder layer, counted from 0."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == 3]
    return f"{lists[0][0]}.{number}"


def texts(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Texts of these lengths, [CLS] and [SEP] included, padded to the longest."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths))
    ids = torch.randint(3, VOCABULARY, size, generator=generator)
    mask, special = torch.zeros(size, dtype=torch.long), torch.ones(size, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        special[row, 1 : length - 1] = 0
        ids[row, 0], ids[row, length - 1], ids[row, length:] = CLS, SEP, PAD
    return {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}


def batches(count: int = 6, seed: int = 100) -> list[dict[str, Tensor]]:
    """Batches of texts for statistics."""
    return [texts([9, 20, 31, 40], seed + i) for i in range(count)]
