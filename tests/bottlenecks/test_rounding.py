"""What a lower precision alone changes is no decision."""

import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA


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
