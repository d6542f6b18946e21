"""What decides how much passes, where a person does not say it, and how a run that is told again says it."""

import json

import pytest

from bitlens.core.effort import HOLDING, IMPLIED
from bitlens.errors import SettingError
from bitlens.methods.naming import holding, read_methods, with_options
from bitlens.methods.specs import Spec
from bitlens.reports.audit_remake import aimed
from bitlens.reports.recipe import _aim_words
from small_evaluation import make_home

HELD = {"keep": 0.9, "quality": "fast"}


def chosen(text, options=None, kind="image", **more):
    return {
        label: spec.settings
        for label, spec in with_options(read_methods(text, kind), options or {}, kind, **more).items()
    }


def test_bottlenecks_hold_unless_somebody_says_how_much_passes():
    assert chosen("iba,gradient,input-iba") == {"iba": HELD, "gradient": {}, "input-iba": {"keep": 0.9}}
    assert chosen("iba", {"beta": 10.0, "quality": "paper"}) == {"iba": {"beta": 10.0, "quality": "paper"}}
    assert chosen("iba:beta=3,iba:keep=0.5,iba", {"bits": 20.0}) == {
        "iba[beta=3]": {"beta": 3.0},
        "iba[keep=0.5]": {"keep": 0.5},
        "iba": {"bits": 20.0},
    }
    assert chosen("iba:keep=none") == {"iba[keep=none]": {"keep": None}}
    assert chosen("input-iba:beta_input=3") == {"input-iba[beta_input=3]": {"beta_input": 3.0}}
    assert chosen("iba", holds=False) == {"iba": {}}
    assert chosen("token-iba,iba,lime", {}, "text") == {"token-iba": {"keep": 0.9}, "iba": {"keep": 0.9}, "lime": {}}
    assert holding("readout", {}) == {}


def test_options_are_for_somebody():
    with pytest.raises(SettingError, match="--beta is not for gradient"):
        chosen("gradient", {"beta": 1.0})


def test_a_run_that_is_told_again_says_what_decided():
    kept = {"name": "iba", "keep": 0.9, "beta": None}
    assert _aim_words({"iba": kept, "random": {"name": "random"}}) == []
    assert _aim_words({"iba": {**kept, "keep": 0.5}}) == ["--keep", "0.5"]
    assert _aim_words({"iba": {"name": "iba", "bits": 300.0}}) == ["--bits", "300"]
    assert _aim_words({"iba": {"name": "iba", "beta": 10.0}}) == ["--beta", "10"]  # as 0.1 wrote it
    assert _aim_words({"iba[beta=3]": {"name": "iba", "beta": 3.0}, "random": {"name": "random"}}) == []
    both = {"iba": {"name": "iba", "beta": 1.0}, "input-iba": {"name": "input-iba", "beta": 5.0}}
    assert _aim_words(both) == ["--published"]


def test_an_audit_builds_methods_as_the_run_did():
    fast = {name: value for name, value in HOLDING["fast"].plain().items() if name in IMPLIED}
    assert fast["closes"] is False
    assert aimed(Spec("iba", {}), {"keep": 0.9, **fast}, "image").settings == {"keep": 0.9, "quality": "fast"}
    assert aimed(Spec("iba", {"steps": 3}), {"beta": 10.0}, "image").settings == {"beta": 10.0, "steps": 3}
    assert aimed(Spec("token-iba", {}), {"keep": 0.8, "beta": 3.0}, "text").settings == {"keep": 0.8}
    assert aimed(Spec("input-iba", {}), {"beta": 5.0}, "image").settings == {}  # that of stage 3


def test_evaluations_hold_or_are_as_published(bitlens, tmp_path):
    make_home(tmp_path)
    words = ("--model", "net.py:build", "--data", "csv:table.csv", "--layer", "0", "--statistics-count", 10)
    words += ("--methods", "iba", "--metrics", "bbox", "--limit", 1)

    def evaluated(*more):
        bitlens("evaluate", *words, "--out", "".join(map(str, more)) or "usual", *more)
        return json.loads((tmp_path / ("".join(map(str, more)) or "usual") / "settings.json").read_text())["methods"][
            "iba"
        ]

    assert evaluated()["keep"] == 0.9
    assert "keep" not in evaluated("--published")
    assert evaluated("--published")["beta"] == 10.0
    assert evaluated("--beta", 3)["beta"] == 3.0
    assert evaluated("--bits", 50)["bits"] == 50.0
