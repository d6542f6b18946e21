"""A small language model that answers from its context, with its weights: four blocks of a decoder.

| layer | what it puts out |
|---|---|
| `embedding` | (N, T, 64), one vector for each word |
| `blocks.0` … `blocks.3` | (N, T, 64), hidden states, each from the words up to its own |
| `head` | (N, T, words), logits of the word that comes next |

It has learnt to answer questions about what a text states (`builtin:recall`), also where words that carry nothing of the
answer are noise. So what it needs of a text is known: who a question is about, and what the text says of them.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from bitlens.data.words import WordTokenizer
from bitlens.errors import ModelError

MAX_LENGTH = 256
WEIGHTS = Path(__file__).with_name("recall.safetensors")
VOCABULARY = Path(__file__).with_name("recall.json")


class _Block(nn.Module):
    """Causal attention with rotary positions (Su et al., 2021), and a layer for each word by itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states: Tensor, angles: Tensor) -> Tensor:
        """Return the states (N, T, width) after this block; angles (T, width of a head / 2) turn with the position."""
        shape = (*states.shape[:2], 3, self.heads, -1)
        query, key, value = self.queries(self.norm_1(states)).view(shape).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(_turned(query, angles), _turned(key, angles), value, is_causal=True)
        states = states + self.out(seen.transpose(1, 2).flatten(2))
        states = states + self.narrow(F.gelu(self.wide(self.norm_2(states))))
        return states  # noqa: RET504  (mypy knows what it is)


def _turned(vectors: Tensor, angles: Tensor) -> Tensor:
    """Return vectors (N, heads, T, D) whose two halves are turned, as pairs, by angles (T, D / 2)."""
    first, second = vectors.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class RecallNetwork(nn.Module):
    """Word indices (N, T), padded on the right, to logits (N, T, words) of the word behind each.

    Args:
        words: size of the vocabulary.
        width: of the hidden states.
        blocks: how many.
        heads: of the attention.
    """

    def __init__(self, words: int, width: int = 64, blocks: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.head.weight = self.embedding.weight  # what is read and what is said are the same words
        self.turns: Tensor
        self.register_buffer("turns", 100.0 ** -torch.linspace(0, 1, width // heads // 2), persistent=False)

    def after(self, states: Tensor) -> Tensor:
        """Return logits (N, T, words) from embedded words (N, T, width)."""
        angles = torch.arange(states.shape[1], device=states.device)[:, None] * self.turns
        for block in self.blocks:
            states = block(states, angles)
        logits: Tensor = self.head(self.norm(states))
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return logits of the word behind each; what stands behind a text changes nothing before it."""
        return self.after(self.embedding(input_ids))


def recall() -> tuple[nn.Module, WordTokenizer]:
    """Return the trained network in evaluation mode, and its tokenizer.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    if not WEIGHTS.is_file() or not VOCABULARY.is_file():
        raise ModelError(
            f"the weights {WEIGHTS} or the vocabulary {VOCABULARY} are missing: install bitlens again, or train them with "
            "python tools/train_recall.py"
        )
    state = load_file(WEIGHTS)
    network = RecallNetwork(*state["embedding.weight"].shape)
    state["head.weight"] = state["embedding.weight"]
    network.load_state_dict(state)  # copies float16 into float32
    return network.eval(), WordTokenizer.load(VOCABULARY, MAX_LENGTH)
