import csv
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bitlens.errors import DataError, InputError
from bitlens.view.colours import Scale
from bitlens.view.heatmap import draw_explanation, draw_grid, save_figure, save_raw
from bitlens.view.sheet import draw_scaled_grid

CAPTION = (
    "‘tabby cat’: p = 0.93 before, 0.95 ± 0.02 with everything else under noise · 412 bits in total · layer2, β = 10"
)


def blob(height: int, width: int, top: float = 0.3, seed: int = 0) -> NDArray[np.float32]:
    """A few Gaussians with values between 0 and `top`."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    values = np.zeros((height, width))
    for cx, cy, spread in generator.uniform((0.2, 0.2, 0.05), (0.8, 0.8, 0.12), (3, 3)):
        radius = (x - cx * width) ** 2 + (y - cy * height) ** 2
        values += np.exp(-radius / 2 / (spread * max(height, width)) ** 2)
    return (top * values / values.max()).astype(np.float32)


def noise(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((3, height, width), dtype=np.float32)


def explanation(height: int = 40, width: int = 50, **settings: object) -> Figure:
    given = {"unit": "bits/pixel", "title": "tabby, tabby cat", "caption": CAPTION, **settings}
    return draw_explanation(noise(height, width), blob(height, width), **given)


def sheet(**settings: object) -> Figure:
    given = {"unit": "bits/pixel", "row_titles": ["cat", "dog"], "column_titles": ["IBA", "Grad-CAM", "x"], **settings}
    maps = [[blob(h, w, 0.1 * (k + 1), k) for k in range(3)] for h, w in ((40, 50), (60, 40))]
    return draw_grid([noise(40, 50), noise(60, 40)], maps, **given)


def scaled_sheet(**settings: object) -> Figure:
    maps = [[blob(h, w, 0.1 * (k + 1), k) for k in range(3)] for h, w in ((40, 50), (60, 40))]
    scales = [[Scale("bits/pixel", 0.1), Scale("score", 0.0025, signed=True), Scale("score", 3e-9)]] * 2
    given = {"row_titles": ["cat", "dog"], "column_titles": ["IBA", "lrp-alpha0-beta-1-eps5", "x"], **settings}
    return draw_scaled_grid([noise(40, 50), noise(60, 40)], maps, scales, **given)


def pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def inside(figure: Figure, axes: int) -> NDArray[np.uint8]:
    """The pixels of one of the figure's axes, without its frame."""
    box = figure.axes[axes].get_window_extent()
    picture = pixels(figure)
    height = picture.shape[0]
    return picture[height - int(box.y1) + 3 : height - int(box.y0) - 3, int(box.x0) + 3 : int(box.x1) - 3]


