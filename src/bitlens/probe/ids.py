"""What a network for texts does with token ids: which modules it calls, and which embedding reads them, in one small pass."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.core.inputs import ModelInputs
from bitlens.probe.modules import Forward, device_of, frozen, wrapped
from bitlens.probe.trace import all_calls, trace_calls

_COMMON = 1000  # ids up to here are drawn alike, later ones the less often the later they stand
_KEPT = "logits_to_keep"  # so many of the last positions; 0 for all
_ROWS = 2  # noisy copies make batches of every text, so a network that takes one row alone is of no use


@dataclass(frozen=True)
class Looked:
    """A call of an embedding.

    Attributes:
        module: the embedding.
        ids: what it was called with.
        vectors: what it put out.
    """

    module: nn.Embedding
    ids: Tensor
    vectors: Tensor


def calls_for_ids(model: nn.Module) -> list[tuple[nn.Module, int]]:
    """Return every call of a module in one pass over a few token ids, in order: the module, and which of its calls.

    Raises:
        Exception: what the network raises if it cannot be called with ids (and a mask) alone.
    """
    with frozen(model), torch.no_grad():
        return [(call.module, call.index) for call in all_calls(trace_calls(model, ModelInputs.of(_ids(model))))]


def embeddings_of_ids(model: nn.Module) -> list[nn.Embedding]:
    """Return the embeddings that read the token ids; if none is called with them, those whose vectors change with them.

    Raises:
        Exception: what the network raises if it cannot be called with ids (and a mask) alone.
    """
    given = _ids(model)
    ids = given["input_ids"]
    calls = _looked_up(model, given)
    found = [call.module for call in calls if call.ids.shape == ids.shape and torch.equal(call.ids, ids)]
    if not found:
        others = _looked_up(model, {**given, "input_ids": ids.flip(1)})
        pairs = [(a, b) for a, b in zip(calls, others, strict=False) if a.module is b.module]
        changed = [a for a, b in pairs if a.vectors.shape == b.vectors.shape and not torch.equal(a.vectors, b.vectors)]
        found = [call.module for call in changed if call.ids.numel() == ids.numel()]
    return list(dict.fromkeys(found))


def texts_of_chance(
    model: nn.Module,
    texts: int,
    length: int,
    seed: int,
    begun: Sequence[int] = (),
    ended: Sequence[int] = (),
) -> dict[str, Tensor]:
    """Return keyword arguments for texts of tokens drawn from the whole vocabulary, ended as the network asks for; no padding.

    Vocabularies begin with what is common: of log-uniform draws hidden states are more like those of texts than of draws that
    know no order, where rare words with much to say are many.

    Args:
        model: the network.
        texts: how many.
        length: tokens that are drawn for each.
        seed: of the draw.
        begun: special tokens that stand before them.
        ended: special tokens that stand behind them; the end that the network itself asks for if there are none.

    Raises:
        Exception: what the network raises if it cannot be called with ids (and a mask) alone.
    """
    given, (embedding, *_) = _ids(model), embeddings_of_ids(model)
    ids = given["input_ids"]
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    length = min(length, limit // 2) if isinstance(limit, int) and limit > 1 else length
    share, many = (
        torch.rand(texts, length, dtype=torch.float32, generator=torch.Generator().manual_seed(seed)),
        embedding.num_embeddings,
    )
    drawn = (_COMMON * ((1 + many / _COMMON) ** share - 1)).long().clamp_max(many - 1)
    reserved = [getattr(getattr(model, "config", None), name, None) for name in ("pad_token_id", "eos_token_id")]
    for number in (*reserved, embedding.padding_idx):
        drawn = torch.where(drawn == number, ids[0, 0].cpu(), drawn) if isinstance(number, int) else drawn
    before = ids.new_tensor(list(begun))[None]
    end = ids.new_tensor(list(ended))[None] if ended else ids[:1, 5:]
    row = torch.cat([before.expand(texts, -1), drawn.to(ids), end.expand(texts, -1)], 1)
    return {
        name: row if name.endswith("input_ids") else value[:1, :1].expand_as(row).clone()
        for name, value in given.items()
    }


def _looked_up(model: nn.Module, given: dict[str, Tensor]) -> list[Looked]:
    calls: list[Looked] = []

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def noted(ids: Tensor, *args: Any, **kwargs: Any) -> Any:
            vectors = forward(ids, *args, **kwargs)
            calls.append(Looked(module, ids.clone(), vectors))  # type: ignore[arg-type]  # only embeddings are wrapped
            return vectors

        return noted

    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    with frozen(model), torch.no_grad(), wrapped(dict.fromkeys(embeddings, wrap)):
        model(**given)
    return calls


def _ids(model: nn.Module) -> dict[str, Tensor]:
    """Return a few small ids that no table lacks: no padding, not counting up as positions do, with the end that T5 asks for."""
    config = getattr(model, "config", None)
    reserved = {getattr(config, name, None) for name in ("pad_token_id", "eos_token_id")}
    one, two, three, *_ = (number for number in range(8) if number not in reserved)
    end = getattr(config, "eos_token_id", None)
    row = [three, one, two, two, one, *([end] if isinstance(end, int) and 0 <= end < _smallest(model) else [])]
    ids = torch.tensor([row] * _ROWS, device=device_of(model))
    takes = inspect.signature(model.forward).parameters
    masked = "attention_mask" in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values())
    kinds = takes.get("token_type_ids")
    given = {"input_ids": ids, **({"attention_mask": torch.ones_like(ids)} if masked else {})}
    if writes_beside_encoder(model):
        given["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(ids)  # type: ignore[operator]
    return (
        given
        if kinds is None or kinds.default is not kinds.empty
        else {**given, "token_type_ids": torch.zeros_like(ids)}
    )


def writes_beside_encoder(model: nn.Module) -> bool:
    """Return whether this is a language model of transformers that reads with an encoder, and writes with a decoder (T5)."""
    return hasattr(model, "prepare_decoder_input_ids_from_labels")


def answers_from(model: nn.Module, inputs: ModelInputs, place: int) -> ModelInputs:
    """Return what a language model of transformers is called with to give logits of the positions from `place` on alone.

    A vocabulary is large: over all positions it can need more memory, and nearly as much work, as all blocks together. A network
    that does not offer it (`logits_to_keep`) is called as it was, and gives those of all.
    """
    if _KEPT not in inspect.signature(model.forward).parameters:
        return inputs
    return replace(inputs, kwargs={**inputs.kwargs, _KEPT: inputs.first.shape[1] - place})


def left_out(inputs: ModelInputs, answer: Tensor) -> int:
    """Return how many of the first positions an answer (N, T, ...) leaves out, as `answers_from` asked for."""
    return inputs.first.shape[1] - answer.shape[1] if isinstance(inputs.kwargs.get(_KEPT), int) else 0


def _smallest(model: nn.Module) -> int:
    """Return the size of the vocabulary, or as much of it as surely exists: an id beyond a table ends the process on GPUs."""
    config = getattr(model, "config", None)
    size = getattr(config, "vocab_size", 0)
    return size if isinstance(size, int) else 0
