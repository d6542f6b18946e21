"""Networks that were compiled, checkpointed, quantised, halved or turned into graphs: the plain network's maps, or a sentence."""

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
import torchvision
from torch import Tensor, nn

import bitlens
from bitlens import metrics
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.errors import LayerError, SettingError, StatisticsError
from bitlens.methods import METHODS, method
from bitlens.models.default_layer import default_layer, grid_layers
from bitlens.probe import Probe, find_layer, frozen, stages_behind
from bitlens.probe.fingerprint import weights_hash
from bitlens.probe.plainly import compiling
from bitlens.training.settings import TrainingSettings
from networks import model_state, quadrant_images, quadrant_net
from small_texts import TEXTS, BlankTokenizer, small_transformer

pytestmark = [
    pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # PyTorch's own words on int8 and TorchScript
]

CHECKPOINT = torch.utils.checkpoint.checkpoint
IMAGES, QUADRANTS = quadrant_images(3, seed=5)
LIGHT: dict[str, dict[str, Any]] = {
    "iba": {"layer": "body.2", "steps": 2, "noise_samples": 2},
    "input-iba": {"layer": "body.2", "steps": 2, "noise_samples": 2},
    "lime": {"samples": 20},
}
FAMILIES = [
    "iba", "input-iba", "occlusion-8", "gradient", "integrated-gradients", "grad-cam", "guided-backprop",
    "lrp-alpha1-beta0", "deep-shap", "lime",
]  # fmt: skip
RULES = {"guided-backprop", "lrp-alpha1-beta0", "deep-shap"}
NO_GRADIENT = {"occlusion-8", "lime"}


def quantised(model: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})  # type: ignore[no-any-return]


class Net(nn.Module):
    """A `quadrant_net` in two parts, with batch norm between them; `reentrant` says how the first is checkpointed, if it is."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        layers = quadrant_net()
        self.body, self.norm, self.head = layers[:4], nn.BatchNorm2d(8), layers[4:]
        self.reentrant = reentrant
        self.eval()

    def forward(self, x: Tensor) -> Any:
        if self.reentrant is None:
            return self.head(self.norm(self.body(x)))
        return self.head(self.norm(CHECKPOINT(self.body, x, use_reentrant=self.reentrant)))


class WithFunction(Net):
    """With a compiled function between its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.between = torch.compile(lambda x: torch.relu(x) * 1.0)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.norm(self.between(self.body(x))))


def compiled_in_place() -> nn.Module:
    model = Net()
    model.compile()
    return model


def compiled_layer() -> nn.Module:
    model = Net()
    model.body = torch.compile(model.body)  # type: ignore[assignment]
    return model


def compiled() -> nn.Module:
    return torch.compile(Net())  # type: ignore[no-any-return]


COMPILED = {
    "compile()": compiled_in_place,
    "layer": compiled_layer,
    "compile(model)": compiled,
    "function": WithFunction,
    "checkpoint": lambda: Net(reentrant=False),
    "reentrant checkpoint": lambda: Net(reentrant=True),
}


def explained(model: nn.Module, name: str, images: Tensor = IMAGES) -> Tensor:
    ready: Any = method(name, model, **LIGHT.get(name, {}))
    if METHODS["image"][name].learns:
        ready.fit_statistics([quadrant_images(64, seed=7)[0]])
    return ready.explain(images, QUADRANTS).map  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def plain() -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: explained(Net(), name) for name in FAMILIES}


def test_the_plain_maps_point_at_the_quadrant(plain: Mapping[str, Tensor]) -> None:
    for name in ("iba", "occlusion-8", "lrp-alpha1-beta0"):
        quarters = plain[name].clamp_min(0).unflatten(1, (2, 8)).unflatten(3, (2, 8)).sum((2, 4)).flatten(1)
        assert quarters.argmax(1).tolist() == QUADRANTS.tolist(), name


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("how", list(COMPILED))
def test_compiled_and_checkpointed_networks_have_the_plain_map(
    how: str, name: str, plain: Mapping[str, Tensor]
) -> None:
    model = COMPILED[how]()
    assert torch.equal(explained(model, name), plain[name])


