"""Copies of a network that know deletions: what they learn, what they leave alone, and F-Fidelity by closed forms."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitlens.errors import ModelError, SettingError, TargetError
from bitlens.metrics import OneCell, RandomTiles, f_fidelity, in_domain
from bitlens.metrics.in_domain import FINE_TUNING, InDomainTask
from bitlens.probe import Network
from bitlens.training.examples import InMemory

FEW = replace(FINE_TUNING, epochs=6, batch=8, learning_rate=3e-3, held_out=0.2)


@pytest.fixture
def network(tiny_cnn):
    return Network(tiny_cnn)


@pytest.fixture
def photos():
    return torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(3)) + 0.5


def drawn(deletion, places, count=400):
    return torch.stack([deletion.gone(places, torch.Generator().manual_seed(seed)) for seed in range(count)])


@pytest.fixture
def places(network, photos):
    return network.prepared(photos).placed("the test")


def test_half_of_the_inputs_lose_one_cell_each_as_often(places):
    gone = drawn(OneCell(4), places).flatten(1)
    sizes = gone.sum(1)
    assert set(sizes.tolist()) == {0, 16}
    assert float((sizes > 0).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert (gone.any(0)).all()


def test_shares_of_tiles_go_up_to_the_largest_and_none_beyond(places):
    gone = drawn(RandomTiles(tile=2, share=0.25), places).flatten(1)
    shares = gone.float().mean(1)
    assert float(shares.max()) == 0.25
    assert float(shares.min()) == 0.0
    assert float(shares.mean()) == pytest.approx(0.125, abs=0.01)


def test_the_copy_says_of_damaged_photos_what_the_network_says_of_whole_ones(network, photos):
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    deletion = OneCell(2)
    copy = in_domain(network, InMemory([photos]), deletion, FEW)
    task = InDomainTask(network, deletion)
    fresh = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(9)) + 0.5
    whole = task.prepare(InMemory([fresh]).take(range(64)))

    def lost(module):
        with torch.no_grad():
            return float(task.losses(module, whole, list(range(64)), None, None).total.mean())

    assert lost(copy) < 0.7 * lost(network.model)
    assert all(torch.equal(value, before[name]) for name, value in network.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    running = [name for name in before if "running" in name]
    assert running
    assert all(torch.equal(copy.state_dict()[name], before[name]) for name in running)


def test_a_training_that_was_cut_short_goes_on_to_the_same_weights(network, photos, tmp_path):
    deletion, file = RandomTiles(tile=4, share=0.3), tmp_path / "judge.checkpoint"
    whole = in_domain(network, InMemory([photos]), deletion, FEW)

    def stop(now):
        if now.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_domain(network, InMemory([photos]), deletion, FEW, checkpoint=file, progress=stop)
    resumed = in_domain(network, InMemory([photos]), deletion, FEW, checkpoint=file)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(SettingError):
        in_domain(network, InMemory([photos]), RandomTiles(tile=4, share=0.2), FEW, checkpoint=file)


def test_a_network_whose_weights_cannot_be_tuned_is_refused(photos):
    class Fixed(nn.Module):
        def forward(self, images):
            return images.flatten(2).mean(2)

    with pytest.raises(ModelError, match="no weights that could be tuned"):
        in_domain(Network(Fixed().eval()), InMemory([photos]), OneCell(), FEW)


def test_a_network_without_classes_is_refused_before_anything_is_learnt(tiny_cnn, photos):
    network = Network(tiny_cnn, output="regression")
    with pytest.raises(TargetError, match="tells classes apart; this one gives regression"):
        in_domain(network, InMemory([photos]), OneCell(), FEW)


class Dense(nn.Module):
    """Three numbers at every place, that the place's surroundings decide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 3, 5, padding=2))

    def forward(self, images):
        return {"out": self.body(images)}


@pytest.mark.parametrize("output", [None, "multi-label"])  # what the numbers are is not asked
def test_a_network_that_answers_at_many_places_is_taught_its_answers(output):
    def smooth(seed):  # what surrounds a tile tells what was in it
        rough = torch.randn(64, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
        return F.interpolate(rough, (16, 16), mode="bilinear")

    network = Network(Dense().eval(), output=output)
    deletion = RandomTiles(tile=2, share=0.5)
    copy = in_domain(network, InMemory([smooth(0)]), deletion, FEW)
    task = InDomainTask(network, deletion)
    whole = task.prepare(InMemory([smooth(1)]).take(range(64)))
    seeds = list(range(64))
    with torch.no_grad():
        before, after = (task.losses(module, whole, seeds, None, None) for module in (network.model, copy))
        damaged = network.model(task.damaged(whole.inputs, seeds).first)["out"]
    missed = (damaged - whole.said).square().mean((1, 2, 3)) / whole.said.flatten(1).var(1)
    torch.testing.assert_close(before.total, missed)
    agreed = (damaged.argmax(1) == whole.said.argmax(1)).float().mean((1, 2))
    torch.testing.assert_close(before.parts["agreement"], agreed)
    assert float(after.total.mean()) < 0.7 * float(before.total.mean())


class Counting(nn.Module):
    """Gives the number of bright pixels of the left half as class 1's log-odds, and nothing for class 0."""

    def forward(self, images):
        bright = images[:, 0, :, :8].sum((1, 2))
        return torch.stack([torch.zeros_like(bright), bright], 1)


def test_a_right_map_loses_what_is_deleted_of_it_and_nothing_of_the_rest():
    images, maps = torch.ones(2, 1, 16, 16), torch.zeros(2, 16, 16)
    maps[:, :, :8] = 1

    def target(output):
        return output[:, 1]

    found = f_fidelity(Counting().eval(), images, target, maps, tile=2, share=0.125, part=0.5, sizes=[0.25, 0.5])
    tiles = 8  # an eighth of 64, whatever half of 16 or 32 tiles would be; each holds 4 bright pixels
    assert found.plus.tolist() == [[4.0 * tiles] * 2] * 2
    assert found.minus[:, 1].tolist() == [0.0, 0.0]  # half of the tiles are the left half, all others do not matter
    wrong = f_fidelity(Counting().eval(), images, target, -maps, tile=2, share=0.125, part=0.5, sizes=[0.5])
    assert wrong.scores().tolist() == [-4.0 * tiles] * 2


def test_never_more_goes_than_the_network_knows():
    seen = []

    class Watching(Counting):
        def forward(self, images):
            seen.append((images == 0).flatten(1).float().mean(1))
            return super().forward(images)

    images = torch.ones(1, 1, 16, 16)
    f_fidelity(
        Watching().eval(), images, lambda output: output[:, 1], torch.rand(1, 16, 16), tile=2, share=0.1, draws=3
    )
    assert float(torch.cat(seen).max()) == 6 / 64  # a tenth of 64 tiles, rounded down


def test_random_maps_score_nothing():
    images = torch.ones(200, 1, 16, 16)
    maps = torch.rand(200, 16, 16, generator=torch.Generator().manual_seed(5))
    found = f_fidelity(Counting().eval(), images, lambda output: output[:, 1], maps, tile=4, share=0.2, draws=4).score()
    assert abs(found.value) < 3 * found.standard_error


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"share": 1.0}, "share must lie above 0 and below 1"),
        ({"sizes": []}, "sizes must lie"),
        ({"tile": 8, "share": 0.1}, "less than one"),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    images = torch.ones(1, 1, 16, 16)
    with pytest.raises(SettingError, match=says):
        f_fidelity(
            Counting().eval(),
            images,
            lambda output: output[:, 1],
            images[:, 0],
            **{"tile": 4, "share": 0.2, **settings},
        )
