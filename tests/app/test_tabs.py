"""What a tab answers, step by step, without a browser: the answer first, its files last, refusals in its place."""

import json
import re
from pathlib import Path

import pytest

from bitlens.data.datasets import open_dataset
from bitlens.data.recall import questions

pytest.importorskip("gradio", reason="the extra app is not installed")
PHOTO = ("builtin/scenes", ["saliency", "grad-cam"], "layer2", 1.0, "as predicted", "fast", 90, False, True, False)
TEXT = ("builtin/reviews", ["gradient-x-input", "occlusion"], "embedding", 0.0, "as predicted", 90, False, False, False)


@pytest.fixture
def folders():
    from bitlens.app.files import Folders

    made = Folders()
    made.uploads.mkdir()
    yield made
    made.remove()


@pytest.fixture
def photos(folders):
    from bitlens.app.input_tab import InputTab
    from bitlens.app.kinds import PHOTOS
    from bitlens.app.offers import Offers, Shelf, input_desk

    return InputTab(PHOTOS, Shelf(Offers.bundled().photos[:1], "cpu", input_desk), folders)


@pytest.fixture
def signals(folders):
    from bitlens.app.input_tab import InputTab
    from bitlens.app.kinds import SIGNALS
    from bitlens.app.offers import Offers, Shelf, input_desk

    return InputTab(SIGNALS, Shelf(Offers.bundled().signals, "cpu", input_desk), folders)


@pytest.fixture
def texts(folders):
    from bitlens.app.offers import Offers, Shelf, text_desk
    from bitlens.app.text_tab import TextTab

    return TextTab(Shelf(Offers.bundled().texts, "cpu", text_desk), folders)


def files_of(step):
    return [update["value"] for update in step[1:]]


def test_a_photo_is_shown_before_its_files_are_written(photos, folders):
    file = folders.uploads / "scene.png"
    open_dataset("builtin:scenes")[0].image.save(file)
    steps = list(photos.answered(str(file), *PHOTO))
    assert "bitlens-busy" in steps[0][0]
    assert "predicted heart (0.99)" in steps[-1][0]
    assert steps[-1][0].count('class="map"') == 2
    assert steps[-2][0] == steps[-1][0]
    assert [files_of(step) for step in steps[:-1]] == [[None] * 4] * (len(steps) - 1)
    names = [name.rpartition("/")[2] for name in files_of(steps[-1])]
    assert names == ["explanation.png", "report.html", "explanation.saliency.npy", "explanation.saliency.safetensors"]
    assert all(update["interactive"] for update in steps[-1][1:])


def test_a_signal_has_its_picture_its_files_and_what_it_is_told_by(signals, folders):
    (_, called, file), *_ = signals.kind.bundled(folders.uploads)
    assert called == "Signal with a pressed wave"
    asked = ["builtin/signals", ["iba", "saliency"], "layer3", 1.0, "0: rising", "fast", 90, True, False, False]
    steps = list(signals.answered(file, *asked))
    page = steps[-1][0]
    assert "<h2>asked about rising" in page
    assert "the network predicts pressed" in page
    assert page.count("<figure") == page.count('class="wide"') == 2
    assert ("β = 10" in page, "bits/sample" in page) == (True, True)
    names = [name.rpartition("/")[2] for name in files_of(steps[-1])]
    assert names[:2] == ["explanation.png", "report.html"]


def test_what_speaks_against_a_photo_is_shown_in_a_second_colour_where_a_method_can_tell(photos, folders):
    file = folders.uploads / "scene.png"
    open_dataset("builtin:scenes")[0].image.save(file)
    asked = ["builtin/scenes", ["iba", "saliency"], "layer2", 1.0, "as predicted", "fast", 90, True, False, True]
    page = list(photos.answered(str(file), *asked))[-1][0]
    assert page.count("Colours from −") == 1
    assert page.count("Colours from 0 ") == 1  # saliency is as it was
    assert re.search(r"<b>[\d,]+ bits</b><span>speak against it", page)
    assert re.search(r"[\d,]+ bits for it, [\d,]+ against", page)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, None, "Drop a photo"),
        (1, "builtin/other", "not offered here"),
        (2, [], "no method was chosen"),
        (3, "fc", "no such layer"),
        (5, "binary", "binary"),
    ],
    ids=["no photo", "network", "no method", "layer", "class"],
)
def test_what_cannot_be_explained_gets_a_sentence_and_no_files(photos, folders, capfd, place, value, said):
    file = folders.uploads / "scene.png"
    open_dataset("builtin:scenes")[0].image.save(file)
    asked = [str(file), *PHOTO]
    asked[place] = value
    step = list(photos.answered(*asked))[-1]
    assert said in step[0]
    assert "<img" not in step[0]
    assert files_of(step) == [None] * 4
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_network_that_fails_is_told_by_its_error(photos, folders, monkeypatch):
    file = folders.uploads / "scene.png"
    open_dataset("builtin:scenes")[0].image.save(file)
    monkeypatch.setattr("bitlens.app.answers.read_photo", lambda *_, **__: 1 / 0)
    (said, *_) = list(photos.answered(str(file), *PHOTO))[-1]
    assert "the network builtin/scenes failed on this photo: ZeroDivisionError" in said


