"""Pictures of an analysis: what stands in them, from numbers that are known."""

from dataclasses import replace

import torch

from bitlens.bottlenecks.layer_analysis import LayerAnalysis
from bitlens.data.tokenizing import TokenBatch
from bitlens.explaining.layer_pictures import draw_beta_sweep, draw_information_plane, draw_text_layers, joined_pieces

REAL = torch.tensor([[False, True, True, True, False, False]])
SPECIAL = torch.tensor([[True, False, False, False, True, False]])
BATCH = TokenBatch(
    {},
    REAL,
    SPECIAL,
    (("[CLS]", "un", "##real", "film", "[SEP]"),),
    ((None, (0, 2), (2, 6), (7, 11), None),),
    ((None, 0, 0, 1, None),),
    ("unreal film",),
)
MAPS = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0, 0.0]], [[0.0, 0.0, 0.0, 8.0, 0.0, 0.0]]]])
ANALYSIS = LayerAnalysis(
    ("encoder.layer.0", "encoder.layer.1"),
    (1.0, 10.0),
    torch.cat([MAPS, MAPS / 10]),
    torch.tensor([[[0.9], [0.8]], [[0.7], [0.6]]]),
    torch.zeros(2, 2, 1),
    torch.tensor([0.95]),
    ("1",),
    "probability",
    {},
    "Bert",
)


def test_pieces_are_joined_to_words_as_they_were_written():
    words, owner = joined_pieces(BATCH, 0)
    assert words == ("[CLS]", "unreal", "film", "[SEP]")
    assert owner.tolist() == [0, 1, 1, 2, 3]


def test_one_text_in_two_networks():
    page = draw_text_layers({"tuned": ANALYSIS, "base": ANALYSIS}, BATCH, 0, beta=1, classes=("bad", "good"))
    written = [text.get_text() for text in page.texts]
    assert {"good: probability 0.95", "tuned", "base", "layer 1", "layer 2", "2 bits · 0.70", "1 bits · 0.60"} <= set(
        written
    )
    shares = page.axes[0].collections[0].get_array().reshape(2, 4)
    torch.testing.assert_close(torch.tensor(shares[0]), torch.tensor([1, 5, 4, 5]) / 100, check_dtype=False)


def test_one_text_over_beta():
    written = [text.get_text().replace("\xa0", " ") for text in draw_beta_sweep(ANALYSIS, BATCH, 0).texts]
    assert {"β = 1", "β = 10", "15 bits · 0.90"} <= set(written)


def test_the_plane_has_a_line_for_each_layer_and_a_point_for_each_beta():
    page = draw_information_plane({"tuned": ANALYSIS})
    lines = [line for line in page.axes[0].get_lines() if len(line.get_xdata()) == 2]
    points = sorted((tuple(line.get_xdata()), tuple(line.get_ydata())) for line in lines)
    assert [[round(float(x), 3) for x in xs] for xs, _ in points] == [[0.8, 8.0], [1.5, 15.0]]
    assert [[round(float(y), 3) for y in ys] for _, ys in points] == [[0.6, 0.8], [0.7, 0.9]]
    many = replace(
        ANALYSIS, maps=ANALYSIS.maps.repeat(1, 1, 6, 1), kept=ANALYSIS.kept.repeat(1, 1, 6), before=torch.ones(6)
    )
    assert any("standard errors" in text.get_text() for text in draw_information_plane({"a": many, "b": many}).texts)
