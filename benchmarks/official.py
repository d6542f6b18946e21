"""A plain re-statement of the released per-sample procedure, to measure against (algorithms B, J).

One image at a time; at every step B copies of it go through the whole network, whose weights require gradients as they do
in a network that somebody just loaded; blur and information are computed for all B identical copies.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["official_procedure"]


def _kernel(sigma: float, channels: int) -> Tensor:
    radius = round(2 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / sigma).square())
    taps = (taps / taps.sum()).float()
    return (taps[:, None] * taps[None, :]).expand(channels, 1, -1, -1).contiguous()


def official_procedure(
    model: nn.Module,
    layer: nn.Module,
    image: Tensor,
    target: int,
    mean: Tensor,
    std: Tensor,
    *,
    beta: float = 10.0,
    steps: int = 10,
    copies: int = 10,
    sigma: float = 1.0,
) -> Tensor:
    """The map (H, W) in bits per pixel of one image (1, C, H, W); mean and std broadcast to the layer's output."""
    state: dict[str, Tensor] = {}

    def restrict(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        if "logits" not in state:
            state["logits"] = torch.full_like(output[:1], 5.0).requires_grad_()
        batch = state["logits"].expand(len(output), -1, -1, -1)
        kernel = _kernel(sigma, output.shape[1])
        padded = F.pad(torch.sigmoid(batch), [kernel.shape[-1] // 2] * 4, mode="reflect")
        mask = F.conv2d(padded, kernel, groups=output.shape[1])
        score = (output - mean) / std
        information = -0.5 * (1 + torch.log((1 - mask) ** 2) - (1 - mask) ** 2 - (mask * score) ** 2)
        state["information"] = information
        noise = torch.randn_like(output) * std + mean
        return mask * output + (1 - mask) * noise

    handle = layer.register_forward_hook(restrict)
    try:
        with torch.no_grad():
            model(image)
        logits = state["logits"] = torch.full_like(state["logits"], 5.0).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=1.0)
        batch, labels = image.expand(copies, -1, -1, -1), torch.full((copies,), target)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch), labels) + beta * state["information"].mean()
            loss.backward()
            optimizer.step()
    finally:
        handle.remove()
    cells = state["information"].detach().mean(0).sum(0) / math.log(2)
    share = cells.numel() / (image.shape[2] * image.shape[3])
    return F.interpolate(cells[None, None] * share, image.shape[2:], mode="bilinear", align_corners=False)[0, 0]
