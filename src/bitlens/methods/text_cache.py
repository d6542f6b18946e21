"""What bottlenecks learn from texts once, kept in the user's cache folder for the next time."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.data.texts import TextSample
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import DataError
from bitlens.methods.cache import cache_folder
from bitlens.models.load_text import LoadedText
from bitlens.probe.fingerprint import weights_hash

__all__ = ["token_batches", "token_statistics_from"]

_BATCH = 16


def token_batches(samples: Sequence[TextSample], loaded: LoadedText, size: int = _BATCH) -> Iterator[TokenBatch]:
    """The texts in batches of at most `size`, in their order; a batch has pairs where its first text has one."""
    for start in range(0, len(samples), size):
        some = samples[start : start + size]
        pairs = [sample.pair or "" for sample in some] if some[0].pair is not None else None
        yield loaded.tokenizer([sample.text for sample in some], pairs)


def token_statistics_from(
    samples: Sequence[TextSample],
    name: str,
    loaded: LoadedText,
    layers: Sequence[str],
    count: int,
    *,
    call: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, TokenStatistics], Path]:
    """Statistics of layers over texts, from the cache if the very same were made before.

    Args:
        samples: the texts; spread over the whole set if there are more than `count`.
        name: what the set is called in the provenance.
        loaded: the network and its tokenizer.
        layers: dotted names.
        count: how many texts.
        call: which call of the layers, if the network calls them several times in one pass.
        progress: called with the number of texts seen.

    Returns:
        The statistics by layer, and the folder where they are kept.
    """
    number = min(count, len(samples))
    chosen = [samples[i * len(samples) // number] for i in range(number)]
    chosen.sort(key=lambda sample: len(sample.text))  # texts of like length share a batch
    place = _place(loaded, call, chosen)
    files = {layer: place / f"{layer}.safetensors" for layer in layers}
    found = {layer: kept for layer, file in files.items() if (kept := _kept(file)) is not None}
    missing = [layer for layer in layers if layer not in found]
    if missing:
        batches = _counted(token_batches(chosen, loaded), progress)
        data = f"{name} ({number} texts)"
        made = collect_token_statistics(loaded.model, missing, batches, max_samples=number, call=call, data=data)
        for layer, statistics in made.items():
            statistics.save(files[layer])
        found |= made
    return found, place


def _counted(batches: Iterator[TokenBatch], progress: Callable[[int], None] | None) -> Iterator[TokenBatch]:
    seen = 0
    for batch in batches:
        seen += len(batch)
        if progress is not None:
            progress(seen)
        yield batch


def _place(loaded: LoadedText, call: int | None, chosen: Sequence[TextSample]) -> Path:
    """The folder for what was learnt from the very same texts, cut the same way."""
    tokenizer = [type(loaded.tokenizer).__name__, getattr(loaded.tokenizer, "max_length", None)]
    whole = [weights_hash(loaded.model), call, tokenizer, [[sample.text, sample.pair] for sample in chosen]]
    return cache_folder() / "token-statistics" / hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:24]


def _kept(file: Path) -> TokenStatistics | None:
    if not file.is_file():
        return None
    try:
        return TokenStatistics.load(file)
    except DataError:
        return None  # damaged: it is made again and replaced
