"""What a visitor can take home: a private folder for each answer, gone after half an hour and when the page stops."""

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bitlens.errors import InputError
from bitlens.system.leftovers import owner, sweep_folders

KEPT_SECONDS = 1800
_PREFIX = "bitlens-app-"


class Folders:
    """Folders below one temporary folder; those of pages that were killed are removed first."""

    def __init__(self) -> None:
        sweep_folders(Path(tempfile.gettempdir()), _PREFIX)
        self._root = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{owner()}-", ignore_cleanup_errors=True)
        self._numbers = itertools.count()

    @property
    def root(self) -> Path:
        """Name the folder that holds all of them."""
        return Path(self._root.name).resolve()

    @property
    def uploads(self) -> Path:
        """Name where the page puts what visitors upload, and what it answers with."""
        return self.root / "uploads"

    def uploaded(self, path: str) -> Path:
        """Find a file that the page put among the uploads.

        Raises:
            InputError: if it lies elsewhere, or is a link; the same whether there is such a file or not.
        """
        place = Path(path)
        if place.resolve() != place or not place.is_relative_to(self.uploads):
            raise InputError("this file was not uploaded by you: choose it again")
        return place

    def new(self) -> Path:
        """Make an empty folder."""
        made = self.root / f"answer-{next(self._numbers)}"
        made.mkdir()
        return made

    def sweep(self, stays: Callable[[str], bool] = lambda _: False) -> None:
        """Remove answers and uploads that are older than half an hour.

        Args:
            stays: says of an upload whether it is kept all the same: examples are.
        """
        os.utime(self.root)  # somebody lives here
        for folder in filter(_is_old, self.root.glob("answer-*")):
            shutil.rmtree(folder, ignore_errors=True)
        for folder_name, _, names in os.walk(self.uploads, topdown=False):  # which minds nothing that goes meanwhile
            for file in (Path(folder_name, name) for name in names):
                if _is_old(file) and not stays(str(file)):
                    with suppress(OSError):  # it is gone already, or others lie beside it
                        file.unlink()
                        file.parent.rmdir()

    def remove(self) -> None:
        """Remove all of them, now."""
        self._root.cleanup()


def _is_old(path: Path) -> bool:
    with suppress(OSError):  # another removed it
        return time.time() - path.lstat().st_mtime > KEPT_SECONDS
    return False
