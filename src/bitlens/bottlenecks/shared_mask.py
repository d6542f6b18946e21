"""One mask for several layers: what is noise at the first stays noise at all those behind it (CoIBA, CVPR 2025).

The first layer's information bounds what passes the others, which see the input only through it, so it is counted once.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitlens.core.family import Region
from bitlens.core.gaussian import NoiseModel, noised_features

_STREAM = 0x2545F491  # between the seeds of two layers


@dataclass(frozen=True)
class _Pass:
    """Mask and noise while one set of copies runs."""

    u: Tensor
    noise: Mapping[nn.Module, Tensor]


class SharedMask:
    """Layers behind the restricted one whose features the same mask mixes with noise of their own.

    Args:
        models: the noise of each layer, by module.
        region: what is restricted.
        seed: of the noise.
    """

    def __init__(self, models: Mapping[nn.Module, NoiseModel], region: Region, seed: int) -> None:
        self._models, self._region = models, region
        self._now: _Pass | None = None
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Draw the noise anew, from another seed."""
        self._sources = {
            module: self._region.copies(model.mean.shape[1:], seed + (i + 1) * _STREAM, model.mean.device)
            for i, (module, model) in enumerate(self._models.items())
        }

    @property
    def changes(self) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
        """Return what is done to each layer's features (copies * N, ...)."""
        return {module: self._change(module) for module in self._models}

    @contextmanager
    def restricted(self, u: Tensor, copies: int) -> Iterator[None]:
        """Mix u (N, ...) of fresh noise into these layers too in passes of `copies` noisy copies within the block."""
        self._now = _Pass(u, {module: self._noise(module, copies) for module in self._models})
        try:
            yield
        finally:
            self._now = None

    def _noise(self, module: nn.Module, copies: int) -> Tensor:
        one_by_one = [self._sources[module].draw(1) for _ in range(copies)]  # however many copies share a pass
        return self._models[module].sample(torch.cat(one_by_one))

    def _change(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        def change(features: Tensor) -> Tensor:
            if self._now is None:
                return features
            noise = self._now.noise[module]
            rows = features.float().reshape(len(noise), -1, *features.shape[1:])
            return noised_features(rows, self._now.u, noise).flatten(0, 1).to(features.dtype)

        return change
