"""Where a network computes NaN or infinite numbers no method gives a map, and the sample and the module are named."""

import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.baselines.asking import TextQuestion
from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import LayerError, NotFiniteError, SettingError, StatisticsError
from bitlens.evaluation.scored import Scored
from bitlens.methods import METHODS
from bitlens.methods.building import build_method
from bitlens.methods.specs import Spec
from bitlens.metrics.degradation import degradation
from bitlens.metrics.insertion_deletion import insertion_deletion
from bitlens.metrics.sensitivity_n import sensitivity_n
from bitlens.models.load import load_model
from bitlens.models.loaded import Loaded
from networks import noise_images, small_net

LIGHT: dict[str, dict[str, Any]] = {
    "iba": {"steps": 2, "noise_samples": 1},
    "input-iba": {"steps": 2, "noise_samples": 1},
    "extremal-perturbation": {"iterations": 2},
    **{name: {"samples": 20} for name in ("rise", "lime", "kernel-shap")},
}
LIGHT_TEXTS: dict[str, dict[str, Any]] = {
    name: {"steps": 2, "noise_samples": 1} for name in ("token-iba", "iba", "input-iba")
}
LAYER = "1.2"
pytestmark = pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning")


class Bright(nn.Module):
    """NaN for bright images alone; their changed copies are bright, too."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where((x.mean((1, 2, 3)) > 3)[:, None, None, None], torch.nan, x)


class Steep(nn.Module):
    """Finite, with a slope that is not."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() + (x * 0).sqrt()


