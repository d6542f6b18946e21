"""The options that commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bitlens.errors import ModelError, SettingError
from bitlens.system.console import messages

if TYPE_CHECKING:
    from bitlens.workers import Workers

Device = Literal["auto", "cpu", "cuda"]
Model = Annotated[
    str, typer.Option("--model", help="torchvision/NAME, timm/NAME, hf/ORG/NAME, builtin/NAME or FILE.py:CALLABLE.")
]
Weights = Annotated[Path | None, typer.Option("--weights", help="Your own weights: safetensors or a state dict.")]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        help="The layer to restrict, by its dotted name (default: the last stage at 1/8 of the resolution; of vision "
        "transformers an early block).",
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the network runs.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the noise.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        help="auto (the prediction), an index, or a class name; or what the network's output is: regression, binary:1, "
        "multi-label:NAME.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for what is written.")]

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ray[://HOST:PORT]",
        help="Work on a Ray cluster: ray for the one this machine belongs to (or one made of this machine).",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Processes of --cluster (default: one for each GPU, or for every four cores)."
    ),
]


@contextmanager
def reached_workers(cluster: str | None, workers: int | None, device: Device) -> "Iterator[Workers | None]":
    """The workers of the cluster that was asked for, or None.

    Raises:
        SettingError: if workers are wanted of no cluster.
    """
    if cluster is None:
        if workers is not None:
            raise SettingError("--workers are those of a cluster: add --cluster ray")
        yield None
        return
    from bitlens.workers import open_workers

    messages.print("reaching the cluster", style="dim")
    with open_workers(cluster, workers, device) as found:
        each = "a GPU" if found.device == "cuda" else f"{found.cores} core{'s' if found.cores > 1 else ''}"
        messages.print(f"workers: {found.count}, each with {each}", style="dim", highlight=False)
        yield found


def device_name(device: Device) -> str:
    """What `auto` means on this machine.

    Raises:
        ModelError: if there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda, but no CUDA device can be used here: choose --device cpu")
    return device