def test_a_text_is_shaded_by_each_method_and_what_cannot_be_used_is_told(texts):
    asked = ["A wonderful film.", *TEXT]
    asked[2] = [*TEXT[1], "attention-rollout"]
    steps = list(texts.answered(*asked))
    page = steps[-1][0]
    assert "predicted positive" in page
    assert page.count("<article") == 2
    assert "Left out: attention-rollout" in page
    assert all(files_of(steps[-1]))


def test_a_text_has_its_curve_and_what_speaks_against_it_where_they_are_asked_for(texts):
    asked = ["A wonderful film, but far too long.", *TEXT]
    asked[2], asked[-2:] = ["token-iba", "occlusion"], [True, True]
    page = list(texts.answered(*asked))[-1][0]
    assert page.count("How few bits until the decision goes?") == 1
    assert "those against it hold nothing" in page
    assert page.count("orange for the answer, blue against it") >= 2  # occlusion has signs of its own
    assert re.search(r"[\d,.]+ bits for the answer, [\d,.]+ against it", page)
    assert 'class="word against"' in page


def test_what_is_counted_in_bits_has_one_scale_and_scores_have_their_own(texts):
    from bitlens.explaining.explainer import Explainer
    from bitlens.explaining.text_page import shaded_alike

    loaded = texts.shelf["builtin/reviews"].loaded
    methods = {"token-iba": {"beta": 1.0}, "occlusion": {}, "gradient-x-input": {}}
    found = {name: [Explainer(loaded, method=name, **more)("A wonderful film.")] for name, more in methods.items()}
    weak = Explainer(loaded, method="token-iba", beta=100.0)("A wonderful film.")
    shaded = [one for ((one,),) in shaded_alike({**found, "weak": [weak]}).values()]
    assert shaded[0].scale == shaded[3].scale
    assert max(piece.value or 0 for piece in shaded[3].pieces) < shaded[0].scale.top
    assert len({shaded[number].scale.top for number in (1, 2)}) == 2


@pytest.fixture
def answered(folders):
    from bitlens.app.language_tab import LanguageTab
    from bitlens.app.offers import Offers, Shelf, language_desk

    return LanguageTab(Shelf(Offers.bundled().languages, "cpu", language_desk), folders)


def test_an_answer_is_shaded_part_by_part_and_its_page_can_be_taken_home(answered):
    one = questions(1)[0]
    steps = list(answered.answered(one.prompt, "", "builtin/recall", "word", "word", 0.0, 90, True, False))
    assert "bitlens-busy" in steps[0][0]
    page = steps[-1][0]
    assert page.count('type="radio"') == 1
    assert one.answer in page
    assert "<script>" not in page  # the page brings the behaviour
    whole, values = files_of(steps[-1])
    assert "<script>" in Path(whole).read_text("utf-8")
    assert json.loads(Path(values).read_text("utf-8"))["answer"] == f" {one.answer}"


def test_what_speaks_against_an_answer_is_shown_in_a_second_colour(answered):
    one = questions(1)[0]
    asked = [one.prompt, f" {one.answer}", "builtin/recall", "word", "word", 0.0, 90, False, True]
    page, *_ = list(answered.answered(*asked))[-1]
    assert "orange for the answer, blue against it" in page
    assert re.search(r"[\d,.]+ bits for it, [\d,.]+ against", page)
    assert 'class="word against"' in page


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, " ", "Paste what"),
        (2, "builtin/other", "not offered here"),
        (3, "letter", "each must be"),
        (5, 9.0, "price of a bit"),
    ],
)
def test_what_is_no_question_to_a_language_model_gets_a_sentence(answered, place, value, said):
    asked = ["a", "b", "builtin/recall", "word", "word", 0.0, 90, True, False]
    asked[place] = value
    step = list(answered.answered(*asked))[-1]
    assert said in step[0]
    assert files_of(step) == [None] * 2
