"""The whole fit against autograd through everything, written once more: objective, slope, steps, what is watched.

The reference knows the mask as λ, blurs it by a convolution, takes divergences from torch.distributions, and leaves all slopes
to autograd, in float64.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bitlens.core.effort import FitSettings
from bitlens.core.family import Fitted, MaskFamily, Region
from bitlens.core.fitting import fit_masks
from bitlens.core.gaussian import NoiseModel
from bitlens.core.holding import Holding
from bitlens.core.layout import LAYOUTS, Layout, detect_layout
from bitlens.core.noise import NoisyCopies
from bitlens.core.proofs import mean_and_error
from bitlens.core.targets import ClassTarget, Score

SAMPLES = 3
CLASSES = torch.tensor([0, 3, 1])
CPU = torch.device("cpu")
SETTINGS = FitSettings(beta=3.0, steps=4, noise_samples=5, smoothing=0.0, initial_logit=0.4)


def _random(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Deeper:
    """A layer further on where the same u decides how much of the row's sum passes."""

    u: Tensor | None = None
    weight = torch.tensor([1.0, -2.0, 0.5, 0.3])

    @contextmanager
    def _within(self, u: Tensor, copies: int) -> Iterator[None]:
        self.u = u.flatten(1).mean(1).repeat(copies)
        try:
            yield
        finally:
            self.u = None

    def restricted(self, u: Tensor, copies: int) -> AbstractContextManager[None]:
        return self._within(u, copies)

    def added(self, logits: Tensor) -> Tensor:
        """Clean outside the block."""
        return logits if self.u is None else logits + 4 * self.u[:, None] * self.weight.to(logits)


@dataclass
class Case:
    """One fit."""

    shape: tuple[int, ...]
    layout: Layout
    settings: FitSettings = SETTINGS
    region: Region | None = None
    hidden: Tensor | None = None
    clamp: bool = False
    inactive: tuple[int, ...] = ()
    deeper: Deeper | None = None
    rows: int = 7
    features: Tensor = field(init=False)
    model: NoiseModel = field(init=False)

    def __post_init__(self) -> None:
        self.features = 3 * _random(SAMPLES, *self.shape, seed=1) - 1
        active = torch.ones(math.prod(self.shape))
        active[list(self.inactive)] = 0
        mean, std = _random(*self.shape, seed=2) - 0.3, _random(*self.shape, seed=3) + 0.2
        self.model = NoiseModel(mean, std, active.reshape(self.shape), self.clamp, self.hidden)

    def with_settings(self, **changes: Any) -> "Case":
        return replace(self, settings=replace(self.settings, **changes))

    def run(self, rows: Tensor) -> Tensor:
        weights = torch.randn(4, math.prod(self.shape), generator=torch.Generator().manual_seed(4)).to(rows)
        logits = torch.tanh(rows.flatten(1)) @ weights.T / 2
        return self.deeper.added(logits) if self.deeper is not None else logits

    def noise(self, seed: int) -> NoisyCopies:
        block = self.region.block if self.region is not None else None
        return NoisyCopies(torch.Size(self.shape), seed, CPU, antithetic=self.settings.antithetic, block=block)

    def fitted(self, seed: int = 6, watch: Callable[[int, Tensor], None] | None = None) -> Fitted:
        return fit_masks(
            self.run, ClassTarget(CLASSES), self.features, self.model, self.layout, self.settings,
            seed=seed, rows=self.rows, region=self.region, deeper=self.deeper, watch=watch,
        )  # fmt: skip

    # the reference

    def blurred(self, mask: Tensor) -> Tensor:
        """5 x 5 taps of a Gaussian with σ = 1, mirrored borders, on the places of an image."""
        if not self.settings.smoothing:
            return mask
        assert self.settings.smoothing in (0.5, 1.0)
        reach = round(2 * self.settings.smoothing)
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / self.settings.smoothing) ** 2)
        kernel = torch.outer(line, line) / line.sum() ** 2
        if self.layout.patches is not None:
            rest, mask = mask[:, : self.layout.extra], mask[:, self.layout.extra :].unflatten(1, self.layout.patches)
        mask = mask if self.layout.name == "CHW" else mask.movedim(3, 1)
        channels = mask.shape[1]
        padded = F.pad(mask, (reach,) * 4, mode="reflect")
        mask = F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
        mask = mask if self.layout.name == "CHW" else mask.movedim(1, 3)
        return mask if self.layout.patches is None else torch.cat([rest, mask.flatten(1, 2)], 1)

    def restricted(self) -> Tensor:
        everything = torch.ones_like(self.features)
        if self.region is None or self.region.restricted is None:
            return everything.double()
        return (everything * self.region.restricted).double()

    def mask(self, logits: Tensor) -> Tensor:
        """λ of every feature, 1 where nothing is restricted."""
        shared = self.region is not None and self.region.shared
        passed = self.blurred(torch.sigmoid(logits))
        if shared:
            passed = passed.expand(self.features.shape)
        return torch.where(self.restricted() > 0, passed, 1.0)

    def divergence(self, passed: Tensor) -> Tensor:
        """Nats of every feature that counts."""
        mean, std, features = self.model.mean.double(), self.model.std.double(), self.features.double()
        counts = self.restricted() * self.model.active.double()
        passed = torch.where(counts > 0, passed, 0.5)
        given = Normal(passed * features + (1 - passed) * mean, (1 - passed) * std)
        known = 1 - self.hidden.double() if self.hidden is not None else torch.zeros_like(passed)
        both = known * passed
        expected = Normal(both * features + (1 - both) * mean, (1 - both) * std)
        return kl_divergence(given, expected) * counts

    def loss(self, passed: Tensor, standard: Tensor) -> Tensor:
        """(N,) the mean over copies."""
        clean = self.features.double() * self.model.active
        noise = (self.model.mean + self.model.std * standard).double() * self.model.active
        z = passed * clean + (1 - passed) * noise
        z = z.relu() if self.clamp else z
        copies = len(standard)
        if self.deeper is not None:
            with self.deeper.restricted(1 - passed, copies):
                logits = self.run(z.flatten(0, 1))
        else:
            logits = self.run(z.flatten(0, 1))
        return F.cross_entropy(logits, CLASSES.repeat(copies), reduction="none").reshape(copies, -1).mean(0)

    def objective(self, logits: Tensor, standard: Tensor) -> Tensor:
        """Summed over samples."""
        passed = self.mask(logits)
        number = self.restricted().flatten(1).sum(1)
        price = self.settings.beta * self.divergence(passed).flatten(1).sum(1) / number
        return (self.loss(passed, standard) + price).sum()

    def start(self) -> Tensor:
        logits = torch.full_like(self.features, self.settings.initial_logit).double()
        shared = self.region is not None and self.region.shared
        return logits.narrow(self.layout.channel + 1, 0, 1) if shared else logits

    def steps(self, update: Callable[[Tensor, Tensor], Tensor], seed: int = 6) -> list[Tensor]:
        """The logits before each update, and after the last."""
        logits, noise = self.start(), self.noise(seed)
        passed_by = [logits]
        number = self.settings.steps - (self.settings.readout == "last_forward")
        for step in range(number):
            rising = 1 + math.floor(step * self.settings.noise_samples / number)
            standard = noise.draw(rising if self.settings.rising else self.settings.noise_samples)
            leaf = logits.clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.objective(leaf, standard), leaf)
            logits = update(logits, slope)
            passed_by.append(logits)
        return passed_by


