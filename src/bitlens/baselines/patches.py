"""Which tokens of a vision transformer are patches of the image, and where they lie."""

import math

from torch import Tensor

from bitlens.errors import SettingError

__all__ = ["patch_grid", "patches_of"]


def patch_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """How many patches there are up and across, (h, w), when a network makes so many tokens of an image.

    Square patches that fill the image, as many as there can be. What is over (class token, registers) stands first.

    Raises:
        SettingError: if so many are over that the tokens cannot be patches of the image.
    """
    height, width = image_size
    common = math.gcd(height, width)
    sides = [side for side in range(1, common + 1) if common % side == 0]
    grid = next(((height // s, width // s) for s in sides if height * width <= tokens * s * s), None)
    if grid is None or (grid[0] + 1) * (grid[1] + 1) <= tokens:
        raise SettingError(
            f"{tokens} tokens are no grid of square patches of an image of {height}x{width} pixels (and a few tokens more)"
        )
    return grid


def patches_of(values: Tensor, image_size: tuple[int, int]) -> Tensor:
    """The values of the patches, (N, ..., h, w), of values of all tokens (N, ..., T)."""
    grid = patch_grid(values.shape[-1], image_size)
    return values[..., values.shape[-1] - grid[0] * grid[1] :].reshape(*values.shape[:-1], *grid)
