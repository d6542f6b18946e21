"""Methods on a network, built from what a person typed and what suits the network."""

import inspect
from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import Tensor

from bitlens.bottlenecks.at_layer import LayerBottleneck
from bitlens.data.kinds import Kind
from bitlens.errors import SettingError
from bitlens.methods import METHODS, entry_of
from bitlens.methods.lessons import WEIGHTS
from bitlens.methods.specs import Spec, parse_specs, settings_of_callable
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
    settings: dict[str, Any] = {"seed": seed} if "seed" in takes else {}
    if loaded.output is not None and "output" in takes:
        settings["output"] = loaded.output
    if loaded.kind == "text":
        settings |= {"layer": layer} if layer is not None and "layer" in takes else {}
        return entry.build(loaded, **{**settings, **spec.settings})
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
    return entry.build(loaded.model, *place, **settings)


KEEP = 0.9
"""Share of the decision that a map holds unless somebody says otherwise."""

HOLDERS = ("iba", "token-iba", "input-iba")
"""Methods whose maps can hold a share of the decision."""

_AIMS = {"keep", "bits", "beta", "beta_input"}


def holding(name: str, settings: Mapping[str, Any], kind: Kind = "image") -> dict[str, Any]:
    """Return the settings with which a bottleneck's maps hold, where no price, budget or share was named.

    This is the default of everything that a person asks by words: `bitlens.explain`, the command line and the page. The classes
    (`bitlens.IBA`) and papers' tables keep what was published.
    """
    if name not in HOLDERS or settings.keys() & _AIMS:
        return {}
    fast = name == "iba" and kind == "image" and "quality" not in settings
    return {"keep": KEEP, **({"quality": "fast"} if fast else {})}


def with_options(
    specs: Mapping[str, Spec], chosen: Mapping[str, Any], kind: Kind = "image", *, holds: bool = True
) -> dict[str, Spec]:
    """Return the methods with what options say, each as far as it takes that and names no setting of its own; by label.

    Args:
        specs: the methods.
        chosen: settings by name; None is nothing chosen.
        kind: what the methods explain.
        holds: whether maps hold where nothing says how much passes, see `holding`.

    Raises:
        SettingError: if an option is for none of them.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    useless, found = set(given), dict[str, Spec]()
    for label, spec in specs.items():
        entry = entry_of(spec.name, kind)
        fits_any = entry.needs_layer or kind == "text"
        taken = set(settings_of_callable(entry.build)) - (set() if fits_any else {"layer"})
        useless -= taken
        if spec.settings.keys() & _AIMS:
            taken -= _AIMS  # it says itself how much passes
        settings = {**{name: value for name, value in given.items() if name in taken}, **spec.settings}
        held = holding(spec.name, settings, kind) if holds else {}
        found[label] = Spec(spec.name, {**held, **settings})
    if useless:
        raise SettingError(
            f"--{min(useless)} is not for {' or '.join(specs)}: leave it out; `bitlens methods NAME` shows how a method is set"
        )
    return found


def map_alone(method: Any) -> dict[str, Any]:
    """Return what to give `explain` so that it leaves out the evidence of bottlenecks: 32 passes a map that nobody looks at."""
    return {"evidence_samples": 0} if "evidence_samples" in inspect.signature(method.explain).parameters else {}


def method_settings(spec: Spec, method: Any) -> dict[str, Any]:
    """Return everything that decides what a method's maps look like, as plain values."""
    if isinstance(method, LayerBottleneck):
        return {"name": spec.name, "layer": method.probe.name, **method.settings(), **method.aim}
    if hasattr(method, "layers"):  # a bottleneck for texts
        return {"name": spec.name, "layers": list(method.layers), **method.settings(), **getattr(method, "aim", {})}
    entry = METHODS["image"].get(spec.name)
    learnt = entry.lesson.setting if entry is not None and entry.lesson is not None else ""  # it tells of itself
    chosen = {name: value for name, value in spec.settings.items() if name != learnt}
    return {"name": spec.name, **chosen, **method.settings()}


def read_methods(text: str, kind: Kind = "image") -> dict[str, Spec]:
    """Read methods as a person types them, `iba,iba:beta=100`, by label; see `parse_specs`."""
    return parse_specs(text, METHODS[kind], "method", lambda entry: entry.build)


def grey_photo(loaded: Loaded) -> Tensor:
    """Return (1, C, H, W) on the network's device: any input will do to see which layers there are."""
    image = loaded.preprocess(Image.new("RGB", (512, 512), (128, 128, 128)))[None]
    return image.to(Network(loaded.model).device)


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
