"""Samples of a data set as tensors, read and prepared by a few threads ahead of what is consumed."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Literal
from warnings import warn

import torch
from torch import Tensor

from bitlens.data.datasets import Sample
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import BitlensWarning, DataError, InputError

_THREADS = 4


def tensor_batches(
    samples: Sequence[Sample],
    preprocess: Preprocessing,
    batch_size: int,
    on_error: Literal["raise", "skip"] = "raise",
) -> Iterator[tuple[Tensor, list[Sample]]]:
    """Read and prepare samples in order, a few threads ahead of what is consumed.

    Args:
        samples: a data set, or a part of one.
        preprocess: the network's preprocessing; it is called from several threads.
        batch_size: samples in each batch at most; inputs of another size begin a new one.
        on_error: "raise" stops at a sample that cannot be read or prepared; "skip" leaves it out with a
            `BitlensWarning`.

    Yields:
        (n, C, H, W) float32 and the n samples.

    Raises:
        DataError: a sample cannot be read or prepared (its name is in the message), or none is left.
        InputError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, expected at least 1")
    return _batches(samples, preprocess, batch_size, on_error)


def _batches(
    samples: Sequence[Sample], preprocess: Preprocessing, batch_size: int, on_error: str
) -> Iterator[tuple[Tensor, list[Sample]]]:
    batch: list[tuple[Sample, Tensor]] = []
    useful = False
    with closing(_ahead(samples, preprocess, batch_size + _THREADS)) as futures:
        for future in futures:
            try:
                sample, tensor = future.result()
            except DataError as error:
                if on_error == "raise":
                    raise
                warn(f"skipped: {error}", BitlensWarning, stacklevel=3)
                continue
            if batch and (len(batch) == batch_size or batch[0][1].shape != tensor.shape):
                yield _joined(batch)
                batch = []
            batch.append((sample, tensor))
            useful = True
    if not useful:
        raise DataError(f"none of the {len(samples)} samples could be read")
    yield _joined(batch)


def _joined(batch: list[tuple[Sample, Tensor]]) -> tuple[Tensor, list[Sample]]:
    return torch.stack([tensor for _, tensor in batch]), [sample for sample, _ in batch]


def _ahead(samples: Sequence[Sample], preprocess: Preprocessing, most: int) -> Generator[Future[tuple[Sample, Tensor]]]:
    """Yield futures in the order of the samples, at most `most` of them under way."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bitlens-read")
    waiting: deque[Future[tuple[Sample, Tensor]]] = deque()
    try:
        for index in range(len(samples)):
            waiting.append(pool.submit(_prepare, samples, index, preprocess))
            if len(waiting) == most:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(samples: Sequence[Sample], index: int, preprocess: Preprocessing) -> tuple[Sample, Tensor]:
    sample = samples[index]
    content = sample.read()
    try:
        return sample, preprocess(content)
    except InputError as error:
        raise DataError(f"{sample.name}: {error}") from error
