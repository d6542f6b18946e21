"""How few places a map, or the network, makes do with. What is concise need not be right."""

import torch
from torch import Tensor

from bitlens.errors import InputError, SettingError
from bitlens.metrics.insertion_deletion import InsertionDeletion


def sparseness(maps: Tensor) -> Tensor:
    """Return the Gini index of the sizes of a map's values (Chalasani et al., ICML 2020, after Hurley & Rickard 2009).

    Quantus adds 1e-7 to every value; here nothing is added.

    Args:
        maps: (N, ...), of any unit; the sign does not count.

    Returns:
        (N,) in [0, 1): 0 where all values are equally large, or zero; towards 1 as everything lies in one place.

    Raises:
        InputError: if maps hold NaN or infinite values.
    """
    if not bool(torch.isfinite(maps).all()):
        raise InputError("maps hold NaN or infinite values: they have no sparseness")
    sizes = maps.flatten(1).double().abs().sort(dim=1).values
    count = sizes.shape[1]
    places = torch.arange(1, count + 1, dtype=torch.float64, device=sizes.device)
    total = sizes.sum(1)
    gini = (sizes * (2 * places - count - 1)).sum(1) / (count * total)
    return torch.where(total > 0, gini, 0.0)


def effective_complexity(found: InsertionDeletion, keep: float = 0.9) -> Tensor:
    """Return the smallest share of a map's highest pixels with which the network says what it says of the whole input.

    Nguyen & Martínez, On quantitative aspects of model interpretability (2020): the fewest features without which the expected
    loss of knowing no others stays small. Here small means that `keep` of the target's value is reached, and the others are
    what insertion begins with (`start`: a blurred photo), where the paper draws them from the data.

    Args:
        found: insertion in the order of the map.
        keep: of the value of the whole input, in (0, 1].

    Returns:
        (N,) in [0, 1], lower is better.

    Raises:
        SettingError: if `keep` is no share.
    """
    if not 0 < keep <= 1:
        raise SettingError(f"keep must be a share above 0, got {keep!r}")
    enough = found.insertion >= keep * found.insertion[:, -1:]  # the last point is the whole input
    return found.share.gather(1, enough.int().argmax(1, keepdim=True))[:, 0].double()
