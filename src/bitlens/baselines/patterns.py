"""Patterns: which direction of a neuron's input its output tells of, estimated on many inputs.

Kindermans et al., Learning how to explain neural networks: PatternNet and PatternAttribution (ICLR 2018); algorithms
F12. For a neuron with weights w, input x and output y = w·x (no bias) the pattern is a = cov / (w·cov), so that w·a = 1,
with

    cov = E₊[x y] - E₊[x] E[y]

where E₊ is the mean over inputs whose output, with bias, is positive; over all inputs where no rectifier follows. Every
position of a convolution counts as an input. No patches are cut out: Σ x y over all positions is the gradient of
Σ conv(x, w) · y with respect to w, for y held fixed.
"""

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bitlens.baselines.operations import CONVOLUTIONS, Linear, is_rectifier, linear_of
from bitlens.baselines.rules import Interception, Operation, Ruled, read, refuse_hidden
from bitlens.core.inputs import ModelInputs
from bitlens.core.statistics import Provenance
from bitlens.errors import StatisticsError
from bitlens.probe import Network
from bitlens.probe.collecting import limited
from bitlens.probe.following import arguments_of
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import array, exactly, mapping, whole_number
from bitlens.system.reading import parsed, whole

LINEAR = frozenset(name for name in CONVOLUTIONS if "transpose" not in name) | {"linear"}
"""What has patterns: weights with one entry of the first axis for every neuron."""

WITH_WEIGHTS = CONVOLUTIONS | {"linear", "multi_head_attention_forward"}
"""What would need patterns."""

_FORMAT = "bitlens.patterns/1"
_NAME = re.compile(r"\d{3,}-\w+")
_SOFT_RECTIFIERS = frozenset({"celu", "elu", "gelu", "hardswish", "mish", "prelu", "selu", "silu", "softplus"})
_FEW = 2  # positive outputs, below which a neuron says nothing about its input
_FLAT = 1e-3  # cosine of w and cov, below which w·cov is no number to divide by


@dataclass(frozen=True)
class Patterns:
    """The patterns of a network.

    Attributes:
        arrays: for each convolution and linear layer, named by when it is called in a pass, its patterns: in the shape of
            its weights (with batch norm folded into them), float32.
        samples: how many inputs were seen.
        neurons: how many neurons there are.
        replaced: how many of them were (nearly) never positive, or had w·cov near zero. Their pattern is w / (w·w), as if
            all directions of their input were alike.
        provenance: model, weights, data, preprocessing and version.
    """

    arrays: Mapping[str, Tensor]
    samples: int
    neurons: int
    replaced: int
    provenance: Provenance = field(default_factory=Provenance)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ between patterns whose numbers differ."""
        digest = hashlib.sha256()
        for name, patterns in self.arrays.items():
            digest.update(name.encode())
            digest.update(patterns.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def check_network(self, weights: str) -> None:
        """Refuse a network with other weights (given as `weights_hash`).

        Raises:
            StatisticsError: if they are others.
        """
        known = self.provenance
        if known.weights and known.weights != weights:
            raise StatisticsError(
                f"the patterns are of {known.model or 'a network'} with other weights ({known.weights}, not {weights}): make "
                "new ones with fit_patterns or `bitlens patterns`"
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        details = {"samples": self.samples, "neurons": self.neurons, "replaced": self.replaced}
        metadata = {
            "format": _FORMAT,
            "details": json.dumps(details),
            "provenance": json.dumps(asdict(self.provenance)),
        }
        write_arrays(path, self.arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "Patterns":
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or holds something else.
        """
        arrays, metadata = read_arrays(path, "patterns", lambda m: m.get("format") == _FORMAT)
        with whole(path, "complete patterns", "make new ones"):
            details = mapping(parsed(metadata["details"]), "details")
            exactly(details, ("samples", "neurons", "replaced"), "the details")
            for name in arrays:
                if not _NAME.fullmatch(name) or array(arrays, name, torch.float32).dim() < 2:
                    raise ValueError(f"{name!r} of shape {tuple(arrays[name].shape)} are no patterns of a layer")
            neurons = sum(map(len, arrays.values()))
            return cls(
                arrays,
                samples=whole_number(details["samples"], "samples", least=1),
                neurons=whole_number(details["neurons"], "neurons", least=neurons, most=neurons),
                replaced=whole_number(details["replaced"], "replaced", most=neurons),
                provenance=Provenance.parsed(metadata["provenance"]),
            )


def collect_patterns(
    network: Network,
    batches: Iterable[Any],
    *,
    max_samples: int,
    rows: Callable[[ModelInputs], int],
    progress: Callable[[int], None] | None = None,
) -> Patterns:
    """Run batches through a network and estimate the patterns of all its convolutions and linear layers.

    Args:
        network: the network.
        batches: any iterable of inputs, or of tuples whose first entry is the input. No more is drawn than is needed.
        max_samples: stop at exactly this many samples.
        rows: how many samples of such inputs go through the network at once.
        progress: called with the number of samples seen so far.

    Raises:
        StatisticsError: if there is no sample, or a number is not finite.
        SettingError: if the network computes what no rule can reach.
    """
    seen, sums = 0, _Sums()
    every = (network.prepared(arguments_of(network.model, batch)[0]) for batch in batches)
    for inputs in limited(every, max_samples, "inputs to make patterns from"):
        size = rows(inputs)
        for start in range(0, inputs.count, size):
            _add(sums, network, inputs.select(slice(start, start + size)))
        seen += inputs.count
        if progress is not None:
            progress(seen)
    made = {name: layer.patterns() for name, layer in sums.layers.items()}
    if not all(bool(torch.isfinite(patterns).all()) for patterns, _ in made.values()):
        raise StatisticsError("the network computes NaN or infinite values: check the inputs and the network")
    neurons = sum(len(patterns) for patterns, _ in made.values())
    return Patterns(
        {name: patterns for name, (patterns, _) in made.items()}, seen, neurons, sum(n for _, n in made.values())
    )


