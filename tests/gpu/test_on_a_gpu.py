"""What only a GPU can show: its maps are those of a CPU, repeat, wait for nobody, and leave the host's settings alone."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA
from bitlens.core import family
from bitlens.core.effort import FitSettings
from bitlens.core.fitting import fit_masks
from bitlens.core.gaussian import NoiseSettings
from bitlens.core.layout import LAYOUTS
from bitlens.core.noise import NoisyCopies
from bitlens.core.targets import ClassTarget
from bitlens.metrics import degradation
from networks import LAYER, noise_images, quadrant_images, quadrant_net, quadrant_statistics, small_vit

pytestmark = pytest.mark.gpu


class _OfTheCPU(NoisyCopies):
    """The CPU's noise, wherever it is needed."""

    def __init__(self, shape: torch.Size, seed: int, device: torch.device, **settings: object) -> None:
        super().__init__(shape, seed, torch.device("cpu"), **settings)  # type: ignore[arg-type]
        self._there = device

    def draw(self, count: int) -> Tensor:
        return super().draw(count).to(self._there)


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda")


@pytest.fixture
def single_precision() -> Iterator[None]:
    """Convolutions of a GPU round to 10 bits unless they are told not to."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def _bottleneck(model: nn.Module, layer: str = LAYER, **settings: object) -> IBA:
    return IBA(model, layer, **{"precision": "float32", **settings})  # type: ignore[arg-type]


def _alike(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize(
    ("settings", "precise"),
    [({}, torch.float64), ({"quality": "fast"}, torch.float64), ({"keep": 0.9}, torch.float32)],
    ids=["paper", "fast", "keep"],
)
def test_maps_are_those_of_the_cpu(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], precise: torch.dtype
) -> None:
    monkeypatch.setattr(family, "NoisyCopies", _OfTheCPU)
    images, classes = quadrant_images(4)
    there = _bottleneck(quadrant_net().to(device), **settings).explain(images, classes)
    here = _bottleneck(quadrant_net().to(precise), **settings).explain(images.to(precise), classes)
    assert _alike(there.map, here.map) > 0.9999
    torch.testing.assert_close(there.total_bits, here.total_bits, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_map(device: torch.device, precision: str) -> None:
    images, classes = quadrant_images(4)
    iba = _bottleneck(quadrant_net().to(device), precision=precision)
    torch.testing.assert_close(iba.explain(images, classes).map, iba.explain(images, classes).map, rtol=1e-5, atol=1e-6)


def test_half_precision_draws_the_same_picture(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    model = quadrant_net().to(device)
    exact, low = (_bottleneck(model, precision=p).explain(images, classes).map for p in ("float32", "bfloat16"))
    assert _alike(exact, low) > 0.99


def test_a_sample_owes_nothing_to_its_batch(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    iba = _bottleneck(quadrant_net().to(device))
    alone = iba.explain(images[2:3], classes[2:3]).map
    torch.testing.assert_close(iba.explain(images, classes).map[2:3], alone, rtol=1e-2, atol=1e-3)


def test_the_host_waits_for_nothing_within_the_loop(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    model = quadrant_net().to(device).requires_grad_(False)
    first = int(LAYER) + 1
    features, target = model[:first](images.to(device)), ClassTarget(classes.to(device))
    noise = quadrant_statistics().noise(NoiseSettings()).to(device)
    waited: list[int] = []

    def run(z: Tensor) -> Tensor:
        if waited:
            return model[first:](z)
        waited.append(1)  # the first pass may set things up; whoever waits from here on fails
        found = model[first:](z)
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode("error")
        return found

    def watch(step: int, _nats: Tensor) -> None:
        if step == settings.updates - 1:
            torch.cuda.set_sync_debug_mode("default")

    settings = FitSettings(steps=6)
    try:
        fit_masks(run, target, features, noise, LAYOUTS["CHW"], settings, watch=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert waited


def test_another_stream_gives_the_same_map(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    iba = _bottleneck(quadrant_net().to(device))
    usual = iba.explain(images, classes).map
    with torch.cuda.stream(torch.cuda.Stream(device)):
        other = iba.explain(images, classes).map
    torch.testing.assert_close(other, usual, rtol=1e-5, atol=1e-6)


def test_autocast_around_a_call_changes_nothing(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    iba = _bottleneck(quadrant_net().to(device))
    usual = iba.explain(images, classes).map
    with torch.autocast("cuda", torch.float16):
        torch.testing.assert_close(iba.explain(images, classes).map, usual, rtol=1e-5, atol=1e-6)


def test_a_compiled_suffix_gives_the_same_maps(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    model = quadrant_net().to(device)
    plain = _bottleneck(model).explain(images, classes).map
    compiled = _bottleneck(model, compile=True).explain(images, classes).map
    assert _alike(plain, compiled) > 0.999


def test_a_vision_transformer_is_explained(device: torch.device) -> None:
    found = _bottleneck(small_vit().to(device), "encoder.layers.encoder_layer_0").explain(noise_images(3), 1)
    assert found.map.shape == (3, 16, 16)
    assert not found.map.is_cuda


def test_memory_does_not_grow_with_the_number_of_noises(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    model, peaks = quadrant_net().to(device), []
    for samples in (8, 64):
        iba = _bottleneck(model, noise_samples=samples, internal_batch_size=32)
        iba.explain(images, classes)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        iba.explain(images, classes)
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
    noise = 56 * 4 * model[: int(LAYER) + 1](images.to(device))[0].numel()  # drawn for a step at once, without samples
    assert peaks[1] < 1.1 * peaks[0] + 3 * noise


@pytest.mark.usefixtures("single_precision")
def test_degradation_is_that_of_the_cpu(device: torch.device) -> None:
    images, classes = quadrant_images(4)
    maps = torch.rand(4, 16, 16)
    there = degradation(quadrant_net().to(device), images, classes, maps, 4, precision="float32")
    here = degradation(quadrant_net(), images, classes, maps, 4, precision="float32")
    torch.testing.assert_close(there.morf, here.morf, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there.lerf, here.lerf, rtol=1e-4, atol=1e-5)