FIGURES = {
    "square": explanation,
    "wide": lambda: explanation(40, 120),
    "very wide": lambda: explanation(20, 500),
    "tall": lambda: explanation(120, 40),
    "very tall": lambda: explanation(500, 20),
    "long texts": lambda: explanation(title="word " * 80, caption="x" * 500),
    "clipped": lambda: explanation(percentile=99.5),
    "wide and clipped": lambda: explanation(40, 120, percentile=90),
    "shared": lambda: sheet(captions=[["412 bits"] * 3] * 2),
    "own scales": lambda: sheet(shared_scale=False, unit=["bits/pixel", "score", "score"], percentile=99),
    "long names": lambda: sheet(row_titles=["hippopotamus " * 20] * 2, column_titles=["torchvision/resnet50-" * 9] * 3),
    "many": lambda: draw_grid(
        [noise(9, 9)],
        [[blob(9, 9)] * 14],
        unit="bits/pixel",
        row_titles=["a"],
        column_titles=["integrated-gradients"] * 14,
    ),
    "given scales": lambda: scaled_sheet(
        column_details=["layer2", "samples=9 · some.very.long.layer.name", ""], captions=[["412 bits", "", ""]] * 2
    ),
    "one": lambda: draw_grid([noise(9, 9)], [[blob(9, 9)]], unit="bits/pixel", row_titles=[""], column_titles=["IBA"]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_lies_on_the_page_and_nothing_overlaps(name: str) -> None:
    figure = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    written = [text for text in figure.texts if text.get_text().strip()]
    axes = [one.get_tightbbox(canvas.get_renderer()) for one in figure.axes]
    letters = [text.get_window_extent() for text in written]
    for box in axes + letters:
        assert page.x0 <= box.x0
        assert page.y0 <= box.y0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1
    for text, box in zip(written, letters, strict=True):
        assert not any(box.overlaps(other) for other in axes), text.get_text()
        shrunk = box.shrunk(0.9, 0.9)
        clashes = [o for o, other in zip(written, letters, strict=True) if o is not text and shrunk.overlaps(other)]
        assert not clashes, text.get_text()


def test_panels_have_the_photos_shape_and_the_bar_is_as_tall() -> None:
    photo, heat, bar = (axes.get_window_extent() for axes in explanation(40, 50).axes)
    assert photo.width / photo.height == pytest.approx(50 / 40)
    assert (heat.width, heat.height, heat.y0) == pytest.approx((photo.width, photo.height, photo.y0))
    assert (bar.y0, bar.height) == pytest.approx((heat.y0, heat.height))
    photo, heat, bar = (axes.get_window_extent() for axes in explanation(40, 120).axes)
    assert heat.y1 < photo.y0
    assert (bar.x0, bar.width) == pytest.approx((heat.x0, heat.width))


def test_photo_is_shown_as_it_is() -> None:
    photo = np.zeros((3, 64, 64), dtype=np.float32)
    photo[0, :32], photo[2, 32:] = 1.0, 0.5
    shown = inside(draw_explanation(photo, blob(64, 64), unit="bits/pixel", title=""), 0)
    assert (shown[20, 20] == [255, 0, 0]).all()
    assert shown[-20, 20].tolist() in ([0, 0, 127], [0, 0, 128])


def test_map_lies_where_its_values_are() -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[8:16, 40:56] = 1.0
    shown = inside(draw_explanation(np.ones((1, 64, 64)), values, unit="bits/pixel", title=""), 1).astype(int)
    height, width, _ = shown.shape
    bright = np.argwhere(shown[..., :2].sum(-1) > 350)
    assert bright[:, 0].min() == pytest.approx(height * 8 / 64, abs=4)
    assert bright[:, 0].max() == pytest.approx(height * 16 / 64, abs=4)
    assert bright[:, 1].min() == pytest.approx(width * 40 / 64, abs=4)
    assert bright[:, 1].max() == pytest.approx(width * 56 / 64, abs=4)


def test_small_map_is_interpolated_like_torch() -> None:
    small = torch.rand(7, 7, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small[None, None], size=(56, 56), mode="bilinear")[0, 0]
    photo = noise(56, 56)
    one, other = (draw_explanation(photo, m, unit="score", title="", vmax=1.0) for m in (small, large))
    assert (pixels(one) == pixels(other)).all()


def test_tensors_arrays_and_one_channel_photos_draw_the_same() -> None:
    photo, values = noise(40, 50)[:1], blob(40, 50)
    plain = pixels(draw_explanation(photo, values, unit="bits/pixel", title="a"))
    tensors = (torch.from_numpy(photo).expand(3, -1, -1), torch.from_numpy(values).double().requires_grad_())
    assert (pixels(draw_explanation(*tensors, unit="bits/pixel", title="a")) == plain).all()


def test_same_vmax_makes_figures_comparable() -> None:
    photo = np.full((3, 40, 40), 0.5)
    weak, strong = (
        inside(draw_explanation(photo, np.full((40, 40), value), unit="bits/pixel", title="", vmax=0.4), 1)
        for value in (0.1, 0.4)
    )
    assert int(weak.astype(int).sum()) < int(strong.astype(int).sum())
    alone = inside(draw_explanation(photo, np.full((40, 40), 0.1), unit="bits/pixel", title=""), 1)
    assert (alone == strong).all()


def test_colour_bar_says_unit_and_clipping() -> None:
    assert explanation().axes[2].get_ylabel() == "bits/pixel"
    assert explanation(percentile=95).axes[2].get_ylabel() == "bits/pixel (ends at 95th percentile)"
    zero = draw_explanation(noise(8, 8), np.zeros((8, 8)), unit="bits/pixel", title="")
    assert zero.axes[2].get_ylabel() == "bits/pixel (0 everywhere)"


@pytest.mark.parametrize(
    ("top", "numbers"),
    [
        (0.3, ["0", "0.1", "0.2", "0.3"]),
        (0.3 - 1e-3, ["0", "0.05", "0.10", "0.15", "0.20", "0.25"]),
        (4e-7, ["0", "1e−7", "2e−7", "3e−7", "4e−7"]),
        (4e-30, ["0", "1e−30", "2e−30", "3e−30", "4e−30"]),
        (3e6, ["0", "5e5", "1e6", "1.5e6", "2e6", "2.5e6", "3e6"]),
    ],
)
def test_numbers_at_the_bar(top: float, numbers: list[str]) -> None:
    figure = draw_explanation(noise(40, 40), blob(40, 40, top), unit="bits/pixel", title="")
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == numbers


def test_signed_map_is_centred_at_zero() -> None:
    values = np.linspace(-1, 3, 64 * 64, dtype=np.float32).reshape(64, 64)
    figure = draw_explanation(np.zeros((3, 64, 64)), values, unit="score", title="")
    assert figure.axes[2].get_ylim() == (-3, 3)
    shown = inside(figure, 1).astype(int)
    negative, positive = shown[5, shown.shape[1] // 2], shown[-5, shown.shape[1] // 2]
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]


def test_boxes_and_outline_are_drawn_on_the_photo_alone() -> None:
    plain = explanation(caption="")
    inner = np.zeros((40, 50), dtype=bool)
    inner[10:20, 10:30] = True
    for marked in (explanation(caption="", boxes=[(10, 10, 30, 20)]), explanation(caption="", outline=inner)):
        assert (inside(marked, 1) == inside(plain, 1)).all()
        changed = np.argwhere((inside(marked, 0) != inside(plain, 0)).any(-1))
        height, width, _ = inside(plain, 0).shape
        expected = [height * 10 / 40, width * 10 / 50, height * 20 / 40, width * 30 / 50]
        assert [*changed.min(0), *changed.max(0)] == pytest.approx(expected, abs=8)


def test_long_names_are_wrapped_and_elided() -> None:
    figure = explanation(title="a very long name " * 30, caption="")
    assert len(texts(figure)) == 2
    assert texts(figure)[1].endswith("…")


def test_texts_are_shown_as_they_are() -> None:
    assert "$x_1$ & <b>\\alpha" in texts(explanation(title="$x_1$ & <b>\\alpha"))
    assert "a b" in texts(explanation(title="a\x00\tb"))
    assert "first" in texts(explanation(caption="first\nsecond"))
    pixels(explanation(title="$broken_{", caption="\\frac{$"))


def test_sheet_shares_one_bar_or_has_one_for_each_map() -> None:
    assert len(sheet().axes) == 2 * 4 + 1
    assert sheet().axes[-1].get_xlim() == pytest.approx((0, 0.3))
    own = sheet(shared_scale=False)
    assert len(own.axes) == 2 * (4 + 3)
    assert [own.axes[k].get_ylim()[1] for k in (2, 4, 6)] == pytest.approx([0.1, 0.2, 0.3])
    assert texts(own).count("bits/pixel") == 3


def test_sheet_with_given_scales_shows_them_and_the_details() -> None:
    figure = scaled_sheet(column_details=["layer2", "", "samples=9"])
    assert {"layer2", "samples=9", "bits/pixel", "score"} <= set(texts(figure))
    assert len(figure.axes) == 2 * (1 + 3 * 2)
    bars = [figure.axes[i] for i in (2, 4, 6)]
    assert [one.get_ylim() for one in bars] == [(0, 0.1), (-0.0025, 0.0025), (0, 3e-9)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"column_details": ["a"]}, "column_details has 1 entries: expected 3"),
        ({"row_titles": ["a"]}, "row_titles has 1 rows: expected 2"),
        ({"column_titles": ["a"]}, "has 3 entries: expected 1"),
    ],
)
def test_unusable_sheets_with_scales_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        scaled_sheet(**settings)


