"""What the axes of an input mean is read off what the network does with them, or said, or asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.baselines.gradient import Gradient
from bitlens.core.inputs import ModelInputs
from bitlens.core.places import AXES, Places
from bitlens.errors import InputError
from bitlens.probe.following import prepared


class Doing(nn.Module):
    """A function of an input and some modules."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def spectrogram(x: Tensor) -> Tensor:
    return torch.stft(x, 64, window=torch.hann_window(64), return_complex=True).abs()[:, None]


TOLD: dict[str, tuple[tuple[int, ...], Doing, str | None]] = {
    "channels first": ((3, 40), Doing(lambda x, conv: conv(x).mean(2), nn.Conv1d(3, 4, 5)), "CT"),
    "times first": ((40, 3), Doing(lambda x, conv: conv(x.mT).mean(2), nn.Conv1d(3, 4, 5)), "TC"),
    "times first, as many channels": ((40, 40), Doing(lambda x, conv: conv(x.mT).mean(2), nn.Conv1d(40, 4, 5)), "TC"),
    "channels first, as many times": ((40, 40), Doing(lambda x, conv: conv(x).mean(2), nn.Conv1d(40, 4, 5)), "CT"),
    "one channel": ((1, 40), Doing(lambda x, conv: conv(x).mean(2), nn.Conv1d(1, 4, 5)), "CT"),
    "standardised in time": (
        (3, 40),
        Doing(lambda x, conv: conv((x - x.mean(2, True)) / x.std(2, keepdim=True)).mean(2), nn.Conv1d(3, 4, 5)),
        "CT",
    ),
    "embedded before": (
        (40, 3),
        Doing(lambda x, mix, conv: conv(mix(x).mT).mean(2), nn.Linear(3, 8), nn.Conv1d(8, 4, 5)),
        "TC",
    ),
    "each channel by itself": (
        (5, 40),
        Doing(lambda x, conv: conv(x.reshape(-1, 1, 40)).mean(2).reshape(len(x), -1), nn.Conv1d(1, 3, 3)),
        "CT",
    ),
    "batch first": ((40, 3), Doing(lambda x, rnn: rnn(x)[0].mean(1), nn.LSTM(3, 4, batch_first=True)), "TC"),
    "steps first": ((3, 40), Doing(lambda x, rnn: rnn(x.permute(2, 0, 1))[0].mean(0), nn.GRU(3, 4)), "CT"),
    "a function": ((3, 40), Doing(lambda x: nn.functional.conv1d(x, torch.ones(4, 3, 5)).mean(2)), "CT"),
    "no channel": ((40,), Doing(lambda x, conv: conv(x[:, None]).mean(2), nn.Conv1d(1, 4, 5)), "T"),
    "a spectrogram within": ((512,), Doing(lambda x, conv: conv(spectrogram(x)).mean((2, 3)), nn.Conv2d(1, 4, 3)), "T"),
    "grey pictures": ((20, 30), Doing(lambda x, conv: conv(x[:, None]).mean((2, 3)), nn.Conv2d(1, 4, 3)), "HW"),
    "a table": ((20,), Doing(lambda x, mix: mix(x), nn.Linear(20, 3)), "D"),
    "flattened": ((20, 3), Doing(lambda x, mix: mix(x.flatten(1)), nn.Linear(60, 3)), None),
    "colours last": ((20, 30, 3), Doing(lambda x, conv: conv(x.movedim(3, 1)).mean((2, 3)), nn.Conv2d(3, 4, 3)), "HWC"),
    "many colours, last": ((20, 30, 13), Doing(lambda x, conv: conv(x.movedim(3, 1)).mean((2, 3)), nn.Conv2d(13, 4, 3)), "HWC"),
    "features in a column": ((20, 30, 1), Doing(lambda x, conv: conv(x).mean((2, 3)), nn.Conv2d(20, 4, 1)), "CHW"),
    "grey, last": ((20, 30, 1), Doing(lambda x, conv: conv(x.movedim(3, 1)).mean((2, 3)), nn.Conv2d(1, 4, 3)), "HWC"),
    "a narrow strip": ((5, 40, 4), Doing(lambda x, conv: conv(x).mean((2, 3)), nn.Conv2d(5, 4, 3)), "CHW"),
    "volumes, channels last": (
        (8, 9, 10, 2), Doing(lambda x, conv: conv(x.movedim(4, 1)).mean((2, 3, 4)), nn.Conv3d(2, 4, 3)), "DHWC",
    ),
    "a film": (
        (6, 3, 8, 9),
        Doing(lambda x, conv: conv(x.flatten(0, 1)).mean((2, 3)).reshape(-1, 6, 4).mean(1), nn.Conv2d(3, 4, 3)),
        "DCHW",
    ),
    "a film, its colours first": ((6, 3, 8, 9), Doing(lambda x, conv: conv(x).mean((2, 3, 4)), nn.Conv3d(6, 4, 3)), "CDHW"),
    "a film as a volume": (
        (6, 3, 8, 9), Doing(lambda x, conv: conv(x.transpose(1, 2)).mean((2, 3, 4)), nn.Conv3d(3, 4, 3)), "DCHW",
    ),
    "rows as words": ((8, 9, 3), Doing(lambda x, mix: mix(x.flatten(1, 2)).mean(1), nn.Linear(3, 4)), None),
    "attention knows no times": (
        (40, 8),
        Doing(lambda x, attend: attend(x, x, x)[0].mean(1), nn.MultiheadAttention(8, 2, batch_first=True)),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("count", [1, 3])
def test_axes_are_read_off_the_network(name: str, count: int) -> None:
    shape, network, axes = TOLD[name]
    for inputs in (torch.randn(count, *shape, generator=torch.Generator().manual_seed(4)), torch.zeros(count, *shape)):
        if "standardised" in name and not inputs.any():
            continue  # nothing but NaN
        given = prepared(network.eval(), inputs)
        assert given.axes == axes
        if axes is not None:
            assert given.places == Places.of(axes, shape)


def test_what_is_said_counts_and_nothing_is_measured() -> None:
    calls: list[int] = []

    def flat(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x.flatten(1)[:, :3]

    network = Doing(flat).eval()
    with pytest.raises(
        InputError, match=r"what the axes of the inputs .* mean, .*: say ModelInputs.of\(inputs, axes='CT'"
    ):
        Gradient(network).explain(torch.ones(1, 4, 3))
    calls.clear()
    said = prepared(network, ModelInputs.of(torch.ones(1, 4, 3), axes="TC"))
    assert (said.places, calls) == (Places("TC", (4,)), [])
    with pytest.raises(
        InputError, match=r"axes='CHW' do not fit samples of shape \(4, 3\): expected 'CT' or 'TC' or 'HW'"
    ):
        ModelInputs.of(torch.ones(1, 4, 3), axes="CHW")


class Pictures(nn.Module):
    """Two stages of convolutions and a head, for images with their colours first or last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.stages = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x.movedim(3, 1) if self.last else x).mean((2, 3)))


@pytest.mark.parametrize("name", ["iba", "input-iba", "grad-cam", "saliency", "smoothgrad", "occlusion-8", "lime"])
def test_maps_of_images_with_colours_last_are_those_of_the_same_with_colours_first(name: str) -> None:
    torch.manual_seed(0)
    first, last = Pictures(last=False).eval(), Pictures(last=True).eval()
    last.load_state_dict(first.state_dict())
    images = torch.randn(2, 3, 32, 40)
    settings: dict[str, Any] = {"layer": "stages.1"} if "iba" in name else {}
    settings |= {"prior": "none"} if name == "input-iba" else {}
    maps = [
        bitlens.method(name, network, **settings).explain(given, 1).map
        for network, given in ((first, images), (last, images.movedim(1, 3)))
    ]
    assert maps[1].shape == (2, 32, 40)
    if name not in ("smoothgrad", "input-iba"):  # whose noise lies as the input does
        torch.testing.assert_close(maps[1], maps[0], rtol=1e-3, atol=1e-4 * float(maps[0].abs().max()))


@pytest.mark.parametrize("name", ["iba", "grad-cam", "saliency", "occlusion-8"])
def test_films_are_explained_as_volumes_are(name: str) -> None:
    torch.manual_seed(0)
    film = Doing(
        lambda x, conv, head: head(conv(x.transpose(1, 2)).relu().mean((2, 3, 4))),
        nn.Conv3d(3, 8, 3, 1, 1),
        nn.Linear(8, 4),
    )
    volume = Doing(lambda x, conv, head: head(conv(x).relu().mean((2, 3, 4))), *film.parts)
    values = torch.randn(1, 8, 3, 16, 12)
    settings: dict[str, Any] = {"layer": "parts.0"} if name in ("iba", "grad-cam") else {}
    maps = [
        bitlens.method(name, network.eval(), **settings).explain(given, 1).map
        for network, given in ((film, values), (volume, values.transpose(1, 2)))
    ]
    assert maps[0].shape == (1, 8, 16, 12)
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=1e-4 * float(maps[1].abs().max()))


@pytest.mark.parametrize("axes", AXES)
def test_channels_come_first_and_go_back(axes: str) -> None:
    shape = tuple(range(3, 3 + len(axes)))
    values: Any = torch.randn(2, *shape)
    places = Places.of(axes, shape)
    first = places.first(values)
    assert first.shape == (2, shape[axes.index("C")] if "C" in axes else 1, *places.size)
    assert torch.equal(places.back(first), values)
    assert (places.one == "feature") == (axes == "D")
