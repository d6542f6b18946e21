"""What can be named as a network, and what cannot: told by the name alone, before torch is imported."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bitlens.data.kinds import Kind
from bitlens.errors import DependencyError, ModelError
from bitlens.models.builtin import BUILTIN, BUILTIN_LANGUAGE, BUILTIN_TEXT
from bitlens.models.hub import hub_name
from bitlens.models.offered import in_timm, timm_architectures, timm_names, torchvision_classifiers, torchvision_names
from bitlens.models.userfile import check_user_file, names_in
from bitlens.system.optional import refuse_without

FORMS = {
    "torchvision/NAME": "a classifier of torchvision; NAME@WEIGHTS chooses its weights, NAME@random takes none",
    "timm/NAME": "a classifier of timm; NAME@random takes no weights",
    "hf/ORG/NAME": "an image classifier of the Hugging Face hub; hf/./DIR is a folder on this machine",
    "builtin/NAME": "a small network that comes with bitlens",
    "FILE.py:CALLABLE": "your own: the callable returns a module, or (module, preprocess); module.classes names its outputs",
}
TEXT_FORMS = {
    "builtin/NAME": "a small network that comes with bitlens",
    "hf/NAME": "a text classifier of the Hugging Face hub",
    "DIR": "a folder with such a classifier; hf/./DIR too",
    "FILE.py:CALLABLE": "your own: the callable returns (module, tokenizer)",
}
LANGUAGE_FORMS = {
    "builtin/recall": "a small language model that comes with bitlens, and answers questions about a text of its kind",
    "builtin/recall-trained": "another, whose weights were trained and not set by hand",
    "hf/NAME": "a language model of the Hugging Face hub",
    "DIR": "a folder with such a model; hf/./DIR too",
    "FILE.py:CALLABLE": "your own: the callable returns (module, tokenizer); the module gives logits (texts, tokens, vocabulary)",
}
_SHOWN = 4
_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class ModelEntry:
    """A line of the list of models.

    Attributes:
        spec: what to ask for it by.
        source: where it comes from.
        parameters: how many, None where only the network itself would tell.
        default_layer: the `layer` of `Loaded`.
    """

    spec: str
    source: str
    parameters: int | None = None
    default_layer: str | None = None


def available_models() -> list[ModelEntry]:
    """Return every model that can be named on this machine; nothing is downloaded."""
    entries = [
        ModelEntry(f"builtin/{name}", "bitlens", entry.parameters, entry.layer) for name, entry in BUILTIN.items()
    ]
    offered = torchvision_classifiers().items()
    entries += [ModelEntry(f"torchvision/{name}", "torchvision", count) for name, (count, _) in offered]
    try:
        entries += [ModelEntry(f"timm/{name}", "timm") for name in timm_names()]
    except DependencyError:
        return entries  # not installed: it has nothing to offer here
    return entries


def check_model(spec: str, kind: Kind = "image") -> None:
    """Refuse a network that cannot be there, as far as its name and the files on this machine tell. Nothing is imported.

    Raises:
        ModelError: the name is of no known form, unknown, or its file holds no such callable.
        DependencyError: the library is not installed.
    """
    source, _, name = spec.partition("/")
    file, _, attribute = spec.rpartition(":")
    if file.endswith(".py"):
        check_user_file(Path(file).expanduser(), attribute)
    elif source == "builtin" and name:
        _check_builtin(name, kind)
    elif source == "hf" and name:
        refuse_without("transformers", "text")
        hub_name(name)
    elif kind == "image" and source == "torchvision" and name:
        _check_torchvision(*name.partition("@")[::2])
    elif kind == "image" and source == "timm" and name:
        architecture = name.partition("@")[0].partition(".")[0]
        refuse_without("timm", "timm")
        if not in_timm(architecture):
            raise unknown_classifier("timm", architecture, timm_architectures())
    elif kind == "image" or not Path(spec).expanduser().is_dir():
        raise unknown_model(spec, FORMS if kind == "image" else TEXT_FORMS)


def check_language_model(spec: str) -> None:
    """Refuse a language model that cannot be there, as far as its name and the files on this machine tell.

    Raises:
        ModelError: the name is of no known form, unknown, or its file holds no such callable.
        DependencyError: the library is not installed.
    """
    source, _, name = spec.partition("/")
    if source != "builtin" and spec.rpartition(":")[0].endswith(".py"):
        return check_user_file(Path(spec.rpartition(":")[0]).expanduser(), spec.rpartition(":")[2])
    if source == "hf" and name:
        refuse_without("transformers", "text")
        hub_name(name)
    elif source == "builtin":
        if name not in BUILTIN_LANGUAGE:
            known = " or ".join(f"builtin/{known}" for known in BUILTIN_LANGUAGE)
            raise ModelError(f"there is no language model {spec}: expected {known}")
    elif not Path(spec).expanduser().is_dir():
        raise unknown_model(spec, LANGUAGE_FORMS)
    return None


def short_name(spec: str) -> str:
    """Return what a network is called in titles: its name without the folders in which it lies on this machine."""
    file, colon, attribute = spec.rpartition(":")
    if file.endswith(".py"):
        return f"{Path(file).name}{colon}{attribute}"
    place = spec.removeprefix("hf/")
    if place.startswith((".", "/", "~")) or (place == spec and Path(spec).expanduser().is_dir()):
        return Path(place).expanduser().resolve().name
    return spec


def unknown_model(spec: str, forms: Mapping[str, str]) -> ModelError:
    """Say of a name of no known form what it may have been meant for."""
    if spec.endswith(".py"):
        found = [name for name in names_in(Path(spec).expanduser()) if not name.startswith("_")][:_SHOWN]
        hint = f"{spec}:{found[0]}" if len(found) == 1 else f"{spec}:NAME"
        choices = f", where NAME is {', '.join(found)} or another" if len(found) > 1 else ""
        return ModelError(f"{spec} does not say which function of the file makes the network: write {hint}{choices}")
    if spec.endswith(_WEIGHTS):
        return ModelError(f"{spec} holds weights alone: name the network with --model, and these with --weights {spec}")
    hint = f"; did you mean torchvision/{spec}?" if "torchvision/NAME" in forms and spec in torchvision_names() else ""
    return ModelError(f"unknown model {spec!r}: expected {', '.join(forms)}{hint}")


def unknown_classifier(library: str, name: str, known: Iterable[str]) -> ModelError:
    """Say which names of a library are close to one that it does not have."""
    close = difflib.get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`bitlens models` lists them"
    return ModelError(f"{library} has no classifier {name!r}: {hint}")


def unknown_weights(name: str, chosen: str, offered: Iterable[str]) -> ModelError:
    """Say which weights torchvision has for a network."""
    return ModelError(f"unknown weights {chosen!r} of {name}: expected random, {', '.join(offered)}")


def _check_torchvision(name: str, chosen: str) -> None:
    known = torchvision_names()
    if known and name not in known:
        raise unknown_classifier("torchvision", name, known)
    if chosen not in ("", "random"):
        _, offered = torchvision_classifiers().get(name, (0, (chosen,)))
        if chosen not in offered:
            raise unknown_weights(name, chosen, offered)


def _check_builtin(name: str, kind: Kind) -> None:
    own, other = (BUILTIN_TEXT, BUILTIN) if kind == "text" else (BUILTIN, BUILTIN_TEXT)
    if name in own:
        return
    if name in BUILTIN_LANGUAGE:
        raise ModelError(
            f"builtin/{name} is a language model: use `bitlens text explain --prompt FILE --model builtin/{name}`"
        )
    what = "texts" if kind == "text" else "photos"
    known = " or ".join(f"builtin/{known}" for known in own)
    if name in other and kind == "image":
        raise ModelError(f"builtin/{name} reads texts, not photos: use `bitlens text`, or bitlens.Explainer")
    raise ModelError(f"there is no builtin/{name} for {what}: expected {known}")
