"""The values of a vision transformer's tokens, laid out as its patches lie in the image."""

from torch import Tensor

from bitlens.core.layout import patch_grid
from bitlens.errors import SettingError


def patches_of(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the values of the patches, (N, ..., h, w), of values of all tokens (N, ..., T).

    Raises:
        SettingError: if the input is no image, or the tokens cannot be patches of an image of this size.
    """
    if len(size) != 2:
        raise SettingError(f"tokens are laid out as patches of images (H, W) alone, not of inputs of {size} places")
    tokens, (height, width) = values.shape[-1], (size[0], size[1])
    grid = patch_grid(tokens, (height, width))
    if grid is None:
        raise SettingError(
            f"{tokens} tokens are no grid of square patches of an image of {height}x{width} pixels (and a few tokens more)"
        )
    return values[..., tokens - grid[0] * grid[1] :].reshape(*values.shape[:-1], *grid)
