"""The gallery is made of its examples: the page is what the command writes, and every example runs as it stands."""

import runpy
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageStat

import gallery

NAMES = [name for _, names in gallery.ORDER for name in names]


def test_the_page_is_what_the_command_writes():
    assert gallery.page() == gallery.PAGE.read_text("utf-8")


def test_every_example_is_shown_and_has_its_pictures():
    assert sorted(NAMES) == sorted(path.stem for path in gallery.EXAMPLES.glob("*.py"))
    assert len(NAMES) >= 12
    for name in NAMES:
        light, dark = (Image.open(gallery.PICTURES / f"{name}{end}.png").convert("L") for end in ("", "-dark"))
        assert light.getpixel((0, 0)) > 240
        assert dark.getpixel((0, 0)) < 40
        assert ImageStat.Stat(light).stddev[0] > 10  # something is drawn


def test_pictures_stay_small():
    assert sum(path.stat().st_size for path in Path(gallery.PICTURES).glob("*.png")) < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(gallery.EXAMPLES / f"{name}.py"))
    assert isinstance(found["figure"], Figure)
    assert [path.suffix for path in tmp_path.iterdir()] == [".png"]
    kept = (gallery.PICTURES / f"{name}.txt").read_text("utf-8")
    assert len(capsys.readouterr().out.splitlines()) == len(kept.splitlines())
