"""What a lower precision alone changes is no decision."""

import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA
from bitlens.metrics import kept_per_bit


class Hardly(nn.Module):
    """A network whose answer hardly depends on its input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            self.head.weight *= 1e-4
            self.head.bias += torch.tensor([0.301, 0.502, 0.703])  # no numbers of bfloat16

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_rounding_makes_of_an_answer_is_nothing_that_is_needed(precision: str) -> None:
    others = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    iba = IBA(Hardly().eval(), "features", quality="fast", precision=precision).fit_statistics(
        [others], granularity="channel"
    )
    evidence = iba.explain(others[:4] + 3, 0).evidence
    assert float(((evidence.before - evidence.floor) / evidence.before).abs().max()) < 4e-3
    needed = evidence.kept.isfinite()
    assert bool(needed.any()) == (precision == "float32")


class Same(nn.Module):
    """A network that says the same of every input: what is behind its features is dead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.dead = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            self.dead[0].weight.zero_()
            self.dead[0].bias.fill_(-1.0)
            self.head.bias += torch.tensor([0.301, 0.502, 0.703])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dead(self.features(x)).mean((2, 3)))
        return logits


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layer", ["features", "dead.0", "dead"])
def test_of_a_network_that_says_always_the_same_nothing_is_needed(layer: str, precision: str) -> None:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = IBA(Same().eval(), layer, keep=0.9, precision=precision).explain(images)
    assert bool((found.map == 0).all())
    assert bool((found.total_bits == 0).all())
    assert bool(found.evidence.kept.isnan().all())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_of_such_a_network_no_map_keeps_anything_for_its_bits(precision: str) -> None:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(1))
    iba = IBA(Same().eval(), "features", precision=precision)
    assert bool(kept_per_bit(iba, images, None, maps, points=4, noise_samples=2).areas().isnan().all())


@pytest.mark.parametrize("strength", [1, 100, 300, 1000])
def test_a_share_is_of_what_the_answer_is_in_the_precision_of_the_passes(strength: int) -> None:
    model = Hardly().eval()
    with torch.no_grad():
        model.head.weight *= strength  # from less than rounding to well above it
    others = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    iba = IBA(model, "features", keep=0.9, precision="bfloat16").fit_statistics([others], granularity="channel")
    found = iba.explain(others[:4] + 3, 0)
    needed = found.evidence.kept.isfinite()
    assert bool(needed.any()) == (strength > 100)
    assert bool((found.evidence.kept[needed] > 0.89).all())
    assert bool((found.total_bits[~needed] == 0).all())
