"""A disk that forgets at a power cut what nobody asked it to keep.

A file's bytes are kept once they were synced; its name is kept once its folder was synced. A name that was given without may
be kept or not, as the disk likes, and if the bytes were not synced the file is empty then. Whatever is not written by
`bitlens.system.files.replacing` is lost. What is kept lies in a folder of its own, ready at any moment.
"""

import os
import random
import shutil
from pathlib import Path

from bitlens.system import files


class Disk:
    """What would be there after a power cut.

    Args:
        home: the folder that is written to; nothing outside is followed.
        kept: where what survives is put.
        seed: of what the disk does unasked.
    """

    def __init__(self, home: Path, kept: Path, seed: int) -> None:
        self.home, self.kept = home, kept
        self._synced = kept.with_name(f"{kept.name}.synced")
        self._random = random.Random(seed)
        self._named: dict[Path, Path] = {}
        for folder in (self.kept, self._synced):
            folder.mkdir(parents=True, exist_ok=True)

    def install(self) -> None:
        """Let `replacing` write to this disk, for as long as this process lives."""
        replace, settle = Path.replace, files._settle

        def replaced(source: Path, target: str | os.PathLike[str]) -> Path:
            done: Path = replace(source, target)
            self.named(source, Path(target))
            return done

        def settled(path: Path) -> None:
            settle(path)
            self.synced(path)

        Path.replace = replaced  # type: ignore[method-assign,assignment]
        files._settle = settled

    def synced(self, path: Path) -> None:
        """Keep the bytes of a file, or the names in a folder."""
        if not path.is_relative_to(self.home):
            return
        if path.is_dir():
            for target in [target for target in self._named if target.parent == path]:
                self._keep(self._named.pop(target), target)
            return
        half = self._synced / f"{path.name}.half"
        shutil.copyfile(path, half)
        os.replace(half, self._synced / path.name)  # noqa: PTH105  (Path.replace is the one that is watched)

    def named(self, source: Path, target: Path) -> None:
        """Take note of a new name of a file, which the disk keeps when it likes."""
        if not target.is_relative_to(self.home):
            return
        bytes_kept = self._synced / source.name
        if self._random.random() < 0.5:
            self._named[target] = bytes_kept
        else:
            self._keep(bytes_kept, target)

    def _keep(self, content: Path, target: Path) -> None:
        place = self.kept / target.relative_to(self.home)
        place.parent.mkdir(parents=True, exist_ok=True)
        if content.exists():
            os.replace(content, place)  # noqa: PTH105
        else:
            place.write_bytes(b"")


def cut_power(home: Path, kept: Path) -> None:
    """Put what survived where everything was."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(kept, home)
