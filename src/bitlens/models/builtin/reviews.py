"""A small network that tells whether a review is positive, with its weights: four stacked LSTMs (algorithms D8).

| layer | what it puts out |
|---|---|
| `embedding` | (N, T, 64), one vector for each word |
| `rnn_1` … `rnn_4` | (N, T, 64), one hidden state for each word, from the words up to it |
| `linear` | (N, 1), the log-odds of "positive", from the last state of `rnn_4` |

Bits of words are measured at `embedding`. A state holds whatever the LSTM remembers of all words up to its own, so a
bottleneck behind an LSTM keeps the last states and drops the others: it says how long something is remembered, not which
words were needed. `rnn_3` (`FEATURES`) is where features of the whole text can be restricted, for `rnn_4` reads its whole
sequence; of `rnn_4` only the last state is read (the defect in algorithms D8).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.data.words import PAD, WordTokenizer
from bitlens.errors import ModelError

LAYER, FEATURES = "embedding", "rnn_3"
MAX_LENGTH = 400
WEIGHTS = Path(__file__).with_name("reviews.safetensors")
VOCABULARY = Path(__file__).with_name("reviews.json")
STATISTICS = Path(__file__).with_name("reviews_statistics")
LAYERS = ("embedding", "rnn_1", "rnn_2", "rnn_3", "rnn_4")


class ReviewNetwork(nn.Module):
    """Word indices (N, T), padded on the right, to (N, 1) log-odds of "positive".

    Args:
        words: size of the vocabulary.
        width: of the embedding.
        hidden: units of each LSTM.
        dropout: of embeddings and of the last state, in training.
    """

    bitlens_output = "binary"
    """What the one column is."""

    def __init__(self, words: int, width: int = 64, hidden: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=PAD)
        nn.init.normal_(
            self.embedding.weight, std=0.1
        )  # rare words begin near the unknown word: both say next to nothing
        self.dropout = nn.Dropout(dropout)
        self.rnn_1 = nn.LSTM(width, hidden, batch_first=True)
        self.rnn_2 = nn.LSTM(hidden, hidden, batch_first=True)
        self.rnn_3 = nn.LSTM(hidden, hidden, batch_first=True)
        self.rnn_4 = nn.LSTM(hidden, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 1)

    def states(self, input_ids: Tensor) -> Tensor:
        """Return the last LSTM's state at every word: (N, T, hidden)."""
        states: Tensor = self.dropout(self.embedding(input_ids))
        for layer in (self.rnn_1, self.rnn_2, self.rnn_3, self.rnn_4):
            states, _ = layer(states)
        return states

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return log-odds of each text.

        The LSTMs read from left to right, so padding behind a text changes nothing before it; the state that counts is the
        one at the text's last word. A text without words has the state that an LSTM begins with, zero.
        """
        states = self.states(input_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        lengths = attention_mask.long().sum(1)
        last = states.gather(1, (lengths - 1).clamp_min(0)[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
        last = last * (lengths > 0)[:, None]
        logits: Tensor = self.linear(self.dropout(last))
        return logits


def reviews() -> tuple[nn.Module, WordTokenizer]:
    """Return the trained network in evaluation mode, and its tokenizer.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    if not WEIGHTS.is_file() or not VOCABULARY.is_file():
        raise ModelError(
            f"the weights {WEIGHTS} or the vocabulary {VOCABULARY} are missing: install bitlens again, or train them with "
            "python tools/train_reviews.py"
        )
    state = load_file(WEIGHTS)
    words, width = state["embedding.weight"].shape
    network = ReviewNetwork(words, width, state["rnn_1.weight_hh_l0"].shape[1])
    network.load_state_dict(state)  # copies float16 into float32
    return network.eval(), WordTokenizer.load(VOCABULARY, MAX_LENGTH)


def bundled_statistics() -> Mapping[str, TokenStatistics]:
    """Return statistics of every layer of the trained network over reviews that it was trained on, by the layer's name.

    Raises:
        DataError: they are missing from the installation.
    """
    return {layer: TokenStatistics.load(STATISTICS / f"{layer}.safetensors") for layer in LAYERS}
