"""Networks that nobody reported: other architectures with random weights, and other ways to wrap a module."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.errors import FitError, LayerError
from bitlens.models.default_layer import default_layer
from bitlens.models.load_text import text_layers, word_embedding
from bitlens.probe import Probe
from planted_networks import PLANTED, Decided, Queries, inside, peak, share

pytestmark = pytest.mark.filterwarnings("ignore:statistics:bitlens.errors.BitlensWarning")

STRIDED = next(planted for planted in PLANTED if planted.kind == "Conv2d with strides 4 and 16")


# --- wrappers


class Within(nn.Module):
    """A network in another, which gives a mapping."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return {"logits": self.inner(x)}


class Autocast(Within):
    """Chooses its precision itself."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.amp.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x).float()


class Blind(Within):
    """Gives no gradient."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def changed(change: Callable[[nn.Module], Any]) -> Callable[[nn.Module], nn.Module]:
    def make(network: nn.Module) -> nn.Module:
        change(network.get_submodule("features.0"))
        return network.eval()

    return make


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "AveragedModel": (lambda network: torch.optim.swa_utils.AveragedModel(network).eval(), "module.features.0"),
    "DataParallel": (nn.DataParallel, "module.features.0"),
    "weight norm": (changed(nn.utils.parametrizations.weight_norm), "features.0"),
    "spectral norm": (changed(nn.utils.parametrizations.spectral_norm), "features.0"),
    "pruned": (changed(lambda layer: nn.utils.prune.l1_unstructured(layer, "weight", 0.2)), "features.0"),
    "hook": (changed(lambda layer: layer.register_forward_hook(lambda *given: given[2] * 1.0)), "features.0"),
    "torch.fx": (torch.fx.symbolic_trace, "features.0"),
    "mapping": (Within, "inner.features.0"),
    "autocast": (Autocast, "inner.features.0"),
}


@pytest.mark.parametrize("how", WRAPPERS)
def test_a_wrapped_network_has_the_same_decisive_place(how: str) -> None:
    wrap, layer = WRAPPERS[how]
    network = wrap(STRIDED.network()).eval()
    iba = bitlens.IBA(network, layer, smoothing=0.0).fit_statistics([STRIDED.ordinary(32)], granularity="channel")
    found = iba.explain(STRIDED.inputs()).map[0]
    assert inside(peak(found), STRIDED.decisive)
    assert share(found, STRIDED.decisive) > 0.6
    for name in ("layer-cam", "occlusion-8", "integrated-gradients"):
        settings = {"layer": layer} if name == "layer-cam" else {}
        found = bitlens.method(name, network, **settings).explain(STRIDED.inputs()).map[0].abs()
        assert share(found, STRIDED.decisive) > 0.6


def test_a_network_that_gives_no_gradient_says_so() -> None:
    iba = bitlens.IBA(Blind(STRIDED.network()).eval(), "inner.features.0")
    iba.fit_statistics([STRIDED.ordinary(8)], granularity="channel")
    with pytest.raises(FitError, match="has no gradient at the layer: the network or the target detaches it"):
        iba.explain(STRIDED.inputs())


# --- sequences


class Gru(nn.Module):
    """Steps first or samples first, both ways."""

    def __init__(self, *, samples_first: bool) -> None:
        super().__init__()
        self.first, self.rnn = samples_first, nn.GRU(5, 8, batch_first=samples_first, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            return self.rnn(x)[0]
        return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)


@pytest.mark.parametrize("samples_first", [True, False])
def test_steps_of_a_gru(*, samples_first: bool) -> None:
    torch.manual_seed(0)
    network = Decided(Gru(samples_first=samples_first), (slice(7, 8),), (20, 5)).eval()
    iba = bitlens.IBA(network, "features.rnn").fit_statistics([torch.randn(32, 20, 5)], granularity="channel")
    found = iba.explain(torch.randn(1, 20, 5)).map[0]
    assert peak(found) == (7,)
    assert share(found, (slice(6, 9),)) > 0.6  # blurred along the series


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(
    ("layer", "places", "layout"),
    [
        ("feature_extractor.conv_layers.0", 399, "CT"),
        ("feature_extractor.conv_layers.1", 98, "CT"),
        ("feature_projection", 98, "TD"),
        ("encoder.layers.0", 98, "TD"),
    ],
)
def test_times_of_wav2vec(layer: str, places: int, layout: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        **SIZES, conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2, num_labels=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, classifier_proj_size=8, vocab_size=32,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.Wav2Vec2ForSequenceClassification(config).eval()
    sounds = torch.randn(4, 2000)
    iba = bitlens.IBA(network, f"wav2vec2.{layer}", quality="fast").fit_statistics([sounds], granularity="channel")
    found = iba.explain(sounds[:1])
    assert found.map.shape == (1, 2000)
    assert found.cells is not None
    assert found.cells.shape == (1, places)
    assert iba.statistics.layout.name == layout


def test_queries_of_large_images() -> None:
    torch.manual_seed(0)
    network = Decided(Queries(100, 16, 32), (slice(37, 38),), (3, 800, 800)).eval()
    for seed in range(4):
        image = torch.randn(1, 3, 800, 800, generator=torch.Generator().manual_seed(seed))
        assert Probe(network, "features").geometry(image).layout.name == "TD"


# --- texts

IDS = torch.randint(4, 22, (2, 8), generator=torch.Generator().manual_seed(0))
IDS[:, -1] = 3
TEXTS = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
HEADED: dict[str, Any] = {"vocab_size": 30, "num_labels": 3, "pad_token_id": 0}
BOTH = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
TAKEN: dict[str, dict[str, Any]] = {
    "BigBird": {**SIZES, "attention_type": "original_full", "sep_token_id": 3},
    "FNet": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32},
    "DebertaV2": SIZES,
    "MPNet": SIZES,
    "Qwen2": {**SIZES, "num_key_value_heads": 2},
    "Gemma": {**SIZES, "num_key_value_heads": 1, "head_dim": 8},
    "ConvBert": {**SIZES, "embedding_size": 16},
    "RoFormer": {**SIZES, "embedding_size": 16},
    "ModernBert": {**SIZES, "cls_token_id": 1, "sep_token_id": 3, "bos_token_id": 1, "eos_token_id": 3},
}
REFUSED: dict[str, dict[str, Any]] = {
    "MBart": {**BOTH, "d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "eos_token_id": 3},
    "UMT5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "eos_token_id": 3,
             "decoder_start_token_id": 0},
}  # fmt: skip


