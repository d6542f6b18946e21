"""A network for texts by name, with its tokenizer: `builtin/NAME`, `hf/NAME`, a folder, or your own `FILE.py:CALLABLE`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from bitlens.data.tokenizing import NEEDS_PADDING, HubTokenizer, Tokenizer
from bitlens.errors import ModelError
from bitlens.models.builtin import BUILTIN_TEXT
from bitlens.models.hub import hub_is_out_of_reach, hub_name
from bitlens.models.listing import TEXT_FORMS, unknown_model
from bitlens.models.loaded import Loaded
from bitlens.models.userfile import call_user_file, types_of
from bitlens.models.weight_files import load_weights
from bitlens.probe.ids import calls_for_ids, embeddings_of_ids
from bitlens.probe.modules import names_of
from bitlens.system.optional import need

T = TypeVar("T")


def text_network(spec: str, weights: Path | None = None) -> Loaded:
    """Load a network for texts by name.

    Args:
        spec: one of `TEXT_FORMS`.
        weights: in place of those that come with it, see `load_model`.

    Raises:
        ModelError: the name is of no known form or unknown; the network cannot be built or downloaded; or the weights do not
            fit.
        DependencyError: transformers is not installed.
    """
    source, _, name = spec.partition("/")
    file, _, attribute = spec.rpartition(":")
    folder = Path(spec).expanduser()
    known = BUILTIN_TEXT.get(name) if source == "builtin" else None
    tokenizer: Tokenizer
    if known is not None:
        network, tokenizer = known.build()
    elif file.endswith(".py"):
        network, tokenizer = _from_file(Path(file).expanduser(), attribute)
    elif source == "hf" and name:
        network, tokenizer = _from_hub(name)
    elif folder.is_dir():
        network, tokenizer = _from_hub(str(folder.resolve()))
    elif source == "builtin":
        raise ModelError(
            f"there is no network for texts {spec}: expected {', '.join(f'builtin/{n}' for n in BUILTIN_TEXT)}"
        )
    else:
        raise unknown_model(spec, TEXT_FORMS)
    if weights is not None:
        load_weights(network, weights)
    loaded = described(network, tokenizer, spec)
    if known is None:
        return loaded
    statistics = known.statistics() if weights is None else {}
    return replace(loaded, classes=known.classes, layer=known.layer, beta=known.beta, statistics=statistics)


def described(network: nn.Module, tokenizer: Any, name: str = "") -> Loaded:
    """Return a network that is loaded already, with what its modules and its configuration say of it.

    Args:
        network: takes keywords as its tokenizer gives them.
        tokenizer: its own, of transformers or of bitlens.
        name: what it is called.

    Raises:
        ModelError: if the tokenizer is none, or the network has no word embedding.
    """
    own = as_tokenizer(tokenizer, network)
    embedding, layer = word_embedding(network), default_text_layer(network) or None
    return Loaded(name, network, own, class_names(network) or None, layer, embedding)


def as_tokenizer(tokenizer: Any, model: nn.Module) -> Tokenizer:
    """Return a tokenizer of bitlens as it is, one of transformers with the most tokens that the network reads.

    Raises:
        ModelError: if it is neither.
    """
    if hasattr(tokenizer, "without") and hasattr(tokenizer, "mask_id"):
        own: Tokenizer = tokenizer
        return own
    if not hasattr(tokenizer, "model_max_length"):
        raise ModelError(
            f"{type(tokenizer).__name__} is no tokenizer: expected one of transformers, or an object with the methods of "
            "bitlens.data.tokenizing.Tokenizer"
        )
    return HubTokenizer(tokenizer, min(tokenizer.model_max_length, _positions(model)))


def class_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a network's outputs: its `classes`, or its configuration's `id2label`; empty where there are none."""
    own = getattr(model, "classes", None)
    if isinstance(own, tuple | list):
        return tuple(str(name) for name in own)
    labels = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(labels, Mapping):
        return ()
    return tuple(str(labels[index]) for index in sorted(labels))


def word_embedding(model: nn.Module) -> str:
    """Return the dotted name of the embedding of words: the one that reads the token ids in a small pass.

    Of several what `get_input_embeddings` says, else the largest; of all, if the network cannot be called with ids alone.

    Raises:
        ModelError: if the network has no embedding, or takes no batch for want of a padding token.
    """
    modules = dict(model.named_modules())
    found: dict[str, nn.Embedding] = {n: module for n, module in modules.items() if isinstance(module, nn.Embedding)}
    if not found:
        raise ModelError(f"{type(model).__name__} has no word embedding (torch.nn.Embedding)")
    reading = _in_a_pass(model, embeddings_of_ids) or list(found.values())
    found = {name: module for name, module in found.items() if module in reading}
    if len(found) > 1 and hasattr(model, "get_input_embeddings"):
        said = _in_a_pass(model, lambda network: network.get_input_embeddings())
        found = {name: module for name, module in found.items() if module is said} or found
    largest: str = max(found, key=lambda name: found[name].num_embeddings)
    return largest


def _in_a_pass(model: nn.Module, look: Callable[[Any], T]) -> T | None:
    """Return what a small pass of ids shows; None if the network cannot be called so.

    Raises:
        ModelError: if it takes no batch for want of a padding token.
    """
    try:
        return look(model)
    except Exception as error:  # whatever a user's network raises that wants more than ids
        if "padding token" in str(error):
            raise ModelError(f"{type(model).__name__} {NEEDS_PADDING}") from error
        return None


