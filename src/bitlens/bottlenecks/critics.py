"""Priors found with a critic: a Wasserstein GAN for each input, at the layer's features (algorithms D2 to D5).

A critic learns to tell samples of Z* from the features of masked inputs; the generator's mask learns to deceive it. Each
input has a critic of its own, trained from scratch, so inputs are taken one after the other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bottlenecks.prior import FirstStage, Generator, check_finite, check_gradient, feature_map
from bitlens.errors import LayerError
from bitlens.fitting import NoisyCopies
from bitlens.gaussian import NoiseModel

__all__ = ["Schedule", "official_wgan", "published_critic", "small_critic", "wgan", "wgan_gp"]

_SLOPE = 0.2  # of LeakyReLU
_CLIP = 0.01
_PENALTY = 10.0  # weight of the gradient penalty, of WGAN-GP
_REAL_STREAM = 0x2545F491  # the noise of Z* must not be that of the masked inputs


class _AtLeast(nn.Module):
    """Enlarges grids that two halvings would use up."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, features: Tensor) -> Tensor:
        return features if features.shape[2:] == self.grid else F.interpolate(features, self.grid, mode="bilinear")


def _enlarged(grid: tuple[int, int]) -> tuple[int, int]:
    return max(grid[0], 4), max(grid[1], 4)


