"""Methods built from what a person typed: which settings hold, and what is learnt on photos."""

import pytest
import torch

from bitlens.baselines.pattern_attribution import PatternAttribution
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import LayerError
from bitlens.methods.building import build_method, method_settings
from bitlens.methods.specs import Spec
from bitlens.metrics import OneCell
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from networks import quadrant_iba, quadrant_images, quadrant_net
from small_evaluation import context_for


def loaded(name="mine", layer="2"):
    return Loaded(name, quadrant_net(), Preprocessing(lambda image: image), None, layer)


def test_settings_come_before_options_and_options_before_defaults():
    assert build_method(Spec("iba", {}), loaded()).probe.name == "2"
    assert build_method(Spec("iba", {}), loaded(), layer="0").probe.name == "0"
    iba = build_method(Spec("iba", {"layer": "3", "beta": 7.0, "seed": 5}), loaded(), layer="0", seed=4)
    assert (iba.probe.name, iba.fit.beta, iba.seed) == ("3", 7.0, 5)
    assert build_method(Spec("rise", {"samples": 9}), loaded(), seed=4).settings()["samples"] == 9
    assert build_method(Spec("rise", {}), loaded(), seed=4).seed == 4


def test_a_layer_is_chosen_only_for_methods_that_need_one():
    assert build_method(Spec("grad-cam", {}), loaded(), layer="0").layer == ""
    assert build_method(Spec("grad-cam", {"layer": "2"}), loaded(), layer="0").layer == "2"
    with pytest.raises(LayerError, match="no layer 'x'"):
        build_method(Spec("iba", {"layer": "x"}), loaded())


def test_networks_that_are_known_have_their_own_layer_and_beta():
    bundled = load_model("builtin/scenes")
    iba = build_method(Spec("iba", {}), bundled)
    assert (iba.probe.name, iba.fit.beta) == (bundled.layer, 1.0)
    assert build_method(Spec("iba", {"beta": 3.0}), bundled).fit.beta == 3
    with pytest.raises(LayerError, match=r"no layer 'features.17'"):  # VGG-16's, which this is not
        build_method(Spec("iba", {}), loaded("torchvision/vgg16@IMAGENET1K_V1", None))


def test_settings_say_what_decides_a_map():
    assert method_settings(Spec("iba", {}), quadrant_iba(beta=3.0))["layer"] == "2"
    assert method_settings(Spec("iba", {}), quadrant_iba(beta=3.0))["beta"] == 3
    cam = build_method(Spec("grad-cam", {"layer": "2"}), loaded(), seed=1)
    assert method_settings(Spec("grad-cam", {"layer": "2"}), cam) == {
        "name": "grad-cam",
        "layer": "2",
        "call": None,
        "seed": 1,
    }


def test_patterns_that_are_given_are_not_learnt(home):
    made = context_for(home, "pattern-attribution", "bbox").methods["pattern-attribution"].patterns
    assert made.samples == 8
    own = PatternAttribution(load_model(f"{home / 'net.py'}:build").model).fit_patterns([quadrant_images(5)[0]])
    own.patterns.save(home / "own.safetensors")
    context = context_for(home, f"pattern-attribution:patterns={home / 'own.safetensors'}", "bbox", out="other")
    (method,) = context.methods.values()
    assert method.patterns.fingerprint == own.patterns.fingerprint != made.fingerprint
    assert not list((home / "other").rglob("patterns*"))


def test_a_judge_is_made_once_and_again_where_its_file_is_of_something_else(home):
    deletion = OneCell(2)

    def judge(count=8, deletion=deletion, out="out"):
        context = context_for(home, "random", "bbox", out, statistics_count=count)
        learnt = [place.name for place in context.learner.folder.glob("judge-*")]
        return context.judges.knowing(deletion, 2).model.state_dict(), learnt

    first, before = judge()
    again, (place,) = judge()
    assert not before
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    file = home / "out" / "learned" / place
    file.write_bytes(file.read_bytes()[:-20])
    anew, _ = judge()
    assert all(torch.equal(value, anew[name]) for name, value in first.items())
    assert len(judge(count=6)[1]) == 1
    assert len(judge(deletion=OneCell(3))[1]) == 2
    assert {kept.suffix for kept in (home / "out" / "learned").iterdir()} == {".safetensors"}
