"""The slope of every bottleneck's whole objective, against autograd on the objective written once more in float64.

Plain descent takes the place of Adam, which forgets how large a slope is: what one step of it changes is the slope itself. The
reference runs the whole network with a hook at the layer, knows the mask as λ, and takes divergences from
torch.distributions. Only the noise is drawn as the bottleneck draws it.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from bitlens.bottlenecks.bottleneck import Bottleneck
from bitlens.bottlenecks.input.images import InputIBA
from bitlens.bottlenecks.input.presets import INPUT_STREAM
from bitlens.bottlenecks.input.prior import FirstStage
from bitlens.bottlenecks.input.texts import TokenInputIBA
from bitlens.bottlenecks.per_sample import IBA
from bitlens.bottlenecks.readout.readout import ReadoutIBA
from bitlens.bottlenecks.readout.task import ReadoutTask, Teaching
from bitlens.bottlenecks.recorded import Recorded
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.core.family import Fitted
from bitlens.core.noise import NoisyCopies
from bitlens.training.examples import InMemory
from networks import LAYER, noise_images, small_net, small_vit
from small_transformers import UNITS, batches, small_classifier, texts

CPU = torch.device("cpu")
IMAGES, CLASSES = noise_images(3, seed=4), torch.tensor([0, 3, 1])
ONE_STEP: dict[str, dict[str, Any]] = {
    "final": {"readout": "final", "steps": 1}, "last_forward": {"readout": "last_forward", "steps": 2},
}  # fmt: skip
"""Both read-outs of a mask that has changed once."""
ENCODER, DEEPER, WORDS = "bert.encoder.layer.0", "bert.encoder.layer.2", "bert.embeddings.word_embeddings"
WORKING = {"precision": "float32", "learning_rate": 1.0, "noise_samples": 3}
each_readout = pytest.mark.parametrize("readout", list(ONE_STEP))
pytestmark = pytest.mark.filterwarnings("ignore:statistics (from|per channel):bitlens.errors.BitlensWarning")

Change = Callable[[Tensor], Tensor]


@contextmanager
def _changed(model: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """Within the block, layers put out something else."""

    def hook(change: Change) -> Any:
        def changed(_module: nn.Module, _given: Any, output: Any) -> Any:
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        return changed

    handles = [model.get_submodule(name).register_forward_hook(hook(change)) for name, change in changes.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _features(model: nn.Module, layer: str, run: Callable[[nn.Module], Any]) -> Tensor:
    seen: list[Tensor] = []

    def keep(features: Tensor) -> Tensor:
        seen.append(features.detach())
        return features

    with _changed(model, {layer: keep}), torch.no_grad():
        run(model)
    return seen[0]


def _nats(r: Tensor, passed: Tensor, mean: Tensor, std: Tensor, known: Tensor | float = 0.0) -> Tensor:
    """Divergence of what passes λ from what passes λ_G λ, of every feature."""
    both = known * passed
    given = Normal(passed * r + (1 - passed) * mean, (1 - passed) * std)
    return kl_divergence(given, Normal(both * r + (1 - both) * mean, (1 - both) * std))


def _log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """-ln p + ln (1 - p) of each row."""
    own = logits.gather(1, classes[:, None])[:, 0]
    rivals = logits.scatter(1, classes[:, None], float("-inf")).logsumexp(1)
    return rivals - own


def _cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    return F.cross_entropy(logits, classes, reduction="none")


def _slope(objective: Change, start: Tensor) -> Tensor:
    leaf = start.double().requires_grad_()
    (slope,) = torch.autograd.grad(objective(leaf), leaf)
    return slope


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Fitted]:
    """Masks that are found with plain descent, the last ones last."""
    found: list[Fitted] = []
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: torch.optim.SGD(parameters, lr))  # noqa: ARG005
    for kind in (IBA, InputIBA, TokenIBA, TokenInputIBA):

        def watched(self: Bottleneck, recorded: Recorded, masks: Any = kind.masks) -> Fitted:
            found.append(masks(self, recorded))
            return found[-1]

        monkeypatch.setattr(kind, "masks", watched)
    return found


def _agree(fitted: Fitted, start: float, slope: Tensor) -> None:
    """One step of descent, at rate 1, changed the logits by this slope."""
    largest = float(slope.abs().max())
    assert largest > 1e-3
    assert float(slope.std()) > 1e-3 * largest
    torch.testing.assert_close(start - fitted.logits.double(), slope, rtol=1e-3, atol=1e-4 * largest)


# images -----------------------------------------------------------------------------------------------------------------


def _blurred(mask: Tensor) -> Tensor:
    """σ = 1: 5 x 5 taps, mirrored borders."""
    line = torch.exp(-0.5 * torch.arange(-2, 3).double() ** 2)
    kernel = (torch.outer(line, line) / line.sum() ** 2).expand(mask.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(mask, (2,) * 4, mode="reflect"), kernel, groups=mask.shape[1])


@each_readout
@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_the_per_sample_bottleneck(kept: list[Fitted], readout: str, smoothing: float) -> None:
    model = small_net()
    iba = IBA(model, LAYER, beta=2.0, smoothing=smoothing, **WORKING, **ONE_STEP[readout])
    iba.fit_statistics([noise_images(64)], granularity="channel").explain(IMAGES, CLASSES, evidence_samples=0)
    wide = copy.deepcopy(model).double()
    r = _features(wide, LAYER, lambda net: net(IMAGES.double()))
    mean, std = (getattr(iba.statistics, name)[:, None, None] for name in ("mean", "std"))
    noise = mean + std * NoisyCopies(r.shape[1:], 0, CPU).draw(3).double()

    def objective(logits: Tensor) -> Tensor:
        passed = torch.sigmoid(logits)
        passed = _blurred(passed) if smoothing else passed
        z = (passed * r + (1 - passed) * noise).flatten(0, 1)
        with _changed(wide, {LAYER: lambda _features: z}):
            lost = _cross_entropy(wide(IMAGES.double().repeat(3, 1, 1, 1)), CLASSES.repeat(3))
        return lost.sum() / 3 + 2.0 * _nats(r, passed, mean, std).flatten(1).mean(1).sum()

    _agree(kept[-1], 5.0, _slope(objective, torch.full_like(r, 5.0)))


@pytest.mark.parametrize("extra", ["restricted", "mean", "whole"])
def test_the_per_sample_bottleneck_of_a_vision_transformer(kept: list[Fitted], extra: Any) -> None:
    model, layer = small_vit(), "encoder.layers.encoder_layer_0"
    iba = IBA(model, layer, beta=2.0, smoothing=0.0, extra_tokens=extra, **WORKING, **ONE_STEP["final"])
    iba.fit_statistics([noise_images(64)], granularity="channel").explain(IMAGES, CLASSES, evidence_samples=0)
    wide = copy.deepcopy(model).double()
    r = _features(wide, layer, lambda net: net(IMAGES.double()))
    (mean, std), patches = (getattr(iba.statistics, name) for name in ("mean", "std")), r.shape[1] - 1
    mean, std = (torch.cat([values[:1], values[1:].expand(patches, -1)]) for values in (mean, std))
    noise = mean + std * NoisyCopies(r.shape[1:], 0, CPU).draw(3).double()
    if extra == "mean":
        r = torch.cat([mean[:1].expand(len(r), -1, -1), r[:, 1:]], 1)

    def objective(logits: Tensor) -> Tensor:
        passed = torch.sigmoid(logits)
        own = passed if extra == "restricted" else torch.cat([torch.ones_like(passed[:, :1]), passed[:, 1:]], 1)
        z = (own * r + (1 - own) * noise).flatten(0, 1)
        with _changed(wide, {layer: lambda _features: z}):
            lost = _cross_entropy(wide(IMAGES.double().repeat(3, 1, 1, 1)), CLASSES.repeat(3))
        begin = 0 if extra == "restricted" else 1
        nats = _nats(r[:, begin:], passed[:, begin:], mean[begin:], std[begin:])
        return lost.sum() / 3 + 2.0 * nats.flatten(1).mean(1).sum()

    _agree(kept[-1], 5.0, _slope(objective, torch.full_like(r, 5.0)))


def _ramp(shape: tuple[int, ...]) -> Tensor:
    """Logits of a prior that knows some values well, others hardly."""
    return torch.linspace(-2, 2, int(torch.tensor(shape).prod())).reshape(shape)


@pytest.mark.parametrize("one_mask", [True, False])
@pytest.mark.parametrize("prior", ["none", "ramp"])
@pytest.mark.parametrize("readout", ["mask", "information", "beyond-prior"])
def test_the_bottleneck_at_the_input(kept: list[Fitted], readout: Any, prior: str, one_mask: bool) -> None:
    def ramp(stage: FirstStage) -> Tensor:
        return _ramp(tuple(stage.images.shape))

    model = small_net()
    iba = InputIBA(
        model, LAYER, prior=ramp if prior == "ramp" else "none", readout=readout, one_mask=one_mask, beta_input=2.0,
        steps=1, smoothing=1.0, noise_mean=0.3, noise_std=0.8, **WORKING,
    )  # fmt: skip
    iba.fit_statistics([noise_images(64)], granularity="channel").explain(IMAGES, CLASSES, evidence_samples=0)
    wide, r = copy.deepcopy(model).double(), IMAGES.double()
    standard = NoisyCopies(r.shape[1:], INPUT_STREAM, CPU, antithetic=True).draw(3).double()
    mean, std = torch.tensor(0.3).double(), torch.tensor(0.8).double()
    known = torch.sigmoid(_ramp(tuple(r.shape)).double()) if prior == "ramp" else torch.zeros_like(r)

    def objective(logits: Tensor) -> Tensor:
        passed = _blurred(torch.sigmoid(logits)).expand_as(r)
        z = passed * r + (1 - passed) * (mean + std * standard)
        lost = _cross_entropy(wide(z.flatten(0, 1)), CLASSES.repeat(3))
        return lost.sum() / 3 + 2.0 * _nats(r, passed, mean, std, known).flatten(1).mean(1).sum()

    _agree(kept[-1], 5.0, _slope(objective, torch.full_like(r[:, :1] if one_mask else r, 5.0)))


class _Fixed(nn.Module):
    """A readout that says the same of everything."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-1, 3, int(torch.tensor(shape).prod())).reshape(shape))

    def forward(self, _reads: Any, _grid: torch.Size) -> Tensor:
        return self.logits


