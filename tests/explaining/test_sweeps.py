"""Maps by one setting: what is made is what a single bottleneck makes; roughness against what it means."""

import pytest
import torch

from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.datasets import open_dataset
from bitlens.errors import InputError, LayerError, SettingError
from bitlens.explaining.sweeps import roughness, sweep_betas, sweep_smoothings
from bitlens.methods.lessons import STATISTICS
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.load import load_model


@pytest.fixture
def network(home):
    loaded = load_model(f"{home / 'net.py'}:build")
    noise = torch.randn(200, 3, 48, 48)
    known = {
        layer: IBA(loaded.model, layer).fit_statistics([noise], granularity="channel").statistics
        for layer in ("0", "1")
    }
    return loaded, known


def test_each_map_is_that_of_its_own_settings_whatever_the_sizes(network):
    loaded, known = network
    images = [torch.randn(1, 3, side, side) for side in (48, 40, 48)]
    told = []
    found = sweep_betas(
        loaded.model, images, [1, 2, 3], known, (1.0, 10.0), progress=lambda: told.append(1), steps=3, noise_samples=2
    )
    assert len(told) == 2 * 2 * 3
    for row, layer in zip(found, known, strict=True):
        for column, beta in zip(row, (1.0, 10.0), strict=True):
            iba = IBA(loaded.model, layer, beta=beta, statistics=known[layer], steps=3, noise_samples=2)
            for made, image, target in zip(column, images, (1, 2, 3), strict=True):
                alone = iba.explain(image, target)
                assert made.targets == alone.targets
                assert made.settings["beta"] == beta
                torch.testing.assert_close(made.map, alone.map, rtol=1e-3, atol=1e-5)


def test_blur_takes_the_roughness_out():
    loaded, scenes = load_model("builtin/scenes"), open_dataset("builtin:scenes")
    images = [loaded.preprocess(scenes[i].image)[None] for i in range(20)]
    iba = IBA(loaded.model, "layer2").fit_statistics([torch.cat(images)], granularity="channel")
    found = sweep_smoothings(
        loaded.model, images[:2], [scenes[i].label for i in range(2)], iba.statistics, (0.0, 1.0, 2.0), beta=1.0,
        quality="fast",
    )  # fmt: skip
    means = [sum(float(roughness(one.cells)) for one in column) for column in found]
    assert means[0] > means[1] > means[2]


def test_roughness_of_known_maps():
    alone = torch.zeros(1, 5, 5)
    alone[0, 2, 2] = 3.0
    grid = torch.zeros(1, 40, 40)
    grid[0, ::2, ::2] = grid[0, 1::2, 1::2] = 1.0
    assert float(roughness(alone)) == 1.0
    assert float(roughness(torch.ones(1, 5, 5))) == 0.0
    assert float(roughness(grid)) == pytest.approx(1.0, abs=0.03)
    assert bool(roughness(torch.zeros(1, 3, 3)).isnan())
    torch.testing.assert_close(roughness(7 * grid), roughness(grid))
    with pytest.raises(InputError, match=r"expected \(N, h, w\)"):
        roughness(torch.ones(3, 3))


def test_what_makes_no_sense_is_refused(network):
    loaded, known = network
    image = [torch.randn(1, 3, 48, 48)]
    with pytest.raises(SettingError, match="betas above 0"):
        sweep_betas(loaded.model, image, [1], known, [1.0, 0.0])
    with pytest.raises(SettingError, match="0 or more"):
        sweep_smoothings(loaded.model, image, [1], known["0"], [-1.0])
    vector = IBA(loaded.model, "4").fit_statistics([torch.randn(1000, 3, 48, 48)], granularity="channel").statistics
    with pytest.raises(LayerError, match="not a grid over the photo"):
        sweep_betas(loaded.model, image, [1], {"4": vector}, [1.0], steps=1)


def test_statistics_of_layers_at_once_are_those_of_each(home, monkeypatch):
    loaded, samples = load_model(f"{home / 'net.py'}:build"), open_dataset(f"folder:{home / 'photos'}")
    together = [IBA(loaded.model, layer) for layer in ("0", "1")]
    passes = []
    loaded.model[-1].register_forward_hook(lambda _module, args, _output: passes.append(len(args[0])))
    told = []
    source = Source("photos", samples, 8)
    Teacher(loaded, source, progress=told.append).teach(STATISTICS, *together)
    assert passes.count(8) == 1  # the others are of a few, to learn how the network behaves
    assert told[-1] == 8
    for iba in together:
        alone = IBA(loaded.model, iba.probe.name)
        Teacher(loaded, source, cached=False).teach(STATISTICS, alone)
        made = alone.statistics
        torch.testing.assert_close(iba.statistics.mean, made.mean)
        torch.testing.assert_close(iba.statistics.std, made.std)
        assert iba.statistics.provenance == made.provenance
    monkeypatch.setattr("bitlens.methods.lessons.collect_here", None)  # what is kept is not made again
    Teacher(loaded, source).teach(STATISTICS, IBA(loaded.model, "1"))
