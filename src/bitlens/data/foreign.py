"""What a file is that is no photo, and what to do with it: said where one was taken for a photo."""

from collections.abc import Callable
from pathlib import Path

_KNOWN: tuple[tuple[Callable[[bytes], bool], tuple[str, ...], str], ...] = (
    (
        lambda head: head[128:132] == b"DICM",
        (".dcm", ".dicom"),
        "it is DICOM; save the picture as PNG first, 8 or 16 bits a pixel, with the window that a reader would choose",
    ),
    (
        lambda _: False,
        (".nii", ".nii.gz", ".nrrd", ".mha"),
        "it is a volume; save its slices as PNG first, or explain it in Python as a tensor (1, 1, D, H, W)",
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
        "it holds arrays; save them as PNG first, or explain them in Python: bitlens.explain(model, tensor)",
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
