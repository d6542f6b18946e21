"""Methods on a network, built from what a person typed and what suits the network."""

import inspect
from typing import Any

from PIL import Image
from torch import Tensor

from bitlens.bottlenecks.per_sample import IBA
from bitlens.methods import METHODS
from bitlens.methods.specs import Spec, settings_of_callable
from bitlens.models.builtin import BUILTIN
from bitlens.models.default_layer import KNOWN_LAYERS, default_layer
from bitlens.models.load import LoadedModel
from bitlens.probe import Network

__all__ = ["beta_for", "build_method", "grey_photo", "layer_for", "map_alone", "method_settings"]


def build_method(spec: Spec, loaded: LoadedModel, *, seed: int = 0, layer: str | None = None) -> Any:
    """A method on a network; what it must learn, it has still to learn.

    Args:
        spec: the method; what its settings do not name is what suits the network.
        loaded: the network.
        seed: of methods that take one, unless their settings name it.
        layer: of methods that need one, likewise; None for the network's default.

    Raises:
        LayerError: if the network has no such layer, or none that suits by default.
        SettingError: if a setting has a value that makes no sense.
    """
    entry = METHODS[spec.name]
    settings: dict[str, Any] = {"seed": seed} if "seed" in settings_of_callable(entry.build) else {}
    trained = entry.learns == "weights" and (spec.settings.get("weights") or _bundled(spec, loaded, layer))
    if trained:
        settings |= {"weights": trained} | ({"layer": layer} if layer else {})  # it knows its own layer and settings
    elif entry.needs_layer and "layer" not in spec.settings:
        settings["layer"] = layer or layer_for(loaded)
    if spec.name in ("iba", "input-iba", "readout") and not trained and beta_for(loaded) is not None:
        settings["beta"] = beta_for(loaded)
    settings.update(spec.settings)
    place = (settings.pop("layer"),) if "layer" in settings else ()
    return entry.build(loaded.model, *place, **settings)


def map_alone(method: Any) -> dict[str, Any]:
    """What to give `explain` so that it leaves out the evidence of bottlenecks, 32 passes for each map that nobody looks at."""
    return {"evidence_samples": 0} if "evidence_samples" in inspect.signature(method.explain).parameters else {}


def method_settings(spec: Spec, method: Any) -> dict[str, Any]:
    """Everything that decides what a method's maps look like, as plain values."""
    if isinstance(method, IBA):
        return {"name": spec.name, "layer": method.probe.name, **method.all_settings()}
    return {"name": spec.name, **spec.settings, **method.settings(), "seed": method.seed}


def grey_photo(loaded: LoadedModel) -> Tensor:
    """(1, C, H, W) on the network's device: any input will do to see which layers there are."""
    image = loaded.preprocess(Image.new("RGB", (512, 512), (128, 128, 128)))[None]
    return image.to(Network(loaded.model).device)


def _bundled(spec: Spec, loaded: LoadedModel, layer: str | None) -> str | None:
    """The readout that comes with a network, unless another layer or other settings are wanted."""
    kind, _, name = loaded.name.partition("/")
    found = BUILTIN[name].readout if kind == "builtin" else None
    usual = not spec.settings.keys() - {"seed"} and layer in (None, loaded.default_layer)
    return str(found) if found is not None and usual else None


def beta_for(loaded: LoadedModel) -> float | None:
    """The price of information that suits a network that comes with bitlens; None for all others."""
    kind, _, name = loaded.name.partition("/")
    return BUILTIN[name].beta if kind == "builtin" else None


def layer_for(loaded: LoadedModel) -> str:
    """Where a bottleneck belongs in a network that nobody said it for.

    Raises:
        LayerError: if no layer suits.
    """
    known = loaded.default_layer or KNOWN_LAYERS.get(loaded.name.partition("@")[0])
    return known if known is not None else default_layer(loaded.model, grey_photo(loaded))
