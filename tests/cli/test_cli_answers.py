"""`bitlens text explain --prompt`."""

import json

import pytest

MODEL = """
import torch
from torch import nn
from bitlens.data.words import WordTokenizer

WORDS = ["<pad>", "<unk>", *"abcdefgh", ".", "?"]

class Copies(nn.Module):
    "Foresees the first word of the text, whatever stands behind it."
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 16)
        self.head = nn.Linear(16, len(WORDS), bias=False)
        with torch.no_grad():
            self.head.weight.copy_(self.embedding.weight * 2)
    def forward(self, input_ids, attention_mask=None):
        return self.head(self.embedding(input_ids)[:, :1].expand(-1, input_ids.shape[1], -1))

def build():
    return Copies().eval(), WordTokenizer(WORDS, 40)
"""
ASKED = ("text", "explain", "--model", "model.py:build", "--prompt", "prompt.txt", "--method", "token-iba:steps=3")


@pytest.fixture(autouse=True)
def _files(home):
    (home / "model.py").write_text(MODEL, "utf-8")
    for name, text in (("prompt.txt", "c d. e?\n"), ("a.txt", "a b.\n"), ("b.txt", "f. g.\n")):
        (home / name).write_text(text, "utf-8")


def test_bits_of_sources_and_a_page(bitlens, tmp_path):
    page = tmp_path / "page.html"
    done = bitlens(*ASKED, "--sources", "a.txt", "b.txt", "--continuation", "a a", "--each", "word", "--html", page)
    assert "bits from a.txt" in done.stdout
    assert done.stdout.count("ln p = ") == 2
    assert page.read_text("utf-8").count('type="radio"') == 2


def test_json_of_the_models_own_answer(bitlens):
    done = bitlens(*ASKED, "--sources", "a.txt", "--max-new-tokens", 2, "--group", "source", "--json")
    (found,) = json.loads(done.stdout)
    (part,) = found["parts"]
    assert found["answer"] == " a a"
    assert [source["text"] for source in part["sources"]] == ["a.txt", "prompt"]
    assert part["sources"][0]["value"] > 0.5 * part["total_bits"] > 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--classes", "classes.txt"), "--classes is for classifiers"),
        (("--sources", "a.txt", "a.txt"), "two sources are files of one name"),
        (("--sources", "missing.txt"), "cannot read the text missing.txt"),
        (("--method", "iba,lime"), "names 2 methods"),
        (("--layer", "head"), "--layer is for classifiers"),
    ],
)
def test_mistakes_are_said_in_one_line(bitlens, more, said):
    done = bitlens(*ASKED, *more, code=1)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_options_of_language_models_want_a_prompt(bitlens):
    assert "give --prompt FILE" in bitlens("text", "explain", "a text", "--continuation", "b", code=1).stderr
