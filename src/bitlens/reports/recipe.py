"""How to make results again: the very command, and the same in Python, from the settings that lie beside them."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bitlens.core.effort import HOLDING, IMPLIED, QUALITY
from bitlens.methods import METHODS
from bitlens.methods.naming import HOLDERS, KEEP
from bitlens.view.report_html import Recipe

_AIMS = ("keep", "bits", "beta", "beta_input")


def explained_recipe(title: str, settings: Mapping[str, Any]) -> Recipe:
    """Say how to make again what explain wrote."""
    command = settings.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    before = [list(map(str, one)) for one in settings.get("earlier", []) if isinstance(one, list) and one]
    lines = [f"bitlens {shlex.join(one)}" for one in (*before, words) if one]
    methods = settings.get("methods")
    known = (
        {str(label): one for label, one in methods.items() if isinstance(one, dict)}
        if isinstance(methods, dict)
        else {}
    )
    return Recipe(
        title,
        "\n".join(lines),
        "\n".join(_python(str(settings["model"]), known, words, photos="form" not in settings))
        if known and "model" in settings
        else "",
        [(label, _listed(one)) for label, one in known.items()],
    )


def evaluation_recipe(title: str, settings: Mapping[str, Any], samples: int) -> Recipe:
    """Say how to make again what evaluate wrote."""
    learnt = settings["statistics"]
    given = {
        "model": settings["model"],
        "data": settings["data"],
        "methods": ",".join(map(typed, settings["methods"])),
        "metrics": ",".join(map(typed, settings["metrics"])),
        "statistics-from": learnt["from"],
        "statistics-count": learnt["count"],
        "statistics-per": learnt["per"],
        "limit": samples,
        "seed": settings["seed"],
    }
    words = ["evaluate", *(str(word) for name, value in given.items() for word in (f"--{name}", value))]
    words += _aim_words(settings["methods"])
    listed = [(label, _listed(one)) for kind in ("methods", "metrics") for label, one in settings[kind].items()]
    return Recipe(title, f"bitlens {shlex.join(words)}", settings=listed)


def _aim_words(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what decided how much passes, of bottlenecks whose labels do not say it, as far as it is not as by default."""
    silent = [
        one
        for label, one in methods.items()
        if one.get("name") in HOLDERS
        and one.get("signed") != "opening"
        and not any(f"{aim}=" in label for aim in _AIMS)
    ]
    for aim in ("keep", "bits"):
        values = {one.get(aim) for one in silent}
        if len(values) == 1 and None not in values:
            (value,) = values
            return [] if (aim, value) == ("keep", KEEP) else [f"--{aim}", f"{value:g}"]
    priced = [one for one in silent if one.get("keep") is None and one.get("bits") is None]
    prices = {one.get("beta") for one in priced}
    if len(prices) == 1 and all(one["name"] != "input-iba" for one in priced):
        return ["--beta", f"{prices.pop():g}"]
    return ["--published"] if priced else []


def typed(label: str) -> str:
    """Write a label as it is typed: `iba[beta=100,steps=20]` is `iba:beta=100:steps=20`."""
    name, _, given = label.removesuffix("]").partition("[")
    return ":".join([name, *given.split(",")]) if given else name


def _listed(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, "" if value is None else str(value)) for name, value in settings.items() if name != "name"]


def _python(
    model: str, methods: Mapping[str, Mapping[str, Any]], command: Sequence[str], *, photos: bool
) -> Iterator[str]:
    yield "import bitlens"
    if any(one.get("statistics_data", "own") != "own" for one in methods.values()):
        yield "from bitlens.methods.lessons import STATISTICS, How"
        yield "from bitlens.methods.teaching import Source, Teacher"
    yield "from bitlens.data.images import read_image" if photos else "from pathlib import Path"
    yield ""
    weights = given_option(command, "--weights")
    yield f"loaded = bitlens.load_model({', '.join(map(repr, [model, *([weights] if weights else [])]))})"
    read = 'read_image("PHOTO")' if photos else 'loaded.preprocess.read(Path("FILE"))'
    yield f"image = loaded.preprocess({read})[None]"
    target = given_option(command, "--target")
    asked = f", {target}" if target and target.isdigit() else ""
    for one in methods.values():
        name = str(one.get("name", ""))
        if name not in METHODS["image"]:
            continue
        yield ""
        chosen = [f"{key}={value!r}" for key, value in _arguments(name, one).items()]
        chosen = [_trained(model, command)] if _reads(one) else chosen
        arguments = [repr(name), "loaded.model", *chosen]
        yield f"method = bitlens.method({', '.join(arguments)})"
        yield from _learning(one, command)
        yield f"attribution = method.explain(image{asked})" + ("" if asked else "  # of the predicted class")


def _reads(settings: Mapping[str, Any]) -> bool:
    """Say whether the method has weights of its own."""
    name = settings.get("name")
    return name in METHODS["image"] and METHODS["image"][str(name)].learns == "weights"


def _trained(model: str, command: Sequence[str]) -> str:
    """Say where a method has its weights from: they know all other settings."""
    given = given_option(command, "--readout")
    if given is None and model.startswith("builtin/"):
        return "weights=loaded.readout"
    return f"weights={given or 'READOUT.safetensors'!r}"


def _arguments(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Choose what the method is built with: what it takes, and is not as by default."""
    listed = METHODS["image"][name].listed
    taken, known = listed.kinds, listed.defaults
    plain = {key: value for key, value in settings.items() if key in taken and not key.startswith("statistics")}
    chosen = {key: value for key, value in plain.items() if key not in known or known[key] != value}
    if "quality" in taken and "antithetic" in settings:
        chosen |= _quality(settings, chosen)
    return chosen


def _quality(settings: Mapping[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """Name the preset, in place of what it stands for."""
    holds = settings.get("keep") is not None
    for name, preset in (HOLDING if holds else QUALITY).items():
        values = asdict(preset)
        implied = (*IMPLIED, *(("readout",) if holds else ()))
        if all(settings.get(key, key == "closes") == values[key] for key in implied):
            for key in implied:
                chosen.pop(key, None)
            return {} if name == "paper" else {"quality": name}
    return {}


def _learning(settings: Mapping[str, Any], command: Sequence[str]) -> Iterator[str]:
    """Say how the method gets its statistics, if it needs any."""
    if settings.get("statistics_data", "own") == "own":
        return
    kept = given_option(command, "--statistics")
    counted = re.fullmatch(r"(.*) \((\d+) photos\)", str(settings["statistics_data"]))
    per = re.match(r"per (\w+)", str(settings.get("statistics", "")))
    if kept:
        yield f"method.statistics = bitlens.FeatureStatistics.load({kept!r})"
    elif counted and per:
        source = f"Source.open({counted[1]!r}, 'image', {counted[2]})"
        yield f"Teacher(loaded, {source}, How({per[1]!r})).teach(STATISTICS, method)"
    else:
        yield f"method.fit_statistics(batches)  # {' '.join(str(settings['statistics_data']).split())}"


def given_option(command: Sequence[str], option: str) -> str | None:
    """Read the value of an option of a command."""
    for word, following in zip(command, [*command[1:], ""], strict=False):  # no command: nothing was given
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None
