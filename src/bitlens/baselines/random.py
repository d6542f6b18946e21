"""The baseline of baselines: an order of the pixels or tokens that knows nothing."""

import hashlib
import math
from typing import final

import torch
from torch import Tensor

from bitlens.baselines.asking import ImageQuestion, TextQuestion
from bitlens.baselines.baseline import ImageBaseline, TextBaseline


@final
class Random(ImageBaseline):
    """Give every pixel one of the numbers from -1 to 1, evenly spaced so that none occurs twice, at random.

    Algorithms F1. An image's order follows from the image and the seed: other images get other orders, the same image
    always the same.
    """

    method = "random"

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W) in [-1, 1]."""
        question.target.score(question.output)  # a target that the network cannot answer is refused here, too
        contents = [image.contiguous().view(-1).view(torch.uint8).numpy().data for image in question.images.cpu()]
        count = math.prod(question.size)
        orders = [_shuffled(count, bytes(content) + str(self.seed).encode()) for content in contents]
        return torch.stack(orders).view(-1, *question.size)


@final
class TextRandom(TextBaseline):
    """Give every token one of the numbers from -1 to 1, evenly spaced so that none occurs twice, at random.

    Algorithms F1, F15. A text's order follows from its tokens and the seed: other texts get other orders, the same text
    always the same.
    """

    method = "random"

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T) in [-1, 1]."""
        question.target.score(question.output)  # a target that the network cannot answer is refused here, too
        real, ids = question.batch.real.cpu(), question.batch.inputs["input_ids"].cpu()
        maps = torch.zeros(real.shape, dtype=torch.float32)
        for row, (own, text) in enumerate(zip(real, ids, strict=True)):
            maps[row, own] = _shuffled(int(own.sum()), f"{self.seed} {text[own].tolist()}".encode())
        return maps.to(question.batch.real.device)


def _shuffled(count: int, content: bytes) -> Tensor:
    """Return the numbers from -1 to 1 (count,) in an order that follows from the content."""
    digest = hashlib.sha256(content, usedforsecurity=False).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.linspace(-1, 1, count, dtype=torch.float32)[torch.randperm(count, generator=generator)]