def _add(sums: "_Sums", network: Network, inputs: ModelInputs) -> None:
    """Run one batch and add what its layers are given."""
    with torch.autocast(network.device.type, enabled=False), network.running(inputs) as run, torch.enable_grad():
        if sums.rectified is None:
            followed = _Followed()
            with torch.no_grad(), followed:
                run(inputs.first.clone())
            sums.rectified = followed.rectified
        images = inputs.first.clone().requires_grad_()  # by its gradient an activation is told from a constant
        sums.turn = 0
        with sums:
            output = run(images.clone())
        refuse_hidden(network.model, output, sums.method)


class _Followed(TorchFunctionMode):
    """Find out which convolutions and linear layers are followed by a rectifier, by number in the order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []
        self.rectified: set[int] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = read(function)
        if is_rectifier(name, args, kwargs) or name in _SOFT_RECTIFIERS:
            self.rectified |= {i for i, output in enumerate(self.outputs) if output is args[0]}
        result = function(*args, **kwargs)
        if name in LINEAR:
            self.outputs.append(result)
        return result


class Turns(Interception):
    """Meet the layers that have patterns in the order of their calls."""

    rules = WITH_WEIGHTS

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.turn = 0

    @abstractmethod
    def meet(self, turn: int, operation: Operation, linear: Linear) -> Ruled | None:
        """Return what takes the place of one layer's call, given its number in the pass."""

    def replace(self, operation: Operation) -> Ruled | None:
        """Meet one layer's call; what does not depend on the input is left alone."""
        turn, self.turn = self.turn, self.turn + 1
        if not operation.places:
            return None
        linear = linear_of(operation) if operation.name in LINEAR else None
        if linear is None:
            raise self.refusal(operation.name)
        return self.meet(turn, operation, linear)


class _Sums(Turns):
    """Sum what the patterns of all layers are made of over the inputs."""

    def __init__(self) -> None:
        super().__init__("pattern-attribution")
        self.layers: dict[str, _Layer] = {}
        self.rectified: set[int] | None = None

    def meet(self, turn: int, operation: Operation, linear: Linear) -> None:
        """Add the inputs of one layer's call, which is computed as it is."""
        name = call_name(turn, operation)
        if name not in self.layers:
            self.layers[name] = _Layer(linear.weight, rectified=turn in (self.rectified or ()))
        self.layers[name].add(linear, *operation.values)


def call_name(turn: int, operation: Operation) -> str:
    """Name the patterns of a layer: the number of its call in a pass, and what it computes."""
    return f"{turn:03d}-{operation.name}"


class _Layer:
    """One layer's sums, in float64; y is counted from its mean in the first batch, against cancellation."""

    def __init__(self, weight: Tensor, *, rectified: bool) -> None:
        self.weight, self.rectified = weight.detach().clone(memory_format=torch.contiguous_format), rectified
        neurons = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
        self.products = torch.zeros_like(self.weight, dtype=torch.float64)  # Σ x (y - origin), where y counts
        self.inputs = torch.zeros_like(self.products)  # Σ x, where y counts
        self.counted = neurons  # how many count
        self.outputs = torch.zeros_like(neurons)  # Σ (y - origin), over all
        self.count = 0  # of all
        self.origin: Tensor | None = None

    def add(self, linear: Linear, x: Tensor) -> None:
        """Add the inputs of one batch."""
        per_neuron = (-1, *[1] * (self.weight.dim() - 2))
        neurons = 1 - self.weight.dim()  # their axis: (N, neurons, H, W), or (N, ..., neurons) of a linear layer
        with torch.enable_grad():
            weight = self.weight.clone().requires_grad_()
            # Channels last, oneDNN writes past its memory for a 1 x 1 stride 2 convolution of few channels (its issue 6035).
            result = linear.apply(x.contiguous(), weight)
        y = result.detach()
        if self.origin is None:
            self.origin = y.movedim(neurons, 0).flatten(1).mean(1)
        full = y if linear.bias is None else y + linear.bias.reshape(per_neuron)
        counts = (full > 0).to(y) if self.rectified else torch.ones_like(y)
        y = y - self.origin.reshape(per_neuron)
        self.products += torch.autograd.grad(result, weight, counts * y, retain_graph=True)[0]
        self.inputs += torch.autograd.grad(result, weight, counts)[0]
        self.outputs += y.movedim(neurons, 0).flatten(1).sum(1)
        self.counted += counts.movedim(neurons, 0).flatten(1).sum(1)
        self.count += y.numel() // len(self.weight)

    def patterns(self) -> tuple[Tensor, int]:
        """Return one pattern for each neuron, and how many of them were replaced."""
        per_neuron = (-1, *[1] * (self.weight.dim() - 1))
        weight = self.weight.double()
        mean = (self.outputs / self.count).reshape(per_neuron)
        covariance = (self.products - self.inputs * mean) / self.counted.clamp_min(1).reshape(per_neuron)
        strength, size, spread = (
            (a * b).flatten(1).sum(1).reshape(per_neuron)
            for a, b in ((weight, covariance), (weight, weight), (covariance, covariance))
        )
        replaced = (strength.abs() <= _FLAT * (size * spread).sqrt()) | (self.counted < _FEW).reshape(per_neuron)
        own = weight / torch.where(size > 0, size, 1)
        patterns = torch.where(replaced, own, covariance / torch.where(replaced, 1, strength))
        return patterns.float().cpu(), int(replaced.sum())