def test_sheet_columns_and_rows_are_aligned() -> None:
    boxes = [axes.get_position() for axes in sheet().axes[:8]]
    for column in range(4):
        assert boxes[column].x0 + boxes[column].x1 == pytest.approx(boxes[column + 4].x0 + boxes[column + 4].x1)
        assert boxes[column].y0 == pytest.approx(boxes[0].y0)


@pytest.mark.parametrize(
    ("photo", "values", "words"),
    [
        (noise(8, 8), np.full((8, 8), np.nan), "map holds 64 values that are NaN"),
        (noise(8, 8), np.full((8, 8), np.inf), "NaN or infinite"),
        (noise(8, 8) * np.nan, np.ones((8, 8)), "photo holds values from nan"),
        (noise(8, 8) * 255, np.ones((8, 8)), "expected \\[0, 1\\], before normalisation"),
        (noise(8, 8)[:2], np.ones((8, 8)), "photo has shape \\(2, 8, 8\\)"),
        (noise(8, 8)[None], np.ones((8, 8)), "one photo at a time"),
        (np.zeros((3, 0, 8)), np.ones((8, 8)), "photo has shape"),
        (noise(8, 8), np.ones((1, 8, 8)), "map has shape \\(1, 8, 8\\)"),
        (noise(8, 8), np.ones((0, 8)), "map has shape"),
        (noise(8, 8), np.ones((4, 8)), "map is 4x8 and photo 8x8: expected the same aspect"),
        (noise(8, 8), -np.ones((8, 8)), "information is never negative"),
        (noise(8, 8), [[1.0]], "map is a list"),
        (noise(8, 8), np.ones((8, 8), dtype=complex), "real numbers"),
    ],
)
def test_unusable_arrays_are_refused(photo: object, values: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        draw_explanation(photo, values, unit="bits/pixel", title="")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vmax": 0.0}, "vmax is 0.0"),
        ({"vmax": float("nan")}, "vmax is nan"),
        ({"percentile": 0.0}, "percentile is 0.0"),
        ({"percentile": 101.0}, "percentile is 101.0"),
        ({"vmax": 1.0, "percentile": 99.0}, "give one of them"),
        ({"boxes": [(5, 5, 5, 9)]}, "x0 < x1 and y0 < y1"),
        ({"boxes": [(5, 5, 9)]}, "box is \\(5, 5, 9\\)"),
        ({"outline": np.zeros((40, 50))}, "something inside"),
        ({"outline": np.ones((50, 40))}, "expected \\(40, 50\\)"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        explanation(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"row_titles": ["cat"]}, "row_titles has 1 rows: expected 2"),
        ({"column_titles": ["a", "b"]}, "maps\\[0\\] has 3 entries: expected 2"),
        ({"column_titles": []}, "is empty"),
        ({"unit": ["score"]}, "unit has 1 entries: expected 3"),
        ({"unit": ["score", "score", "bits/pixel"]}, "cannot share a scale"),
        ({"captions": [["a"] * 3]}, "captions has 1 rows"),
        ({"captions": [["a"] * 3, ["a"] * 2]}, "captions\\[1\\] has 2 entries"),
    ],
)
def test_unusable_sheets_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sheet(**settings)


