"""What stands in the label's place of people's files, as the index of a class: a number, a class's name, true or false."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bitlens.errors import DataError

_MISSING = ("", "nan", "null", "none", "na", "n/a")
_TRUTHS = {"false": 0, "true": 1}
_SHOWN = 60


@dataclass(frozen=True)
class Labels:
    """Reader of labels.

    Attributes:
        names: of the network's classes in their order, None where unknown. Labels may be names, in capitals or not; where the
            names are numbers themselves (1 to 5 stars), a number is a name.
        count: how many classes there are, if that is known without names.
        needed: whether a label that is no class is refused; otherwise it counts as none.
    """

    names: Sequence[str] | None = None
    count: int | None = None
    needed: bool = True

    @property
    def classes(self) -> int | None:
        """Say how many classes there are, None where unknown."""
        return len(self.names) if self.names is not None else self.count

    def read(self, value: Any) -> int | None:
        """Return the index of the class that a cell or an entry names; None for what is missing.

        Raises:
            DataError: if it is no class.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        said = (
            value.strip() if isinstance(value, str) else str(value) if isinstance(value, bool | int | float) else None
        )
        found = self.named(said) if said is not None else None
        if said is not None and found is None:
            if said.lower() in _MISSING:
                return None
            found = self._counted(said)
        if found is None and self.needed:
            raise DataError(f"the label is {_short(value)}, expected {self._expected(said)}")
        return found

    def named(self, said: str) -> int | None:
        """Return the index of the class of this name, in capitals or not; None if none or several are called so."""
        parts = [_parts(name) for name in self.names or ()]
        found = [i for i, names in enumerate(parts) if said.lower() in names]
        return found[0] if len(found) == 1 else None

    def _counted(self, said: str) -> int | None:
        if said.lower() in _TRUTHS:
            index = _TRUTHS[said.lower()]
        else:
            number = _number(said)
            if number is None or number < 0 or not number.is_integer() or self._numbered:
                return None
            index = int(number)
        return index if self.classes is None or index < self.classes else None

    @property
    def _numbered(self) -> bool:
        """Say whether names are numbers, and not those of the classes themselves."""
        names = list(self.names or ())
        return (
            bool(names) and all(_number(n) is not None for n in names) and names != [str(i) for i in range(len(names))]
        )

    def _expected(self, said: str | None) -> str:
        nothing = "or nothing"
        if self.names is None:
            known = "0, 1, 2, …" if self.count is None else f"0 to {self.count - 1}"
            return f"the index of a class ({known}) {nothing}; names of classes need --classes FILE"
        every = [part for name in self.names for part in _parts(name)]
        close = difflib.get_close_matches((said or "").lower(), every, n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        shown = ", ".join(self.names[:6]) + (", …" if len(self.names) > 6 else "")
        index = "" if self._numbered else f" or index (0 to {len(self.names) - 1})"
        return f"one of the network's {len(self.names)} classes, by name ({shown}){index}, {nothing}{hint}"


def _parts(name: str) -> list[str]:
    """Return a class's name, and each of its synonyms (`tench, Tinca tinca`)."""
    return [name.strip().lower(), *(part.strip().lower() for part in name.split(",") if "," in name)]


def _number(said: str) -> float | None:
    try:
        number = float(said)
    except ValueError:
        return None
    plain = said.isascii() and "_" not in said
    return number if plain and math.isfinite(number) and abs(number) < 1e9 else None


def _short(value: Any) -> str:
    told = repr(value) if isinstance(value, str | bool | int | float) else type(value).__name__
    return told if len(told) <= _SHOWN else f"{told[: _SHOWN - 1]}…"
