"""What goes wrong inside the user's network ends in one sentence, whoever runs it, with what was raised as its cause."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import bitlens as library
from bitlens import metrics
from bitlens.core.statistics import FeatureStatistics, Provenance
from bitlens.errors import BitlensError, InputError, ModelError, TargetError
from bitlens.methods import method
from bitlens.system import console
from networks import model_state, noise_images, small_net
from small_texts import TEXTS, small_lstm

pytestmark = pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning")

IMAGES = noise_images(2)


@functools.cache
def statistics() -> FeatureStatistics:
    """Of a `small_net`, for any network that holds one."""
    found = library.IBA(small_net(), "2").fit_statistics([noise_images(64)]).statistics
    return replace(found, provenance=Provenance())


class Around(nn.Module):
    """A `small_net` within a network that does something to what goes in, or comes out."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.net = small_net()
        self.parts = nn.ModuleDict(modules)
        self.way = forward
        self.eval()

    def forward(self, image: Any) -> Any:
        return self.way(self, image)


class Scaled(Around):
    def forward(self, image: Any, scale: Any) -> Any:  # type: ignore[override]
        return self.way(self, image, scale)


def _few_rows(own: Around, image: Tensor) -> Tensor:
    if len(image) > 2:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return own.net(image)  # type: ignore[no-any-return]


def _asserting(_: Around, image: Tensor) -> None:
    assert image.shape[-1] == 32, "images of 32 pixels"


def _returning_nothing(own: Around, image: Tensor) -> None:
    own.net(image)


def with_linear() -> Around:
    return Around(lambda own, image: own.parts["fc"](own.net[:4](image).flatten(1)), fc=nn.Linear(100, 3))


def embedded() -> Scaled:
    return Scaled(lambda own, image, kind: own.net(image) + own.parts["kind"](kind), kind=nn.Embedding(5, 4))


def multiplied() -> Scaled:
    return Scaled(lambda own, image, scale: own.net(image) * scale)


CALLS: dict[str, tuple[Callable[[], nn.Module], Any, type[BitlensError], str]] = {
    "channels": (
        lambda: Around(lambda own, image: own.net(image)), noise_images(2, 4), InputError,
        r"module 'net.0' \(Conv2d\) takes 3 channels, but was given 4 \(\(N, 4, 16, 16\) of float32\): give inputs of the size",
    ),
    "double precision": (
        lambda: Around(lambda own, image: own.net(image)), IMAGES.double(), InputError,
        r"module 'net.0' \(Conv2d\) has weights of float32, but was given .* of float64: give inputs.to\(torch.float32\)",
    ),
    "missing argument": (
        multiplied, IMAGES, InputError,
        r"the network \(Scaled\) takes \(image, scale\), but was given \(N, 3, 16, 16\) of float32: several arguments",
    ),
    "another name": (
        multiplied, {"image": IMAGES, "factor": torch.ones(2, 1)}, InputError,
        r"the network \(Scaled\) takes \(image, scale\), but was given image=.*, factor=\(N, 1\) of float32",
    ),
    "one too many": (
        lambda: Around(lambda own, image: own.net(image)), (IMAGES, IMAGES), InputError, r"takes \(image\), but was given",
    ),
    "size": (
        with_linear, IMAGES, InputError,
        r"module 'parts.fc' \(Linear\) takes 100 features, but was given 512 .*; Around was given \(N, 3, 16, 16\)",
    ),
    "id": (
        embedded, (IMAGES, torch.tensor([1, 9])), InputError,
        r"module 'parts.kind' \(Embedding\) knows the numbers from 0 to 4, but was given 9: use the tokenizer",
    ),
    "batch norm": (
        lambda: Around(lambda own, image: own.net(own.parts["norm"](image)), norm=nn.BatchNorm2d(5)), IMAGES, InputError,
        r"module 'parts.norm' \(BatchNorm2d\) takes 5 channels, but was given 3",
    ),
    "KeyError": (
        lambda: Around(lambda own, image: {"logits": own.net(image)}["scores"]), IMAGES, ModelError,
        r"Around cannot be run on \(N, 3, 16, 16\) of float32: it raised KeyError: 'scores'; see whether model\(inputs\)",
    ),
    "assertion": (
        lambda: Around(_asserting), IMAGES, ModelError, r"it raised AssertionError: images of 32 pixels",
    ),
    "deeper": (
        lambda: nn.Sequential(Around(lambda own, image: own.net(image).pixels)).eval(), IMAGES, ModelError,
        r"its module '0' \(Around\), given \(N, 3, 16, 16\) of float32, raised AttributeError",
    ),
    "nothing": (lambda: Around(_returning_nothing), IMAGES, TargetError, "None"),
}  # fmt: skip


def _bottleneck(model: nn.Module, inputs: Any) -> None:
    layer = next(name for name, module in model.named_modules() if name.endswith("net.2"))
    iba = library.IBA(model, layer, statistics=statistics(), steps=1, noise_samples=1)
    iba.explain(inputs, evidence_samples=0)


def _statistics(model: nn.Module, inputs: Any) -> None:
    layer = next(name for name, module in model.named_modules() if name.endswith("net.2"))
    batch = (
        inputs
        if isinstance(inputs, Mapping) or not isinstance(inputs, tuple)
        else dict(zip(("image", "scale"), inputs, strict=False))
    )
    library.IBA(model, layer).fit_statistics([batch])


def _metric(model: nn.Module, inputs: Any) -> None:
    metrics.degradation(model, inputs, 0, torch.rand(2, 16, 16), tile=4)


