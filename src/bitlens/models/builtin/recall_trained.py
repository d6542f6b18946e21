"""A small language model that was trained to answer the questions of `builtin:recall` from their texts (`tools/train_recall.py`).

| layer | what it puts out |
|---|---|
| `embedding` | (N, T, 64), one vector for each word |
| `blocks.0` to `blocks.2` | (N, T, 64), what is known at each word of those up to it |

Each block looks eight words back with a convolution, then at all words with attention, then at its own. What is said where is
told by the convolutions alone: there are no positions. It was asked for answers and their end, so what it foresees of the text
itself means nothing.
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.data.words import WordTokenizer
from bitlens.models.builtin.recall import MAX_LENGTH, vocabulary
from bitlens.models.builtin.scenes import trained

WEIGHTS = Path(__file__).with_name("recall_trained.safetensors")
WIDTH, HEADS, BLOCKS, BACK = 64, 2, 3, 8


class Block(nn.Module):
    """Some words back, all words before, the word itself: (N, T, width) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(3)])
        self.near = nn.Conv1d(WIDTH, WIDTH, BACK)
        self.asked, self.told, self.said, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.own = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return what is known at each word."""
        near, far, own = self.norms
        x = x + self.near(F.pad(near(x).transpose(1, 2), (BACK - 1, 0))).transpose(1, 2)
        read = far(x)
        asked, told, said = (
            part(read).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.asked, self.told, self.said)
        )
        found = F.scaled_dot_product_attention(asked, told, said, is_causal=True)
        x = x + self.out(found.transpose(1, 2).flatten(2))
        known: Tensor = x + self.own(own(x))
        return known


class TrainedRecall(nn.Module):
    """Word indices (N, T), padded on the right, to logits (N, T, words) of the word behind each.

    Args:
        words: size of the vocabulary.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, words, bias=False)

    def after(self, own: Tensor) -> Tensor:
        """Return logits (N, T, words) from embedded words (N, T, width)."""
        for block in self.blocks:
            own = block(own)
        logits: Tensor = self.head(self.norm(own))
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return logits of the word behind each; what stands behind a text changes nothing before it."""
        return self.after(self.embedding(input_ids))


def recall_trained() -> tuple[nn.Module, WordTokenizer]:
    """Return the network in evaluation mode, and its tokenizer.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    words = vocabulary()
    return trained(TrainedRecall(len(words)), WEIGHTS, "train_recall.py"), WordTokenizer(words, MAX_LENGTH)