@pytest.fixture(scope="module")
def readout() -> ReadoutWeights:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ready = bitlens.ReadoutIBA(Net(), "body.2")
        ready.fit_weights([quadrant_images(64, seed=7)], TrainingSettings(epochs=1, patience=0))
        return ready.weights


@pytest.mark.parametrize("how", list(COMPILED))
def test_a_readout_of_the_plain_network_serves_the_others(how: str, readout: ReadoutWeights) -> None:
    plain = bitlens.ReadoutIBA(Net(), weights=readout).explain(IMAGES, QUADRANTS).map
    model = COMPILED[how]()
    assert torch.equal(bitlens.ReadoutIBA(model, weights=readout).explain(IMAGES, QUADRANTS).map, plain)
    trained = bitlens.ReadoutIBA(model, "body.2")
    trained.fit_weights([quadrant_images(64, seed=7)], TrainingSettings(epochs=1, patience=0))
    assert torch.equal(trained.explain(IMAGES, QUADRANTS).map, plain)


def test_a_readout_cannot_be_trained_through_integers(readout: ReadoutWeights) -> None:
    with pytest.raises(LayerError, match=r"no gradient passes module 'head.6'"):
        bitlens.ReadoutIBA(quantised(Net()), "body.2").fit_weights([quadrant_images(64, seed=7)])
    with pytest.raises(StatisticsError, match="with other weights"):
        bitlens.ReadoutIBA(quantised(Net()), weights=readout)


@pytest.mark.parametrize("how", list(COMPILED))
def test_they_are_left_as_they_were(how: str) -> None:
    model = COMPILED[how]()
    before, calls = model_state(model), [getattr(m, "_compiled_call_impl", None) for m in model.modules()]
    place = torch.utils.checkpoint
    known = (place.CheckpointFunction, getattr(place, "_checkpoint_without_reentrant_generator", None))
    explained(model, "gradient")
    assert model_state(model) == before
    assert [getattr(m, "_compiled_call_impl", None) for m in model.modules()] == calls
    assert known == (place.CheckpointFunction, getattr(place, "_checkpoint_without_reentrant_generator", None))


def test_rules_on_a_compiled_resnet() -> None:
    """The case of the public report: a map of zeros."""
    model = torchvision.models.resnet18(num_classes=5).eval()
    plain = method("lrp-alpha1-beta0", model).explain(torch.ones(1, 3, 64, 64).cumsum(2) / 64, 1).map
    model.compile()
    assert torch.equal(method("lrp-alpha1-beta0", model).explain(torch.ones(1, 3, 64, 64).cumsum(2) / 64, 1).map, plain)
    assert plain.any()


def test_what_bitlens_compiles_itself_is_compiled() -> None:
    graphs: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    double = torch.compile(lambda x: x * 2, backend=backend)
    with frozen(Net()):
        double(IMAGES)
        assert not graphs
        first, second = compiling(), compiling()  # of two threads
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        double(IMAGES)
        second.__exit__(None, None, None)
        assert len(graphs) == 1
        double(IMAGES.double())
        assert len(graphs) == 1
    double(IMAGES.double())
    assert len(graphs) == 2