WAYS: dict[str, Callable[[nn.Module, Any], Any]] = {
    "iba": _bottleneck,
    "statistics": _statistics,
    "gradient": lambda model, inputs: method("gradient", model).explain(inputs),
    "grad-cam": lambda model, inputs: method("grad-cam", model).explain(inputs),
    "lrp": lambda model, inputs: method("lrp-alpha1-beta0", model).explain(inputs),
    "occlusion": lambda model, inputs: method("occlusion-8", model).explain(inputs),
    "metric": _metric,
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("call", list(CALLS))
def test_a_wrong_call_is_one_sentence(call: str, way: str) -> None:
    make, inputs, kind, sentence = CALLS[call]
    if way == "statistics" and call in ("nothing", "one too many"):
        pytest.skip("statistics ask for no output, and take the first of a tuple")
    model = make()
    before = model_state(model)
    with pytest.raises(kind, match=sentence) as raised:
        WAYS[way](model, inputs)
    assert "\n" not in str(raised.value)
    if kind is not TargetError:
        cause = raised.value.__cause__
        assert cause is not None
        assert not isinstance(cause, BitlensError)
    assert model_state(model) == before


@pytest.mark.parametrize("way", ["iba", "gradient", "occlusion", "metric"])
def test_too_little_memory_names_the_setting(way: str) -> None:
    with pytest.raises(
        ModelError, match="memory is not enough for a pass of Around: choose a smaller internal_batch_size"
    ):
        WAYS[way](Around(_few_rows), IMAGES.repeat(2, 1, 1, 1)[:3] if way != "metric" else IMAGES)


class OneWay(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(_ctx: Any, *_: Any) -> None:
        raise NotImplementedError("no way back")


def _overwriting(own: Around, image: Tensor) -> Tensor:
    features = own.net[:3](image).sigmoid()
    return own.net[3:](features.mul_(2))


@pytest.mark.parametrize(
    ("forward", "raised"),
    [
        (lambda own, image: OneWay.apply(own.net(image)), "no way back"),
        (_overwriting, "modified by an inplace operation"),
    ],
)
def test_a_backward_pass_that_fails_is_one_sentence(forward: Callable[..., Any], raised: str) -> None:
    for name in ("gradient", "integrated-gradients"):
        with pytest.raises(ModelError, match=f"no gradient can be computed through Around: .*{raised}"):
            method(name, Around(forward)).explain(IMAGES)


def test_what_a_target_raises_is_the_users_own() -> None:
    def target(_: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        method("gradient", small_net()).explain(IMAGES, target)


def test_texts_with_words_that_the_network_does_not_know() -> None:
    loaded = small_lstm(classes=3)
    batch = loaded.tokenizer(TEXTS)
    wrong = replace(batch, inputs={**batch.inputs, "input_ids": batch.inputs["input_ids"] + 100})
    for name in ("occlusion", "saliency", "token-iba"):
        ready: Any = method(name, loaded, **({"steps": 1} if name == "token-iba" else {}))
        if name == "token-iba":
            ready.fit_statistics([batch])
        with pytest.raises(
            InputError, match=r"module 'embedding' \(Embedding\) knows the numbers from 0 to 23, but was given"
        ):
            ready.explain(wrong)


PHOTO_MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels, fails):
        super().__init__()
        self.body = nn.Conv2d(channels, 4, 3, stride=8)
        self.head = nn.Linear(4, 2)
        self.fails = fails

    def forward(self, x):
        x = self.body(x)
        if self.fails:
            raise KeyError("scores")
        return self.head(x.mean((2, 3)))


def channels():
    return Net(1, False)


def raises():
    return Net(3, True)


def fine():
    return Net(3, False)
"""


@pytest.fixture
def photo(tmp_path: Any) -> Any:
    (tmp_path / "net.py").write_text(PHOTO_MODEL)
    Image.new("RGB", (64, 64), (90, 120, 30)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("channels", "module 'body' (Conv2d) takes 1 channels, but was given 3"),
        ("raises", "Net cannot be run on (N, 3, 224, 224) of float32: it raised KeyError: 'scores'"),
    ],
)
@pytest.mark.parametrize("name", ["gradient", "grad-cam"])
def test_the_command_line_prints_one_line(
    bitlens: Any, photo: Any, tmp_path: Any, factory: str, sentence: str, name: str
) -> None:
    command = ["explain", photo, "--model", f"{tmp_path / 'net.py'}:{factory}", "--method", name, "--out", "r"]
    done = bitlens(*command, code=1)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    shown = bitlens("--debug", *command, code=1)
    assert sentence in shown.stderr
    assert "Traceback" in shown.stderr
    assert "net.py" in shown.stderr


def test_what_nobody_expected_is_one_line_too(
    bitlens: Any, photo: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by\nnothing")

    monkeypatch.setattr("bitlens.models.load.load_model", broken)
    command = ["explain", photo, "--model", f"{tmp_path / 'net.py'}:fine", "--method", "gradient", "--out", "r"]
    done = bitlens(*command, code=1)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines == [
        "bitlens: ZeroDivisionError: by nothing (bitlens did not expect this: `bitlens --debug` before the command shows where "
        "it happened)"
    ]
    shown = bitlens("--debug", *command, code=1)
    assert "Traceback" in shown.stderr
    assert shown.stderr.rstrip().endswith("where it happened)")
    assert console.Debugging.wanted
    bitlens("version")
    assert not console.Debugging.wanted


def test_what_cannot_be_done_in_a_lower_precision_says_which_to_choose() -> None:
    net = Around(lambda own, image: torch.from_numpy(own.net(image).detach().numpy()))
    iba = library.IBA(net, "net.2", statistics=statistics(), steps=1, noise_samples=1, precision="bfloat16")
    with pytest.raises(ModelError, match=r"BFloat16; choose precision='float32'"):
        iba.explain(IMAGES)
