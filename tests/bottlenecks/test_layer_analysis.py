"""One bottleneck for each layer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.bottlenecks.layer_analysis import LayerAnalysis, analyse_layers
from bitlens.bottlenecks.layered import LayeredTokenIBA
from bitlens.bottlenecks.token_statistics import collect_token_statistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.errors import DataError, SettingError
from small_transformers import batches, small_classifier, texts

LAYERS = [f"bert.encoder.layer.{i}" for i in range(3)]
pytestmark = pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")


def test_every_layer_and_beta_is_a_bottleneck_of_its_own(tmp_path: Path) -> None:
    model, given = small_classifier("Bert"), texts([9, 6])
    statistics = collect_token_statistics(model, LAYERS, batches(3))
    seen: list[int] = []
    settings = {"steps": 3, "noise_samples": 2, "evidence_samples": 4}
    found = analyse_layers(
        model, given, [0, 2], statistics=statistics, betas=(0.1, 5.0), progress=seen.append, **settings
    )
    assert found.maps.shape == (2, 3, 2, 9)
    assert found.kept.shape == (2, 3, 2)
    assert seen == [1, 2, 3, 4, 5, 6]
    for b, beta in enumerate(found.betas):
        for depth, layer in enumerate(LAYERS):
            iba = TokenIBA(model, layer, beta=beta, steps=3, noise_samples=2, statistics=statistics)
            alone = iba.explain(given, [0, 2], evidence_samples=4)
            assert alone.evidence is not None
            torch.testing.assert_close(found.maps[b, depth], alone.map)
            torch.testing.assert_close(found.kept[b, depth], alone.evidence.under_noise)
    assert bool((found.maps[..., 1, 6:] == 0).all())
    rows = found.rows()
    assert len(rows) == 12
    assert rows[-1]["layer"] == LAYERS[2]
    assert rows[-1]["target"] == "2"
    assert rows[0]["total_bits"] == pytest.approx(float(found.maps[0, 0, 0].sum()))
    found.save(tmp_path / "l.safetensors")
    again = LayerAnalysis.load(tmp_path / "l.safetensors")
    assert torch.equal(again.maps, found.maps)
    assert again.layers == found.layers
    assert again.betas == found.betas
    with pytest.raises(DataError):
        LayerAnalysis.load(tmp_path / "none.safetensors")


def test_an_analysis_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="needs layers, betas and evidence_samples"):
        analyse_layers(small_classifier("Bert"), texts([5]), statistics={})


def test_the_mean_of_several_layers() -> None:
    """Map, bits and evidence are those of the single layers, put together; noise of both layers makes the spread."""
    model, given = small_classifier("Bert"), texts([9, 6])
    statistics = collect_token_statistics(model, LAYERS, batches(3))
    settings: dict[str, Any] = {"steps": 3, "noise_samples": 2}
    both = LayeredTokenIBA(model, LAYERS[:2], **settings)
    both.statistics = statistics
    seen: list[int] = []
    got = both.explain(given, 1, evidence_samples=4, keep_capacity=True, progress=seen.append)
    parts = [
        TokenIBA(model, layer, statistics=statistics, **settings).explain(given, 1, evidence_samples=4)
        for layer in LAYERS[:2]
    ]
    torch.testing.assert_close(got.map, (parts[0].map + parts[1].map) / 2)
    torch.testing.assert_close(got.total_bits, got.map.sum(1))
    assert got.capacity is not None
    torch.testing.assert_close(got.capacity.sum(2), got.map)
    proofs = [part.evidence for part in parts]
    assert got.evidence is not None
    assert proofs[0] is not None
    assert proofs[1] is not None
    first, second = proofs[0].under_noise, proofs[1].under_noise
    torch.testing.assert_close(got.evidence.under_noise, (first + second) / 2)
    squares = (proofs[0].under_noise_std.square() + proofs[1].under_noise_std.square()) / 2
    torch.testing.assert_close(got.evidence.under_noise_std, (squares + ((first - second) / 2).square()).sqrt())
    assert got.evidence.noise_samples == 8
    assert seen == sorted(seen)
    assert seen[-1] == 2
    assert got.layer == " + ".join(LAYERS[:2])
    assert got.settings["layers"] == LAYERS[:2]
    again = LayeredTokenIBA(model, LAYERS[:2], **settings).fit_statistics(batches(3))
    torch.testing.assert_close(again.attribute(given, 1), got.map, rtol=1e-4, atol=1e-4)
    with pytest.raises(SettingError, match="layers is empty"):
        LayeredTokenIBA(model, [])
