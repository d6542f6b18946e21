"""What a visitor can take home: a private folder for each answer, gone after half an hour and when the page stops."""

import itertools
import shutil
import tempfile
import time
from pathlib import Path

from bitlens.errors import InputError

KEPT_SECONDS = 1800


class Folders:
    """Folders below one temporary folder."""

    def __init__(self) -> None:
        self._root = tempfile.TemporaryDirectory(prefix="bitlens-app-")
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
        """Make an empty folder; old ones are removed."""
        now = time.time()
        for folder in self.root.glob("answer-*"):
            if now - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        made = self.root / f"answer-{next(self._numbers)}"
        made.mkdir()
        return made

    def remove(self) -> None:
        """Remove all of them, now."""
        self._root.cleanup()
