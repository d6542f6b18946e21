"""A compiled suffix says what the suffix says, batch after batch, skip connections across the layer included."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA
from bitlens.errors import SettingError
from bitlens.probe import Compiler, Probe
from bitlens.probe import compiled as module

OTHERS = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(9))


class Skipping(nn.Module):
    """What a layer before the restricted one puts out is used again behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x).relu()
        return self.last((first * self.norm(self.layer(first)).relu_()).mean((2, 3)))


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def _without_code_generation(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """Everything but the compiler's last stage, which takes long and is PyTorch's own matter."""
    made: list[torch.fx.GraphModule] = []
    compile_ = torch.compile

    def quick(graph: torch.fx.GraphModule, **options: object) -> object:
        made.append(graph)
        return compile_(graph, backend="aot_eager", dynamic=options["dynamic"])

    monkeypatch.setattr(module.torch, "compile", quick)
    return made


def test_one_graph_serves_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = _without_code_generation(monkeypatch)
    probe, compiler = Probe(Skipping().eval(), "layer"), Compiler()
    for batch in range(3):
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(batch))
        recording = probe.record(images)
        with recording.suffix() as run:
            call = compiler.compiled(run, recording)
            for copies in (3, 3, 1):
                z = recording.features.repeat(copies, 1, 1, 1) * 0.8 + 0.1
                expected, got = (
                    torch.autograd.grad(one(rows)[:, 1].sum(), rows)[0]
                    for one in (run, call)
                    for rows in [z.clone().requires_grad_()]
                )
                assert float(expected.abs().max()) > 0
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
                torch.testing.assert_close(call(z), run(z), rtol=1e-5, atol=1e-6)
    assert len(graphs) == 2  # one for three copies, one for a single copy


@pytest.mark.filterwarnings("ignore:with noise at layer")
def test_maps_are_those_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = _without_code_generation(monkeypatch)
    torch.manual_seed(0)
    model, images = Skipping().eval(), torch.randn(5, 3, 8, 8)
    plain, compiled = (
        IBA(model, "layer", internal_batch_size=4, precision="float32", compile=wanted, allow_bypass=True)
        .fit_statistics([OTHERS], granularity="channel")
        .explain(images)
        for wanted in (False, True)
    )
    assert graphs
    torch.testing.assert_close(compiled.map, plain.map, rtol=1e-4, atol=1e-5 * float(plain.map.max()))


@pytest.mark.filterwarnings("ignore:with noise at layer")
def test_a_machine_that_cannot_compile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("no compiler was found\nand much more")

    monkeypatch.setattr(module.torch, "compile", broken)
    iba = IBA(Skipping().eval(), "layer", compile=True, allow_bypass=True).fit_statistics(
        [torch.randn(64, 3, 8, 8)], granularity="channel"
    )
    with pytest.raises(
        SettingError, match=r"compile=True, but .* cannot compile this network here: no compiler was found$"
    ):
        iba.explain(torch.randn(1, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:with noise at layer")
def test_code_is_generated_and_right() -> None:
    torch.manual_seed(0)
    model, images = Skipping().eval(), torch.randn(4, 3, 8, 8)
    plain, compiled = (
        IBA(model, "layer", precision="float32", compile=wanted, allow_bypass=True)
        .fit_statistics([OTHERS], granularity="channel")
        .explain(images)
        for wanted in (False, True)
    )
    torch.testing.assert_close(compiled.map, plain.map, rtol=1e-3, atol=1e-4 * float(plain.map.max()))
