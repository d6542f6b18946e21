"""What can be wrong with a command is said before anything heavy is imported; then, that it is being imported."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bitlens.data.kinds import Kind
from bitlens.data.named import check_data
from bitlens.errors import DataError, SettingError
from bitlens.system.console import messages

_LOOKED_AT = 16  # photos of which one must be readable
Files = Mapping[str, Path | None]


def check(
    *models: str | None,
    kind: Kind = "image",
    photos: Sequence[Path] = (),
    data: Iterable[str | None] = (),
    files: Files | None = None,
    out: Path | None = None,
    out_file: Path | None = None,
    loads: str = "torch",
) -> None:
    """Refuse what cannot be there or cannot be written; then say what is being loaded.

    Args:
        models: names of networks.
        kind: what they read.
        photos: files.
        data: names of data sets.
        files: that must be there, by the option that names them.
        out: the folder that is going to be written into.
        out_file: the file that is going to be written.
        loads: what takes seconds to import; nothing if that was said.

    Raises:
        BitlensError: says what is wrong, and what to do.
    """
    from bitlens.models.listing import check_model

    _check_photos(photos)
    for spec in models:
        if spec is not None:
            check_model(spec, kind)
    for spec in data:
        if spec is not None:
            check_data(spec, kind)
    _check_files(files or {})
    if out is not None:
        _check_folder(out)
    if out_file is not None:
        _check_out_file(out_file)
    say_loading(loads)


def say_loading(what: str = "torch") -> None:
    """Say what takes seconds to import, unless it is there."""
    if what and sys.modules.get(what.partition(" ")[0]) is None:
        messages.print(f"loading {what} …", style="dim", highlight=False)


def bundled_classes(model: str) -> tuple[str, ...] | None:
    """Return the classes of a network that comes with bitlens; None of any other."""
    from bitlens.models.builtin import BUILTIN, BUILTIN_TEXT

    source, _, name = model.partition("/")
    entry = BUILTIN.get(name) or BUILTIN_TEXT.get(name)
    return entry.classes if source == "builtin" and entry is not None else None


def reads_photos(model: str) -> bool:
    """Say whether a network is known by its name to read photos: those of libraries, and what comes with bitlens for photos."""
    from bitlens.models.builtin import BUILTIN

    source, _, name = model.partition("/")
    if source == "builtin" and name in BUILTIN:
        return BUILTIN[name].form == "photo"
    return not model.rpartition(":")[0].endswith(".py")


def find(sources: Sequence[str], model: str) -> tuple[list[Path], list[Path]]:
    """List the files that a person means, and those of them that are photos.

    Raises:
        DataError: if one is missing, a pattern matches nothing, or photos are among others.
    """
    if reads_photos(model):  # then nothing that reads numbers is imported, which takes a tenth of a second
        from bitlens.data.images import find_images

        photos = find_images(sources)
        return photos, photos
    from bitlens.data.inputs import find_inputs
    from bitlens.data.number_files import is_numbers

    found = find_inputs(sources)
    return found, [path for path in found if not is_numbers(path)]


def _check_photos(found: Sequence[Path]) -> None:
    """Refuse photos of which none can be read, as far as their first bytes tell; the error is that of the first."""
    first: DataError | None = None
    for path in found[:_LOOKED_AT]:
        from bitlens.data.images import read_layout

        try:
            read_layout(path)
        except DataError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def _check_files(files: Files) -> None:
    for option, path in files.items():
        if path is not None and not path.is_file():
            raise DataError(f"{option} {path} {'is a folder' if path.is_dir() else 'is not there'}: name a file")


def _check_folder(out: Path) -> None:
    made = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not made.is_dir():
        raise SettingError(f"--out {out}: {made} is a file; name a folder, which is made if it is not there")
    if not os.access(made, os.W_OK):
        raise SettingError(f"--out {out}: {made} may not be written; name another folder")


def _check_out_file(out: Path) -> None:
    if out.is_dir():
        raise SettingError(f"--out {out} is a folder: name the file to write, as {out / 'NAME.safetensors'}")
    _check_folder(out.absolute().parent)
