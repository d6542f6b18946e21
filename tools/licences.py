"""List the licences of everything that bitlens needs, of its extras too, as the installed packages tell them.

    python tools/licences.py [--json]

What the core needs, directly or not, must have a permissive licence: exit code 1 if one has none of those named below. NVIDIA's
own libraries, which PyTorch's usual wheels for Linux bring along, are excepted; its wheels for CPUs do without.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement

from needed import needed

PERMISSIVE = re.compile(
    r"\b(MIT|MIT-CMU|BSD|[023]?BSD|Apache|HPND|PSF|PSFL|Python Software Foundation|ISC|Zlib|Unlicense|CC0|MPL|Mozilla Public|"
    r"matplotlib)\b",
    re.IGNORECASE,
)
_LONGEST = 60
_NVIDIA = ("nvidia-", "cuda-")


@dataclass(frozen=True)
class Licence:
    """One package.

    Attributes:
        name: of the package.
        version: that is installed; empty if it is not.
        licence: as it says itself.
        needed_by: "core", or the extra that brings it.
    """

    name: str
    version: str
    licence: str
    needed_by: str

    @property
    def excepted(self) -> bool:
        """Say whether it is one of NVIDIA's own libraries."""
        return self.name.startswith(_NVIDIA)

    @property
    def permissive(self) -> bool:
        """Say whether it is known to be permissive."""
        return PERMISSIVE.search(self.licence) is not None


def licences() -> list[Licence]:
    """List all packages, those of the core first."""
    found: dict[str, Licence] = {}
    for what, texts in needed().items():
        for name in _whole(texts, "", set()):
            found.setdefault(name, _licence(name, what))
    return list(found.values())


def _whole(texts: Sequence[str], extra: str, seen: set[str]) -> Iterator[str]:
    """Names of what is needed here, directly or not."""
    for text in texts:
        requirement = Requirement(text)
        plain = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if plain in seen or (requirement.marker is not None and not requirement.marker.evaluate({"extra": extra})):
            continue
        seen.add(plain)
        yield plain
        for inner in ("", *requirement.extras):
            yield from _whole(_requires(plain), inner, seen)


def _requires(name: str) -> Sequence[str]:
    try:
        return distribution(name).requires or ()
    except PackageNotFoundError:
        return ()


def _licence(name: str, needed_by: str) -> Licence:
    try:
        about: Any = distribution(name).metadata
    except PackageNotFoundError:
        return Licence(name, "", "not installed", needed_by)
    kinds = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License :: ")]
    said = (
        about.get("License-Expression") or ", ".join(kinds) or (about.get("License") or "").strip().partition("\n")[0]
    )
    return Licence(name, about["Version"], said[:_LONGEST] or "unknown", needed_by)


def main() -> int:
    """Print the list; see the top of this file."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--json", action="store_true")
    found = licences()
    wrong = [
        one for one in found if one.needed_by == "core" and one.version and not one.permissive and not one.excepted
    ]
    if asked.parse_args().json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        for one in found:
            print(f"{one.name:32} {one.version:16} {one.licence:{_LONGEST}} {one.needed_by}")
        for one in wrong:
            print(f"NOT KNOWN TO BE PERMISSIVE: {one.name} ({one.licence})", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
