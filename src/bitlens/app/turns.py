"""Questions to one network wait for each other, and see how many are before them; other networks answer meanwhile."""

import threading
from collections import deque

from bitlens.errors import SettingError

_LONGEST = 16


class Line:
    """Line of those who wait for one network, the first of whom has it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Place] = deque()

    def join(self) -> "Place":
        """Stand at its end.

        Raises:
            SettingError: if it is too long.
        """
        place = Place(self)
        with self._changed:
            if len(self._waiting) >= _LONGEST:
                raise SettingError(f"{_LONGEST} questions wait for this network already: ask again in a minute")
            self._waiting.append(place)
        return place

    def ahead(self, place: "Place", patience: float) -> int:
        """Count those before a place, as soon as that changes, or after so many seconds."""
        with self._changed:
            if self._waiting and self._waiting[0] is not place:
                self._changed.wait(patience)
            return self._waiting.index(place)

    def leave(self, place: "Place") -> None:
        """Let the others move on; whoever left already may leave again."""
        with self._changed:
            if place in self._waiting:
                self._waiting.remove(place)
                self._changed.notify_all()


class Place:
    """One place in a line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def ahead(self, patience: float) -> int:
        """Count those before it: none if it is its turn. Waits so many seconds for that to change."""
        return self._line.ahead(self, patience)

    def leave(self) -> None:
        """Leave the line."""
        self._line.leave(self)


class Lines:
    """A line for each network."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}

    def __getitem__(self, network: str) -> Line:
        """Return the line of a network, also of one that is asked for the first time."""
        with self._lock:
            return self._lines.setdefault(network, Line())
