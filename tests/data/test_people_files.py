"""Files as people have them: long cells, stray returns, quotes, columns by name, labels as names; see shared cases, "Files"."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyarrow import parquet

from bitlens.data.datasets import open_dataset
from bitlens.data.labels import Labels
from bitlens.data.texts import open_texts
from bitlens.errors import DataError
from bitlens.methods.labels import labels_for
from bitlens.models.load import load_model

SENTIMENT = Labels(("Negative", "Positive"))


def _texts(folder: Path, name: str, content: str, labels: Labels | None = None) -> list[tuple[str, int | None]]:
    (folder / name).write_bytes(content.encode())
    kind = name.rpartition(".")[2]
    return [(sample.text, sample.label) for sample in open_texts(f"{kind}:{folder / name}", labels)]


@pytest.mark.parametrize(("name", "mark"), [("t.tsv", "\t"), ("t.csv", ",")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_may_be_longer_than_the_csv_module_allows(tmp_path: Path, name: str, mark: str, quote: str) -> None:
    before, long = csv.field_size_limit(), "film " * 40_000
    content = f"text{mark}label\n{quote}{long}{quote}{mark}1\nshort{mark}0\n"
    assert _texts(tmp_path, name, content) == [(long, 1), ("short", 0)]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(("name", "mark"), [("t.tsv", "\t"), ("t.csv", ",")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_stray_carriage_return_ends_no_row(tmp_path: Path, name: str, mark: str, end: str) -> None:
    rows = [f"text{mark}label", f"good\rfilm{mark}1", f'"a ""bad""\r one"{mark}0', f"end{mark}1"]
    assert _texts(tmp_path, name, end.join(rows) + end) == [("good\rfilm", 1), ('a "bad"\r one', 0), ("end", 1)]


@pytest.mark.parametrize(("name", "mark"), [("t.tsv", "\t"), ("t.csv", ",")])
def test_carriage_returns_alone_end_rows(tmp_path: Path, name: str, mark: str) -> None:
    assert _texts(tmp_path, name, f"text{mark}label\rgood{mark}1\rbad{mark}0\r") == [("good", 1), ("bad", 0)]


TEXTS = ['he said "no"', "two\nlines", "a\ttab", "a, comma", "plain", '"quoted"', "crlf\r\nends", "tab\tand\nline"]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize(("name", "mark"), [("t.tsv", "\t"), ("t.csv", ","), ("semicolons.csv", ";")])
def test_what_programs_quote_is_one_sample(tmp_path: Path, name: str, mark: str, quoting: int) -> None:
    with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=mark, quoting=quoting, lineterminator="\n")  # as pandas' to_csv
        writer.writerows([["text", "label"], *([text, number % 2] for number, text in enumerate(TEXTS))])
    samples = open_texts(f"{name.rpartition('.')[2]}:{tmp_path / name}")
    assert [(sample.text, sample.label) for sample in samples] == [(text, n % 2) for n, text in enumerate(TEXTS)]
    assert len({sample.name for sample in samples}) == len(samples)


def test_pandas_itself(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"review": TEXTS, "sentiment": [0.0, 1.0] * (len(TEXTS) // 2)})
    frame.loc[2, "sentiment"] = None
    for name, mark, index in [
        ("t.tsv", "\t", False),
        ("i.tsv", "\t", True),
        ("t.csv", ",", False),
        ("i.csv", ",", True),
    ]:
        frame.to_csv(tmp_path / name, sep=mark, index=index)
        samples = open_texts(f"{name.rpartition('.')[2]}:{tmp_path / name}")
        labels = [None if n == 2 else n % 2 for n in range(len(TEXTS))]
        assert [(sample.text, sample.label) for sample in samples] == list(zip(TEXTS, labels, strict=True))


@pytest.mark.parametrize(
    "lines",
    [
        ['"unbalanced at the start', "fine"],
        ['said "no', 'ends in a quote"', "fine"],
        ['"begins here', 'and ends there"', "fine"],  # either reading is a table; labels say that these are two rows
        ['"a" is a letter', "fine"],
    ],
)
def test_quotes_that_do_not_quote_are_characters(tmp_path: Path, lines: list[str]) -> None:
    content = "sentence\tlabel\n" + "".join(f"{line}\t{number % 2}\n" for number, line in enumerate(lines))
    assert _texts(tmp_path, "t.tsv", content) == [(line, number % 2) for number, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("sentence,label", "good,1"),
        ("Review,Sentiment", "good,1"),
        ("idx,content,class", "7,good,1"),
        (",text,target", "0,good,1"),
        ("label,text", "1,good"),
        ("id;text;label", "9;good;1"),
        ("label,phrase", "1,good"),
    ],
)
def test_columns_are_found_by_name(tmp_path: Path, header: str, row: str) -> None:
    assert _texts(tmp_path, "t.csv", f"{header}\n{row}\n") == [("good", 1)]
    tabs = "\n".join(line.replace(",", "\t").replace(";", "\t") for line in (header, row))
    assert _texts(tmp_path, "t.tsv", tabs) == [("good", 1)]


def test_a_table_without_names(tmp_path: Path) -> None:
    assert _texts(tmp_path, "t.csv", 'good,1\n"bad, very",0\n') == [("good", 1), ("bad, very", 0)]


def test_columns_may_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,phrase one,stars,label\nno,yes,1,x\n", "utf-8")
    (sample,) = open_texts(f"csv:{tmp_path}/t.csv?text=phrase+one&label=stars")
    assert (sample.text, sample.label) == ("yes", 1)
    (tmp_path / "t.jsonl").write_text(json.dumps({"body": "yes", "stars": 1.0, "text": "no"}), "utf-8")
    (sample,) = open_texts(f"jsonl:{tmp_path}/t.jsonl?text=body&label=stars")
    assert (sample.text, sample.label) == ("yes", 1)
    for query, says in [("text=nothing", "no column 'nothing'"), ("words=x", r"expected text=NAME")]:
        with pytest.raises(DataError, match=says):
            open_texts(f"csv:{tmp_path}/t.csv?{query}")


def test_a_table_whose_text_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column is called text.*csv:FILE\?text=a"):
        _texts(tmp_path, "t.csv", "a,b,label\nx,y,1\n")


@pytest.mark.parametrize(
    ("said", "index"),
    [
        ("positive", 1), ("Negative", 0), (" POSITIVE ", 1), ("1", 1), ("1.0", 1), ("0.0", 0), ("true", 1), ("False", 0),
        ("", None), ("nan", None), ("NULL", None),
    ],
)  # fmt: skip
def test_labels_of_tables(tmp_path: Path, said: str, index: int | None) -> None:
    assert _texts(tmp_path, "t.csv", f"text,label\ngood,{said}\n", SENTIMENT) == [("good", index)]
    assert _texts(tmp_path, "t.tsv", f"text\tlabel\ngood\t{said}\n", SENTIMENT) == [("good", index)]


@pytest.mark.parametrize(
    ("said", "index"),
    [("positive", 1), (1, 1), (1.0, 1), (True, 1), (False, 0), (None, None), (float("nan"), None), ("1", 1)],
)
def test_labels_of_json(tmp_path: Path, said: object, index: int | None) -> None:
    assert _texts(tmp_path, "t.jsonl", json.dumps({"text": "good", "label": said}), SENTIMENT) == [("good", index)]


@pytest.mark.parametrize("said", ["7", "2", "-1", "1.5", "posit1ve", "1e3", "other", "0_1", "٣"])
def test_a_label_that_is_no_class_is_refused_with_its_line(tmp_path: Path, said: str) -> None:
    (tmp_path / "t.csv").write_text(f"text,label\nfine,1\ngood,{said}\n", "utf-8")
    with pytest.raises(DataError, match=f"line 3: the label is '{said}'.*2 classes") as caught:
        open_texts(f"csv:{tmp_path}/t.csv", SENTIMENT)
    assert ("did you mean 'positive'" in str(caught.value)) == (said == "posit1ve")
    assert [s.label for s in open_texts(f"csv:{tmp_path}/t.csv", Labels(needed=False))][:1] == [1]


def test_labels_without_names() -> None:
    assert Labels(count=3).read("2.0") == 2
    for said in ("3", "positive", -1, [1], {"a": 1}):
        with pytest.raises(DataError, match=r"index of a class \(0 to 2\)"):
            Labels(count=3).read(said)
    with pytest.raises(DataError, match=r"\(0, 1, 2, …\).*--classes FILE"):
        Labels().read("positive")
    assert Labels(needed=False).read("positive") is None


def test_names_that_are_numbers_are_names() -> None:
    stars = Labels(("1", "2", "3", "4", "5"))
    assert [stars.read(said) for said in ("1", "5", 5)] == [0, 4, 4]
    with pytest.raises(DataError, match="the label is '0', expected one of the network's 5 classes"):
        stars.read("0")
    assert Labels(("-1", "1")).read(-1) == 0
    assert Labels(tuple("0123456789")).read("7.0") == 7


def test_synonyms_and_two_classes_of_one_name() -> None:
    birds = Labels(("tench, Tinca tinca", "crane", "crane"))
    assert birds.read("tinca TINCA") == birds.read("Tench, tinca tinca") == 0
    with pytest.raises(DataError, match="the label is 'crane'"):
        birds.read("crane")
    assert birds.read("2") == 2


MEASURED = ("--methods", "occlusion", "--metrics", "removal-delete")
REVIEWS = 'review,sentiment\na wonderful and moving film,Positive\n"dull, slow and boring",negative\nfine acting,1.0\n'


def test_the_command_line_reads_names_of_classes(bitlens: Any, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(REVIEWS, "utf-8")
    shown = bitlens("text", "explain", "--data", "csv:r.csv", "--method", "occlusion", "--json")
    assert [row["label"] for row in json.loads(shown.stdout)] == [1, 0, 1]
    bitlens("text", "evaluate", "--data", "csv:r.csv", *MEASURED)
    (rows,) = Path("bitlens-text-evaluation/rows").iterdir()
    assert parquet.read_table(rows).column("target").to_pylist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("label", "says"),
    [("7", "the label is '7'"), ("Positiv", "did you mean 'positive'"), ("-1", "the label is '-1'")],
)
def test_a_label_that_is_no_class_is_refused_before_the_run(
    bitlens: Any, tmp_path: Path, label: str, says: str
) -> None:
    (tmp_path / "r.csv").write_text(f"{REVIEWS}good,{label}\n", "utf-8")
    for command in (("evaluate", *MEASURED), ("explain", "--method", "occlusion")):
        told = bitlens("text", *command, "--data", "csv:r.csv", code=1).stderr
        assert "r.csv, line 5: the label is" in told
        assert says in told
        assert "2 classes, by name (negative, positive)" in told
    assert not (tmp_path / "bitlens-text-evaluation").exists()
    bitlens("text", "evaluate", "--target", "predicted", *MEASURED, "--data", "csv:r.csv")  # labels are not asked about


def test_classes_of_ones_own(bitlens: Any, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("bad\ngood\n")
    (tmp_path / "t.tsv").write_text("text\tlabel\nfine film\tGOOD\n")
    given = ("--data", "tsv:t.tsv", "--classes", "names.txt")
    (found,) = json.loads(bitlens("text", "explain", *given, "--method", "occlusion", "--json").stdout)
    assert found["label"] == 1
    assert found["prediction"] in ("bad", "good")
    bitlens("text", "evaluate", *given, *MEASURED)


def test_photos_whose_label_is_no_class_are_refused_before_the_run(bitlens: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    given = ("--model", "builtin/scenes", "--methods", "random", "--metrics", "degradation-8", "--data", "csv:t.csv")
    for label in ("77", "nothing"):
        (tmp_path / "t.csv").write_text(f"file,label\na.png,{label}\n")
        assert f"line 2: the label is '{label}'" in bitlens("evaluate", *given, code=1).stderr


def test_folders_are_classes_by_name_where_all_are_called_so(tmp_path: Path) -> None:
    for name in ("zebra", "Ape", "cat"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")

    def read(labels: Labels | None) -> dict[str, int | None]:
        return {sample.name[:-6]: sample.label for sample in open_dataset(f"folder:{tmp_path}", labels)}

    assert read(Labels(("dog", "zebra", "cat", "ape"))) == {"zebra": 1, "Ape": 3, "cat": 2}
    assert read(Labels(("dog", "zebra", "cat"))) == read(None) == {"Ape": 0, "cat": 1, "zebra": 2}
    with pytest.raises(DataError, match="3 subfolders, each a class, but the network tells 2 apart"):
        read(Labels(("dog", "zebra")))
    assert read(Labels(count=2, needed=False)) == {"Ape": 0, "cat": 1, "zebra": 2}


def test_a_network_without_names_is_asked_how_many_classes_it_has(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), "
        "torch.nn.Linear(12, 5))\n"
    )
    labels = labels_for(load_model(f"{tmp_path}/net.py:build"))
    assert labels.count == 5
    assert labels.read("4") == 4
    with pytest.raises(DataError, match="0 to 4"):
        labels.read("5")


def test_tables_of_photos(tmp_path: Path) -> None:
    for name in ("a.png", "b c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "t.csv").write_bytes(
        f"filename,class,note\r\na.png,Cat,{'x' * 140_000}\r\nb c.png,1.0,a\rb\r\n".encode()
    )
    pets = Labels(("dog", "cat"))
    assert [sample.label for sample in open_dataset(f"csv:{tmp_path}/t.csv", pets)] == [1, 1]
    (tmp_path / "u.csv").write_text("file,label,animal\na.png,x,dog\nb c.png,y,\n", "utf-8")
    chosen = open_dataset(f"csv:{tmp_path}/u.csv?label=animal", pets)
    assert [sample.label for sample in chosen] == [0, None]
    with pytest.raises(DataError, match="line 2: the label is 'x', expected one of the network's 2 classes, by name"):
        open_dataset(f"csv:{tmp_path}/u.csv", pets)