def text_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the dotted names of a network's layers from the first to the last: its longest list of like modules, else its LSTMs.

    Where one module is called for several layers (ALBERT), each call is a layer: `NAME#0`, `NAME#1` ...
    """
    lists = [dict(_in_lists(name, m)) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    alike = [layers for layers in lists if len({type(layer) for layer in layers.values()}) == 1]
    longest = max(alike, key=len, default={})
    names = tuple(longest)
    recurrent = tuple(name for name, module in model.named_modules() if isinstance(module, nn.RNNBase))
    declared = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    if len(names) > 1 and declared in (None, len(names)):
        return names
    return _called_again(model, list(longest.values())) or names or recurrent


def _in_lists(name: str, modules: nn.ModuleList) -> Iterator[tuple[str, nn.Module]]:
    """Yield what a list holds by dotted names; of lists in lists (Funnel's) what those hold: a list is never called."""
    for index, module in enumerate(modules):
        if isinstance(module, nn.ModuleList):
            yield from _in_lists(f"{name}.{index}", module)
        else:
            yield f"{name}.{index}", module


def _called_again(model: nn.Module, layers: Sequence[nn.Module]) -> tuple[str, ...]:
    """Return the calls of modules that a pass calls several times, in order: of these layers, else of any made of others."""
    calls = _in_a_pass(model, calls_for_ids) or []
    times = Counter(module for module, _ in calls)
    again = [module for module, _ in calls if times[module] > 1 and any(True for _ in module.children())]
    own = [module for module in layers if times[module] > 1]
    if not own:
        outermost = max(again, key=lambda module: sum(1 for _ in module.modules()), default=None)
        own = [] if outermost is None else [outermost]
    names = names_of(model)
    counted = [(module, turn) for module, turn in calls if module in (layers if set(own) <= set(layers) else own)]
    several = {module for module in own if times[module] > 1}
    return tuple(f"{names[m]}#{turn}" if m in several else names[m] for m, turn in counted) if own else ()


def default_text_layer(model: nn.Module) -> str:
    """Return the layer two thirds up, the ninth of BERT's twelve (algorithms E4); empty if there is none."""
    layers = text_layers(model)
    return layers[2 * len(layers) // 3] if layers else ""


def _positions(model: nn.Module) -> int:
    """Return the most tokens that a network of transformers can number."""
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return 1_000_000
    tables = [m for name, m in model.named_modules() if name.endswith("position_embeddings")]
    reserved = next((m.padding_idx for m in tables if isinstance(m, nn.Embedding)), None)  # RoBERTa counts from there
    return most if reserved is None else most - reserved - 1


def _from_file(file: Path, attribute: str) -> tuple[nn.Module, Tokenizer]:
    made = call_user_file(file, attribute)
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], nn.Module):
        raise ModelError(f"{file}:{attribute} returned {types_of(made)}, expected (module, tokenizer)")
    return made[0], as_tokenizer(made[1], made[0])


def _from_hub(name: str) -> tuple[nn.Module, Tokenizer]:
    need("transformers", "text")
    from transformers import AutoModelForSequenceClassification

    network, tokenizer, report = from_hub_with(AutoModelForSequenceClassification, name)
    if report.get("missing_keys"):
        raise ModelError(
            f"hf/{hub_name(name)} is no trained text classifier: weights lack {sorted(report['missing_keys'])[:4]}"
        )
    network = network.float()
    give_padding(tokenizer, network)
    return network, as_tokenizer(tokenizer, network)


def from_hub_with(kind: Any, name: str) -> tuple[nn.Module, Any, Mapping[str, Any]]:
    """Load a network and its tokenizer from a folder, the hub or its cache, and what transformers reports of the weights.

    Args:
        kind: one of the Auto classes of transformers.
        name: of the folder or on the hub.

    Raises:
        ModelError: if that is not there, or cannot be read.
    """
    from transformers import AutoTokenizer

    with _out_of_hub(name) as found:
        tokenizer = AutoTokenizer.from_pretrained(**found)
        network, report = kind.from_pretrained(**found, output_loading_info=True)
    return network, tokenizer, report


def hub_config(name: str) -> Any:
    """Return the configuration of a network in a folder, the hub or its cache.

    Raises:
        ModelError: if that is not there, or cannot be read.
    """
    from transformers import AutoConfig

    with _out_of_hub(name) as found:
        return AutoConfig.from_pretrained(**found)


@contextmanager
def _out_of_hub(name: str) -> Iterator[dict[str, Any]]:
    """Give what `from_pretrained` finds something by, and say in one sentence why it cannot be loaded."""
    name = hub_name(name)
    here = Path(name).is_dir() or hub_is_out_of_reach()
    try:
        yield {"pretrained_model_name_or_path": name, "trust_remote_code": False, "local_files_only": here}
    except Exception as error:  # network, cache, file format, unknown architecture
        reason = " ".join(str(error).strip().split("\n", 1)[0].split())
        if here and not Path(name).is_dir():
            reason = "the hub cannot be reached, or HF_HUB_OFFLINE is set, and the cache of this machine lacks it"
        raise ModelError(
            f"cannot load hf/{name}: {reason}; a folder with a model that was downloaded elsewhere works: --model DIR"
        ) from error


def give_padding(tokenizer: Any, network: nn.Module) -> None:
    """Give a network that comes without a padding token (GPT-2) the end of texts, or an unknown word where texts have an end."""
    if tokenizer.pad_token is None:
        ends = tokenizer.eos_token_id in tokenizer("a")["input_ids"]
        token = next((t for t in (None if ends else tokenizer.eos_token, tokenizer.unk_token) if t is not None), None)
        if token is not None:
            tokenizer.pad_token = token
    config: Any = network.config
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
