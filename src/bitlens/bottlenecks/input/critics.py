"""Priors found with a critic: a Wasserstein GAN for each input, at the layer's features (algorithms D2 to D5).

A critic learns to tell samples of Z* from the features of masked inputs; the generator's mask learns to deceive it. Each
input has a critic of its own, trained from scratch, so inputs are taken one after the other.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from bitlens.bottlenecks.input.critic_networks import (
    published_critic,
    published_token_critic,
    small_critic,
    small_token_critic,
)
from bitlens.bottlenecks.input.prior import ROUNDING, FirstStage, Generator, check_finite, check_gradient, feature_map
from bitlens.core.gaussian import NoiseModel
from bitlens.core.noise import NoisyCopies
from bitlens.errors import LayerError

_CLIP = 0.01
_PENALTY = 10.0  # weight of the gradient penalty, of WGAN-GP
_REAL_STREAM = 0x2545F491  # the noise of Z* must not be that of the masked inputs
_WEIGHTS_STREAM = 0x1B873593  # nor may the critic begin with the numbers of either


@dataclass(frozen=True)
class GameSchedule:
    """Length and rates of the game of critic and generator.

    Attributes:
        batches: how many inputs (and samples of Z*) each step sees, one entry for every step of the critic; repeated.
        turns: after which of these steps the generator has its own.
        repeats: how often the whole is played.
    """

    batches: tuple[int, ...]
    turns: tuple[int, ...]
    repeats: int

    def __iter__(self) -> Iterator[tuple[int, bool]]:
        once = [(size, step in self.turns) for step, size in enumerate(self.batches)]
        return islice(cycle(once), self.repeats * len(once))


PUBLISHED = GameSchedule((32,) * 5, (4,), 28)
"""140 steps of the critic as released, and one of the generator after five of the critic (algorithms D5, I31)."""

RELEASED = GameSchedule((32,) * 6 + (8,), (0, 5), 20)
"""As released: 20 epochs of 200 maps in batches of 32, the generator's turn at batches 0 and 5."""

SHORT = GameSchedule((8,) * 5, (4,), 15)

CriticStep = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], None]
"""One step of a critic, from its optimiser, real and generated features (batch, C, H, W)."""


@dataclass(frozen=True)
class _Game:
    """Rules of the game: the critic's network, optimiser and step, the schedule, rate and eps of the mask's logits."""

    critic: Callable[[int, tuple[int, ...]], nn.Module]
    optimizer: Callable[..., torch.optim.Optimizer]
    step: CriticStep
    schedule: GameSchedule
    rate: float
    eps: float = 1e-8


def _clipped_step(critic: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, fake: Tensor) -> None:
    """Hold weights within ±0.01, those of batch norm too (algorithms D5)."""
    optimizer.zero_grad()
    (critic(fake).mean() - critic(real).mean()).backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-_CLIP, _CLIP)


def _penalised_step(critic: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, fake: Tensor) -> None:
    """Hold the critic's gradient near length one, halfway between real and generated features (WGAN-GP)."""
    optimizer.zero_grad()
    share = torch.linspace(0, 1, len(real), device=real.device, dtype=torch.float32)
    between = torch.lerp(real, fake, share.reshape(-1, *[1] * (real.dim() - 1)))
    between.requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = _PENALTY * (slope.flatten(1).norm(dim=1) - 1).square().mean()
    (critic(fake).mean() - critic(real).mean() + penalty).backward()
    optimizer.step()


_RMSPROP = partial(torch.optim.RMSprop, lr=5e-5)
_ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9))
_WGAN = {
    2: _Game(published_critic, _RMSPROP, _clipped_step, PUBLISHED, rate=0.003),
    1: _Game(published_token_critic, _RMSPROP, _clipped_step, PUBLISHED, rate=0.03),
}
_OFFICIAL = {
    2: _Game(partial(published_critic, batch_norm=True), _RMSPROP, _clipped_step, RELEASED, rate=0.003),
    1: _Game(published_token_critic, _RMSPROP, _clipped_step, RELEASED, rate=0.03),
}
_WGAN_GP = {
    2: _Game(small_critic, _ADAM, _penalised_step, SHORT, rate=0.1),
    1: _Game(small_token_critic, _ADAM, _penalised_step, SHORT, rate=0.1, eps=ROUNDING),
}
"""By the number of axes that count places: 2 for features of images, 1 for those of texts."""


def wgan(stage: FirstStage) -> Tensor:
    """Find the paper's prior: samples of Z*, the published critic without batch norm, weights clipped to ±0.01.

    Raises:
        LayerError: if the features have no grid.
        FitError: if the features are not finite.
    """
    game = _for_layout(_WGAN, stage)
    return _for_each(stage, lambda one: _play(game, one, _samples_of_z(one)))


def wgan_gp(stage: FirstStage) -> Tensor:
    """Find a prior by a small critic whose gradient is held near length one (Gulrajani et al.), on standardised features."""
    game = _for_layout(_WGAN_GP, stage)

    def play(one: FirstStage) -> Tensor:
        scores = _standardised(one)
        return _play(game, scores, _samples_of_z(scores))

    return _for_each(stage, play)


