import copy

import pytest
import torch
from torch import nn

from bitlens import IBA
from bitlens.probe import packing
from bitlens.probe.packing import PackedConvolution, can_be_packed
from networks import noise_images

KINDS: list[dict[str, object]] = [
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (3, 5), "stride": (2, 3), "padding": (0, 2)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 5, "padding": 3},
    {"kernel_size": 3, "padding": 1, "groups": 16},
    {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 4},
    {"kernel_size": 3, "padding": 1, "bias": False},
]


_CONVOLUTION = nn.Conv2d(3, 4, 3)
DTYPES = [
    dtype
    for dtype in (torch.float32, torch.bfloat16)
    if can_be_packed(_CONVOLUTION, _CONVOLUTION.weight.detach().to(dtype))
]
needs_onednn = pytest.mark.skipif(not DTYPES, reason="needs an x86 CPU and oneDNN")
needs_bfloat16 = pytest.mark.skipif(torch.bfloat16 not in DTYPES, reason="oneDNN packs no bfloat16 on this CPU")


@needs_onednn
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_packed_convolution_is_the_convolution(
    kind: dict[str, object], dtype: torch.dtype, channels_last: bool
) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(16, 32, **kind).to(dtype).requires_grad_(False)  # type: ignore[arg-type]
    order = torch.channels_last if channels_last else torch.contiguous_format
    packed = PackedConvolution(module, module.weight.contiguous(memory_format=order), module.bias)
    for size in ((3, 16, 14, 15), (5, 16, 9, 9), (1, 16, 14, 15)):  # packed once, for whatever comes
        x = torch.randn(size).to(dtype).contiguous(memory_format=order).requires_grad_()
        expected, got = module(x), packed(x)
        slope = torch.randn(expected.shape).to(dtype)
        tolerance = 1e-5 if dtype == torch.float32 else 0.02
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * float(expected.detach().abs().max()))
        (wanted,) = torch.autograd.grad(expected, x, slope)
        (given,) = torch.autograd.grad(got, x, slope)
        assert given.shape == x.shape
        torch.testing.assert_close(given, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max()))


@needs_bfloat16
def test_the_input_is_cast_to_the_precision_of_the_weights() -> None:
    module = nn.Conv2d(3, 4, 3).requires_grad_(False)
    packed = PackedConvolution(module, module.weight.bfloat16(), None)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    assert packed(x).dtype == torch.bfloat16
    (slope,) = torch.autograd.grad(packed(x).float().sum(), x)
    assert slope.dtype == torch.float32


@pytest.mark.parametrize(
    ("module", "dtype"),
    [
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), torch.float32),
        (nn.Conv2d(3, 4, 3, padding="same"), torch.float32),
        (nn.Conv1d(3, 4, 3), torch.float32),
        (nn.Linear(3, 4), torch.float32),
        (nn.Conv2d(3, 4, 3), torch.float64),
    ],
    ids=["reflect", "same", "1d", "linear", "float64"],
)
def test_what_cannot_be_packed(module: nn.Module, dtype: torch.dtype) -> None:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    assert not can_be_packed(module, weight.to(dtype))


@needs_onednn
@pytest.mark.parametrize(
    ("name", "value"),
    [("_NEEDED", ("_no_such_operator",)), ("_MACHINES", ()), ("_onednn_runs", lambda: False)],
    ids=["operators", "machine", "switched off"],
)
def test_nothing_is_packed_where_oneDNN_does_not_run(  # noqa: N802
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    module = nn.Conv2d(3, 4, 3)
    assert can_be_packed(module, module.weight)
    monkeypatch.setattr(packing, name, value)
    assert not can_be_packed(module, module.weight)


@needs_onednn
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_maps_are_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 5),
    ).eval()
    before = copy.deepcopy(network.state_dict())
    images, calls = noise_images(4), []

    def counted(self: PackedConvolution, x: torch.Tensor) -> torch.Tensor:
        calls.append(x.dtype)
        return forward(self, x)

    forward = PackedConvolution.forward
    monkeypatch.setattr(PackedConvolution, "forward", counted)
    maps = {}
    for packed in (True, False):
        if not packed:
            monkeypatch.setattr("bitlens.probe.folding.can_be_packed", lambda *_: False)
        iba = IBA(network, "1", precision=precision, beta=1.0)  # type: ignore[arg-type]
        maps[packed] = iba.fit_statistics([images], granularity="channel").explain(images, 2).map
        assert bool(calls) == packed
        calls.clear()
    pairs = zip(maps[True].flatten(1), maps[False].flatten(1), strict=True)
    likeness = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])
    assert float(likeness.min()) > (0.9999 if precision == "float32" else 0.99)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
