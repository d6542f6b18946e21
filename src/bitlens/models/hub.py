"""The Hugging Face hub: how a network in it is called, and whether it can be reached from here."""

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from bitlens.errors import ModelError


def hub_name(name: str) -> str:
    """Return what transformers finds a network by: a folder of this machine in full, other names as they are.

    Raises:
        ModelError: if there is no network in the folder.
    """
    if not name.startswith((".", "/", "~")):
        return name
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise ModelError(f"the folder {folder} holds no transformers model: there is no config.json in it")
    return str(folder)


def hub_is_out_of_reach() -> bool:
    """Say whether only the cache can be asked; transformers itself would try for minutes."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    if getproxies():
        return False  # the way through a proxy is not ours to try
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=5):
            return False
    except OSError:
        return True