def test_sheet_too_long_for_a_picture_is_refused() -> None:
    photo, values = noise(4, 4), [blob(4, 4)]
    with pytest.raises(InputError, match="draw fewer per figure"):
        draw_grid([photo] * 300, [values] * 300, unit="score", row_titles=[""] * 300, column_titles=["a"])


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_same_figure_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    figure = explanation()
    for name, drawn in {"a": figure, "b": figure, "c": explanation()}.items():
        save_figure(drawn, tmp_path / f"{name}{suffix}")
    first, *others = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "abc")
    assert all(other == first for other in others)
    magic = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix.lower()]
    assert first.startswith(magic)


def test_formats_can_be_saved_in_any_order(tmp_path: Path) -> None:
    figure = explanation()
    save_figure(figure, tmp_path / "before.png")
    save_figure(figure, tmp_path / "a.svg")
    save_figure(figure, str(tmp_path / "a.pdf"))
    save_figure(figure, tmp_path / "after.png")
    assert (tmp_path / "before.png").read_bytes() == (tmp_path / "after.png").read_bytes()


def test_png_is_fit_for_screens(tmp_path: Path) -> None:
    save_figure(explanation(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert 1390 <= picture.width <= 1410


def test_text_in_svg_is_text(tmp_path: Path) -> None:
    save_figure(explanation(title="cat & <dog> $1"), tmp_path / "a.svg")
    content = (tmp_path / "a.svg").read_text(encoding="utf-8")
    written = re.findall(r"<text[^>]*>([^<]*)</text>", content)
    assert {"cat &amp; &lt;dog&gt; $1", "bits/pixel", "0.3"} <= set(written)
    assert "412 bits in total" in " ".join(written)
    assert set(re.findall(r"font-family: ('[^']*')", content)) == {"'DejaVu Sans'"}
    assert "dc:date" not in content
    assert ElementTree.fromstring(content).tag.endswith("svg")


def test_threads_draw_what_one_draws(tmp_path: Path) -> None:
    def draw(number: int) -> bytes:
        path = tmp_path / f"{number}{('.svg', '.png')[number % 2]}"
        save_figure(explanation(title=f"number {number // 2}"), path)
        return path.read_bytes()

    alone = [draw(number) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(6))) == alone


def test_users_settings_change_nothing_and_are_not_changed(tmp_path: Path) -> None:
    save_figure(explanation(), tmp_path / "plain.png")
    save_figure(explanation(), tmp_path / "plain.svg")
    settings = {
        "axes.grid": True,
        "axes.facecolor": "red",
        "figure.facecolor": "black",
        "figure.constrained_layout.use": True,
        "font.family": "serif",
        "font.size": 30,
        "image.interpolation": "nearest",
        "image.origin": "lower",
        "savefig.bbox": "tight",
        "savefig.dpi": 30,
        "svg.fonttype": "path",
        "text.color": "red",
        "ytick.direction": "in",
    }
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        save_figure(explanation(), tmp_path / "set.png")
        save_figure(explanation(), tmp_path / "set.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "set.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert (tmp_path / "set.svg").read_bytes() == (tmp_path / "plain.svg").read_bytes()


def test_pyplot_is_never_imported() -> None:
    code = "import sys, bitlens.view.heatmap; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in \.png, \.svg, \.pdf"):
        save_figure(explanation(), tmp_path / "a.gif")
    with pytest.raises(DataError, match=r"ends in \.npy"):
        save_raw(blob(4, 4), tmp_path / "a.npz")


@pytest.mark.parametrize("place", ["file/a.png", "folder.png"])
def test_unwritable_place_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="cannot write") as caught:
        save_figure(explanation(), tmp_path / place)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.png"]


