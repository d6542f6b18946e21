"""Which visitor uploaded which file; all uploads together are bounded, and the oldest go first."""

import threading
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_MOST_SESSIONS = 10_000


class Uploads:
    """Record of which visitor uploaded which file, and who asks in which session; what nobody owns is nobody's.

    Args:
        most_bytes: of all uploads together; the oldest are removed before.
        most_files: likewise.
    """

    def __init__(self, most_bytes: int = 500_000_000, most_files: int = 1000) -> None:
        self.most_bytes, self.most_files = most_bytes, most_files
        self._owners: OrderedDict[str, set[str]] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._shared: set[str] = set()
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, path: str, visitor: str, size: int = 0) -> None:
        """Note whose a file of so many bytes is; two visitors may have uploaded the same photo."""
        with self._lock:
            self._owners.setdefault(path, set()).add(visitor)
            self._owners.move_to_end(path)
            self._sizes[path] = size
            while len(self._owners) > 1 and (
                len(self._owners) > self.most_files or sum(self._sizes.values()) > self.most_bytes
            ):
                oldest, _ = self._owners.popitem(last=False)
                self._remove(oldest)

    def forget_missing(self) -> None:
        """Forget files that are there no more."""
        with self._lock:
            for path in [path for path in self._owners if not Path(path).exists()]:
                del self._owners[path], self._sizes[path]

    def _remove(self, path: str) -> None:
        del self._sizes[path]
        if path not in self._shared:
            with suppress(OSError):  # it is gone already, or others lie beside it
                Path(path).unlink(missing_ok=True)
                Path(path).parent.rmdir()

    def share(self, paths: Collection[str]) -> None:
        """Let everybody name these: the examples."""
        self._shared.update(paths)

    def is_shared(self, path: str) -> bool:
        """Say whether a file is everybody's."""
        return path in self._shared

    def may_name(self, path: str, visitor: str) -> bool:
        """Say whether a visitor may ask about a file; nothing is looked up on the disk."""
        return path in self._shared or visitor in self._owners.get(path, ())

    def is_another_s(self, path: str, visitor: str) -> bool:
        """Say whether a file was uploaded, and by others alone."""
        return path in self._owners and not self.may_name(path, visitor)

    def asks_in(self, session: str, visitor: str) -> bool:
        """Say whether a session is the visitor's; the first who names it has it."""
        with self._lock:
            owner = self._sessions.setdefault(session, visitor)
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
            return owner == visitor
