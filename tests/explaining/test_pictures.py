"""What is drawn of photos and methods: captions, scales, sheets."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.core.told import BYPASSED
from bitlens.data.datasets import open_dataset
from bitlens.errors import DataError, SettingError
from bitlens.explaining import pictures
from bitlens.explaining.photos import Explained, Found, Ready, Request
from bitlens.explaining.pictures import explain_into, write_picture, write_sheet
from bitlens.methods import METHODS
from bitlens.methods.naming import read_methods
from bitlens.models.load import load_model
from bitlens.view.card import caption
from bitlens.view.scales import Ends


def attribution(method, unit="score", top=1.0, low=0.0, **more):
    values = torch.linspace(low, top, 64).view(1, 8, 8)
    return Attribution(values, unit, method, ("2",), **more)


def found(label, made, alone=False):
    (spec,) = read_methods(made.method).values()
    return Found(Ready(label, spec, None, alone), made, repeated=False)


def photo(*several):
    return Explained(Path("cat.jpg"), "cat", torch.rand(3, 8, 8), "tabby", 0.934, tuple(several))


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of every figure, in place of the figures."""
    calls = []
    for name in ("draw_explanation", "draw_comparison", "draw_scaled_grid"):
        monkeypatch.setattr(pictures, name, lambda *a, name=name, **k: calls.append((name, a, k)))
    monkeypatch.setattr(pictures, "save_figure", lambda _, path: calls.append(path.name))
    return calls


IBA = attribution(
    "iba",
    "bits/pixel",
    layer="layer2",
    settings={"beta": 10.0},
    total_bits=torch.tensor([1234.0]),
    evidence=Evidence(torch.tensor([0.93]), torch.tensor([0.951]), torch.tensor([0.02])),
)
PROOF = "p = 0.93, and 0.95 ± 0.02 with everything else under noise · 1,234 bits in total · layer2, β = 10"


def test_captions_hold_the_evidence_or_the_probability_and_the_method(drawn, tmp_path):
    assert caption(IBA) == PROOF
    cam = found("grad-cam[layer=x.1]", attribution("grad-cam", layer="x.1"))
    for one in (photo(found("iba", IBA, alone=True)), photo(cam), photo(cam, found("iba", IBA)), photo(cam, cam)):
        write_picture(one, tmp_path, "png")
    captions = [call[2]["caption"] for call in drawn if not isinstance(call, str)]
    assert captions == [PROOF, "p = 0.93 · grad-cam · x.1", f"iba: {PROOF}", "p = 0.93"]
    assert {path.name for path in tmp_path.iterdir()} == {"cat.npy", "cat.iba.npy", "cat.grad-cam-layer=x.1.npy"}


def test_bits_that_no_pixel_shows_are_told_apart():
    told = caption(replace(IBA, extra_bits=torch.tensor([[30.0, 4.0]])))
    assert "1,234 bits in total, 34 by other tokens than patches" in told


def test_a_caption_says_that_a_bypass_was_allowed():
    told = caption(replace(IBA, evidence=replace(IBA.evidence, bypass_allowed=True)))
    assert told == f"{PROOF} · {BYPASSED}"


def test_each_panel_has_its_own_scale_with_the_methods_signs(drawn, tmp_path):
    several = [
        found("iba", IBA),
        found("gradient", attribution("gradient", low=0.5)),
        found("rise[samples=9]", attribution("rise", layer="")),
        found("guided-grad-cam", attribution("guided-grad-cam", low=-0.2, layer="x")),
    ]
    write_picture(photo(*several), tmp_path, "png")
    panels = drawn[0][1][1]
    assert [(panel.title, panel.details) for panel in panels] == [
        ("iba", "layer2"),
        ("gradient", ""),
        ("rise", "samples=9"),
        ("guided-grad-cam", "x"),
    ]
    assert [panel.scale.unit for panel in panels] == ["bits/pixel", "score", "score", "score"]
    assert [panel.scale.signed for panel in panels] == [False, True, False, True]
    assert panels[0].scale.top == 1
    assert all(0.9 < panel.scale.top < 1 and "99.5th" in panel.scale.note for panel in panels[1:])


