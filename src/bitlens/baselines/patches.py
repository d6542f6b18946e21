"""The values of a vision transformer's tokens, laid out as its patches lie in the image."""

from torch import Tensor

from bitlens.core.layout import patch_grid
from bitlens.errors import SettingError


def patches_of(values: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Return the values of the patches, (N, ..., h, w), of values of all tokens (N, ..., T).

    Raises:
        SettingError: if the tokens cannot be patches of an image of this size.
    """
    tokens, (height, width) = values.shape[-1], image_size
    grid = patch_grid(tokens, image_size)
    if grid is None:
        raise SettingError(
            f"{tokens} tokens are no grid of square patches of an image of {height}x{width} pixels (and a few tokens more)"
        )
    return values[..., tokens - grid[0] * grid[1] :].reshape(*values.shape[:-1], *grid)