def official_wgan(stage: FirstStage) -> Tensor:
    """Find the prior as released (algorithms D2, D5, J13, J14): not the paper's Z*, but R mixed with arbitrary noise.

    The information (nats, unbounded) takes the place of the mask; the noise has one mean in ±2 and one deviation in 0 to 5 for
    each of ten groups; features are what an in-place ReLU leaves of them. The critic of images has batch norm.
    """
    game = _for_layout(_OFFICIAL, stage)
    if len(stage.layout.places) == 1:  # for texts it begins with nats, not bits
        stage = replace(stage, maps=stage.maps * math.log(2))
    if stage.overwritten:
        reach = stage.reach
        stage = replace(
            stage, features=stage.features.relu(), reach=lambda variants, rows: reach(variants, rows).relu()
        )
    return _for_each(stage, lambda one: _play(game, one, _released_maps(one)))


def _standardised(stage: FirstStage) -> FirstStage:
    """Return the same with features in standard deviations from their mean."""
    mean, std = stage.noise.mean, stage.noise.std
    noise = NoiseModel(torch.zeros_like(std), torch.ones_like(std), stage.noise.active)
    return replace(
        stage,
        features=(stage.features - mean) / std,
        noise=noise,
        reach=lambda variants, rows: (stage.reach(variants, rows) - mean) / std,
    )


def _for_layout(games: Mapping[int, _Game], stage: FirstStage) -> _Game:
    if len(stage.layout.places) not in games:
        raise LayerError(
            f"a critic needs features along a series or over an image, not {tuple(stage.features.shape[1:])}: choose another "
            "layer, or prior='feature-map', 'feature-matching' or 'none'"
        )
    return games[len(stage.layout.places)]


def _for_each(stage: FirstStage, play: Callable[[FirstStage], Tensor]) -> Tensor:
    return torch.cat([play(stage.only(i)) for i in range(len(stage))])


def _samples_of_z(stage: FirstStage) -> Callable[[int], Tensor]:
    """Return fresh samples of Z* (count, ...) of one sample."""
    noise = NoisyCopies(stage.features.shape[1:], stage.seed + _REAL_STREAM, stage.features.device)
    return lambda count: stage.targets(noise.draw(count))[:, 0]


def _released_maps(stage: FirstStage) -> Callable[[int], Tensor]:
    """Return the released "synthetic feature maps" (count, ...): 200 of them in ten groups.

    Noise is redrawn at every access; for texts each of the 200 has its own, once (algorithms D8).
    """
    device, size = stage.features.device, stage.features.shape[1:]
    generator = torch.Generator(device).manual_seed(stage.seed + _REAL_STREAM)
    centre, spread = torch.rand(2, 10, dtype=torch.float32, generator=generator, device=device).repeat_interleave(20, 1)
    centre, spread = 4 * centre - 2, 5 * spread
    waiting: list[int] = []

    def next_maps(count: int) -> Tensor:
        if not waiting:
            waiting.extend(torch.randperm(200, generator=generator, device=device).tolist())
        chosen, waiting[:] = waiting[:count], waiting[count:]
        if len(stage.layout.places) == 1:
            own = [torch.Generator(device).manual_seed(stage.seed + _REAL_STREAM + 1 + number) for number in chosen]
            standard = torch.stack(
                [torch.randn(size, dtype=torch.float32, generator=one, device=device) for one in own]
            )
        else:
            standard = torch.randn(count, *size, dtype=torch.float32, generator=generator, device=device)
        shape = (-1, *[1] * (stage.features.dim() - 1))
        noise = centre[chosen].reshape(shape) + spread[chosen].reshape(shape) * standard
        return torch.lerp(noise, stage.features, stage.information)

    return next_maps


def _play(game: _Game, stage: FirstStage, real_maps: Callable[[int], Tensor]) -> Tensor:
    """Return the logits of one sample's mask (1, ...) after the whole schedule."""
    device, size = stage.images.device, tuple(stage.features.shape[1:])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stage.seed + _WEIGHTS_STREAM)
        critic = game.critic(size[stage.layout.channel], stage.layout.grid(size)).to(device)
    optimizer = game.optimizer(critic.parameters())
    generator = Generator(stage.images, feature_map(stage))
    generator_optimizer = generator.optimizer(game.rate, game.eps)
    noise = NoisyCopies(stage.images.shape[1:], stage.seed, device)
    for count, turn in game.schedule:
        standard = noise.draw(count)
        with torch.no_grad():
            fake = torch.cat(
                [stage.features_of(generator.masked(part))[:, 0] for part in torch.split(standard, stage.rows)]
            )
        game.step(critic, optimizer, _channels_first(stage, real_maps(count)), _channels_first(stage, fake))
        if turn:
            slope = _slope(critic, stage, fake)
            generator_optimizer.zero_grad()
            for part, pull in zip(torch.split(standard, stage.rows), torch.split(slope, stage.rows), strict=True):
                features = stage.features_of(generator.masked(part))[:, 0]
                check_gradient(features)
                torch.autograd.backward([features], [pull], inputs=generator.parameters)
            generator_optimizer.step()
    return check_finite(generator.logits.detach())


def _slope(critic: nn.Module, stage: FirstStage, fake: Tensor) -> Tensor:
    """Return the slope of the generator's loss (the negative mean of what the critic says) by the features that it made."""
    fake = fake.detach().requires_grad_()
    (slope,) = torch.autograd.grad(-critic(_channels_first(stage, fake)).mean(), fake)
    return slope


def _channels_first(stage: FirstStage, features: Tensor) -> Tensor:
    return features.movedim(stage.layout.channel + 1, 1)