def classifier(name: str, sizes: dict[str, Any]) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**HEADED, **sizes)
    network: nn.Module = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    return network


@pytest.mark.parametrize("name", TAKEN)
def test_other_encoders_and_decoders_of_texts(name: str) -> None:
    network = classifier(name, TAKEN[name])
    for layer in (word_embedding(network), text_layers(network)[0]):
        iba = TokenIBA(network, layer, precision="float32").fit_statistics([TEXTS])
        found = iba.explain(TEXTS)
        assert found.map.shape == (2, 8)
        assert found.total_bits is not None
        assert float(found.total_bits.min()) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_whose_decoder_reads_the_text_again(name: str) -> None:
    network = classifier(name, REFUSED[name])
    for layer in (word_embedding(network), *text_layers(network)):
        iba = TokenIBA(network, layer, precision="float32").fit_statistics([TEXTS])
        with pytest.raises(
            LayerError, match=r"the output still shows .* they reach it through the network's arguments"
        ):
            iba.explain(TEXTS)


# --- images


def right_of_six(probe: Probe, size: int, cells: int = 8) -> int:
    """How often, of six changed patches of an image, the layer answers most at the patch or right beside it."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, size, size, generator=generator)
    geometry = probe.geometry(image)
    layout = geometry.layout.over(probe.size(image), (size, size))
    side, clean, right = size // cells, geometry.arranged(probe.features(image)), 0
    for row, column in torch.randint(0, cells, (6, 2), generator=generator).tolist():
        other = image.clone()
        other[..., row * side : (row + 1) * side, column * side : (column + 1) * side] += 1
        apart = (geometry.arranged(probe.features(other)) - clean).movedim(layout.channel + 1, 1).norm(dim=1)[0]
        grid = apart if layout.patches is None else apart[layout.extra :].reshape(layout.patches)
        found = [(place + 0.5) / n * cells for place, n in zip(peak(grid), grid.shape, strict=True)]
        right += math.dist(found, (row + 0.5, column + 0.5)) < 1.5
    return right


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "layout"),
    [
        ("pvt_v2_b0", "stages.1", "CHW"),
        ("pvt_v2_b0", "stages.1.blocks.0", "PD"),
        ("maxvit_tiny_rw_224", "", "CHW"),
        ("mobilevit_xxs", "", "CHW"),
        ("levit_128s", "", "PD"),
        ("focalnet_tiny_srf", "", "CHW"),
        ("volo_d1_224", "", "HWC"),
        ("cait_xxs24_224", "", "PD"),
        ("davit_tiny", "stages.1.blocks.0", "CHW"),
        ("edgenext_xx_small", "", "CHW"),
        ("efficientformer_l1", "stages.3.blocks.3", "PD"),
        ("swinv2_cr_tiny_224", "stages.1.blocks.0", "HWC"),
        ("poolformer_s12", "", "CHW"),
        ("hrnet_w18_small", "", "CHW"),
        ("convnext_atto", "", "CHW"),
        ("mixer_s32_224", "blocks.3", "PD"),
        ("resmlp_12_224", "blocks.3", "PD"),
    ],
)
def test_other_networks_for_images(name: str, layer: str, layout: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    size = 256 if name.startswith("mobilevit") else 224
    image = torch.randn(1, 3, size, size)
    probe = Probe(network, layer or default_layer(network, image))
    assert probe.geometry(image).layout.name == layout
    assert right_of_six(probe, size) >= 5
    assert not probe.around(image).share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "says"),
    [
        ("coat_tiny", "", "has no layer whose places in the image could be measured: name a layer"),
        ("crossvit_9_240", "", "has no layer whose places in the image could be measured: name a layer"),
        ("mobilevit_xxs", "stages.2.1.transformer.0", "several rows for each"),
        ("resmlp_12_224", "blocks.3.linear_tokens", "cannot be told: say layout='TD' or layout='CT'"),
    ],
)
def test_other_layers_that_are_refused(name: str, layer: str, says: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    image = torch.randn(1, 3, *(network.default_cfg["input_size"][1:]))
    with pytest.raises(LayerError, match=says):
        Probe(network, layer or default_layer(network, image)).geometry(image)


@pytest.mark.slow
def test_class_attention_and_layers_along_tokens() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    image = torch.randn(1, 3, 224, 224)
    cait = timm.create_model("cait_xxs24_224", init_values=0.1).eval()
    assert Probe(cait, "blocks_token_only.0").around(image).share > 0.1
    mixer = timm.create_model("mixer_s32_224").eval()
    for layer in ("blocks.3.mlp_tokens", "blocks.3.mlp_tokens.fc2"):
        assert Probe(mixer, layer).geometry(image).layout.name == "CT"