def adam(rate: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Kingma & Ba's algorithm 1 with the settings that they recommend."""
    slopes: list[Tensor] = []

    def decayed(values: list[Tensor], factor: float) -> Tensor:
        """The mean of all values so far, each older one weighing `factor` times as much."""
        weights = [factor**age for age in range(len(values))][::-1]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)  # type: ignore[return-value]

    def update(values: Tensor, slope: Tensor) -> Tensor:
        slopes.append(slope)
        return values - rate * decayed(slopes, 0.9) / (decayed([s**2 for s in slopes], 0.999).sqrt() + 1e-8)

    return update


IMAGE, TEXT = (2, 5, 6), (7, 4)
PADDED = torch.tensor([7, 3, 5])[:, None] > torch.arange(7)
HIDDEN = _random(SAMPLES, *IMAGE, seed=9)
HIDDEN[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
SOFT = replace(SETTINGS, smoothing=1.0)

CASES = {
    "vector": Case((9,), LAYOUTS["D"]),
    "image": Case(IMAGE, LAYOUTS["CHW"]),
    "blur": Case(IMAGE, LAYOUTS["CHW"], SOFT),
    "narrow blur": Case(IMAGE, LAYOUTS["CHW"], replace(SOFT, smoothing=0.5)),
    "channels last": Case((5, 6, 2), LAYOUTS["HWC"], SOFT),
    "patches": Case((2 + 12, 3), detect_layout((14, 3), (12, 16)), SOFT),
    "prior": Case(IMAGE, LAYOUTS["CHW"], SOFT, hidden=HIDDEN),
    "prior, no blur": Case(IMAGE, LAYOUTS["CHW"], hidden=HIDDEN),
    "clamp": Case(IMAGE, LAYOUTS["CHW"], SOFT, clamp=True),
    "inactive": Case(IMAGE, LAYOUTS["CHW"], SOFT, inactive=(0, 7, 8, 33)),
    "shared": Case(IMAGE, LAYOUTS["CHW"], SOFT, Region(shared=True)),
    "shared, channels last": Case((5, 6, 2), LAYOUTS["HWC"], region=Region(shared=True)),
    "padding": Case(TEXT, LAYOUTS["TD"], region=Region(PADDED[..., None].float())),
    "text": Case(TEXT, LAYOUTS["TD"], region=Region(PADDED[..., None].float(), shared=True, block=2), inactive=(5,)),
    "some channels": Case(IMAGE, LAYOUTS["CHW"], SOFT, Region(torch.tensor([1.0, 0.0])[:, None, None])),
    "antithetic": Case(IMAGE, LAYOUTS["CHW"], replace(SOFT, antithetic=True)),
    "rising": Case(IMAGE, LAYOUTS["CHW"], replace(SOFT, rising=True, steps=6, antithetic=True)),
    "final": Case(IMAGE, LAYOUTS["CHW"], replace(SOFT, readout="final")),
    "deeper": Case(TEXT, LAYOUTS["TD"], region=Region(shared=True, block=3), deeper=Deeper()),
    "prior, padding": Case(
        TEXT, LAYOUTS["TD"], region=Region(PADDED[..., None].float(), block=4), hidden=_random(SAMPLES, *TEXT, seed=8)
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def _assert_close(got: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5 * scale)


@each_case
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_one_step_of_plain_descent_is_the_slope_of_the_objective(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam forgets how large a slope is; gradient descent in its place shows each number of it."""
    case = replace(CASES[name].with_settings(steps=1, readout="final", learning_rate=1.0), rows=rows)
    start, expected = case.steps(lambda logits, slope: logits - slope)
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: torch.optim.SGD(parameters, lr))  # noqa: ARG005
    slope = case.fitted().logits.double() - start
    assert float((expected - start).abs().max()) > 1e-2
    _assert_close(slope, expected - start, float((expected - start).abs().max()))


@each_case
@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_masks_are_those_of_adam_on_the_objective(name: str, rate: float) -> None:
    case = CASES[name].with_settings(learning_rate=rate)
    expected = case.steps(adam(rate))[-1]
    got = case.fitted()
    counts = case.restricted() * case.model.active
    seen = case.restricted().amax(case.layout.channel + 1, keepdim=True) if got.logits.shape != counts.shape else counts
    _assert_close(got.logits * (seen > 0), expected * (seen > 0), 100)  # a logit without a slope may go anywhere
    passed = case.mask(expected)
    _assert_close(got.u * counts, (1 - passed) * counts, 10)
    assert not bool(got.u[case.restricted() == 0].any())
    nats = case.divergence(passed)
    _assert_close(got.information, nats, 10 * float(nats.max()))
    assert float(nats.std()) > 0.02 * float(nats.mean())


@each_case
def test_the_information_that_is_watched_is_that_of_each_step(name: str) -> None:
    case, seen = CASES[name].with_settings(learning_rate=0.5), []
    case.fitted(watch=lambda step, nats: seen.append((step, nats.clone())))
    expected = case.steps(adam(0.5))[: case.settings.updates]
    assert [step for step, _ in seen] == list(range(len(expected)))
    for (_, got), logits in zip(seen, expected, strict=True):
        nats = case.divergence(case.mask(logits))
        _assert_close(got, nats, 10 * float(nats.max()))


@pytest.mark.parametrize("beta", [0.0, 0.5, 20.0])
def test_beta_weighs_the_information(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["blur"].with_settings(steps=1, readout="final", beta=beta)
    start, expected = case.steps(lambda logits, slope: logits - slope)
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: torch.optim.SGD(parameters, lr))  # noqa: ARG005
    _assert_close(case.fitted().logits.double() - start, expected - start, float((expected - start).abs().max()))


@pytest.mark.parametrize("noise_samples", [1, 2, 7])
@pytest.mark.parametrize("name", ["image", "clamp", "inactive", "text", "deeper"])
def test_what_is_measured_under_noise(name: str, noise_samples: int) -> None:
    """Mean, and standard deviation with divisor n - 1, of another computation of every single pass."""
    case = CASES[name]
    block = case.region.block if case.region is not None else None
    u = _random(SAMPLES, *case.shape, seed=12)
    score = Score(lambda logits: (logits * torch.arange(1.0, 5).to(logits)).sum(1))
    masks = MaskFamily.of(case.features, case.model, LAYOUTS["D"], Region(block=block), 0.0)
    held = Holding(case.run, score, masks, rows=4, deeper=case.deeper)
    mean, spread = mean_and_error(held.values(u, noise_samples, 21))[:2]
    standard = NoisyCopies(torch.Size(case.shape), 21, CPU, block=block)
    values = torch.zeros(noise_samples, SAMPLES).double()
    for copy in range(noise_samples):
        noise = (case.model.mean + case.model.std * standard.draw(1)[0, 0]) * case.model.active
        for sample, clean in enumerate(case.features * case.model.active):
            z = (1 - u[sample]) * clean + u[sample] * noise
            row = (z.relu() if case.clamp else z)[None]
            if case.deeper is not None:
                with case.deeper.restricted(u[sample : sample + 1], 1):
                    values[copy, sample] = score.function(case.run(row))[0]
            else:
                values[copy, sample] = score.function(case.run(row))[0]
    _assert_close(mean, values.mean(0), 10)
    if noise_samples > 1:
        _assert_close(spread, ((values - values.mean(0)).square().sum(0) / (noise_samples - 1)).sqrt(), 10)
    else:
        assert not bool(spread.any())
