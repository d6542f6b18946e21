from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bitlens.bottlenecks.input import critics
from bitlens.bottlenecks.input.critic_networks import (
    published_critic,
    published_token_critic,
    small_critic,
    small_token_critic,
)
from bitlens.bottlenecks.input.critics import GameSchedule, official_wgan, wgan, wgan_gp
from bitlens.bottlenecks.input.prior import feature_map
from bitlens.core.layout import LAYOUTS
from bitlens.errors import LayerError
from stages import distance, first_stage

PRIORS = {"wgan": wgan, "wgan-gp": wgan_gp, "official": official_wgan}


def test_the_published_critic_has_the_size_that_the_released_one_has() -> None:
    with torch.device("meta"):
        critic = published_critic(512, (28, 28), batch_norm=True)
        small = small_critic(512, (28, 28))
    sizes = [sum(p.numel() for p in net.parameters()) for net in (critic, small)]
    assert sizes[0] == pytest.approx(64.4e6, rel=1e-3)
    assert sizes[1] < 0.01 * sizes[0]


@pytest.mark.parametrize("make", [published_critic, small_critic])
@pytest.mark.parametrize("grid", [(1, 1), (2, 7), (3, 3), (4, 4), (5, 9), (27, 27), (28, 14)])
def test_critics_fit_any_grid(make: object, grid: tuple[int, int]) -> None:
    features = torch.randn(3, 6, *grid, requires_grad=True)
    said = make(6, grid)(features)  # type: ignore[operator]
    assert said.shape == (3, 1)
    (slope,) = torch.autograd.grad(said.sum(), features)
    assert bool(torch.isfinite(slope).all())
    assert bool((slope.abs().amax((0, 1)) > 0).all())  # no place is left out


@pytest.mark.parametrize("make", [published_token_critic, small_token_critic])
@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_critics_of_texts_look_at_every_token(make: object, tokens: int) -> None:
    features = torch.randn(3, 6, tokens, requires_grad=True)
    said = make(6, (tokens,))(features)  # type: ignore[operator]
    assert said.shape == (3, 1)
    (slope,) = torch.autograd.grad(said.sum(), features)
    assert bool((slope.abs().amax((0, 1)) > 0).all())


def test_the_published_critic_of_texts_has_the_size_that_the_released_one_has() -> None:
    critic = published_token_critic(256, (230,))
    assert sum(p.numel() for p in critic.parameters()) == 4 * 256 * (256 + 256 + 2) + 256 * 128 + 128 + 128 + 1


def test_schedules_are_the_papers_and_the_released_one() -> None:
    paper, released = list(critics.PUBLISHED), list(critics.RELEASED)
    assert (len(paper), sum(turn for _, turn in paper)) == (140, 28)
    assert (len(released), sum(turn for _, turn in released)) == (140, 40)
    assert sum(count for count, _ in released) == 20 * 200
    assert [turn for _, turn in paper[:5]] == [False] * 4 + [True]


def test_weights_are_clipped() -> None:
    critic = published_critic(3, (4, 4), batch_norm=True)
    optimizer = torch.optim.RMSprop(critic.parameters(), lr=0.1)
    critics._clipped_step(critic, optimizer, torch.randn(4, 3, 4, 4), torch.randn(4, 3, 4, 4))
    assert max(float(p.detach().abs().max()) for p in critic.parameters()) <= 0.01 + 1e-9


def test_the_penalty_brings_the_slope_near_one() -> None:
    critic = small_critic(3, (8, 8))
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.0, 0.9))
    for _ in range(80):
        real = torch.randn(16, 3, 8, 8)
        critics._penalised_step(critic, optimizer, real + 0.5, torch.randn(16, 3, 8, 8))
    between = (torch.randn(16, 3, 8, 8) + 0.25).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between)
    assert 0.5 < float(slope.flatten(1).norm(dim=1).mean()) < 2


