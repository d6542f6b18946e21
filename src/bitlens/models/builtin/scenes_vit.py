"""A small vision transformer that names the shape in a scene, with its weights.

144 patches of 8 x 8 pixels, 12 x 12 for 96 x 96 pixels, and a class token in front, which alone the head reads. A few
convolutions make the patches (Xiao et al., Early Convolutions Help Transformers See Better, NeurIPS 2021), so that each
sees 23 x 23 pixels; all but the last of them are those of `scenes`. `blocks.0` to `blocks.5` put out (N, 145, 96).
"""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from bitlens.models.builtin.scenes import SIZE, ResidualBlock, preprocess, trained

PATCH = 8
LAYER = "blocks.0"
WEIGHTS = Path(__file__).with_name("scenes_vit.safetensors")


class SelfAttention(nn.Module):
    """Self-attention of several heads, written out: (N, T, D) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each token gathers from all of them."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        out: Tensor = self.proj((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention and a perceptron, each beside a shortcut: (N, T, D) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Add what attention and perceptron found to what came in."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SceneTransformer(nn.Module):
    """(N, 3, 96, 96) normalised pictures to (N, `classes`) logits; named like timm's transformers."""

    def __init__(self, classes: int = 10, width: int = 96, depth: int = 6, heads: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(ResidualBlock(16, 32, 2))
        self.patch_embed = nn.Conv2d(32, width, 3, stride=2, padding=1)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (SIZE // PATCH) ** 2 + 1, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of each picture."""
        return self.classify(self.embed(self.stem(x)))

    def stem(self, x: Tensor) -> Tensor:
        """Return the first convolutions: (N, 32, 24, 24)."""
        features: Tensor = self.layer1(self.relu(self.bn1(self.conv1(x))))
        return features

    def embed(self, features: Tensor) -> Tensor:
        """Return patches, each with its place: (N, 144, D), row by row."""
        patches: Tensor = self.patch_embed(features).flatten(2).mT + self.pos_embed[:, 1:]
        return patches

    def classify(self, patches: Tensor) -> Tensor:
        """Return logits from all or some of the patches, (N, T, D)."""
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        logits: Tensor = self.head(self.norm(self.blocks(torch.cat([first, patches], 1)))[:, 0])
        return logits


def scenes_vit() -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """Return the trained network in evaluation mode, and its preprocessing.

    Raises:
        ModelError: the weights are missing from the installation.
    """
    return trained(SceneTransformer(), WEIGHTS), preprocess
