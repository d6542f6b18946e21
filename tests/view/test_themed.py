"""A page for light and dark readers: letters take the reader's colour, what the axes hold is a picture."""

import base64
import re

import numpy as np

from bitlens.view.canvas import add_axes, new_page, write
from bitlens.view.themed import themed_uri


def drawn():
    page = new_page(3, 2)
    axes = add_axes(page, 0.5, 0.5, 2, 1)
    axes.plot(np.arange(5000) % 7, color="#ff8800")
    write(page, ["a title & more"], 0.1, 0.1, 8)
    kind, _, content = themed_uri(page).partition(";base64,")
    assert kind == "data:image/svg+xml"
    return base64.b64decode(content).decode("utf-8")


def test_letters_are_text_in_the_reader_s_colour_and_the_ground_is_the_page_s():
    svg = drawn()
    texts = re.findall(r'<text style="[^"]*fill: ([^;"]+)', svg)
    assert len(texts) > 5
    assert set(texts) == {"var(--ink)"}
    assert "a title &amp; more" in svg
    light, dark = re.findall(r"--ink:(#\w{6})", svg)
    assert int(light[1:3], 16) < 0x60
    assert int(dark[1:3], 16) > 0xB0
    assert "prefers-color-scheme: dark" in svg
    assert "fill: #ffffff" not in svg


def test_what_the_axes_hold_is_one_picture():
    svg = drawn()
    assert svg.count("<image") == 1
    assert "#ff8800" not in svg  # a line of 5,000 points would be longer than its picture
    assert len(svg) < 60_000