@pytest.mark.parametrize("critic", ["clipped", "penalised"])
def test_a_critic_learns_which_features_are_real(critic: str) -> None:
    step = critics._clipped_step if critic == "clipped" else critics._penalised_step
    network = small_critic(3, (8, 8))
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3)
    for _ in range(60):
        step(network, optimizer, torch.randn(16, 3, 8, 8) + 1, torch.randn(16, 3, 8, 8))
    real, fake = (network(torch.randn(64, 3, 8, 8) + shift).mean() for shift in (1, 0))
    assert real > fake


def test_the_released_maps_are_those_of_ten_groups() -> None:
    nothing = torch.zeros(1, 8, 64, 64)
    stage = replace(first_stage(1), features=nothing, information=nothing)
    draw = critics._released_maps(stage)
    maps = torch.cat([draw(count) for count in (32,) * 6 + (8,)]).flatten(1)
    mean, std = maps.mean(1), maps.std(1)
    assert len(maps) == 200
    assert float(mean.abs().max()) < 2.1
    assert float(std.max()) < 5.1
    alike = (mean[:, None] - mean[None]).abs() + (std[:, None] - std[None]).abs() < 0.2
    assert int(alike.sum(1).min()) >= 20  # each map has its group's mean and deviation
    assert int(alike.sum(1).max()) <= 60
    assert not torch.equal(draw(200).flatten(1).sort(0).values, maps.sort(0).values)  # drawn anew


def test_the_released_maps_mix_by_information() -> None:
    stage = first_stage(1)
    kept = replace(stage, information=torch.ones_like(stage.information))
    torch.testing.assert_close(critics._released_maps(kept)(5), kept.features.expand(5, -1, -1, -1))


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    few = GameSchedule((4,) * 5, (4,), 2)
    for name in ("_WGAN", "_OFFICIAL", "_WGAN_GP"):
        shorter = {places: replace(game, schedule=few) for places, game in getattr(critics, name).items()}
        monkeypatch.setattr(critics, name, shorter)


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("name", PRIORS)
def test_each_input_has_a_critic_of_its_own(name: str) -> None:
    stage = first_stage(2, rows=3)
    before = torch.get_rng_state()
    together = PRIORS[name](stage)
    assert torch.equal(torch.get_rng_state(), before)
    assert together.shape == stage.images.shape
    assert torch.equal(together, torch.cat([PRIORS[name](stage.only(i)) for i in range(2)]))
    assert not torch.equal(together, feature_map(stage).expand_as(together))
    torch.testing.assert_close(PRIORS[name](replace(stage, rows=100)), together, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("_short")
def test_the_released_prior_sees_what_an_in_place_relu_leaves() -> None:
    seen: list[Tensor] = []
    stage = first_stage(1)
    step = critics._OFFICIAL[2].step

    def watched(critic: object, optimizer: object, real: Tensor, fake: Tensor) -> None:
        seen.append(fake)
        step(critic, optimizer, real, fake)  # type: ignore[arg-type]

    critics._OFFICIAL[2] = replace(critics._OFFICIAL[2], step=watched)  # the fixture's own, which goes with it
    official_wgan(replace(stage, overwritten=True))
    assert min(float(fake.min()) for fake in seen) == 0
    seen.clear()
    official_wgan(stage)
    assert min(float(fake.min()) for fake in seen) < 0


@pytest.mark.slow
def test_the_published_rates_hardly_move_the_mask() -> None:
    stage = first_stage(1)
    moved = (official_wgan(stage) - feature_map(stage)).abs().max()
    assert 0 < float(moved) <= 0.35


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_critic_with_penalty_brings_the_features_nearer_to_z(seed: int) -> None:
    stage = first_stage(2, seed=seed)
    assert distance(stage, wgan_gp(stage)) < distance(stage, feature_map(stage))


@pytest.mark.parametrize("name", PRIORS)
def test_features_without_places_are_refused(name: str) -> None:
    stage = replace(first_stage(1), layout=LAYOUTS["D"], features=torch.zeros(1, 8))
    with pytest.raises(LayerError, match="a critic needs features along a series"):
        PRIORS[name](stage)
