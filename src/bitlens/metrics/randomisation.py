"""Copies of a network whose layers, from the last one back to some layer, have lost what they learnt.

What a layer draws depends on the seed and on the layer alone: the same, however far the randomisation goes and whichever
steps it takes. The network itself is never touched.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from bitlens.core.inputs import ModelInputs
from bitlens.errors import LayerError, one_of
from bitlens.probe import find_layer, frozen
from bitlens.probe.following import prepared
from bitlens.probe.modules import device_of, unwrapped
from bitlens.probe.trace import all_calls, trace_calls

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Step:
    """Step of a randomisation: which modules it has reached.

    Attributes:
        layer: dotted name of the module that it reaches.
        modules: names of all modules whose own parameters are drawn anew.
    """

    layer: str
    modules: tuple[str, ...]


def cascade(
    model: nn.Module,
    inputs: Any,
    layers: Sequence[str] | None = None,
    *,
    initialiser: str = "default",
    seed: int = 0,
    calibration: Sequence[Any] | None = None,
) -> Iterator[tuple[str, nn.Module]]:
    """Yield networks randomised ever further, from the last layer to the first (Adebayo et al., NeurIPS 2018; algorithms G7).

    Args:
        model: the network.
        inputs: any that it takes; they show the order of its layers.
        layers: see `cascade_steps`.
        initialiser: one of `INITIALISERS`.
        seed: of the new parameters.
        calibration: see `randomised`.

    Yields:
        The layer that has been reached, and a network of its own in which it and all later ones are random.
    """
    for step in cascade_steps(model, inputs, layers):
        network = randomised(model, step.modules, initialiser=initialiser, seed=seed, calibration=calibration)
        yield step.layer, network


def cascade_steps(model: nn.Module, inputs: Any, layers: Sequence[str] | None = None) -> tuple[Step, ...]:
    """Return the steps of a cascade, the shortest first. Later means: its last call in a forward pass began later.

    Args:
        model: the network.
        inputs: any that it takes.
        layers: dotted names of layers or blocks to reach, in any order; what lies between two of them is randomised with the
            earlier one. By default all blocks, and the last step leaves nothing: single layers, and modules of a class
            that the network has several of (residual blocks, for example); what has no weight matrix (batch norm) belongs
            to the block before.

    Raises:
        LayerError: if there is no such layer, or it has no parameters that a forward pass uses.
    """
    model = unwrapped(model)
    places = _places(model, inputs)
    found = {name: _place(model, name, places) for name in (_blocks(model) if layers is None else layers)}
    for name in layers or ():
        if not found[name]:
            raise LayerError(f"layer {name!r} has no parameters that a forward pass uses: choose another, or a block")
    reached = {place: name for name, place in found.items() if place}  # one step for those that share their place
    if not reached:
        raise LayerError(f"{type(model).__name__} shows no layer to randomise: name them by `layers`")
    starts = sorted(reached, reverse=True)
    limits = starts if layers is not None else [*starts[:-1], 0]
    return tuple(
        Step(reached[start], tuple(name for name, place in places.items() if place >= limit))
        for start, limit in zip(starts, limits, strict=True)
    )


def randomised(
    model: nn.Module,
    modules: Iterable[str],
    *,
    initialiser: str = "default",
    seed: int = 0,
    calibration: Sequence[Any] | None = None,
) -> nn.Module:
    """Return a copy of a network, in evaluation mode, in which some modules' own parameters are drawn anew.

    Args:
        model: the network.
        modules: their dotted names.
        initialiser: one of `INITIALISERS`.
        seed: of the draws.
        calibration: batches of inputs from which the running statistics of randomised batch norms are estimated anew; without
            them they are reset to mean 0 and variance 1.
    """
    initialise = one_of("initialiser", initialiser, INITIALISERS)
    network = copy.deepcopy(unwrapped(model)).eval()
    chosen = set(modules)
    device = device_of(network)
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        for number, (name, module) in enumerate(network.named_modules()):
            if name in chosen:
                torch.manual_seed(seed * 1_000_003 + number)
                initialise(module)
        if calibration is not None:
            _calibrate(network, [module for name, module in network.named_modules() if name in chosen], calibration)
    return network


def _default(module: nn.Module) -> None:
    """Do what the module's class does when it is made.

    Where the class does not say, or leaves a weight matrix as it is (weight norm keeps it under other names): normal, with
    the mean and spread it had.
    """
    trained = [(parameter, parameter.clone()) for parameter in module.parameters(recurse=False)]
    reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
    if reset is not None:
        reset()
    for parameter, before in trained:
        if torch.equal(parameter, before) and (reset is None or parameter.dim() > 1):
            parameter.normal_(float(before.mean()), float(before.std(correction=0)))


def _inputiba(module: nn.Module) -> None:
    """Draw as the InputIBA code: convolutions Xavier uniform, linear layers N(0, 0.05²), biases 0; others by default."""
    if not isinstance(module, _ConvNd | nn.Linear):
        _default(module)
        return
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.05)
    else:
        nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


INITIALISERS: dict[str, Callable[[nn.Module], None]] = {"default": _default, "inputiba": _inputiba}
"""By name: "default" as PyTorch makes the module (batch norm: scale 1, shift 0), "inputiba" as in the InputIBA code."""


def _calibrate(network: nn.Module, modules: Sequence[nn.Module], batches: Sequence[Any]) -> None:
    """Let the batch norms among the modules average the statistics of these batches."""
    norms = [module for module in modules if isinstance(module, _NormBase) and module.running_mean is not None]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a plain average over batches
        norm.train()
    for batch in batches:
        ModelInputs.of(batch).to(device_of(network)).passed_to(network)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _places(model: nn.Module, inputs: Any) -> dict[str, int]:
    """Return each module that has parameters or running statistics of its own, and when its last call in a pass began.

    A module that is never called (its parent uses its parameters) takes the place of what encloses it.
    """
    batch = prepared(model, inputs)
    with frozen(model):
        calls = list(all_calls(trace_calls(model, batch.select(slice(1)))))
    began = {call.module: number for number, call in enumerate(calls)}
    places: dict[str, int] = {}
    known: dict[str, int] = {}
    for name, module in model.named_modules():
        known[name] = began.get(module, known.get(name.rpartition(".")[0], 0))
        if _has_own(module):
            places[name] = known[name]
    return places


def _has_own(module: nn.Module) -> bool:
    """Say whether there is something to randomise in the module itself."""
    statistics = isinstance(module, _NormBase) and module.running_mean is not None
    return statistics or next(module.parameters(recurse=False), None) is not None


def _place(model: nn.Module, layer: str, places: dict[str, int]) -> int:
    """Say where the first parameters of a layer or block stand; 0, the network's own place, if none of them is ever used."""
    block = set(find_layer(model, layer)[1].modules())
    used = (place for name, place in places.items() if place and model.get_submodule(name) in block)
    return min(used, default=0)


def _blocks(model: nn.Module) -> list[str]:
    """Yield names of the blocks that hold a weight matrix (or kernel)."""
    classes = [type(module) for module in model.modules()]

    def within(name: str, module: nn.Module) -> Iterator[str]:
        several = classes.count(type(module)) > 1 and not isinstance(module, _CONTAINERS)
        children = [(n, child) for n, child in module.named_children() if next(child.parameters(), None) is not None]
        if several or not children:
            yield name
            return
        for child_name, child in children:
            yield from within(f"{name}.{child_name}", child)

    names = [name for child_name, child in model.named_children() for name in within(child_name, child)]
    return [name for name in names if any(p.dim() > 1 for p in model.get_submodule(name).parameters())]
