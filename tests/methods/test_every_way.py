"""Every method of the lists, every way in: Python, command line, evaluation and page build, teach and ask it alike."""

import json
import threading
from pathlib import Path

import pytest

from bitlens.app.answers import Answers, Question
from bitlens.app.offers import Offer, Shelf, input_desk
from bitlens.data.datasets import open_dataset
from bitlens.errors import LayerError, SettingError
from bitlens.methods import METHODS
from bitlens.methods.building import build_method, method_settings
from bitlens.methods.lessons import LESSONS
from bitlens.methods.specs import Spec, settings_of_callable
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.load import load_model
from small_evaluation import context_for

IMAGES, TEXTS = list(METHODS["image"]), list(METHODS["text"])
LIGHT = {
    "iba": "steps=2:noise_samples=1",
    "input-iba": "steps=2:noise_samples=1",
    "extremal-perturbation": "steps=2",
} | dict.fromkeys(("rise", "lime", "kernel-shap"), "samples=20")
REFUSED = {"attention-rollout", "gradient-attention-rollout"}  # they are for transformers, and say so

pytestmark = pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning")


def light(name):
    return Spec(name, {k: int(v) for k, _, v in (part.partition("=") for part in LIGHT.get(name, "").split(":")) if k})


@pytest.mark.parametrize(("kind", "name"), [*(("image", name) for name in IMAGES), *(("text", name) for name in TEXTS)])
def test_what_the_list_says_can_be_built_and_told(kind, name):
    entry = METHODS[kind][name]
    assert callable(entry.build)
    assert settings_of_callable(entry.build)
    assert (entry.lesson is None) == (entry.learns == "")
    assert entry.lesson in (None, *LESSONS.values())
    loaded = load_model("builtin/scenes" if kind == "image" else "builtin/reviews")
    try:
        method = build_method(Spec(name, {}), loaded, seed=3)
    except (LayerError, SettingError):
        assert name in REFUSED
        return
    assert method.seed == 3
    assert method.method == name or kind == "text" or entry.preset


@pytest.mark.parametrize("name", IMAGES)
def test_the_settings_of_a_taught_method_are_plain_values(home, name):
    context = context_for(home, "random" if name in REFUSED else name, "bbox")
    ((label, method),) = context.methods.items()
    told = json.loads(json.dumps(method_settings(context.plan.methods[label], method)))
    assert told["name"] in (name, "random")
    assert "seed" in told


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("BITLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("bitlens.app.answers.enough", lambda _form: 64)  # more, to be shown to somebody
    shelf = Shelf([Offer("builtin/scenes", "builtin:scenes-train")], "cpu", input_desk)
    yield Answers(shelf["builtin/scenes"])
    patch.undo()


@pytest.mark.parametrize("name", [name for name in IMAGES if METHODS["image"][name].learns or name in REFUSED])
def test_the_page_teaches_every_method_that_must_learn(answers, tmp_path, name):
    photo = tmp_path / "scene.png"
    open_dataset("builtin:scenes")[0].image.save(photo)
    question = Question(photo, "scene.png", (name, "gradient"), answers.desk.layer, 1.0, "fast", None)
    shown = answers.answer(question)
    assert [one.ready.label for one in shown.explained.found] == (
        ["gradient"] if name in REFUSED else [name, "gradient"]
    )
    assert set(shown.refused) == REFUSED & {name}


def test_the_page_needs_no_other_photos(tmp_path):
    photo = tmp_path / "scene.png"
    open_dataset("builtin:scenes")[0].image.save(photo)
    answers = Answers(Shelf([Offer("builtin/scenes")], "cpu", input_desk)["builtin/scenes"])
    shown = answers.answer(Question(photo, "scene.png", ("iba",), "layer2", None, "paper", None, curve=True))
    (one,) = shown.explained.found
    assert one.attribution.settings["statistics_data"] == "own"
    assert one.attribution.settings["keep"] == 0.9
    assert one.attribution.curve is not None
    less = answers.answer(Question(photo, "scene.png", ("iba",), "layer2", None, "paper", None, keep=0.5))
    assert less.explained.found[0].attribution.total_bits < one.attribution.total_bits
    with pytest.raises(SettingError, match="--statistics-from"):
        answers.answer(Question(photo, "scene.png", ("pattern-attribution",), "layer2", None, "fast", None))


def test_a_file_of_statistics_serves_every_method_that_takes_one(bitlens, tmp_path):
    open_dataset("builtin:scenes")[0].image.save(tmp_path / "scene.png")
    model = ("--model", "builtin/scenes")
    made = tmp_path / "statistics.safetensors"
    bitlens("statistics", *model, "--data", "builtin:scenes-train", "--count", "32", "--per", "channel", "--out", made)
    takers = [name for name in IMAGES if METHODS["image"][name].learns == "statistics"]
    assert len(takers) == 2
    for name in takers:
        spec = ":".join(filter(None, [name, LIGHT.get(name)]))
        bitlens(
            "explain", tmp_path / "scene.png", *model, "--method", spec, "--statistics", made, "--out", tmp_path / name
        )
        told = json.loads((tmp_path / name / "summary.json").read_text())
        (row,) = told["photos"]
        assert row["method"].startswith(name)


def test_what_is_learnt_travels_and_is_kept_by_one_rule(home, monkeypatch):
    """Statistics, patterns and weights alike: beside the results and in the cache, and not learnt again from either."""
    monkeypatch.setenv("BITLENS_CACHE", str(home / "cache"))
    loaded = load_model(f"{home / 'net.py'}:build")
    source = Source.open(f"folder:{home / 'photos'}", "image", 8)
    for name in IMAGES:
        entry, seen = METHODS["image"][name], []
        if entry.lesson is None:
            continue
        teacher = Teacher(loaded, source, beside=home / "learned", progress=seen.append)
        first = build_method(light(name), loaded, layer="0")
        teacher.teach(entry.lesson, first)
        places = [*(home / "learned").glob("*"), *Path(home / "cache").rglob("*.safetensors")]
        seen.clear()
        for kept in ("learned", "cache"):
            for place in (home / kept).rglob("*.safetensors"):
                place.rename(place.with_suffix(".away"))
            again = build_method(light(name), loaded, layer="0")
            teacher.teach(entry.lesson, again)
            assert not seen, (name, kept)
            for place in (home / kept).rglob("*.away"):
                place.rename(place.with_suffix(".safetensors"))
        other = build_method(light(name), loaded, layer="0")
        assert not entry.lesson.knows(other)
        entry.lesson.give(other, entry.lesson.take(first))
        assert entry.lesson.knows(other)
        assert len(places) >= 2


def test_threads_share_one_list():
    found = []
    threads = [threading.Thread(target=lambda: found.append(METHODS["image"]["iba"].build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