def test_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    figure, limits = explanation(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot write"):
            save_figure(figure, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_saved_files_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    save_raw(blob(4, 4), tmp_path / "a.npy")
    assert (tmp_path / "a.npy").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_raw_map_keeps_its_values(tmp_path: Path) -> None:
    values = torch.rand(5, 7, dtype=torch.float64, requires_grad=True)
    save_raw(values, tmp_path / "a.npy")
    loaded = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert loaded.dtype == np.float32
    assert (loaded == values.detach().float().numpy()).all()
    with pytest.raises(InputError, match="NaN"):
        save_raw(torch.full((2, 2), torch.nan), tmp_path / "b.npy")
    assert not (tmp_path / "b.npy").exists()


@pytest.mark.skipif("BITLENS_DATA" not in os.environ, reason="needs real photos in BITLENS_DATA")
def test_real_photos_stay_visible_where_nothing_is_used() -> None:
    folder = Path(os.environ["BITLENS_DATA"]) / "imagenet"
    with (folder / "val.csv").open(newline="") as table:
        files = [row["file"] for row, _ in zip(csv.DictReader(table), range(6), strict=False)]
    for file in files:
        path = next(p for p in (folder / file, folder / "val" / Path(file).name) if p.exists())
        with Image.open(path) as picture:
            photo = np.asarray(picture.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
        height, width = photo.shape[1:]
        values = np.zeros((height, width), dtype=np.float32)
        values[: height // 4, : width // 4] = 0.3
        figure = draw_explanation(photo, values, unit="bits/pixel", title=path.stem)
        seen, used = (inside(figure, k).astype(float).mean(-1) for k in (0, 1))
        rows, columns = seen.shape
        seen, used = seen[rows // 2 :, columns // 2 :], used[rows // 2 :, columns // 2 :]
        assert np.corrcoef(seen.ravel(), used.ravel())[0, 1] > 0.8
        assert used.max() < 110
