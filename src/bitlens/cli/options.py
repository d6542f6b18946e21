"""The options that commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bitlens.errors import ModelError

__all__ = ["AsJson", "Device", "DeviceOption", "Layer", "Model", "Out", "Seed", "Weights", "device_name"]

Device = Literal["auto", "cpu", "cuda"]
Model = Annotated[
    str, typer.Option("--model", help="torchvision/NAME, timm/NAME, hf/ORG/NAME, builtin/NAME or FILE.py:CALLABLE.")
]
Weights = Annotated[Path | None, typer.Option("--weights", help="Your own weights: safetensors or a state dict.")]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer", help="The layer to restrict, by its dotted name (default: the last stage at 1/8 of the resolution)."
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the network runs.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the noise.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for what is written.")]


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