def test_a_sheet_has_a_column_for_each_method(drawn, tmp_path):
    rows = [photo(found("iba", IBA), found("gradient", attribution("gradient", top=top))) for top in (1.0, 3.0)]
    write_sheet(rows, ["iba", "gradient"], tmp_path / "s.png", Ends())
    _, (photos, maps, scales), texts = drawn[0]
    assert (len(photos), len(maps), len(maps[0])) == (2, 2, 2)
    assert scales[1][1].top == pytest.approx(3 * scales[0][1].top)
    assert texts["captions"] == [["1,234 bits", ""]] * 2
    assert (texts["column_titles"], texts["column_details"]) == (["iba", "gradient"], ["layer2", ""])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for number, sample in enumerate(open_dataset("builtin:scenes")[:2]):
        sample.image.save(folder / f"{number}.png")
    return sorted(folder.iterdir())


class Fake:
    """A method whose map of a photo is the photo's first channel; it may refuse after some calls."""

    seed = 0

    def __init__(self, name, refuses=99):
        self.name, self.refuses = name, refuses

    def settings(self):
        return {}

    def explain(self, images, target):
        self.refuses -= 1
        if self.refuses < 0:
            raise SettingError(f"{self.name} cannot")
        return Attribution(images[:, 0].float().cpu(), "score", self.name, (str(target),))


def ready(name, refuses=99, alone=False):
    return Ready(name, found(name, attribution(name)).ready.spec, Fake(name, refuses), alone)


def test_one_scale_for_all_pictures_of_a_method(drawn, scenes, tmp_path):
    loaded = load_model("builtin/scenes")
    methods = [ready("gradient"), ready("saliency")]
    explain_into(Request(loaded, methods, None, loaded.classes, tmp_path, same_scale=True), scenes)
    first, second = (call[1][1] for call in drawn if call[0] == "draw_comparison")
    (scales,) = (call[1][2] for call in drawn if call[0] == "draw_scaled_grid")
    assert [panel.scale.top for panel in first] == [panel.scale.top for panel in second]
    drawn.clear()
    explain_into(Request(loaded, methods, None, loaded.classes, tmp_path), scenes)
    own = [[panel.scale.top for panel in call[1][1]] for call in drawn if call[0] == "draw_comparison"]
    assert [panel.scale.top for panel in first] == [max(tops) for tops in zip(*own, strict=True)]
    assert [[scale.top for scale in row] for row in scales] == [[panel.scale.top for panel in first]] * 2


def test_a_method_that_drops_out_is_named_and_leaves_the_sheet(drawn, scenes, tmp_path):
    loaded = load_model("builtin/scenes")
    methods = [ready("gradient"), ready("saliency", refuses=1)]
    done = explain_into(Request(loaded, methods, None, loaded.classes, tmp_path), scenes)
    assert [(Path(row["photo"]).name, row["method"]) for row in done.rows] == [
        ("0.png", "gradient"),
        ("0.png", "saliency"),
        ("1.png", "gradient"),
    ]
    assert done.refused == {"saliency": "saliency cannot"}
    (sheet,) = (call[2] for call in drawn if call[0] == "draw_scaled_grid")
    assert sheet["column_titles"] == ["gradient"]


def test_many_methods_are_spread_evenly_over_sheets(drawn, scenes, tmp_path):
    loaded = load_model("builtin/scenes")
    names = [name for name, entry in METHODS["image"].items() if entry.lesson is None][:9]
    explain_into(Request(loaded, [ready(name) for name in names], 0, loaded.classes, tmp_path, "svg"), scenes)
    columns = [call[2]["column_titles"] for call in drawn if call[0] == "draw_scaled_grid"]
    assert columns == [names[:5], names[5:]]
    assert [call for call in drawn if isinstance(call, str)][-3:] == ["1.svg", "sheet.svg", "sheet-2.svg"]


def test_no_photo_at_all_is_an_error(tmp_path):
    broken = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in broken:
        path.write_bytes(b"no photo")
    loaded = load_model("builtin/scenes")
    with pytest.raises(DataError, match="none of the 2 photos could be read"):
        explain_into(Request(loaded, [ready("gradient")], None, None, tmp_path), broken)


def test_a_map_of_zeros_does_not_set_the_scale_of_others(drawn, scenes, tmp_path):
    class FirstZero(Fake):
        def explain(self, images, target):
            made = super().explain(images, target)
            return replace(made, map=0 * made.map if self.refuses == 98 else 1e-3 * made.map)

    loaded = load_model("builtin/scenes")
    method = replace(ready("rise", alone=True), method=FirstZero("rise"))
    explain_into(Request(loaded, [method], None, None, tmp_path, same_scale=True), scenes)
    tops = [call[2]["scale"].top for call in drawn if call[0] == "draw_explanation"]
    assert tops[0] == tops[1] < 0.01
