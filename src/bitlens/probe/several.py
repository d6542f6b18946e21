"""What several layers put out in one pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bitlens.errors import LayerError
from bitlens.probe.following import prepared
from bitlens.probe.modules import Forward, find_layer, frozen, wrapped


def layer_features(
    model: nn.Module, layers: Sequence[str | nn.Module], inputs: Any, *, call: int | None = None
) -> list[Tensor]:
    """The first tensor with one entry for each sample that each layer puts out, (N, ...), from one pass.

    Args:
        model: the network.
        layers: modules or their dotted names.
        inputs: one batch.
        call: which call of the layers, if they are called several times.

    Raises:
        LayerError: if the pass does not reach a layer, reaches it several times and `call` is not set, or it puts out no
            such tensor.
    """
    inputs = prepared(model, inputs)
    found = [find_layer(model, layer) for layer in layers]
    kept: dict[nn.Module, list[Tensor]] = {module: [] for _, module in found}

    def wrap(module: nn.Module, forward: Forward) -> Forward:
        def captured(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            leaves = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point())
            own = next((leaf for leaf in leaves if leaf.dim() > 1 and len(leaf) == inputs.count), None)
            if own is not None:
                kept[module].append(own.clone())  # what follows may overwrite it
            return output

        return captured

    arguments = inputs.clone()
    with frozen(model), torch.no_grad(), wrapped(dict.fromkeys(kept, wrap)):
        model(*arguments.args, **arguments.kwargs)
    return [_chosen(name, kept[module], call) for name, module in found]


def _chosen(name: str, calls: Sequence[Tensor], call: int | None) -> Tensor:
    if not calls:
        raise LayerError(f"layer {name!r} is not reached, or puts out no tensor with one entry for each sample")
    if call is None and len(calls) > 1:
        raise LayerError(
            f"layer {name!r} is called {len(calls)} times in one pass: choose one, call=0 to {len(calls) - 1}"
        )
    if call is not None and not 0 <= call < len(calls):
        raise LayerError(f"call={call}, but layer {name!r} is called {len(calls)} time(s) in one pass")
    return calls[call or 0]
