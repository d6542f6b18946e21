"""Methods on a network for texts, built from what a person typed, with what they must learn on texts first."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.data.texts import TextSample, open_texts
from bitlens.errors import StatisticsError
from bitlens.evaluation.learning import Progress
from bitlens.evaluation.text.plan import TextPlan
from bitlens.methods.specs import Spec, settings_of_callable
from bitlens.methods.text import TEXT_METHODS, text_method
from bitlens.methods.text_cache import token_statistics_from
from bitlens.models.load_text import LoadedText
from bitlens.probe.fingerprint import weights_hash

__all__ = ["ready_method"]


def ready_method(
    spec: Spec, plan: TextPlan, loaded: LoadedText, samples: Sequence[TextSample], folder: Path, progress: Progress
) -> Any:
    """A method on a network, ready to explain.

    What is learnt is kept in a folder: a run that goes on elsewhere, where the same sums may round otherwise, uses the
    very same.

    Args:
        spec: the method.
        plan: says from which texts it learns, and the seed.
        loaded: the network.
        samples: the data set that is evaluated.
        folder: where what is learnt is kept.
        progress: told of learning.

    Raises:
        LayerError: if the network has no such layer, or none that suits by default.
        SettingError: if a setting has a value that makes no sense.
    """
    entry = TEXT_METHODS[spec.name]
    takes = settings_of_callable(entry.build)
    settings: dict[str, Any] = {"seed": plan.seed} if "seed" in takes else {}
    if plan.layer is not None and "layer" in takes:
        settings["layer"] = plan.layer
    method: Any = text_method(spec.name, loaded, **{**settings, **spec.settings})
    if entry.learns == "statistics" and (plan.statistics_from is not None or not _knows(method)):
        method.statistics = _statistics(method, plan, loaded, samples, folder, progress)
    return method


def _knows(method: Any) -> bool:
    """Whether statistics came with the network."""
    try:
        return method.statistics is not None
    except StatisticsError:
        return False


def _statistics(
    method: Any, plan: TextPlan, loaded: LoadedText, samples: Sequence[TextSample], folder: Path, progress: Progress
) -> dict[str, TokenStatistics]:
    """Of all layers of a method."""
    weights = weights_hash(loaded.model)
    places = {
        layer: folder / f"statistics-{re.sub(r'[^-.a-zA-Z0-9_]', '_', layer)}-{weights}.safetensors"
        for layer in method.layers
    }
    missing = [layer for layer, place in places.items() if not place.is_file()]
    if missing:
        texts = samples if plan.learns_from == plan.data else open_texts(plan.learns_from)
        count = min(plan.statistics_count, len(texts))
        made, _ = token_statistics_from(
            texts,
            plan.learns_from,
            loaded,
            missing,
            count,
            call=method.probe.call,
            progress=lambda seen: progress(f"statistics of {', '.join(missing)}", seen, count),
        )
        for layer in missing:
            made[layer].save(places[layer])
    return {layer: TokenStatistics.load(place) for layer, place in places.items()}
