"""What a file is that is no photo, and what to do with it: said where one was taken for a photo."""

from collections.abc import Callable
from pathlib import Path

_KNOWN: tuple[tuple[Callable[[bytes], bool], tuple[str, ...], str], ...] = (
    (
        lambda head: head[128:132] == b"DICM",
        (".dcm", ".dicom"),
        "it is DICOM; save the picture as PNG first, 8 or 16 bits a pixel, with the window that a reader would choose, or "
        "convert a series to a volume by dcm2niix",
    ),
    (
        lambda _: False,
        (".nii", ".nii.gz", ".nrrd", ".mha"),
        "it is a volume; a network for volumes takes .nii.gz, .npy and .npz, named one by one or as 'DIR/*.nii.gz'",
    ),
    (
        lambda head: head[4:8] == b"ftyp",
        (".heic", ".avif"),
        "it is HEIC, AVIF or a film; save it as JPEG or PNG first",
    ),
    (
        lambda head: head.startswith(b"%PDF") or b"<svg" in head,
        (".pdf", ".svg"),
        "it is a drawing; save it as PNG first",
    ),
    (
        lambda head: head.startswith(b"\x93NUMPY"),
        (".npy", ".npz", ".pt", ".pth", ".h5", ".safetensors"),
        "it holds arrays; a network for signals or volumes takes .npy, named one by one or as 'DIR/*.npy'",
    ),
    (
        lambda _: False,
        (".csv", ".tsv", ".jsonl", ".xlsx", ".parquet"),
        "it is a table; name the photos or their folder (`bitlens evaluate` takes tables: --data csv:FILE)",
    ),
)
"""By the first bytes, or else by the name's ending: what to do."""


def advice_on(path: Path) -> str:
    """Say what the file is by its first bytes or its name, and what to do; nothing where neither tells."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return ""
    name = path.name.lower()
    return next((advice for begins, endings, advice in _KNOWN if begins(head) or name.endswith(endings)), "")
