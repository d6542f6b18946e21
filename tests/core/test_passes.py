import pytest
import torch
from torch import Tensor, nn

from bitlens import IBA
from bitlens.core import passes
from bitlens.core.layout import LAYOUTS
from bitlens.core.passes import in_precision, rows_at_once, suffix_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("bytes_per_row", "rows"), [(1, 16), (2**20, 16), (2**27, 4), (2**29, 1), (2**40, 1)])
def test_memory_bounds_the_rows(bytes_per_row: int, rows: int) -> None:
    assert rows_at_once(bytes_per_row, CPU) == rows


def test_memory_that_pytorch_holds_empty_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    for name, value in {"mem_get_info": (100, 1000), "memory_reserved": 700, "memory_allocated": 400}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    assert rows_at_once(1, device) == 100  # half of 100 + 300, two for each row


@pytest.mark.gpu
def test_rows_on_a_cuda_device() -> None:
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    assert rows_at_once(2**10, device) == 512
    assert rows_at_once(free, device) == 1
    assert 1 < rows_at_once(free // 100, device) <= 25


def _seen(precision: str, features: Tensor) -> tuple[torch.dtype, torch.dtype, Tensor]:
    """What the network is given, what it computes with, and what comes out, for float32 noised features."""
    weight = torch.eye(3, dtype=features.dtype)
    given: list[torch.dtype] = []

    def run(z: Tensor) -> Tensor:
        given.append(z.dtype)
        return z @ weight

    dtype = suffix_dtype(precision, features, nn.Identity())  # type: ignore[arg-type]
    output = in_precision(run, dtype, features, LAYOUTS["D"])(features.float())
    return given[0], output.dtype, output


@pytest.mark.parametrize(
    ("precision", "own", "given", "result"),
    [
        ("float32", torch.float32, torch.float32, torch.float32),
        ("bfloat16", torch.float32, torch.float32, torch.bfloat16),
        ("float32", torch.float64, torch.float64, torch.float64),
        ("bfloat16", torch.float64, torch.float64, torch.float64),
        ("auto", torch.bfloat16, torch.bfloat16, torch.bfloat16),
        ("bfloat16", torch.float16, torch.float16, torch.float16),
    ],
)
def test_network_is_given_what_it_can_take(
    precision: str, own: torch.dtype, given: torch.dtype, result: torch.dtype
) -> None:
    features = torch.ones(2, 3, dtype=own)
    got_given, got_result, output = _seen(precision, features)
    assert (got_given, got_result) == (given, result)
    torch.testing.assert_close(output.float(), torch.ones(2, 3))


def test_gradients_come_back_in_float32() -> None:
    z = torch.ones(2, 3, requires_grad=True)
    output = in_precision(lambda rows: rows @ torch.full((3, 1), 2.0), torch.bfloat16, torch.ones(2, 3), LAYOUTS["D"])(
        z
    )
    output.float().sum().backward()
    assert z.grad is not None
    assert z.grad.dtype == torch.float32
    assert z.grad.tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize(("native", "result"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, result: torch.dtype
) -> None:
    monkeypatch.setattr(passes, "_has_fast_bfloat16", lambda _device: native)
    assert _seen("auto", torch.ones(2, 3))[1] == result


@pytest.mark.parametrize(("name", "last"), [("CHW", True), ("HWC", False)])
def test_channels_are_last_in_memory_for_images_only(name: str, last: bool) -> None:
    given: list[Tensor] = []
    features = torch.randn(2, 3, 4, 5)
    in_precision(given.append, None, features, LAYOUTS[name])(features)
    assert given[0].is_contiguous(memory_format=torch.channels_last) == last
    assert torch.equal(given[0], features)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_networks_that_view_what_a_convolution_gives_are_run(precision: str) -> None:
    class Viewing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)
            self.last = torch.nn.Linear(4 * 64, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.second(self.first(x).relu())
            return self.last(x.view(x.size(0), -1))

    iba = IBA(Viewing().eval(), "first", precision=precision)  # type: ignore[arg-type]
    iba.fit_statistics([torch.randn(64, 3, 8, 8)], granularity="channel")
    assert iba.explain(torch.randn(2, 3, 8, 8)).map.shape == (2, 8, 8)
