"""What one visitor may take from the others: turns at a network, seconds, choices; and how long files stay."""

import os
import subprocess
import sys
import threading
import time

import pytest

from bitlens.app import files
from bitlens.app.files import Folders
from bitlens.app.turns import Lines
from bitlens.app.work import Work
from bitlens.errors import BitlensError, SettingError
from bitlens.system.leftovers import owner


def test_questions_to_one_network_wait_and_those_to_another_do_not():
    lines = Lines()
    first, second, third, elsewhere = (lines[name].join() for name in ("a", "a", "a", "b"))
    assert [place.ahead(0) for place in (first, second, third, elsewhere)] == [0, 1, 2, 0]
    second.leave()
    second.leave()
    assert third.ahead(0) == 1
    threading.Timer(0.2, first.leave).start()
    began = time.monotonic()
    assert third.ahead(30) == 0
    assert time.monotonic() - began < 10


def test_a_line_has_an_end():
    lines = Lines()
    places = [lines["a"].join() for _ in range(16)]
    with pytest.raises(SettingError, match="wait for this network already"):
        lines["a"].join()
    places[3].leave()
    lines["a"].join()


def test_work_ends_after_its_time_and_keeps_its_turn_until_then():
    stopped, ended = threading.Event(), threading.Event()

    def answer(tell, _):
        for number in range(1000):
            try:
                tell(f"step {number}")
            except BaseException:
                stopped.set()
                raise
            time.sleep(0.01)

    work = Work(answer, ended.set)
    assert not ended.is_set()
    with pytest.raises(SettingError, match=r"longer than the 0\.3 seconds"):
        list(work.news(0.3))
    assert stopped.wait(10)
    assert ended.wait(10)


def test_work_in_time_gives_its_answer():
    ended = threading.Event()
    work = Work(lambda tell, _: [tell("a"), "answer"][1], ended.set)
    assert [text for text, _ in work.news(60)] == ["a"]
    assert work.result() == "answer"
    assert ended.is_set()


GOOD = {"methods": ["iba"], "layer": "layer2", "exponent": 1, "target": None, "quality": "fast"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"methods": ["iba", "saliency", "grad-cam", "rise", "lime", "kernel-shap", "occlusion-14"]},
        {"methods": ["no such"]}, {"methods": "iba"}, {"methods": [["iba"]]}, {"methods": None},
        {"methods": []}, {"layer": 1}, {"layer": "fc"}, {"layer": "../layer2"}, {"layer": ["layer2"]}, {"layer": None},
        {"exponent": 400}, {"exponent": float("nan")}, {"exponent": "x"}, {"exponent": None},
        {"quality": "endless"}, {"quality": ["fast"]}, {"target": "binary:x"},
    ],
    ids=str,
)  # fmt: skip
def test_the_form_s_limits_hold_for_those_who_send_something_else(wrong):
    from bitlens.app.input_tab import _question
    from bitlens.app.offers import Offers, input_desk

    desk = input_desk(Offers.bundled().photos[0], "cpu")
    assert _question("photo.png", desk, **GOOD).methods == ("iba",)
    with pytest.raises(BitlensError):
        _question("photo.png", desk, **{**GOOD, **wrong})


def test_files_go_after_half_an_hour_without_another_question():
    folders = Folders()
    old, new, example = folders.new(), folders.new(), folders.uploads / "b" / "example.png"
    upload = folders.uploads / "a" / "photo.png"
    for file in (old / "map.npy", new / "map.npy", upload, example):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    for path in (old, upload, example):
        os.utime(path, (0, time.time() - files.KEPT_SECONDS - 5))
    folders.sweep(lambda path: path == str(example))
    assert [path.exists() for path in (old, upload, upload.parent, new, example)] == [False, False, False, True, True]
    folders.remove()
    assert not folders.root.exists()


def test_a_page_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "from bitlens.system.leftovers import owner; print(owner())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    left, living = tmp_path / f"bitlens-app-{dead}-x", tmp_path / f"bitlens-app-{owner()}-x"
    other, outside = tmp_path / "bitlens-app-unknown", tmp_path / "outside"
    for folder in (left / "uploads", living, other, outside):
        folder.mkdir(parents=True)
    (left / "uploads" / "photo.png").write_bytes(b"x")
    (tmp_path / f"bitlens-app-{dead}-link").symlink_to(outside)
    folders = Folders()
    assert not left.exists()
    assert living.exists()
    assert other.exists()
    assert outside.exists()
    folders.remove()