def test_what_a_readout_learns_from() -> None:
    """The gradient at the logits that a readout says, with one draw of noise for each sample."""
    model = small_net()
    readout = ReadoutIBA(model, LAYER, beta=2.0, precision="float32").fit_statistics([noise_images(64)])
    module, seeds = _Fixed((3, 8, 8, 8)), (11, 12, 13)
    task = ReadoutTask(readout.probe, readout.learnt, module, Teaching())
    seen = task.prepare(InMemory([(IMAGES, CLASSES)]).take(range(3)))
    task.losses(module, seen, seeds, None, None).total.sum().backward()
    wide = copy.deepcopy(model).double()
    r = _features(wide, LAYER, lambda net: net(IMAGES.double()))
    mean, std = (getattr(readout.statistics, name)[:, None, None] for name in ("mean", "std"))
    drawn = [torch.randn(r.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    noise = mean + std * torch.stack(drawn).double()

    def objective(logits: Tensor) -> Tensor:
        passed = _blurred(torch.sigmoid(logits.movedim(3, 1)))
        with _changed(wide, {LAYER: lambda _features: passed * r + (1 - passed) * noise}):
            lost = _cross_entropy(wide(IMAGES.double()), CLASSES)
        return lost.sum() + 2.0 * _nats(r, passed, mean, std).flatten(1).mean(1).sum()

    slope, got = _slope(objective, module.logits.detach()), module.logits.grad
    assert got is not None
    torch.testing.assert_close(got.double(), slope, rtol=1e-3, atol=1e-4 * float(slope.abs().max()))


# texts ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return small_classifier("Bert")


@pytest.fixture(scope="module")
def statistics(bert: nn.Module) -> dict[str, TokenStatistics]:
    return collect_token_statistics(bert, [ENCODER, DEEPER, WORDS], batches())


class Texts:
    """Three texts of different lengths, and what stands in for a layer's features at each of their positions."""

    def __init__(self, bert: nn.Module, statistics: Mapping[str, TokenStatistics], layer: str, whole: bool) -> None:
        self.wide, self.layer = copy.deepcopy(bert).double(), layer
        self.given = texts([9, 6, 4], seed=3)
        self.classes = torch.tensor([2, 0, 1])
        self.inputs = {name: self.given[name] for name in ("input_ids", "attention_mask")}
        self.features = _features(self.wide, layer, lambda net: net(**self.inputs))
        present, special = self.given["attention_mask"].bool(), self.given["special_tokens_mask"].bool()
        self.kinds = torch.where(present, torch.where(special, self.given["input_ids"], -1), -2)
        self.restricted = (present & ~special if whole else present)[..., None].double()
        self.mean, self.std = self.of(statistics[layer])

    def of(self, statistics: TokenStatistics) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (3, T, D); anything at padding."""
        groups = {**statistics.groups, -2: statistics.groups[-1]}
        tables = [
            torch.stack([torch.stack([getattr(groups[int(kind)], name) for kind in row]) for row in self.kinds])
            for name in ("mean", "std")
        ]
        return tables[0], tables[1].clamp_min(0.01)

    def noise(self, seed: int, copies: int, *, antithetic: bool = True) -> Tensor:
        shape = self.features.shape[1:]
        if antithetic:
            return NoisyCopies(shape, seed, CPU, antithetic=True, block=32).draw(copies).double()
        source = NoisyCopies(shape, seed, CPU, block=32)
        return torch.cat([source.draw(1) for _ in range(copies)]).double()

    def said(self, changes: Mapping[str, Change], copies: int) -> Tensor:
        with _changed(self.wide, changes):
            inputs = {name: value.repeat(copies, 1) for name, value in self.inputs.items()}
            logits: Tensor = self.wide(**inputs).logits
        return logits

    def price(self, passed: Tensor, known: Tensor | float = 0.0) -> Tensor:
        """The mean information of restricted features, summed over texts."""
        safe = torch.where(self.restricted > 0, passed, 0.5)
        nats = _nats(self.features, safe, self.mean, self.std, known) * self.restricted
        return (nats.flatten(1).sum(1) / (UNITS * self.restricted.flatten(1).sum(1))).sum()


@each_readout
@pytest.mark.parametrize("deeper", [[], [DEEPER]])
@pytest.mark.parametrize("mask", ["token", "unit"])
@pytest.mark.parametrize("whole", [False, True])
def test_the_bottleneck_of_tokens(
    kept: list[Fitted],
    bert: nn.Module,
    statistics: dict[str, TokenStatistics],
    mask: Any,
    deeper: list[str],
    whole: bool,
    readout: str,
) -> None:
    case, objective_name = Texts(bert, statistics, ENCODER, whole), "cross-entropy" if whole else "log-odds"
    settings = {**WORKING, "noise_samples": 4, **ONE_STEP[readout]}
    iba = TokenIBA(
        bert, ENCODER, deeper=deeper, mask=mask, beta=2.0, initial_logit=0.5, objective=objective_name,  # type: ignore[arg-type]
        special_tokens="whole" if whole else "restricted", statistics=statistics, **settings,
    )  # fmt: skip
    iba.explain(case.given, case.classes, evidence_samples=0)
    loss = _cross_entropy if whole else _log_odds
    noise = case.mean + case.std * case.noise(0, 4)
    mean, std = case.of(statistics[DEEPER])
    below = mean + std * case.noise(0x2545F491, 4, antithetic=False)

    def objective(logits: Tensor) -> Tensor:
        passed = torch.where(case.restricted > 0, torch.sigmoid(logits).expand_as(case.features), 1.0)
        changes: dict[str, Change] = {
            ENCODER: lambda _features: (passed * case.features + (1 - passed) * noise).flatten(0, 1)
        }
        for layer in deeper:
            changes[layer] = lambda features: (passed * features.unflatten(0, (4, -1)) + (1 - passed) * below).flatten(
                0, 1
            )
        return loss(case.said(changes, 4), case.classes.repeat(4)).sum() / 4 + 2.0 * case.price(passed)

    start = torch.full_like(case.features[..., :1] if mask == "token" else case.features, 0.5)
    _agree(kept[-1], 0.5, _slope(objective, start))


@pytest.mark.parametrize("mask", ["token", "unit"])
@pytest.mark.parametrize("prior", ["none", "ramp"])
def test_the_bottleneck_at_the_embedding(
    kept: list[Fitted], bert: nn.Module, statistics: dict[str, TokenStatistics], mask: Any, prior: str
) -> None:
    def ramp(stage: FirstStage) -> Tensor:
        return _ramp(tuple(stage.images.shape))

    case = Texts(bert, statistics, WORDS, False)
    iba = TokenInputIBA(
        bert, ENCODER, WORDS, prior=ramp if prior == "ramp" else "none", mask=mask, beta_input=2.0, steps=1,
        statistics=statistics, **{**WORKING, "noise_samples": 4},
    )  # fmt: skip
    iba.explain(case.given, case.classes, evidence_samples=0)
    noise = case.mean + case.std * case.noise(INPUT_STREAM, 4)
    known = torch.zeros_like(case.features)
    if prior == "ramp":
        for row, length in enumerate((9, 6, 4)):
            known[row, :length] = torch.sigmoid(_ramp((1, length, UNITS)).double())[0]

    def objective(logits: Tensor) -> Tensor:
        passed = torch.where(case.restricted > 0, torch.sigmoid(logits).expand_as(case.features), 1.0)
        z = (passed * case.features + (1 - passed) * noise).flatten(0, 1)
        lost = _log_odds(case.said({WORDS: lambda _features: z}, 4), case.classes.repeat(4))
        return lost.sum() / 4 + 2.0 * case.price(passed, known)

    start = torch.zeros_like(case.features[..., :1] if mask == "token" else case.features)
    _agree(kept[-1], 0.0, _slope(objective, start))
