"""Reports made from folders: whole ones, damaged ones, hostile ones."""

import base64
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import small_evaluation
import small_results
from bitlens.core.attribution import Attribution
from bitlens.core.told import BYPASSED
from bitlens.errors import DataError
from bitlens.reports import write_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{ 7*7 }}"


class Reader(HTMLParser):
    """What a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.said = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]


def read(place):
    return Reader(place.read_text("utf-8"))


def picture(address):
    kind, _, content = address.partition(";base64,")
    assert kind in ("data:image/webp", "data:image/png")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_the_page_says_what_was_found_and_how_to_find_it_again(tmp_path):
    folder = small_results.write_results(tmp_path / "r")
    written = write_report([folder], tmp_path / "report.html")
    assert (written.photos, written.texts, written.evaluations, written.problems) == (2, 0, 0, ())
    page = read(tmp_path / "report.html")
    total = float(small_results.in_bits(0).total_bits[0])
    for text in (
        "class 0", "class 1", "photo-0.jpg", "0.80 ± 0.05", f"{total:,.0f} bits in total", "lower right",
        "What the map shows is most of what this answer needs.",
        "bitlens explain some/where --model builtin/scenes --method iba,gradient",
        "bitlens.method('iba', loaded.model, layer='layer2')",
        "Teacher(loaded, Source.open('folder:some photos', 'image', 40), How('channel')).teach(STATISTICS, method)",
    ):  # fmt: skip
        assert text in page.text, text
    assert "some/where/photo-0.jpg" not in page.text  # where a photo lay is nobody's business
    assert len(page.all("article")) == 2
    assert len(page.all("input", type="range")) == 3  # one for each photo, one for the enlarged map
    assert len(page.all("img", **{"class": "over"})) == 4
    assert all("alt" in image for image in page.all("img"))
    labels = {label["for"] for label in page.all("label")}
    assert {one["id"] for one in page.all("input")} <= labels


def test_the_page_says_that_a_bypass_was_allowed(tmp_path):
    folder = small_results.write_results(tmp_path / "r", photos=1)
    write_report([folder], tmp_path / "report.html")
    assert BYPASSED not in read(tmp_path / "report.html").text
    made = Attribution.load(folder / "photo-0.iba.safetensors")
    replace(made, evidence=replace(made.evidence, bypass_allowed=True)).save(folder / "photo-0.iba.safetensors")
    write_report([folder], tmp_path / "report.html")
    assert read(tmp_path / "report.html").text.count(BYPASSED) == 1


def test_the_pictures_are_the_maps(tmp_path):
    folder = small_results.write_results(tmp_path / "r", photos=1, height=64, width=96)
    write_report([folder], tmp_path / "report.html")
    page = read(tmp_path / "report.html")
    bits = np.asarray(picture(page.all("img", **{"class": "over"})[0]["src"]).convert("L"), dtype=float)
    assert bits.shape == (64, 96)
    values = small_results.in_bits(0, 64, 96).map[0].numpy()
    assert bits[values > 0.8].mean() > 2 * bits[values < 0.01].mean()
    photo = np.asarray(picture(page.all("img", **{"class": "photo"})[0]["src"]), dtype=float) / 255
    assert np.abs(photo - small_results.photo_of(0, 64, 96).permute(1, 2, 0).numpy()).mean() < 0.03


def test_the_same_folder_gives_the_same_page(tmp_path):
    folder = small_results.write_results(tmp_path / "r")
    for name in ("a.html", "b.html"):
        write_report([folder], tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_one_scale_for_bits_on_all_photos_unless_each_is_to_have_its_own(tmp_path):
    folder = small_results.write_results(tmp_path / "r")

    def ends(**options):
        write_report([folder], tmp_path / "report.html", **options)
        scales = [one["aria-label"] for one in read(tmp_path / "report.html").all("div", **{"class": "scale"})]
        return [label for label in scales if "bits/pixel" in label]

    assert ends() == ["Colours from 0 to 2 bits/pixel"] * 2
    assert ends(same_scale=True) == ["Colours from 0 to 2 bits/pixel"] * 2
    own = [f"Colours from 0 to {top} bits/pixel (a scale of its own)" for top in (1, 2)]
    assert ends(same_scale=False) == own
    assert "bits/pixel, a scale of its own" in read(tmp_path / "report.html").text


def test_one_file_alone_and_files_without_a_summary(tmp_path):
    folder = small_results.write_results(tmp_path / "r")
    write_report([folder / "photo-1.iba.safetensors"], tmp_path / "one.html")
    page = read(tmp_path / "one.html")
    assert len(page.all("article")) == 1
    assert "class 1" in page.text
    assert "gradient" not in page.text.partition("To repeat it")[0].partition("How to read")[2]
    both = Attribution.join([small_results.in_bits(0), small_results.in_bits(1)])
    both.save(tmp_path / "lone" / "both.safetensors")
    written = write_report([tmp_path / "lone"], tmp_path / "two.html")
    assert written.photos == 2
    assert "the photo as the network saw it is not in the folder" in read(tmp_path / "two.html").text
    sliders = [one["id"] for one in read(tmp_path / "two.html").all("input")]
    assert sliders == ["large-opacity"]  # no photo to slide over


def test_names_from_outside_stay_text(tmp_path):
    folder = small_results.write_results(tmp_path / "r", 1, name=HOSTILE)
    summary = json.loads((folder / "summary.json").read_text())
    for row in summary["photos"]:
        row |= {"photo": f"x/{HOSTILE.replace('/', '-')}.jpg", "method": f"{row['method']} {HOSTILE}"}
    summary["settings"]["command"].append(HOSTILE)
    summary["settings"]["methods"] = {HOSTILE: {"name": "iba", "layer": HOSTILE}}
    summary["skipped"] = {"p": HOSTILE}
    summary["texts"] = [
        {"name": HOSTILE, "text": HOSTILE, "unit": "bits/token", "target": HOSTILE, "method": HOSTILE,
         "words": [{"word": "x", "value": 1.0, "span": [1, 7]}]}
    ]  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    write_report([folder], tmp_path / "report.html")
    page = read(tmp_path / "report.html")
    assert len(page.all("script")) == 1
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert page.text.count("<script>alert(1)</script>") > 6  # shown as it is written
    assert "49" not in html.unescape(page.text).replace(HOSTILE, "")


def test_a_summary_cannot_bring_in_files_from_elsewhere(tmp_path):
    folder = small_results.write_results(tmp_path / "r", 1)
    Image.new("RGB", (60, 40), "red").save(tmp_path / "secret.jpg")
    summary = json.loads((folder / "summary.json").read_text())
    summary["photos"][0] |= {"seen": "../secret.jpg"}
    summary["photos"][1] |= {"files": "../r/photo-0.gradient"}
    (folder / "summary.json").write_text(json.dumps(summary))
    written = write_report([folder], tmp_path / "report.html")
    assert sum("is no name of a file in the folder" in problem for problem in written.problems) == 2
    assert not read(tmp_path / "report.html").all("img", **{"class": "photo"})


def damage_summary(folder):
    (folder / "summary.json").write_text("{ no json")


def damage_map(folder):
    (folder / "photo-0.iba.safetensors").write_bytes(b"nothing")


def damage_details(folder):
    from safetensors.torch import save_file

    metadata = {"format": "bitlens.attribution/1", "details": "{}"}
    save_file({"map": torch.ones(1, 4, 6)}, folder / "photo-0.iba.safetensors", metadata)


def damage_values(folder):
    made = small_results.in_bits(0)
    made.map[0, 0, 0] = float("nan")
    made.save(folder / "photo-0.iba.safetensors")


def damage_shape(folder):
    small_results.in_bits(0, 11, 13).save(folder / "photo-0.iba.safetensors")


def damage_rank(folder):
    Attribution(torch.ones(1, 5), "bits/token", "token-iba", ("7",)).save(folder / "photo-0.iba.safetensors")


def lose_map(folder):
    (folder / "photo-0.iba.safetensors").unlink()


def lose_photo(folder):
    (folder / "photo-0.seen.jpg").unlink()


def damage_photo(folder):
    (folder / "photo-0.seen.jpg").write_bytes((folder / "photo-0.seen.jpg").read_bytes()[:200])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage_summary, "summary.json is damaged"),
        (damage_map, "photo-0.iba.safetensors is not a readable safetensors file"),
        (damage_details, "photo-0.iba.safetensors is damaged or does not hold a whole attribution"),
        (damage_values, "NaN or infinite"),
        (damage_shape, "expected the same aspect"),
        (damage_rank, "bits/token of token-iba are not a map over a photo"),
        (lose_map, "there is no file"),
        (lose_photo, "drawn over grey"),
        (damage_photo, "drawn over grey"),
    ],
)
def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(tmp_path, harm, said):
    folder = small_results.write_results(tmp_path / "r")
    harm(folder)
    written = write_report([folder], tmp_path / "report.html")
    assert any(said in problem for problem in written.problems), written.problems
    page = read(tmp_path / "report.html")
    assert said in page.text
    assert len(page.all("img", **{"class": "over"})) >= 3


def test_nothing_to_report_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"there is nothing to report: .*empty holds no attributions: `bitlens explain"):
        write_report([tmp_path / "empty"], tmp_path / "report.html")
    with pytest.raises(DataError, match=r"there is no .*nowhere: expected a folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
    with pytest.raises(DataError, match=r"photo\.jpg is no attribution"):
        write_report([tmp_path / "photo.jpg"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_hundred_photos_stay_a_few_megabytes(tmp_path):
    folder = small_results.write_results(tmp_path / "r", 1, height=700, width=1000)
    write_report([folder], tmp_path / "report.html")
    sizes = [picture(one["src"]).size for one in read(tmp_path / "report.html").all("img") if "src" in one]
    assert max(max(size) for size in sizes) == 640
    assert (tmp_path / "report.html").stat().st_size < 600_000
    small = small_results.write_results(tmp_path / "s", 100, height=16, width=24)
    write_report([small], tmp_path / "many.html")
    page = read(tmp_path / "many.html")
    assert len(page.all("article")) == 100
    assert len({one["id"] for one in page.all("article")}) == 100


def test_texts_with_shaded_words(tmp_path):
    text = "not  bad\nat all"
    words = [("not", 0.5, (0, 3)), ("bad", 0.25, (5, 8)), ("at", 0.0, (9, 11)), ("all", 0.01, (12, 15))]
    row = {
        "name": "review 1", "text": text, "unit": "bits/token", "target": "positive", "method": "token-iba",
        "layer": "encoder.8", "total_bits": 0.76, "probability_before": 0.9, "probability_under_noise": 0.2,
        "probability_under_noise_std": 0.1,
        "words": [{"word": word, "value": value, "span": span} for word, value, span in words],
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps({"settings": {}, "texts": [row, {**row, "words": 3}]}))
    written = write_report([tmp_path], tmp_path / "report.html")
    assert written.texts == 1
    assert "review 1: its row in summary.json is damaged" in written.problems[0]
    raw = (tmp_path / "report.html").read_text()
    shares = re.findall(r'style="--share:([\d.]+)%" title="([\d.]+) bits"', raw)
    assert shares == [("100.0", "0.5"), ("50.0", "0.25"), ("0.0", "0"), ("2.0", "0.01")]
    passage = raw.partition('<p class="words" lang="und">')[2].partition("</p>")[0]
    assert html.unescape(re.sub("<[^>]*>", "", passage)) == text
    assert "keep = 0.9 in place of β holds more" in raw
    assert BYPASSED not in raw
    (tmp_path / "summary.json").write_text(json.dumps({"settings": {}, "texts": [row | {"bypass_allowed": True}]}))
    write_report([tmp_path], tmp_path / "report.html")
    assert BYPASSED in read(tmp_path / "report.html").text


def test_a_text_of_which_nothing_was_needed_is_pale_and_one_that_fails_says_so(tmp_path):
    words = [{"word": "so", "value": 80.0, "span": [0, 2]}, {"word": "bad", "value": 20.0, "span": [3, 6]}]
    row = {
        "text": "so bad", "unit": "bits/token", "target": "negative", "method": "token-iba", "total_bits": 100.0,
        "words": words, "probability_before": 0.9, "probability_under_noise": 0.9, "probability_under_noise_std": 0.0,
    }  # fmt: skip
    idle = row | {"probability_floor": 0.9, "kept": None}
    failing = row | {"probability_floor": 0.5, "kept": 0.6, "keep": 0.9, "words": [words[1] | {"value": 40.0}]}
    (tmp_path / "texts.json").write_text(json.dumps([idle, failing]))
    assert write_report([tmp_path / "texts.json"], tmp_path / "report.html").problems == ()
    raw = (tmp_path / "report.html").read_text()
    assert re.findall(r'style="--share:([\d.]+)%" title="([\d.]+) bits"', raw) == [
        ("5.0", "80"), ("1.2", "20"), ("100.0", "40"),
    ]  # fmt: skip
    assert "next to nothing: 80 bits at most" in raw
    assert "With nothing but noise the network says the same: nothing here was needed for this answer." in raw
    assert "No map was found that holds as much of this answer as was asked for" in raw


def test_texts_as_the_command_line_prints_them(tmp_path):
    row = {"name": "text 0", "text": "so bad", "unit": "score", "target": "negative", "method": "gradient",
           "words": [{"word": "so", "value": -0.5, "span": [0, 2]}, {"word": "bad", "value": 2.0, "span": [3, 6]}]}  # fmt: skip
    (tmp_path / "texts.json").write_text(json.dumps([row]))
    assert write_report([tmp_path / "texts.json"], tmp_path / "report.html").texts == 1
    assert 'class="word against" style="--share:25.0%" title="-0.5 score"' in (tmp_path / "report.html").read_text()
    for wrong, said in (("{}", "holds no explained texts"), ("[", "does not hold explained texts")):
        (tmp_path / "texts.json").write_text(wrong)
        with pytest.raises(DataError, match=said):
            write_report([tmp_path / "texts.json"], tmp_path / "report.html")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    from bitlens.evaluation.run import carry_out, find_tasks

    home = small_evaluation.make_home(tmp_path_factory.mktemp("home"))
    context = small_evaluation.context_for(home, "iba,gradient,random", "degradation-8,bbox")
    indices = range(6)
    carry_out(context, home / "out", find_tasks(context, home / "out", indices, retry_errors=False))
    return home / "out"


def test_tables_and_plots_of_an_evaluation(tmp_path, evaluated):
    from bitlens.evaluation.tables import build_table

    written = write_report([evaluated], tmp_path / "report.html")
    assert (written.photos, written.evaluations) == (0, 1)
    page = read(tmp_path / "report.html")
    table = build_table(evaluated)
    for method in table.methods:
        cell = table.cells[method, "degradation-8"]
        assert f"{cell.mean.mean:.3f}".replace("-", "−") in page.text
    assert "Difference from iba" in page.text
    assert "higher is better" in page.text
    assert "--methods iba,gradient,random --metrics degradation-8,bbox" in page.text
    drawings = [one["aria-label"] for one in page.all("svg", role="img")]
    assert len(drawings) == 4  # dots of two metrics, two curves of one
    assert f"iba: {table.cells['iba', 'bbox'].mean.mean:.3f} ± " in next(
        one for one in drawings if one.startswith("bbox")
    )
    assert not page.all("img")
    for metric in table.metrics:  # one name everywhere
        assert f"{metric} ↑" in page.text
    keys = [one.get("data-key") for one in page.all("td", **{"class": "number"})]
    assert sum(key is not None for key in keys) > 6
    assert all(np.isfinite(float(key)) for key in keys if key)


def test_a_damaged_evaluation_is_named_beside_the_rest(tmp_path, evaluated):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "settings.json").write_text("nothing")
    written = write_report([broken, evaluated], tmp_path / "report.html")
    assert written.evaluations == 1
    assert "settings.json is damaged" in written.problems[0]
