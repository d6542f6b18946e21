"""What torchvision and timm offer, read off their files: importing them takes seconds, and torch with them."""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bitlens.system.checks import listed, text
from bitlens.system.files import cache_folder, kept, write_text
from bitlens.system.optional import need, refuse_without
from bitlens.system.reading import read_json, whole

_FUNCTION = re.compile(r"^@register_model(?:\(\))?\n(?:[@ )].*\n)*def (\w+)", re.M)
_WEIGHTS = re.compile(r"^class (\w+_Weights)\(WeightsEnum\):\n((?:(?:    .*)?\n)*)", re.M)
_COUNT = r"\"num_params\": ([\d_]+)"
_MEMBER = re.compile(r"^    (\w+) = (\w+)", re.M)


@cache
def torchvision_names() -> tuple[str, ...]:
    """Return the names of all classifiers of torchvision."""
    return tuple(sorted(name for source in _sources("torchvision") for name in _FUNCTION.findall(source)))


@cache
def torchvision_classifiers() -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return every classifier of torchvision, with its number of parameters and the names of its weights."""
    found = {}
    for source in _sources("torchvision"):
        sets = dict(_WEIGHTS.findall(source))
        for function in _FUNCTION.finditer(source):
            used = re.search(r"\b(\w+_Weights)\b", source[function.end() :])
            if used is not None and used[1] in sets:
                found[function[1]] = _weights(sets[used[1]], source)
    return dict(sorted(found.items()))


def _weights(body: str, source: str) -> tuple[int, tuple[str, ...]]:
    """Read the class of a network's weights: how many parameters those have that are taken by default, and all names."""
    members = dict(_MEMBER.findall(body))
    usual = members.get("DEFAULT", "")
    counted = re.search(rf"^    {usual} = (?:.*\n)*?.*{_COUNT}", body, re.M) or re.search(_COUNT, source)
    return int(counted[1]) if counted else 0, tuple(members)


@cache
def timm_architectures() -> tuple[str, ...]:
    """Return the names of all networks of timm, without the tags of their weights; those of older versions are left out.

    Raises:
        DependencyError: timm is not installed.
    """
    refuse_without("timm", "timm")
    return tuple(sorted(name for source in _sources("timm") for name in _FUNCTION.findall(source)))


def in_timm(name: str) -> bool:
    """Say whether timm's files name such a network at all: names of older versions stand there in quotes."""
    quoted = (f'"{name}"', f"'{name}'")
    return name in timm_architectures() or any(one in source for source in _sources("timm") for one in quoted)


def timm_names() -> list[str]:
    """Return every pretrained classifier of timm; asked of timm itself once, then kept in the cache for this version of it.

    Raises:
        DependencyError: timm is not installed.
    """
    refuse_without("timm", "timm")
    place = cache_folder() / "models" / f"timm-{importlib.metadata.version('timm')}.json"
    known = kept(place, _read_names)
    if known is None:
        need("timm.data", "timm")
        known = list(need("timm", "timm").list_models(pretrained=True))
        write_text(place, json.dumps(known))
    return known


def _read_names(place: Path) -> list[str]:
    with whole(place, "names of networks", "remove it"):
        return [text(name, "a name") for name in listed(read_json(place, "names of networks", "remove it"), "names")]


@cache
def _sources(library: str) -> tuple[str, ...]:
    return tuple(_read_sources(library))


def _read_sources(library: str) -> Iterator[str]:
    """Read the files of a library's networks, those in its folder of models but not in folders of that."""
    place = find_spec(library)
    for folder in place.submodule_search_locations or () if place is not None else ():
        for file in sorted(Path(folder, "models").glob("*.py")):
            yield file.read_text("utf-8", errors="replace")
