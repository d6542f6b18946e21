"""Methods on a network, built from what a person typed and what suits the network."""

import inspect
from typing import Any

from PIL import Image
from torch import Tensor

from bitlens.bottlenecks.at_layer import LayerBottleneck
from bitlens.core.guarantee import Guarantee
from bitlens.data.datasets import open_dataset
from bitlens.data.inputs import Content
from bitlens.errors import LayerError, SettingError
from bitlens.methods import METHODS, entry_of
from bitlens.methods.lessons import WEIGHTS
from bitlens.methods.specs import Spec, settings_of_callable
from bitlens.models.default_layer import KNOWN_LAYERS, default_layer
from bitlens.models.loaded import Loaded
from bitlens.probe import Network


def build_method(spec: Spec, loaded: Loaded, *, seed: int = 0, layer: str | None = None) -> Any:
    """Return a method on a network; what it must learn, it has still to learn.

    Args:
        spec: the method; what its settings do not name is what suits the network.
        loaded: the network.
        seed: of methods that take one, unless their settings name it.
        layer: of methods that need one, unless their settings name it; None for the network's default.

    Raises:
        LayerError: if the network has no such layer, or none that suits by default.
        SettingError: if a setting has a value that makes no sense.
    """
    entry = entry_of(spec.name, loaded.kind)
    takes = settings_of_callable(entry.build)
    _check_reader(spec.settings.get("guarantee"), loaded)
    settings: dict[str, Any] = {"seed": seed} if "seed" in takes else {}
    if loaded.output is not None and "output" in takes:
        settings["output"] = loaded.output
    if loaded.kind == "text":
        settings |= {"layer": layer} if layer is not None and "layer" in takes else {}
        return entry.made(loaded, **{**settings, **spec.settings})
    trained = entry.lesson is WEIGHTS and (spec.settings.get("weights") or _bundled(spec, loaded, layer))
    if trained:
        settings |= {"weights": trained} | ({"layer": layer} if layer else {})  # it knows its own layer and settings
    elif entry.needs_layer and "layer" not in spec.settings:
        settings["layer"] = layer or layer_for(loaded)
    priced = (
        spec.name != "iba" or spec.settings.get("keep") is None
    )  # of others it is the price of a stage that prepares
    if "beta" in takes and not trained and loaded.beta is not None and priced:
        settings["beta"] = loaded.beta
    settings.update(spec.settings)
    place = (settings.pop("layer"),) if "layer" in settings else ()
    return entry.made(loaded.model, *place, **settings)


def map_alone(method: Any) -> dict[str, Any]:
    """Return what to give `explain` so that it leaves out evidence that decides nothing: passes that nobody looks at.

    With `keep` masks are opened until a proof is passed, so it stays: else other maps would be judged than are shown.
    """
    return {"evidence_samples": 0} if has_evidence(method) and getattr(method, "keep", None) is None else {}


def has_evidence(method: Any) -> bool:
    """Say whether a method can prove how far its maps hold."""
    return "evidence_samples" in inspect.signature(method.explain).parameters


def method_settings(spec: Spec, method: Any) -> dict[str, Any]:
    """Return everything that decides what a method's maps look like, as plain values."""
    if isinstance(method, LayerBottleneck):
        return {"name": spec.name, "layer": method.probe.name, **method.settings(), **method.chosen}
    if hasattr(method, "layers"):  # a bottleneck for texts
        return {"name": spec.name, "layers": list(method.layers), **method.settings(), **getattr(method, "chosen", {})}
    entry = METHODS["image"].get(spec.name)
    learnt = entry.lesson.setting if entry is not None and entry.lesson is not None else ""  # it tells of itself
    chosen = {name: value for name, value in spec.settings.items() if name != learnt}
    return {"name": spec.name, **chosen, **method.settings()}


def grey_photo(loaded: Loaded) -> Tensor:
    """Return one input on the network's device, a grey photo if it reads photos: any will do to see which layers there are.

    Raises:
        LayerError: if the network reads something else and comes with no data set.
    """
    if loaded.form == "photo":
        given: Content = Image.new("RGB", (512, 512), (128, 128, 128))
    elif loaded.learns_from is not None:
        given = open_dataset(loaded.learns_from)[0].read()
    else:
        raise LayerError(f"layers of a network for a {loaded.form} are not found by themselves: name one with layer")
    return loaded.preprocess(given)[None].to(Network(loaded.model).device)


def _check_reader(guarantee: Guarantee | None, loaded: Loaded) -> None:
    """Refuse a guarantee about photos that were prepared otherwise."""
    known = guarantee.provenance.preprocessing if guarantee is not None else ""
    if known and loaded.kind == "image" and known != loaded.preprocess.description:
        raise SettingError(
            f"the guarantee is about photos prepared otherwise ({known}; here {loaded.preprocess.description}): calibrate anew"
        )


def _bundled(spec: Spec, loaded: Loaded, layer: str | None) -> str | None:
    """Return the readout that comes with a network, unless another layer or other settings are wanted."""
    usual = not spec.settings.keys() - {"seed"} and layer in (None, loaded.layer)
    return str(loaded.readout) if loaded.readout is not None and usual else None


def layer_for(loaded: Loaded) -> str:
    """Say where a bottleneck belongs in a network that nobody said it for.

    Raises:
        LayerError: if no layer suits.
    """
    known = loaded.layer or KNOWN_LAYERS.get(loaded.name.partition("@")[0])
    return known if known is not None else default_layer(loaded.model, grey_photo(loaded))
