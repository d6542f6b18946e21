"""One network, one input, one line: a map that holds, with nothing prepared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from bitlens.core.attribution import Attribution
from bitlens.core.inputs import ModelInputs
from bitlens.core.seen import MOST_SEEN, Seen, seen_of
from bitlens.data.numbers import Numbers
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import InputError, LayerError
from bitlens.explaining.besides import findable
from bitlens.methods import entry_of
from bitlens.methods.building import build_method, layer_for
from bitlens.methods.naming import holding
from bitlens.methods.specs import Spec
from bitlens.models import default_layer as layers
from bitlens.models.classes import class_index, class_name
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded

_BESIDES = ("curve", "spread", "spread_top", "evidence_samples", "keep_capacity", "progress", "watch")


def explain(
    model: nn.Module | Loaded | str,
    inputs: Any,
    targets: Any = None,
    *,
    layer: str | nn.Module | None = None,
    method: str = "iba",
    keep: float | None = None,
    **settings: Any,
) -> Attribution:
    """Explain what a network uses of inputs; nothing has to be prepared.

    Args:
        model: a module, what `load_model` gives, or a name that it takes ("torchvision/resnet50").
        inputs: as the network takes them; or, for a loaded network, photos (files or PIL images) or texts, one or several.
        targets: None for the predicted class, a class by index or (of a loaded network) name, one for each, a `Target`, or a
            callable from the network's output to one score per row.
        layer: where a bottleneck restricts the network; found by measuring if not given (`default_layer`).
        method: one of `bitlens methods`; for a network that reads texts, of `bitlens text methods` ("iba" is "token-iba" there).
        keep: the share of the decision that the map must hold; 0.9 for methods that can, unless `beta` or `bits` is given.
        **settings: of the method: statistics, quality, seed, ...; and what else is to be found: curve=True, spread=4.

    Raises:
        LayerError: if no layer suits by default, or the network has no such layer.
        InputError: if the inputs are of no kind that the network reads.
        SettingError: if there is no such method, or a setting makes no sense.
    """
    loaded = load_model(model) if isinstance(model, str) else model
    kind = loaded.kind if isinstance(loaded, Loaded) else "image"
    several = kind == "text" and method == "iba" and settings.get("guarantee") is None  # a guarantee is about one layer
    name = "token-iba" if several else method
    settings |= {"keep": keep} if keep is not None else holding(name, settings, kind)
    more = {part: settings.pop(part) for part in _BESIDES if part in settings}
    made, given, asked = prepared(loaded, inputs, targets, layer, name, settings)
    found: Attribution = made.explain(given, asked, **findable(made, name, more))
    return replace(
        found,
        seen=_seen(loaded, given, found, inputs)
        if isinstance(loaded, Loaded)
        else seen_of(inputs, map_size=found.map.shape[1:]),
    )


def prepared(
    model: nn.Module | Loaded,
    inputs: Any,
    targets: Any,
    layer: str | nn.Module | None,
    name: str,
    settings: Mapping[str, Any],
) -> tuple[Any, Any, Any]:
    """Build a method on a network, and read inputs and targets as it takes them; for arguments and errors see `explain`."""
    if isinstance(model, Loaded):
        chosen = {**settings, **({"layer": layer} if layer is not None else {})}
        return build_method(Spec(name, chosen), model), _read(model, inputs), _asked(targets, model)
    if not isinstance(model, nn.Module):
        raise InputError(f"the network must be a module, a loaded network or a name, got {type(model).__name__}")
    entry = entry_of(name)
    if entry.needs_layer and layer is None:
        layer = default_layer(model, ModelInputs.of(inputs))
    return entry.made(model, **({"layer": layer} if layer is not None else {}), **settings), inputs, targets


def default_layer(model: nn.Module | Loaded, inputs: Any = None) -> str:
    """Name the layer where a bottleneck belongs in a network that nobody said it for.

    Args:
        model: the network.
        inputs: as it takes them; a loaded network for photos needs none.

    Raises:
        LayerError: if no layer suits, or it is not known how to find one for such inputs.
    """
    if isinstance(model, Loaded):
        return layer_for(model) if model.kind == "image" else model.layer or ""
    if inputs is None:
        raise LayerError(f"to find a layer of {type(model).__name__} an input is needed: default_layer(model, inputs)")
    given = ModelInputs.of(inputs)
    if given.first.dim() < 2 or not given.first.is_floating_point():
        raise LayerError(f"a layer is found by itself for images only, not for {tuple(given.first.shape)}: layer='…'")
    return layers.default_layer(model, given.select(slice(1)))


def _asked(targets: Any, loaded: Loaded) -> Any:
    """Return classes by name as their indices."""
    if isinstance(targets, str):
        return class_index(targets, loaded.classes)
    if isinstance(targets, list | tuple) and any(isinstance(one, str) for one in targets):
        return [class_index(str(one), loaded.classes) for one in targets]
    return targets


def _read(loaded: Loaded, inputs: Any) -> Any:
    """Return tensors as they are; photos prepared and texts cut into tokens as the network wants them."""
    if isinstance(inputs, Tensor | TokenBatch | ModelInputs):
        return inputs
    several = inputs if isinstance(inputs, list | tuple) else [inputs]
    if loaded.kind == "text" and all(isinstance(one, str) for one in several):
        return loaded.tokenizer(list(several))
    if (
        loaded.kind == "image"
        and several
        and all(isinstance(one, str | Path | Image.Image | Numbers) for one in several)
    ):
        return _prepared(loaded, several)
    if isinstance(inputs, str | Path | Image.Image):
        raise InputError(
            f"{loaded.name} reads {'photos' if loaded.kind == 'image' else 'texts'}, not {type(inputs).__name__}"
        )
    return inputs


def _seen(loaded: Loaded, given: Any, found: Attribution, inputs: Any) -> tuple[Seen, ...] | None:
    """Keep what people see of the inputs, with the names of the classes: for `show`, and for notebooks."""
    names = [class_name(text, loaded.classes) for text in found.targets]
    if isinstance(given, TokenBatch) and len(given) <= MOST_SEEN:
        rows = zip(given.texts, given.spans, names, strict=True)
        return tuple(Seen(text=text, spans=tuple(spans), target=name) for text, spans, name in rows)
    if loaded.kind == "text" or not isinstance(given, Tensor):
        return None
    seen = seen_of(given, names, found.map.shape[1:])
    if seen is not None and loaded.form != "photo":
        return tuple(_with_axes(one, raw, loaded) for one, raw in zip(seen, _raw(inputs, len(seen)), strict=True))
    if seen is None or (colours := loaded.preprocess.colours(given.shape[-2], given.shape[-1])) is None:
        return seen
    return tuple(Seen.of_pixels(colours.undo(image), name) for image, name in zip(given, names, strict=True))


def _raw(inputs: Any, count: int) -> list[Any]:
    """Return what each input was given as; None where that was a tensor."""
    several = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    return several if len(several) == count else [None] * count


def _with_axes(seen: Seen, raw: Any, loaded: Loaded) -> Seen:
    """Name what is known of the axes of a signal, a volume or a row."""
    known, values = loaded.preprocess, seen.values
    if isinstance(raw, Numbers) and values is not None and raw.values.shape == tuple(values.shape):
        return replace(seen, names=raw.names, rate=raw.rate, spacing=raw.spacing)
    names = known.names if values is not None and len(known.names) == len(values) else ()
    return replace(seen, rate=known.rate, names=names)


def _prepared(loaded: Loaded, photos: Sequence[Any]) -> Tensor:
    given = [one if isinstance(one, Image.Image | Numbers) else loaded.preprocess.read(Path(one)) for one in photos]
    tensors = [loaded.preprocess(picture) for picture in given]
    if len({tensor.shape for tensor in tensors}) > 1:
        raise InputError("the photos have several sizes for this network: explain them one by one")
    return torch.stack(tensors)
