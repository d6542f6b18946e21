"""Sheets of heat maps from an evaluation and from settings."""

import torch

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.evaluation.grids import draw_kept_maps, draw_layers_and_betas, draw_smoothings
from bitlens.evaluation.run import carry_out, find_tasks, select_samples
from small_evaluation import context_for


def panels(figure):
    """Axes that show a picture: photos and maps; colour bars show meshes."""
    return [axes for axes in figure.axes if axes.images]


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\N{NO-BREAK SPACE}", " ")


def test_kept_maps_side_by_side(home):
    context = context_for(home, "gradient,random,iba", "rank-auc:region=boxes", keep_maps=True)
    assert draw_kept_maps(context, home / "out" / "maps", range(8)) == []
    carry_out(context, home / "out", find_tasks(context, home / "out", select_samples(8, limit=4)))
    (home / "photos" / "0.png").write_bytes(b"gone")
    shown = [i for i in range(8) if i != 0 and (home / "out" / "maps" / "iba" / f"{i:08d}.npy").is_file()]
    (figure,) = draw_kept_maps(context, home / "out" / "maps", range(8))
    assert len(panels(figure)) == len(shown) * 4
    assert "bits/pixel" in texts(figure)
    assert "score" in texts(figure)


def made(layer, bits, side=6):
    cells = torch.zeros(1, side, side)
    cells[0, 2, 2] = bits
    evidence = Evidence(torch.tensor([0.9]), torch.tensor([0.7]), torch.tensor([0.1]))
    return Attribution(
        torch.rand(1, 24, 24) * bits, "bits/pixel", "iba", ("1",), layer=layer, total_bits=torch.tensor([bits]),
        cells=cells, evidence=evidence,
    )  # fmt: skip


def test_layers_against_betas():
    found = {"layer1": [made("layer1", 1200.0), made("layer1", 30.0)], "layer2": [made("layer2", 5.0, 3)] * 2}
    figure = draw_layers_and_betas(torch.rand(3, 24, 24), found, [1, 100], title="a cat", caption="p = 0.90")
    assert len(panels(figure)) == 1 + 2 * 2
    assert len(figure.axes) == 1 + 2 * 2 + 1
    for text in ("a cat", "p = 0.90", "β = 100", "layer2", "3 x 3 cells", "1,200 bits · p = 0.70"):
        assert text in texts(figure)


def test_smoothings():
    found = [[made("layer2", 9.0), made("layer2", 8.0)] for _ in range(3)]
    figure = draw_smoothings([torch.rand(3, 24, 24), torch.rand(3, 24, 24)], ["cat", "dog"], found, [0, 0.5, 1])
    assert len(panels(figure)) == 2 * (1 + 3)
    for text in ("layer2", "no smoothing", "σ = 0.5", "cat", "dog", "p = 0.90", "9 bits · p = 0.70", "roughness 1.00"):
        assert text in texts(figure)