def published_critic(channels: int, grid: tuple[int, int], *, batch_norm: bool = False) -> nn.Sequential:
    """The released critic (algorithms D4), for any grid: 64.4 million parameters for 512 x 28 x 28.

    Args:
        channels: C of the features.
        grid: H and W of the features.
        batch_norm: whether a batch norm follows each convolution, as in the released code.
    """
    c, (height, width) = channels, _enlarged(grid)
    layers: list[nn.Module] = [_AtLeast((height, width))]
    for inside, outside, kernel, stride in ((c, 2 * c, 4, 2), (2 * c, 4 * c, 4, 2), (4 * c, c, 3, 1)):
        layers.append(nn.Conv2d(inside, outside, kernel, stride, 1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outside))
        layers.append(nn.LeakyReLU(_SLOPE))
    flat = c * (height // 2 // 2) * (width // 2 // 2)
    head = [nn.Linear(flat, 512), nn.LeakyReLU(_SLOPE), nn.Linear(512, 256), nn.LeakyReLU(_SLOPE), nn.Linear(256, 1)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def small_critic(channels: int, grid: tuple[int, int]) -> nn.Sequential:
    """A hundredth of the published critic: channels are mixed down to 32 first."""
    height, width = _enlarged(grid)
    return nn.Sequential(
        _AtLeast((height, width)),
        nn.Conv2d(channels, 32, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(32, 32, 4, 2, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(32, 32, 4, 2, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        nn.Linear(32 * (height // 2 // 2) * (width // 2 // 2), 1),
    )


@dataclass(frozen=True)
class Schedule:
    """How long critic and generator play.

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


PUBLISHED = Schedule((32,) * 5, (4,), 28)
"""140 steps of the critic as released, and one of the generator after five of the critic (algorithms D5, I31)."""

RELEASED = Schedule((32,) * 6 + (8,), (0, 5), 20)
"""As released: 20 epochs of 200 maps in batches of 32, the generator's turn at batches 0 and 5."""

SHORT = Schedule((8,) * 5, (4,), 15)

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], None]
"""One step of a critic, from its optimiser, real and generated features (batch, C, H, W)."""


@dataclass(frozen=True)
class _Game:
    """Who plays how: the critic's network, optimiser and step, the schedule, and the rate of the mask's logits."""

    critic: Callable[[int, tuple[int, int]], nn.Module]
    optimizer: Callable[..., torch.optim.Optimizer]
    step: Step
    schedule: Schedule
    rate: float


def _clipped_step(critic: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, fake: Tensor) -> None:
    """Weights held within ±0.01, those of batch norm too (algorithms D5)."""
    optimizer.zero_grad()
    (critic(fake).mean() - critic(real).mean()).backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-_CLIP, _CLIP)


def _penalised_step(critic: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, fake: Tensor) -> None:
    """The critic's gradient held near length one, halfway between real and generated features (WGAN-GP)."""
    optimizer.zero_grad()
    between = torch.lerp(real, fake, torch.linspace(0, 1, len(real), device=real.device)[:, None, None, None])
    between.requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = _PENALTY * (slope.flatten(1).norm(dim=1) - 1).square().mean()
    (critic(fake).mean() - critic(real).mean() + penalty).backward()
    optimizer.step()


_RMSPROP = partial(torch.optim.RMSprop, lr=5e-5)
_WGAN = _Game(published_critic, _RMSPROP, _clipped_step, PUBLISHED, rate=0.003)
_OFFICIAL = _Game(partial(published_critic, batch_norm=True), _RMSPROP, _clipped_step, RELEASED, rate=0.003)
_WGAN_GP = _Game(small_critic, partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)), _penalised_step, SHORT, rate=0.1)


def wgan(stage: FirstStage) -> Tensor:
    """The paper's prior: samples of Z*, the published critic without batch norm, weights clipped to ±0.01.

    Raises:
        LayerError: if the features have no grid.
        FitError: if the features are not finite.
    """
    return _for_each(stage, lambda one: _play(_WGAN, one, _samples_of_z(one)))


def wgan_gp(stage: FirstStage) -> Tensor:
    """A small critic whose gradient is held near length one (Gulrajani et al., NeurIPS 2017), on standardised features."""

    def play(one: FirstStage) -> Tensor:
        scores = _standardised(one)
        return _play(_WGAN_GP, scores, _samples_of_z(scores))

    return _for_each(stage, play)


def official_wgan(stage: FirstStage) -> Tensor:
    """The prior as released (algorithms D2, D5, J13, J14): not the paper's Z*, but R mixed with arbitrary noise.

    The information (nats, unbounded) takes the place of the mask; the noise has one mean in ±2 and one deviation in 0 to 5 for
    each of ten groups; features are what an in-place ReLU leaves of them. The critic has batch norm.
    """
    if stage.overwritten:
        reach = stage.reach
        stage = replace(
            stage, features=stage.features.relu(), reach=lambda variants, rows: reach(variants, rows).relu()
        )
    return _for_each(stage, lambda one: _play(_OFFICIAL, one, _released_maps(one)))


def _standardised(stage: FirstStage) -> FirstStage:
    """The same with features in standard deviations from their mean."""
    mean, std = stage.noise.mean, stage.noise.std
    noise = NoiseModel(torch.zeros_like(std), torch.ones_like(std), stage.noise.active)
    return replace(
        stage,
        features=(stage.features - mean) / std,
        noise=noise,
        reach=lambda variants, rows: (stage.reach(variants, rows) - mean) / std,
    )


def _for_each(stage: FirstStage, play: Callable[[FirstStage], Tensor]) -> Tensor:
    if len(stage.layout.places) != 2:
        raise LayerError(
            f"a critic needs features with a grid, not {tuple(stage.features.shape[1:])}: choose another layer, or "
            "prior='feature-map', 'feature-matching' or 'none'"
        )
    return torch.cat([play(stage.only(i)) for i in range(len(stage))])


def _samples_of_z(stage: FirstStage) -> Callable[[int], Tensor]:
    """Fresh samples of Z* (count, ...) of one sample."""
    noise = NoisyCopies(stage.features.shape[1:], stage.seed + _REAL_STREAM, stage.features.device)
    return lambda count: stage.targets(noise.draw(count))[:, 0]


def _released_maps(stage: FirstStage) -> Callable[[int], Tensor]:
    """The released "synthetic feature maps" (count, ...): 200 of them in ten groups, noise redrawn at every access."""
    device = stage.features.device
    generator = torch.Generator(device).manual_seed(stage.seed + _REAL_STREAM)
    centre, spread = torch.rand(2, 10, generator=generator, device=device).repeat_interleave(20, 1)
    centre, spread = 4 * centre - 2, 5 * spread
    waiting: list[int] = []

    def next_maps(count: int) -> Tensor:
        if not waiting:
            waiting.extend(torch.randperm(200, generator=generator, device=device).tolist())
        chosen, waiting[:] = waiting[:count], waiting[count:]
        standard = torch.randn(count, *stage.features.shape[1:], generator=generator, device=device)
        shape = (-1, *[1] * (stage.features.dim() - 1))
        noise = centre[chosen].reshape(shape) + spread[chosen].reshape(shape) * standard
        return torch.lerp(noise, stage.features, stage.information)

    return next_maps


def _play(game: _Game, stage: FirstStage, real_maps: Callable[[int], Tensor]) -> Tensor:
    """The logits of one sample's mask (1, ...) after the whole schedule."""
    device, size = stage.images.device, tuple(stage.features.shape[1:])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stage.seed)
        height, width = stage.layout.grid(size)
        critic = game.critic(size[stage.layout.channel], (height, width)).to(device)
    optimizer = game.optimizer(critic.parameters())
    generator = Generator(stage.images, feature_map(stage))
    generator_optimizer = generator.optimizer(game.rate)
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
    """Of the generator's loss, the negative mean of what the critic says, with respect to the features it made."""
    fake = fake.detach().requires_grad_()
    (slope,) = torch.autograd.grad(-critic(_channels_first(stage, fake)).mean(), fake)
    return slope


def _channels_first(stage: FirstStage, features: Tensor) -> Tensor:
    return features.movedim(stage.layout.channel + 1, 1)
