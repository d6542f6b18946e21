"""Sheets of heat maps from an evaluation and from settings."""

import numpy as np
import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.evaluation.grids import draw_kept_maps, draw_layers_and_betas, draw_smoothings
from bitlens.evaluation.run import carry_out, find_tasks, select_samples
from bitlens.models.load import load_model
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


def test_layers_against_betas_and_smoothings(home):
    loaded = load_model(f"{home / 'net.py'}:build")
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(200, 3, 48, 48)
    known = {
        layer: IBA(loaded.model, layer).fit_statistics([noise], granularity="channel").statistics
        for layer in ("0", "1")
    }
    figure = draw_layers_and_betas(loaded, images[:1], 1, known, [1, 10, 100], steps=3)
    assert len(panels(figure)) == 2 * 4
    assert "β = 100" in texts(figure)
    assert texts(figure).count("bits, p =") == 6
    figure = draw_smoothings(loaded, images, [1, 2], known["0"], [0, 1], steps=3)
    assert len(panels(figure)) == 2 * 3
    assert "class 2" in texts(figure)
    rough, smooth = (np.asarray(panels(figure)[i].images[0].get_array()) for i in (1, 2))
    assert not np.array_equal(rough, smooth)
