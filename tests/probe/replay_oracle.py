"""What the network gives when the layer's output is Z: a full pass with a plain forward hook, nothing of bitlens."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.probe import Probe, Recording

COPIES = 3


def first_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else value[0]


def in_first_place(output: Any, z: Tensor) -> Any:
    if isinstance(output, Tensor):
        return z
    if isinstance(output, dict):  # a model output of transformers
        return type(output)(**{**output, next(iter(output)): z})
    return (z, *output[1:])


def replaced_pass(
    model: nn.Module,
    layer: nn.Module,
    place: Callable[[Any], Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    call: int = 0,
) -> Any:
    """A full pass in which `place` changes what call number `call` of the layer puts out."""
    turns = iter(range(1000))

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        return place(output) if next(turns) == call else None

    handle = layer.register_forward_hook(hook)
    try:
        with torch.no_grad():
            return model(*args, **kwargs)
    finally:
        handle.remove()


def copied(value: Any, count: int) -> Any:
    return torch.cat([value] * COPIES) if isinstance(value, Tensor) and value.shape[:1] == (count,) else value


def assert_close(got: Any, expected: Any) -> None:
    got, expected = first_tensor(got), first_tensor(expected)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 2e-5 * expected.abs().max()


def assert_replay_is_exact(
    model: nn.Module,
    layer: str,
    *args: Any,
    call: int | None = None,
    mode: str = "replay",
    axis: int = 0,
    **kwargs: Any,
) -> tuple[Probe, Recording]:
    """Compare features, output and the suffix at Z ≠ R with full passes of the plain network."""
    module = model.get_submodule(layer)
    count = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)).shape[0]
    seen: list[Tensor] = []
    plain = replaced_pass(
        model, module, lambda o: seen.append(first_tensor(o).movedim(axis, 0).clone()), args, kwargs, call or 0
    )
    probe = Probe(model, layer, call=call)
    recording = probe.record(kwargs if kwargs else args)
    assert probe.mode == mode
    assert_close(recording.features, seen[0])
    assert_close(recording.output, plain)

    R = recording.features
    z = torch.cat([R] * COPIES)
    z = z + z.std() * torch.randn_like(z)
    with recording.suffix() as run, torch.no_grad():
        got = run(z)
        assert_close(run(R), plain)  # another number of copies in between
        assert_close(run(z), got)
    expected = replaced_pass(
        model,
        module,
        lambda o: in_first_place(o, z.movedim(0, axis).contiguous()),
        tuple(copied(value, count) for value in args),
        {name: copied(value, count) for name, value in kwargs.items()},
        call or 0,
    )
    assert_close(got, expected)
    change = (first_tensor(expected) - torch.cat([first_tensor(plain)] * COPIES)).abs().max()
    assert change > 1e-3 * first_tensor(plain).abs().max(), "Z makes no difference: the comparison proves nothing"
    return probe, recording
