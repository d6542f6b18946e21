"""What a visitor can take home: a private folder for each answer, gone after half an hour and when the page stops."""

import itertools
import shutil
import tempfile
import time
from pathlib import Path

__all__ = ["KEPT_SECONDS", "Folders"]

KEPT_SECONDS = 1800


class Folders:
    """Folders below one temporary folder."""

    def __init__(self) -> None:
        self._root = tempfile.TemporaryDirectory(prefix="bitlens-app-")
        self._numbers = itertools.count()

    @property
    def root(self) -> Path:
        """Holds all of them."""
        return Path(self._root.name)

    def new(self) -> Path:
        """An empty folder; old ones are removed."""
        now = time.time()
        for folder in self.root.glob("answer-*"):
            if now - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        made = self.root / f"answer-{next(self._numbers)}"
        made.mkdir()
        return made

    def remove(self) -> None:
        """All of them, now."""
        self._root.cleanup()
