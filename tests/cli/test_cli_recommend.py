"""`bitlens recommend`, as a person calls it."""

import json

from bitlens.system.console import answers
from small_evaluation import make_home

WORDS = (
    "--data",
    "csv:table.csv",
    "--methods",
    "saliency,grad-cam",
    "--metrics",
    "sds,sparseness",
    "--limit",
    3,
    "--out",
    "rec",
)


def test_a_table_and_a_sentence_and_it_resumes(bitlens, tmp_path, monkeypatch):
    make_home(tmp_path)
    monkeypatch.chdir(tmp_path)
    answered = bitlens("recommend", "--model", "net.py:build", *WORDS)
    assert "for net.py:build: " in answered.stdout
    assert {line.split()[0] for line in answered.stdout.splitlines() if " ± " in line} == {
        "saliency", "grad-cam", "random", "centre", "edges",
    }  # fmt: skip
    again = bitlens("recommend", "--model", "net.py:build", *WORDS, "--json")
    told = json.loads(again.stdout)
    assert "3 of 3 samples were there already" in again.stderr
    assert told["sentence"] in answered.stdout
    assert told["samples"] == 3
    assert all(row["seconds"] > 0 for row in told["methods"])


def test_on_a_narrow_terminal_heads_are_broken_and_names_are_not(bitlens, tmp_path, monkeypatch):
    make_home(tmp_path)
    monkeypatch.setattr(answers, "width", 80)
    words = ["integrated-gradients:steps=2,saliency" if word == "saliency,grad-cam" else word for word in WORDS]
    assert "integrated-gradients[steps=2] " in bitlens("recommend", "--model", "net.py:build", *words).stdout
