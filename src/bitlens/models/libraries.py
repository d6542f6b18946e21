"""Networks of known libraries: torchvision, timm, transformers. Each gives (network, preprocessing, class names).

Nothing that was downloaded can run code: weights are read as tensors alone, and remote code is off.
"""

import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image
from torch import Tensor, nn
from torchvision import models as vision
from torchvision.models import WeightsEnum

from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import ModelError
from bitlens.models.hub import hub_name
from bitlens.models.listing import unknown_classifier, unknown_weights
from bitlens.models.weight_files import load_weights
from bitlens.system.optional import need

Parts: TypeAlias = tuple[nn.Module, Preprocessing, tuple[str, ...] | None]


def from_torchvision(name: str, weights: Path | None) -> Parts:
    """Build `NAME`, `NAME@WEIGHTS` (one of the sets that torchvision offers, as IMAGENET1K_V1) or `NAME@random`.

    Preprocessing and class names are those of the named weights, else of torchvision's default.

    Raises:
        ModelError: name or weights are unknown, or the weights cannot be downloaded or read.
    """
    name, _, chosen = name.partition("@")
    known = vision.list_models(module=vision)
    if name not in known:
        raise unknown_classifier("torchvision", name, known)
    offered = vision.get_model_weights(name)
    if chosen not in ("", "random", *offered.__members__):
        raise unknown_weights(name, chosen, offered.__members__)
    entry: WeightsEnum = offered[chosen] if chosen in offered.__members__ else offered["DEFAULT"]
    if weights is None and chosen != "random":
        _download(name, entry)
        network = vision.get_model(name, weights=entry)
    else:
        network = vision.get_model(name, weights=None, **_settings(name, entry))
        if weights is not None:
            load_weights(network, weights)
    transform = entry.transforms()
    description = f"torchvision {entry}: {' '.join(repr(transform).split())}"
    return network, Preprocessing(transform, description), tuple(entry.meta["categories"])


def from_timm(name: str, weights: Path | None) -> Parts:
    """Build `NAME` with its pretrained weights, or `NAME@random`, with the evaluation transform of its configuration.

    Raises:
        ModelError: the name is unknown, or the weights cannot be downloaded or read.
        DependencyError: timm is not installed.
    """
    timm = _import_timm()
    name, _, chosen = name.partition("@")
    if chosen not in ("", "random"):
        raise ModelError(f"unknown weights {chosen!r} of {name}: timm puts them into the name, as resnet50.a1_in1k")
    if not timm.is_model(name.partition(".")[0]):
        raise unknown_classifier("timm", name, timm.list_models())
    try:
        network = timm.create_model(name, pretrained=weights is None and chosen != "random")
    except Exception as error:  # network, cache, file format: timm has no error of its own
        raise _failed(
            f"timm/{name}", error, f"give the weights with --weights FILE, or take timm/{name}@random"
        ) from error
    if weights is not None:
        load_weights(network, weights)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    subset = timm.data.infer_imagenet_subset(network)
    classes = tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else None
    return network, Preprocessing(transform), classes


def from_hub(name: str, weights: Path | None) -> Parts:
    """Load an image classifier from the Hugging Face hub (`ORG/NAME`) or from a folder (`./DIR`, `/DIR`).

    The network returns its logits alone; its layers keep their names.

    Raises:
        ModelError: the classifier cannot be found, downloaded or read, or its weights are incomplete.
        DependencyError: transformers is not installed.
    """
    need("transformers", "text")
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    name = hub_name(name)
    try:
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)  # type: ignore[no-untyped-call]
        if weights is None:
            network, report = AutoModelForImageClassification.from_pretrained(
                name, trust_remote_code=False, output_loading_info=True
            )
        else:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            network, report = AutoModelForImageClassification.from_config(config, trust_remote_code=False), {}  # type: ignore[no-untyped-call]
    except Exception as error:  # network, cache, file format, unknown architecture
        raise _failed(f"hf/{name}", error, "take a folder that was downloaded elsewhere, as hf/./DIR") from error
    if report.get("missing_keys"):
        raise ModelError(f"hf/{name} is no trained image classifier: weights lack {sorted(report['missing_keys'])[:4]}")
    if weights is not None:
        load_weights(network, weights)
    network.register_forward_hook(_logits)
    labels = network.config.id2label
    classes = tuple(str(labels[index]) for index in range(len(labels)))
    return network.float(), Preprocessing(_processor(processor), f"{type(processor).__name__} of {name}"), classes


def _import_timm() -> Any:
    need("timm.data", "timm")
    return need("timm", "timm")


def _download(name: str, entry: WeightsEnum) -> None:
    """Fetch the file and read it as tensors alone, so that what torchvision reads from its cache next is harmless."""
    try:
        entry.get_state_dict(progress=True, check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(
            f"cannot download the weights of torchvision/{name} ({error}): fetch {entry.url} elsewhere and give it "
            f"with --weights FILE, or take torchvision/{name}@random"
        ) from error
    except Exception as error:  # pickle and zip errors of many kinds
        reason = str(error).strip().split("\n", 1)[0]
        raise ModelError(f"the downloaded weights of torchvision/{name} are damaged or not safe: {reason}") from error


def _settings(name: str, entry: WeightsEnum) -> dict[str, Any]:
    """Return what torchvision changes in a network when it loads pretrained weights, beside the weights."""
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": entry.meta["min_size"][0]}
    return {}


def _logits(network: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor:  # noqa: ARG001 - a forward hook
    logits: Tensor = output.logits
    return logits


def _processor(processor: Callable[..., Any]) -> Callable[[Image.Image], Tensor]:
    def prepare(image: Image.Image) -> Tensor:
        pixels: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return prepare


def _failed(spec: str, error: Exception, hint: str) -> ModelError:
    reason = str(error).strip().split("\n", 1)[0]
    return ModelError(f"cannot load {spec} ({type(error).__name__}: {reason}); without a network connection, {hint}")
