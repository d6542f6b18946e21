"""`bitlens text layers`."""

import json

import pytest

from bitlens.bottlenecks.layer_analysis import LayerAnalysis

TEXT = "A warm, funny film with a wonderful cast."


def test_two_networks_over_beta(bitlens, tmp_path):
    done = bitlens(
        "text", "layers", TEXT, "An awful mess.", "--against", "builtin/reviews", "--layers", "rnn_1,rnn_4",
        "--betas", "1,100", "--out", tmp_path / "o", "--statistics-count", 20, "--html", "page.html",
    )  # fmt: skip
    assert "β = 100" in done.stdout
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<title>Layer by layer: builtin/reviews</title>" in page
    assert page.count("<details") == 4
    assert page.count("wonderful</span>") == 4
    names = {path.name for path in (tmp_path / "o").iterdir()}
    pictures = {f"text-{i}{end}.png" for i in (0, 1) for end in ("", "-betas")}
    assert names == {*pictures, "plane.png", "layers.json", "layers-0.safetensors"}
    rows = json.loads((tmp_path / "o" / "layers.json").read_text("utf-8"))
    assert len(rows) == 8
    assert {row["layer"] for row in rows} == {"rnn_1", "rnn_4"}
    assert all(row["name"] == f"text {row['text']}" and row["target"] in "01" for row in rows)
    analysis = LayerAnalysis.load(tmp_path / "o" / "layers-0.safetensors")
    assert float(analysis.total_bits[0, 0, 0]) == pytest.approx(rows[0]["total_bits"])
    assert rows[0]["total_bits"] > rows[2]["total_bits"]


def test_one_layer_one_beta_as_json(bitlens):
    options = ("--layers", "rnn_4", "--betas", "1", "--target", "negative", "--statistics-count", 20, "--json")
    rows = json.loads(bitlens("text", "layers", TEXT, *options).stdout)
    assert [(row["layer"], row["beta"], row["target"], row["model"]) for row in rows] == [
        ("rnn_4", 1.0, "0", "builtin/reviews")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--betas", "1;2"), "--betas is '1;2'"),
        (("--layers", "rnn_9"), "has no layer 'rnn_9'"),
        (("--data", "builtin:reviews"), "exactly one of the three"),
        (("--mask", "word"), "mask must be one of"),
    ],
)
def test_wrong_use_is_said_in_one_line(bitlens, options, message):
    done = bitlens("text", "layers", TEXT, *options, "--statistics-count", 5, code=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