def test_threads_explain_one_compiled_network(plain: Mapping[str, Tensor]) -> None:
    model, found = compiled_layer(), list[Tensor]()
    threads = [
        threading.Thread(target=lambda name=name: found.append(explained(model, name) - plain[name]))
        for name in ("iba", "gradient", "lrp-alpha1-beta0", "occlusion-8")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert not any(difference.any() for difference in found)


def test_metrics_of_a_compiled_network() -> None:
    maps = torch.rand(3, 16, 16)
    found = [metrics.degradation(model, IMAGES, QUADRANTS, maps, tile=4) for model in (Net(), compiled_in_place())]
    assert str(found[0]) == str(found[1])


def test_layers_have_their_own_names_with_and_without_what_torch_compile_puts_between() -> None:
    model, whole = compiled_layer(), compiled()
    assert (
        find_layer(model, "body.2")
        == find_layer(model, "body._orig_mod.2")
        == find_layer(model, next(iter(model.body.children()))[2])
    )
    assert find_layer(model, "body.2")[0] == "body.2"
    assert find_layer(model, model.body)[0] == "body"  # type: ignore[arg-type]
    assert find_layer(whole, "body.2")[0] == find_layer(whole, "_orig_mod.body.2")[0] == "body.2"
    with pytest.raises(LayerError, match=r"no layer 'body.9'; did you mean 'body.2'|'body"):
        find_layer(whole, "body.9")
    assert {weights_hash(known) for known in (model, whole, compiled_in_place())} == {weights_hash(Net())}


@pytest.mark.parametrize("how", list(COMPILED))
def test_default_layers_and_stages_are_those_of_the_plain_network(how: str) -> None:
    model = COMPILED[how]()
    assert default_layer(model, IMAGES) == default_layer(Net(), IMAGES)
    assert grid_layers(model, IMAGES) == grid_layers(Net(), IMAGES)
    assert stages_behind(model, "body.0", IMAGES) == stages_behind(Net(), "body.0", IMAGES)


def test_what_was_learnt_of_the_plain_network_serves_the_compiled_one() -> None:
    statistics = bitlens.IBA(Net(), "body.2").fit_statistics([quadrant_images(64, seed=7)[0]]).statistics
    for model in (compiled_layer(), compiled(), compiled_in_place()):
        assert bitlens.IBA(model, "body.2", statistics=statistics, steps=2).explain(IMAGES, QUADRANTS).layer == "body.2"


def test_other_threads_compile_and_checkpoint_after_the_last_block_ends() -> None:
    """Two threads explain, one of them longer; in a third, checkpoints go on as ever."""
    seen: list[str] = []

    def watched(x: Tensor) -> Tensor:
        seen.append(threading.current_thread().name)
        return x * x

    def trained() -> None:
        x = torch.ones(2, requires_grad=True)
        CHECKPOINT(watched, x, use_reentrant=True).sum().backward()
        CHECKPOINT(watched, x, use_reentrant=False).sum().backward()

    first, second = frozen(Net()), frozen(Net())
    with first:
        with second:
            trained()
            assert len(seen) == 2  # here, nothing is computed again
        thread = threading.Thread(target=trained, name="other")
        thread.start()
        thread.join()
        assert seen.count("other") == 4
        trained()
        assert len(seen) == 8
    trained()
    assert len(seen) == 12


@pytest.mark.parametrize("name", FAMILIES)
def test_integers_give_no_gradient_and_say_so(name: str, plain: Mapping[str, Tensor]) -> None:
    model = quantised(Net())
    if name in NO_GRADIENT:
        torch.testing.assert_close(
            explained(model, name), plain[name], rtol=0, atol=0.03 * float(plain[name].abs().max())
        )
        return
    with pytest.raises(
        LayerError, match=r"no gradient passes module 'head.6' \(quantised Linear\): give the network as it was before"
    ):
        explained(model, name)


def test_a_network_of_integers_alone() -> None:
    quantization = pytest.importorskip("torch.ao.quantization")
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("PyTorch has no kernels for it here")
    layers = quadrant_net()
    model = nn.Sequential(quantization.QuantStub(), *layers, quantization.DeQuantStub()).eval()
    model.qconfig = quantization.get_default_qconfig("fbgemm")  # type: ignore[assignment]
    known, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    try:
        quantization.prepare(model, inplace=True)(quadrant_images(64, seed=7)[0])
        quantization.convert(model, inplace=True)
        maps = method("occlusion-8", model).explain(IMAGES, QUADRANTS).map
        quarters = maps.clamp_min(0).unflatten(1, (2, 8)).unflatten(3, (2, 8)).sum((2, 4)).flatten(1)
        assert quarters.argmax(1).tolist() == QUADRANTS.tolist()
        with pytest.raises(LayerError, match=r"no gradient passes module '0' .quantised Quantize."):
            method("gradient", model).explain(IMAGES, QUADRANTS)
        with pytest.raises(LayerError, match=r"layer '3' puts out torch.quint8, not real numbers"):
            bitlens.IBA(model, "3").fit_statistics([IMAGES]).explain(IMAGES)
    finally:
        torch.backends.quantized.engine = known


def test_integers_keep_their_precision() -> None:
    model = quantised(Net())
    iba = bitlens.IBA(model, "body.2", precision="auto").fit_statistics([quadrant_images(64, seed=7)[0]])
    other = Net()
    nn.init.ones_(other.head[2].weight)  # type: ignore[arg-type]
    assert weights_hash(model) == weights_hash(quantised(Net())) != weights_hash(quantised(other))
    value = metrics.degradation(model, IMAGES, QUADRANTS, torch.rand(3, 16, 16), tile=4, precision="auto")
    assert value
    with pytest.raises(SettingError, match="precision='bfloat16', but Net holds quantised modules"):
        bitlens.IBA(model, "body.2", statistics=iba.statistics, precision="bfloat16").explain(IMAGES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_networks_take_single_precision_inputs(
    name: str, dtype: torch.dtype, plain: Mapping[str, Tensor]
) -> None:
    found = explained(Net().to(dtype), name)
    torch.testing.assert_close(found, plain[name], rtol=0, atol=0.02 * float(plain[name].abs().max()))


@pytest.mark.parametrize("name", ["iba", "occlusion-8", "gradient"])
def test_single_precision_networks_take_half_precision_inputs(name: str) -> None:
    assert torch.equal(explained(Net(), name, IMAGES.half()), explained(Net(), name, IMAGES.half().float()))


def scripted() -> nn.Module:
    return torch.jit.script(Net())


def traced() -> nn.Module:
    return torch.jit.trace(Net(), IMAGES)


def exported() -> nn.Module:
    shapes = ({0: torch.export.Dim("samples")},)
    return torch.export.export(Net(), (IMAGES,), dynamic_shapes=shapes).module()


GRAPHS = {"script": (scripted, "TorchScript"), "trace": (traced, "TorchScript"), "export": (exported, "torch.export")}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("how", list(GRAPHS))
def test_graphs_have_the_plain_map_where_no_layer_is_looked_at(
    how: str, name: str, plain: Mapping[str, Tensor]
) -> None:
    make, kind = GRAPHS[how]
    looks = name in {"iba", "input-iba", "grad-cam"} or (name in RULES and kind == "TorchScript")
    if not looks:
        torch.testing.assert_close(explained(make(), name), plain[name])
        return
    with pytest.raises(
        (LayerError, SettingError), match=f"it holds .*{kind}.*; give the Python module that it was made from"
    ):
        explained(make(), name)


def test_a_scripted_part_of_a_network() -> None:
    model = Net()
    model.body = torch.jit.script(model.body)
    for layer in ("body.2", list(model.body.children())[2], "body.nine"):
        with pytest.raises(
            LayerError, match=r"of Net cannot be looked at: it holds TorchScript .*; give the Python module"
        ):
            Probe(model, layer)
    assert torch.equal(Probe(model, "body").features(IMAGES), Probe(Net(), "body").features(IMAGES))


def test_graphs_that_call_their_layers_are_networks_like_others(plain: Mapping[str, Tensor]) -> None:
    for name in ("iba", "grad-cam"):
        assert torch.equal(explained(torch.fx.symbolic_trace(Net()), name), plain[name])
    with pytest.raises(LayerError, match="did you mean"):
        find_layer(torch.fx.symbolic_trace(Net()), "boddy")


class OfABatch(nn.Module):
    """What a training loop's own network may look like: one mapping goes in."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.net(batch["image"]) * batch["weight"][:, None]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["iba", "gradient", "grad-cam", "occlusion-8", "lrp-alpha1-beta0"])
def test_one_mapping_as_the_only_argument(name: str) -> None:
    weight = torch.tensor([1.0, 2.0, 0.5])
    settings = {**LIGHT.get(name, {}), **({"layer": "net.body.2"} if name == "iba" else {})}
    model = OfABatch().eval()
    ready: Any = method(name, model, **settings)
    if name == "iba":
        photos = quadrant_images(64, seed=7)[0]
        ready.fit_statistics([{"image": photos, "weight": torch.ones(64)}])
    found = ready.explain({"image": IMAGES, "weight": weight}, QUADRANTS).map
    alone = ready.explain({"image": IMAGES[1:2], "weight": weight[1:2]}, QUADRANTS[1:2]).map
    assert found.shape == (3, 16, 16)
    if name != "iba":  # the noise of a sample depends on its number
        torch.testing.assert_close(found[1:2], alone)


TEXT_METHODS = ["token-iba", "integrated-gradients", "occlusion", "attention-rollout"]
TEXT_LIGHT: dict[str, dict[str, Any]] = {"token-iba": {"steps": 2}}


def compiled_block(model: Any) -> nn.Module:
    model.bert.encoder.layer[0] = torch.compile(model.bert.encoder.layer[0])
    return model  # type: ignore[no-any-return]


def checkpointing(reentrant: bool) -> Callable[[Any], nn.Module]:
    def change(model: Any) -> nn.Module:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        return model.train()  # type: ignore[no-any-return]

    return change


TEXT_WRAPPED: dict[str, Callable[[Any], Any]] = {
    "compile(model)": torch.compile,
    "block": compiled_block,
    "checkpoint": checkpointing(False),
    "reentrant checkpoint": checkpointing(True),
}


def explained_text(name: str, change: Callable[[Any], Any] = lambda model: model) -> Tensor:
    loaded = small_transformer()
    loaded = replace(loaded, model=change(loaded.model))
    ready: Any = method(name, loaded, **TEXT_LIGHT.get(name, {}))
    if METHODS["text"][name].learns:
        ready.fit_statistics([BlankTokenizer()(TEXTS * 10)])
    return ready.explain(BlankTokenizer()(TEXTS), [1, 0, 1, 1]).map  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def plain_texts() -> Iterator[dict[str, Tensor]]:
    pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield {name: explained_text(name) for name in TEXT_METHODS}


@pytest.mark.parametrize("name", TEXT_METHODS)
@pytest.mark.parametrize("how", list(TEXT_WRAPPED))
def test_networks_for_texts_have_the_plain_map(how: str, name: str, plain_texts: Mapping[str, Tensor]) -> None:
    assert torch.equal(explained_text(name, TEXT_WRAPPED[how]), plain_texts[name])


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_networks_for_texts_of_integers_or_in_half_precision(name: str, plain_texts: Mapping[str, Tensor]) -> None:
    half = explained_text(name, lambda model: model.half())
    torch.testing.assert_close(half, plain_texts[name], rtol=0, atol=0.05 * float(plain_texts[name].abs().max()))
    if name == "occlusion":
        assert torch.isfinite(explained_text(name, quantised)).all()
        return
    with pytest.raises(LayerError, match=r"no gradient passes module 'bert.* \(quantised Linear\)"):
        explained_text(name, quantised)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_of_timm(reentrant: bool) -> None:
    timm = pytest.importorskip("timm")

    def maps(checkpointed: bool) -> Tensor:
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=4, img_size=32).eval()
        model.set_grad_checkpointing(checkpointed)
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        iba = bitlens.IBA(model, "blocks.0", steps=2).fit_statistics([images] * 4)
        return torch.cat([iba.explain(images, 1).map, method("gradient", model).explain(images, 1).map])

    patch = pytest.MonkeyPatch()
    patch.setenv("TIMM_REENTRANT_CKPT", str(int(reentrant)))
    try:
        assert torch.equal(maps(True), maps(False))
    finally:
        patch.undo()


def test_a_default_layer_of_a_half_precision_network() -> None:
    model = torchvision.models.resnet18(num_classes=5).eval()
    assert default_layer(model.half(), torch.zeros(1, 3, 224, 224)) == "layer2"
