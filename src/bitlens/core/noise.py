"""Noise from a seed alone: the same for every sample, however samples are batched and texts are padded."""

import torch
from torch import Tensor

_STREAM = 0x9E3779B1  # between the seeds of two streams, so that neighbouring seeds of a user share none


class NoisyCopies:
    """Standard normal noise for copies of a layer's features, the same for every sample, from a seed alone.

    Args:
        shape: of one sample's features.
        seed: where the stream begins.
        device: where the noise is needed; a seed gives other numbers on another kind of device.
        antithetic: the second half of each draw is the negative of the first.
        block: places of the first axis that share a stream of their own, so that a text's noise does not depend on how far
            it is padded; None for one stream.
        starts: (N,) the place of the first axis where each sample's streams begin, so that a text's noise does not depend
            on how far it is padded before its first token either; None if all begin at the first place.
    """

    def __init__(
        self,
        shape: torch.Size,
        seed: int,
        device: torch.device,
        *,
        antithetic: bool = False,
        block: int | None = None,
        starts: Tensor | None = None,
    ) -> None:
        self._shape, self._device, self._antithetic = shape, device, antithetic
        self._places = None if starts is None or not bool(starts.any()) else _places(shape[0], starts.to(device))
        self._drawn = shape if block is None else (block, *shape[1:])
        streams = 1 if block is None else -(-shape[0] // block)
        self._generators = [torch.Generator(device).manual_seed(seed + i * _STREAM) for i in range(streams)]

    def draw(self, count: int) -> Tensor:
        """Return the next noise (count, 1, ...), or (count, N, ...) where samples do not begin at the same place."""
        independent = (count + 1) // 2 if self._antithetic else count
        size = (independent, 1, *self._drawn)
        blocks = [torch.randn(size, generator=g, device=self._device, dtype=torch.float32) for g in self._generators]
        noise = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)
        noise = noise[:, :, : self._shape[0]]
        if self._places is not None:
            noise = noise[:, 0][:, self._places]
        return torch.cat([noise, -noise[: count - independent]]) if self._antithetic else noise


def _places(length: int, starts: Tensor) -> Tensor:
    """Return which place of the streams each place of each sample reads, (N, length); before its start a sample reads the end."""
    return (torch.arange(length, device=starts.device) - starts[:, None]) % length
