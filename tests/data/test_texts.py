"""Data sets of texts."""

import gzip
import json

import pytest

from bitlens.data.texts import TEXT_FORMS, TextSample, open_texts
from bitlens.errors import DataError


def test_jsonl_packed_and_plain(tmp_path):
    lines = [
        json.dumps({"id": "a", "text": "good\nfilm", "label": 1, "rating": 9}),
        "",
        json.dumps({"text": "bad", "pair": "film"}),
    ]
    content = "\n".join(lines).encode()
    (tmp_path / "t.jsonl").write_bytes(content)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(content))
    wanted = [TextSample("a", "good\nfilm", 1), TextSample("line 3", "bad", None, "film")]
    assert open_texts(f"jsonl:{tmp_path}/t.jsonl") == open_texts(f"jsonl:{tmp_path}/t.jsonl.gz") == wanted


def test_a_table_with_and_without_its_first_line(tmp_path):
    (tmp_path / "t.tsv").write_text('text\tlabel\nsaid "no\t0\nyes\t1\tpair\nalone\n', "utf-8")
    samples = open_texts(f"tsv:{tmp_path}/t.tsv")
    assert [(s.text, s.label, s.pair) for s in samples] == [
        ('said "no', 0, None),
        ("yes", 1, "pair"),
        ("alone", None, None),
    ]
    assert len({s.name for s in samples}) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no text"),
        ("[1]", "line 1: expected an object"),
        ("{", "line 1: not JSON"),
        ('{"text": " "}', "line 1: the text is empty"),
        ('{"text": "a"}\n{"text": "a", "label": "good"}', "line 2: the label is 'good'"),
        ('{"text": "a", "label": -1}', "label is -1"),
        ('{"text": "a", "pair": 3}', "second text"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, content, says):
    (tmp_path / "t.jsonl").write_text(content, "utf-8")
    with pytest.raises(DataError, match=says):
        open_texts(f"jsonl:{tmp_path}/t.jsonl")


def test_damaged_missing_and_unknown(tmp_path):
    (tmp_path / "t.jsonl.gz").write_bytes(b"not packed")
    for spec, says in [
        (f"jsonl:{tmp_path}/t.jsonl.gz", "cannot read"),
        (f"tsv:{tmp_path}/none.tsv", "there is no file"),
        ("csv:t.csv", "there is no file t.csv"),
        ("zip:t.csv", "unknown texts"),
        ("reviews", "unknown texts"),
    ]:
        with pytest.raises(DataError, match=says):
            open_texts(spec)


def test_bundled_reviews_are_balanced_and_all_different():
    samples = open_texts("builtin:reviews")
    assert "builtin:reviews" in TEXT_FORMS
    assert len({sample.text for sample in samples}) == len(samples) >= 36
    assert sum(sample.label for sample in samples) * 2 == len(samples)


def test_real_reviews(data_folder):
    reviews = open_texts(f"jsonl:{data_folder}/text/imdb_test_2500.jsonl.gz")
    sentences = open_texts(f"tsv:{data_folder}/text/sst2_test.tsv")
    assert (len(reviews), len(sentences)) == (2500, 1821)
    assert {sample.label for sample in [*reviews, *sentences]} == {0, 1}