class Huge(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() * 1e38 * 1e3


class Bare(nn.Module):
    """Fails in code of its own, between its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + torch.log(x.amin((1, 2, 3)) * 0)[:, None]


def network(first: nn.Module, fourth: nn.Module | None = None) -> nn.Sequential:
    net = small_net()
    if fourth is not None:
        net[3] = fourth
    return nn.Sequential(first, net).eval()


def broken_weight() -> nn.Module:
    model = network(nn.Identity())
    model[1][6].weight.data[1, 2] = torch.nan
    return model


IMAGES = noise_images(3)
IMAGES[1] += 40


def taught(name: str, model: nn.Module) -> Any:
    loaded = Loaded("net", model, Preprocessing(lambda picture: picture), None, LAYER)
    method = build_method(Spec(name, LIGHT.get(name, {})), loaded, layer=LAYER)
    lesson = METHODS["image"][name].lesson
    if lesson is not None:
        lesson.fit(method, [noise_images(64) * 0.1], 64)
    return method


SCENES: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "weights": (broken_weight, 0, r"module '1\.6' puts out such values for it"),
    "one sample": (lambda: network(Bright()), 1, r"module '0' puts out such values for it"),
    "too large": (lambda: network(nn.Identity(), Huge()), 0, r"module '1\.3' puts out such values for it"),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", METHODS["image"])
def test_no_method_gives_a_map(name: str, scene: str) -> None:
    build, sample, says = SCENES[scene]
    with pytest.raises((NotFiniteError, StatisticsError, SettingError, LayerError)) as refused:
        taught(name, build()).explain(IMAGES, [1, 1, 1])
    said = str(refused.value)
    assert "\n" not in said
    match refused.value:
        case NotFiniteError():
            assert f", sample {sample}: " in said
            assert re.search(says, said), said
        case StatisticsError():
            assert "NaN or infinite" in said  # of what it learnt from
        case _:
            assert name in ("readout", "attention-rollout", "gradient-attention-rollout")  # not for such networks


@pytest.mark.parametrize("name", ["gradient", "saliency", "gradient-x-input", "smoothgrad", "integrated-gradients"])
def test_a_slope_that_is_infinite(name: str) -> None:
    with pytest.raises(NotFiniteError, match=r"sample 0: the gradient through module '1\.3' has such values"):
        taught(name, network(nn.Identity(), Steep())).explain(IMAGES, 1)


def test_changed_copies_alone() -> None:
    """Images are finite; where a part of one is covered, it is bright."""

    class Even(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x.amax((1, 2, 3)) > 50)[:, None, None, None], torch.inf, x)

    with pytest.raises(
        NotFiniteError, match=r"sample 0: module '0' puts out such values for changed copies of it, but not"
    ):
        build_method(
            Spec("occlusion-8", {"replacement": 60.0}),
            Loaded("n", network(Even()), Preprocessing(lambda p: p), None, LAYER),
        ).explain(noise_images(2), 1)


def test_code_between_modules_and_targets() -> None:
    with pytest.raises(NotFiniteError, match="sample 0: the network's own code puts out such values"):
        build_method(
            Spec("gradient", {}), Loaded("net", Bare().eval(), Preprocessing(lambda p: p), None, "inner.2")
        ).explain(IMAGES, 1)
    with pytest.raises(NotFiniteError, match="the target makes such values of what the network answers"):
        taught("gradient", network(nn.Identity())).explain(
            IMAGES, lambda output: output[:, 0].clamp_max(0).sub(1).sqrt()
        )


@pytest.mark.parametrize("name", ["lime", "kernel-shap"])
def test_linear_models_say_it_of_texts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model("builtin/reviews")
    method = build_method(Spec(name, {"samples": 20}), loaded)
    batch = loaded.tokenizer(["A warm and funny film.", "A dull mess."])
    asked, lengths = TextQuestion.without, batch.real.sum(1).tolist()

    def broken(self: TextQuestion, *arguments: Any) -> Tensor:
        mine = self.batch.real.sum(1).tolist() == lengths[1:]
        return asked(self, *arguments) * (torch.nan if mine else 1.0)

    monkeypatch.setattr(TextQuestion, "without", broken)
    with pytest.raises(NotFiniteError, match="in the score of shortened copies, sample 1"):
        method.explain(batch, 1)


@pytest.mark.parametrize("name", METHODS["text"])
def test_no_method_for_texts_gives_a_map(name: str) -> None:
    loaded = load_model("builtin/reviews")
    last = [module for module in loaded.model.modules() if isinstance(module, nn.Linear)][-1]
    method = build_method(Spec(name, LIGHT_TEXTS.get(name, {})), loaded)
    batch = loaded.tokenizer(["A warm and funny film.", "A dull mess.", "A dull and long mess of a film."])
    lesson = METHODS["text"][name].lesson
    if lesson is not None and not lesson.knows(method):
        lesson.fit(method, [batch], 3)
    with torch.no_grad():
        last.weight[0, 0] = torch.inf
    with pytest.raises(NotFiniteError, match=r", sample \d: .*module '\w+' puts out such values") as refused:
        method.explain(batch, 0)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["map", "total_bits", "cells", "capacity", "before", "under_noise", "under_noise_std"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_no_attribution_holds_such_numbers(part: str, value: float) -> None:
    def some(name: str, *shape: int) -> Tensor:
        values = torch.rand(3, *shape)
        if name == part:
            values[2] = value
        return values

    proof = Evidence(*(some(name) for name in ("before", "under_noise", "under_noise_std")))
    more = {
        name: some(name, *shape) for name, shape in (("total_bits", ()), ("cells", (2, 2)), ("capacity", (2, 2, 2)))
    }
    with pytest.raises(NotFiniteError, match="of iba, sample 2"):
        Attribution(some("map", 4, 4), "bits/pixel", "iba", ("0",) * 3, evidence=proof, **more)


@pytest.mark.parametrize("metric", [degradation, insertion_deletion, sensitivity_n])
def test_no_metric_scores_them(metric: Callable[..., Any]) -> None:
    settings: dict[str, Any] = {"tile": 8} if metric is not insertion_deletion else {"start": "mean"}
    with pytest.raises(NotFiniteError, match=r"sample 1: module '0' puts out such values"):
        metric(network(Bright()), IMAGES, 1, torch.rand(3, 16, 16), **settings)


def test_a_score_that_is_infinite_is_a_failure_and_no_result() -> None:
    assert Scored(float("nan")).scale is None  # it does not apply
    for value, scale in ((float("inf"), None), (1.0, float("nan")), (1.0, float("inf"))):
        with pytest.raises(NotFiniteError, match="in the score: "):
            Scored(value, scale)


def test_the_error_travels_between_processes() -> None:
    told = NotFiniteError("the map", 3, "because")
    again = pickle.loads(pickle.dumps(told))
    assert (str(again), again.sample) == (str(told), 3)
    assert str(told) == "NaN or infinite values in the map, sample 3: because"
