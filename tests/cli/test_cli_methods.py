"""`bitlens methods`: what there is, and how each is set."""

import inspect
import json

import pytest

from bitlens.baselines.occlusion import Occlusion
from bitlens.methods import METHODS
from bitlens.methods.specs import parse_specs

FACTS = {"name", "summary", "paper", "unit", "signed", "passes", "needs", "supports"}


def rows(bitlens, *arguments):
    return json.loads(bitlens("methods", *arguments, "--json").stdout)


def test_all_of_them_with_what_a_person_asks(bitlens):
    found = rows(bitlens)
    assert [row["name"] for row in found] == list(METHODS["image"])
    assert all(set(row) == FACTS for row in found)
    needs = {row["name"]: row["needs"] for row in found}
    assert needs["iba"] == ["layer", "statistics"]
    assert needs["pattern-attribution"] == ["patterns"]
    assert needs["grad-cam"] == []
    shown = bitlens("methods").stdout
    for entry in METHODS["image"].values():
        for text in (entry.name, entry.summary, entry.paper, entry.unit, entry.passes, entry.supports):
            assert text in shown


def test_one_of_them_with_its_settings(bitlens):
    (row,) = rows(bitlens, "occlusion-8")
    settings = {setting.pop("name"): setting for setting in row["settings"]}
    assert settings["window"]["default"] == 8
    assert settings["window"]["takes"] == "a whole number"
    assert settings["window"]["summary"].startswith("height and width of the patches")
    assert settings["replacement"]["takes"] == "mean-colour or zero or a number"
    assert row["description"] in " ".join(inspect.getdoc(Occlusion).split())
    shown = bitlens("methods", "occlusion-8").stdout
    assert "mean-colour" in shown
    assert "rise" not in shown
    assert [row["name"] for row in rows(bitlens, "occlusion")] == ["occlusion-8", "occlusion-14"]


def test_false_and_nothing_are_shown_as_they_are_typed(bitlens):
    lines = {line.split()[0]: line.split()[1] for line in bitlens("methods", "iba").stdout.splitlines() if line.split()}
    assert (lines["compile"], lines["steps"], lines["seed"], lines["beta"]) == ("false", "none", "0", "10.0")


@pytest.mark.parametrize("name", METHODS["image"])
def test_every_setting_is_explained_and_can_be_typed_with_its_default(bitlens, name):
    (row,) = rows(bitlens, name)
    assert row["description"]
    entries = {name: METHODS["image"][name].build}
    for setting in row["settings"]:
        assert setting["summary"], setting
        default = setting["default"]
        if default is not None:
            text = f"{name}:{setting['name']}={str(default).lower() if isinstance(default, bool) else default}"
            (spec,) = parse_specs(text, entries, "method", lambda build: build).values()
            assert spec.settings == {setting["name"]: default}


def test_an_unknown_one_is_refused_with_the_nearest_names(bitlens):
    assert "did you mean grad-cam or guided-grad-cam" in bitlens("methods", "gradcam", code=1).stderr
