"""What an audit says in plain words: what was covered, and what must not be concluded."""

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bitlens.models.loaded import Loaded
from bitlens.probe.fingerprint import weights_hash
from bitlens.reports.audit_checks import HOLDS, Checked
from bitlens.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pillow", "transformers", "timm")
_FEW = 30
_RANDOM_TOO_ALIKE, _SEEDS_TOO_FAR = 0.5, 0.9
USE = "to see which parts of single inputs this network uses for its answers, by a person who can question the network's builders"
FAILURES = (
    "A map shows what the network uses, not what is true: a network that is wrong has a map, too.",
    "Methods without evidence (scores without a unit) do not prove that the rest of the input was not needed.",
    "Maps are coarser than pixels: a bottleneck sees the cells of its layer, enlarged.",
    "Inputs that differ from those of the audit (other cameras, other groups of people, other languages) were not looked at.",
    "Whoever can change a network can make maps that hide what it uses; the checks here do not look for intent.",
)
"""Known failure modes, of every audit."""


def versions() -> dict[str, str]:
    """Name what computed: packages, Python, machine."""
    found = {"bitlens": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def code_hash() -> str:
    """Return a fingerprint of bitlens's own files: 16 hexadecimal digits."""
    digest, home = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(path for kind in ("*.py", "*.json") for path in home.rglob(kind)):
        digest.update(f"{path.relative_to(home).as_posix()} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def network_words(loaded: Loaded, asked: str) -> dict[str, str]:
    """Tell a network apart: its name, weights, reader, and the file of its code if that is the user's own."""
    file = Path(asked.rpartition(":")[0]) if ".py:" in asked else None
    code = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file is not None and file.is_file() else ""
    reader = loaded.preprocess.description if loaded.kind == "image" else type(loaded.tokenizer).__name__
    name = f"{file.name}:{asked.rpartition(':')[2]}" if file is not None else loaded.name
    return {"name": name, "weights": weights_hash(loaded.model), "reader": reader, "code": code}


def coverage(targets: Mapping[str, str], classes: Sequence[str] | None, samples: int | None) -> dict[str, Any]:
    """Count what was covered: inputs by what was asked of them.

    Args:
        targets: of each input, by its fingerprint.
        classes: names of the network's outputs, if they are known.
        samples: of the data set, if it has a size of its own.
    """
    counted = Counter(_named(target, classes) for target in targets.values())
    return {
        "inputs": len(targets),
        "samples": samples,
        "asked": dict(counted.most_common()),
        "classes": len(classes) if classes is not None else None,
    }


def limits(covered: Mapping[str, Any], checks: Mapping[str, Checked]) -> list[str]:
    """Say what must not be concluded."""
    inputs, asked, classes = covered["inputs"], covered["asked"], covered["classes"]
    said = [f"{inputs} inputs were looked at, out of all that the network may ever see."]
    if inputs < _FEW:
        said.append(f"{inputs} inputs are few: shares and means below are rough.")
    if classes and len(asked) < classes:
        said.append(
            f"{len(asked)} of the network's {classes} classes were asked about; nothing is known of the others."
        )
    for label, one in checks.items():
        if one.held is not None and one.held < 1:
            said.append(
                f"{label}: {1 - one.held:.0%} of its maps keep less than {HOLDS:.0%} of the answer: they show a part of it."
            )
        if one.proven > one.needed:
            said.append(
                f"{label}: for {one.proven - one.needed} of its maps the network says the same without seeing anything: no "
                "part of the input was needed there."
            )
        if one.maps and not one.proven:
            said.append(f"{label}: its maps carry no evidence.")
        if one.random_weights is not None and abs(one.random_weights) > _RANDOM_TOO_ALIKE:
            said.append(
                f"{label}: its maps of a network that learnt nothing are much the same (correlation "
                f"{one.random_weights:.2f}): they say more about the inputs than about this network."
            )
        if one.seeds is not None and one.seeds < _SEEDS_TOO_FAR:
            said.append(
                f"{label}: another seed gives other maps (correlation {one.seeds:.2f}): do not read small details."
            )
        if one.left_out:
            said.append(f"{label}: not all checks were made: {one.left_out}.")
    return said


def _named(target: str, classes: Sequence[str] | None) -> str:
    return classes[int(target)] if target.isdigit() and classes is not None and int(target) < len(classes) else target
