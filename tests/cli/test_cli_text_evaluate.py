"""The commands that measure methods for texts, as a person uses them, with the bundled network and reviews."""

import json

COMMON = ["text", "evaluate", "--data", "builtin:reviews", "--metrics", "removal-delete:points=3", "--max-tokens", 12]


def test_evaluate_prints_a_table_goes_on_and_draws(bitlens, tmp_path):
    done = bitlens(*COMMON, "--methods", "random,saliency", "--limit", 2, "--out", "out")
    assert "builtin/reviews on builtin:reviews: 2 samples" in done.stdout
    assert "removal-delete[points=3] ↑" in done.stdout
    again = bitlens(*COMMON, "--methods", "random,saliency", "--limit", 3, "--out", "out", "--json")
    assert "2 of 3 samples were there already" in again.stderr
    rows = json.loads(again.stdout)["rows"]
    assert [(row["method"], row["count"]) for row in rows] == [("random", 3), ("saliency", 3)]
    bitlens("table", "out", "--plots", "plots")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "scores.png",
        "curves-removal-delete-points-3.png",
    }


def test_lists(bitlens):
    methods = json.loads(bitlens("text", "methods", "--json").stdout)
    assert {"iba", "token-iba", "random", "lime", "occlusion"} <= {entry["name"] for entry in methods}
    metrics = json.loads(bitlens("text", "metrics", "--json").stdout)
    assert {"removal-delete", "removal-replace"} <= {entry["name"] for entry in metrics}
    assert "leave" not in bitlens("text", "methods").stderr
    assert "higher is better" in bitlens("text", "metrics").stdout


def test_wrong_use_says_why(bitlens):
    failed = bitlens(*COMMON, "--methods", "lyme", code=1)
    assert "there is no method 'lyme'; did you mean lime" in failed.stderr
    failed = bitlens("text", "evaluate", "--data", "zip:x", code=1)
    assert "unknown texts 'zip:x'" in failed.stderr
