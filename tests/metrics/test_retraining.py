"""Remove and retrain: what is removed, what it does to a known task, and that a stopped run goes on as if it had not been."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from bitlens.errors import DataError, FitError, InputError, SettingError
from bitlens.metrics import roar
from bitlens.metrics.retraining import ExplainedImages, RetrainingSettings, remove_top, small_resnet

QUICK = RetrainingSettings(epochs=15, batch_size=32, learning_rate=0.01)


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


def part(count, seed, maps="true"):
    """Noise of 8 x 8 pixels; the class is the sign of the middle 2 x 2, always at the same place."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 2, (count,), generator=generator)
    images[:, :, 3:5, 3:5] = (2.0 * labels - 1)[:, None, None, None]
    true = torch.zeros(count, 8, 8)
    true[:, 3:5, 3:5] = 1
    return ExplainedImages(images, labels, {"true": true, "wrong": -true}[maps])


def parts(maps="true"):
    return part(128, 1, maps), part(64, 2, maps), part(400, 3, maps)


def test_exactly_the_highest_pixels_go():
    images, maps = torch.randn(5, 3, 10, 8), torch.randn(5, 10, 8)
    fill = torch.tensor([1.0, 2.0, 3.0])
    reduced = remove_top(images, maps, 0.25, fill)
    gone = torch.zeros(5, 80, dtype=torch.bool).scatter(1, maps.flatten(1).topk(20).indices, True).reshape(maps.shape)
    assert torch.equal(reduced.movedim(1, -1)[gone], fill.expand(100, 3))
    assert torch.equal(reduced.movedim(1, -1)[~gone], images.movedim(1, -1)[~gone])
    assert torch.equal(remove_top(images, maps, 0.0, fill), images)
    assert torch.equal(remove_top(images, maps, 1.0, fill), fill.reshape(1, 3, 1, 1).expand_as(images))
    with pytest.raises(SettingError, match="rate"):
        remove_top(images, maps, 10, fill)


@pytest.mark.parametrize(("rate", "pixels"), [(0.29, 29), (0.57, 57), (0.126, 13), (0.124, 12)])
def test_the_number_of_pixels_is_the_nearest(rate, pixels):
    """0.29 · 100 is a little less than 29 in binary numbers."""
    reduced = remove_top(torch.zeros(1, 1, 10, 10), torch.randn(1, 10, 10), rate, torch.ones(1))
    assert reduced.sum() == pixels


def test_all_parts_are_filled_with_the_mean_colour_of_the_training_images(tmp_path):
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(3, 2)

        def forward(self, images):
            seen.append(images.detach().clone())
            return self.last(images.mean((2, 3)))

    shifted = [replace(p, images=p.images + shift) for p, shift in zip(parts(), (0.0, 3.0, -5.0), strict=True)]
    roar(*shifted, Watching, state=tmp_path / "a", rates=(1.0,), seeds=(0,), training=replace(QUICK, epochs=1))
    colour = shifted[0].images.mean((0, 2, 3))
    images = torch.cat(seen)
    assert len(images) == 128 + 64 + 400
    torch.testing.assert_close(images, colour.reshape(1, 3, 1, 1).expand_as(images))


def test_ties_are_no_matter_of_place():
    images, fill = torch.zeros(2, 1, 20, 20), torch.ones(1)
    reduced = remove_top(images, torch.zeros(2, 20, 20), 0.25, fill)
    assert torch.equal(reduced[0], reduced[1])
    assert reduced[0].sum() == 100
    assert all(5 <= quarter.sum() <= 45 for quarter in reduced[0, 0].split(5))


def test_the_accuracy_falls_where_the_map_is_right_and_only_there(tmp_path):
    true, wrong = (
        roar(*parts(maps), build, state=tmp_path / maps, rates=(0.0, 4 / 64, 0.5), seeds=(0, 1), training=QUICK)
        for maps in ("true", "wrong")
    )
    assert [(row.rate, row.seed) for row in true] == [(r, s) for r in (0.0, 4 / 64, 0.5) for s in (0, 1)]
    chance = 4 * (0.25 / 400) ** 0.5
    assert [row.test_accuracy for row in true[:2]] == [row.test_accuracy for row in wrong[:2]]
    assert all(row.test_accuracy > 0.95 for row in (*true[:2], *wrong))
    assert all(abs(row.test_accuracy - 0.5) < chance for row in true[2:])
    assert true[0].validation_accuracy > 0.9


def test_a_stopped_run_goes_on_as_if_nothing_had_been(tmp_path):
    settings = {"rates": (0.1, 0.5), "seeds": (0, 1), "training": replace(QUICK, epochs=2)}
    made = []

    def stop(row):
        made.append((row.rate, row.seed))
        if len(made) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        roar(*parts(), build, state=tmp_path / "stopped", progress=stop, **settings)
    resumed = roar(
        *parts(), build, state=tmp_path / "stopped", progress=lambda row: made.append((row.rate, row.seed)), **settings
    )
    random = torch.get_rng_state()
    undisturbed = roar(*parts(), build, state=tmp_path / "whole", **settings)
    assert torch.equal(torch.get_rng_state(), random)
    assert resumed == undisturbed
    assert made == [(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]
    assert (tmp_path / "stopped").read_text() == (tmp_path / "whole").read_text()
    more = roar(*parts(), build, state=tmp_path / "whole", **{**settings, "seeds": (0, 1, 2)})
    assert [row for row in more if row.seed < 2] == list(undisturbed)
    assert len({row.test_accuracy for row in more}) > 1


def test_a_state_of_something_else_is_refused(tmp_path):
    few = {"rates": (0.5,), "seeds": (0,), "training": replace(QUICK, epochs=1), "state": tmp_path / "state.json"}
    roar(*parts(), build, **few)
    for data, network, settings in (
        (parts("wrong"), build, {}),
        (parts(), lambda: small_resnet(2, width=4), {}),
        (parts(), build, {"training": QUICK}),
    ):
        with pytest.raises(DataError, match="other data, maps, network or training"):
            roar(*data, network, **{**few, **settings})
    for text in ("{", json.dumps({"rows": []}), json.dumps([1])):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(DataError, match="does not hold"):
            roar(*parts(), build, **few)


def test_what_cannot_be_trained_is_refused(tmp_path):
    good = part(8, 0)
    with pytest.raises(InputError, match="N > 0"):
        ExplainedImages(good.images, good.labels, good.maps[:4])
    with pytest.raises(InputError, match="NaN"):
        ExplainedImages(good.images, good.labels, good.maps * torch.nan)
    small = ExplainedImages(torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), torch.zeros(2, 4, 4))
    with pytest.raises(InputError, match="one size"):
        roar(good, good, small, build, state=tmp_path / "a")
    with pytest.raises(FitError, match="diverged"):
        roar(good, good, good, build, state=tmp_path / "b", training=replace(QUICK, learning_rate=1e30))
    assert not (tmp_path / "b").exists()
    with pytest.raises(SettingError, match="epochs"):
        RetrainingSettings(epochs=0)


def test_small_resnet_has_three_stages():
    network = small_resnet(10, width=8).eval()
    shapes = []
    x = torch.randn(2, 3, 32, 32)
    for module in network:
        x = module(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[3:6] == [(8, 32, 32), (16, 16, 16), (32, 8, 8)]
    assert x.shape == (2, 10)
    assert sum(isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) for module in network.modules()) == 7
