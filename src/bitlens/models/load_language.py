"""A language model by name, with its tokenizer: `builtin/recall`, `hf/NAME`, a folder, or your own `FILE.py:CALLABLE`."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitlens.data.tokenizing import Tokenizer
from bitlens.errors import ModelError
from bitlens.models.builtin import BUILTIN_LANGUAGE
from bitlens.models.listing import check_language_model
from bitlens.models.load import moved
from bitlens.models.load_text import as_tokenizer, from_hub_with, give_padding, hub_config, word_embedding
from bitlens.models.loaded import Loaded
from bitlens.models.userfile import call_user_file, types_of
from bitlens.system.optional import need


def load_language_model(spec: str, device: str | torch.device = "cpu") -> Loaded:
    """Load a language model by name, in evaluation mode.

    Args:
        spec: one of `LANGUAGE_FORMS`.
        device: where to put it.

    Raises:
        ModelError: the name is of no known form or unknown, or the model cannot be built, downloaded or moved to the device.
        DependencyError: transformers is not installed.
    """
    check_language_model(spec)
    source, _, name = spec.partition("/")
    file, _, attribute = spec.rpartition(":")
    network: nn.Module
    tokenizer: Any
    if source == "builtin":
        network, tokenizer = BUILTIN_LANGUAGE[name]()
    elif file.endswith(".py"):
        made = call_user_file(Path(file).expanduser(), attribute)
        if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], nn.Module):
            raise ModelError(f"{file}:{attribute} returned {types_of(made)}, expected (module, tokenizer)")
        network, tokenizer = made
    else:
        network, tokenizer = _from_hub(name if source == "hf" else str(Path(spec).expanduser().resolve()))
    return language_model(moved(network.eval(), device), tokenizer, spec)


def language_model(network: nn.Module, tokenizer: Any, name: str = "") -> Loaded:
    """Return a language model that is loaded already; its layer is the word embedding.

    Behind the first attention each position holds what it has read of all before it: bits there belong to no word, and what
    the answer's own tokens have read goes round what is restricted.

    Args:
        network: gives logits (texts, tokens, vocabulary) for a tokenizer's keywords.
        tokenizer: its own, of transformers or of bitlens.
        name: what it is called.

    Raises:
        ModelError: if the tokenizer is none, or the network has no word embedding.
    """
    own: Tokenizer = as_tokenizer(tokenizer, network)
    embedding = word_embedding(network)
    return Loaded(name, network, own, None, embedding, embedding)


def _from_hub(name: str) -> tuple[nn.Module, Tokenizer]:
    need("transformers", "text")
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if hub_config(name).is_encoder_decoder else AutoModelForCausalLM
    network, tokenizer, report = from_hub_with(kind, name)
    if report.get("missing_keys"):
        raise ModelError(f"hf/{name} is no trained language model: weights lack {sorted(report['missing_keys'])[:4]}")
    give_padding(tokenizer, network)
    return network, as_tokenizer(tokenizer, network)
