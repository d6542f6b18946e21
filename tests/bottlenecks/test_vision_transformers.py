"""IBA on the tokens of vision transformers: grids found, all bits counted, class tokens apart, in three libraries."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from bitlens.baselines.gradcam import GradCAM
from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.attribution import Attribution
from bitlens.core.gaussian import NoiseSettings
from bitlens.errors import StatisticsError
from bitlens.models.default_layer import default_layer
from networks import noise_images, small_vit

timm: Any = pytest.importorskip("timm")
transformers: Any = pytest.importorskip("transformers")

_TIMM = {"img_size": 16, "patch_size": 4, "depth": 4, "num_classes": 4}
_HUB = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 4,
    "num_labels": 4,
}
_SWIN = {"embed_dim": 8, "patch_size": 2, "window_size": 4}


def timm_vit(**settings: Any) -> nn.Module:
    model: nn.Module = timm.models.VisionTransformer(embed_dim=16, num_heads=2, **_TIMM, **settings)
    return model


def timm_named(name: str) -> nn.Module:
    model: nn.Module = timm.create_model(name, embed_dim=12, num_heads=3, **_TIMM)
    return model


def hub(kind: str) -> nn.Module:
    settings = getattr(transformers, f"{kind}Config")(**_HUB)
    model: nn.Module = getattr(transformers, f"{kind}ForImageClassification")(settings)
    return model


def hub_swin(height: int, width: int) -> nn.Module:
    settings = transformers.SwinConfig(
        image_size=(height, width), depths=[2, 2, 2], num_heads=[2, 2, 2], num_labels=4, **_SWIN
    )
    model: nn.Module = transformers.SwinForImageClassification(settings)
    return model


def timm_swin() -> nn.Module:
    model: nn.Module = timm.models.SwinTransformer(
        img_size=(32, 48), depths=(2, 2, 2), num_heads=(2, 2, 2), num_classes=4, **_SWIN
    )
    return model


# name: (network, size of the image, default layer, extra tokens, grid, layer of Grad-CAM)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, int, tuple[int, int], str]] = {
    "torchvision ViT": (
        lambda: VisionTransformer(16, 4, 4, 2, 8, 16, num_classes=4),
        (16, 16),
        "encoder.layers.encoder_layer_0",
        1,
        (4, 4),
        "encoder.layers.encoder_layer_3.ln_1",
    ),
    "torchvision Swin": (
        lambda: SwinTransformer([4, 4], 8, [2, 2], [2, 2], [2, 2], num_classes=4),
        (32, 48),
        "features.1.1",
        0,
        (8, 12),
        "permute",
    ),
    "timm ViT": (timm_vit, (16, 16), "blocks.0", 1, (4, 4), "blocks.3.norm1"),
    "timm ViT with registers": (
        lambda: timm_vit(reg_tokens=4, dynamic_img_size=True),
        (16, 24),
        "blocks.0",
        5,
        (4, 6),
        "blocks.3.norm1",
    ),
    "timm ViT without class token": (
        lambda: timm_vit(class_token=False, global_pool="avg"),
        (16, 16),
        "blocks.0",
        0,
        (4, 4),
        "norm",
    ),
    "timm DeiT": (
        lambda: timm_named("deit_tiny_distilled_patch16_224"),
        (16, 16),
        "blocks.0",
        2,
        (4, 4),
        "blocks.3.norm1",
    ),
    "timm BEiT": (lambda: timm_named("beit_base_patch16_224"), (16, 16), "blocks.0", 1, (4, 4), "blocks.3.norm1"),
    "timm Swin": (timm_swin, (32, 48), "patch_embed", 0, (16, 24), "norm"),
    "hf ViT": (lambda: hub("ViT"), (16, 16), "vit.layers.0", 1, (4, 4), "vit.layers.3.layernorm_before"),
    "hf DeiT": (lambda: hub("DeiT"), (16, 16), "deit.layers.0", 2, (4, 4), "deit.layers.3.layernorm_before"),
    "hf BEiT": (lambda: hub("Beit"), (16, 16), "beit.layers.0", 1, (4, 4), "beit.layers.3.layernorm_before"),
    "hf Swin": (
        lambda: hub_swin(32, 48),
        (32, 48),
        "swin.encoder.layers.0.blocks.1",
        0,
        (16, 24),
        "swin.layernorm",
    ),
    "hf Swin, odd size": (
        lambda: hub_swin(34, 48),
        (34, 48),
        "swin.encoder.layers.0.blocks.1",
        0,
        (17, 24),
        "swin.layernorm",
    ),
    "hf DINOv2 with registers": (
        lambda: hub("Dinov2WithRegisters"),
        (16, 24),
        "dinov2_with_registers.encoder.layer.0",
        5,
        (4, 6),
        "dinov2_with_registers.encoder.layer.3.norm1",
    ),
}


def spread(build: Callable[[], nn.Module]) -> nn.Module:
    """A network whose answers and attention differ from place to place, as after training."""
    torch.manual_seed(0)
    model = build().eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or "bias" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def all_bits_are_counted(result: Attribution, extra: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    assert (result.map.shape[1:], result.unit) == (size, "bits/pixel")
    assert result.cells is not None
    assert result.total_bits is not None
    assert result.capacity is not None
    assert result.cells.shape[1:] == grid
    beside = torch.zeros(len(result)) if result.extra_bits is None else result.extra_bits.sum(1)
    assert (0 if result.extra_bits is None else result.extra_bits.shape[1]) == extra
    torch.testing.assert_close(result.map.sum((1, 2)), result.cells.sum((1, 2)))
    torch.testing.assert_close(result.cells.sum((1, 2)) + beside, result.total_bits)
    torch.testing.assert_close(result.capacity.flatten(1).sum(1), result.total_bits)


@pytest.mark.parametrize("name", NETWORKS)
def test_grids_are_found_and_all_bits_counted(name: str) -> None:
    build, size, layer, extra, grid, cam = NETWORKS[name]
    model, images = spread(build), noise_images(3, size=size)
    assert default_layer(model, images[:1]) == layer
    iba = IBA(model, layer, steps=3, noise_samples=2)
    iba.fit_statistics([noise_images(100, size=size, seed=1)], granularity="channel")
    result = iba.explain(images, [0, 1, 2], evidence_samples=2, keep_capacity=True)
    all_bits_are_counted(result, extra, grid, size)
    alone = iba.explain(images[1:2], 1, evidence_samples=0)
    torch.testing.assert_close(alone.map, result.map[1:2], rtol=1e-3, atol=1e-6)
    shown = GradCAM(model).explain(images, [0, 1, 2])
    assert shown.layer == cam
    assert shown.map.amax() > 0


def vit_iba(block: int = 0, **settings: Any) -> IBA:
    """On a block of torchvision's ViT, in float32 whatever the machine."""
    settings = {"precision": "float32", "steps": 5, "noise_samples": 3, **settings}
    iba = IBA(spread(small_vit), f"encoder.layers.encoder_layer_{block}", **settings)
    return iba.fit_statistics([noise_images(1000, seed=1)], granularity="channel")


@pytest.mark.parametrize("how", ["restricted", "mean", "whole"])
def test_what_happens_to_the_class_token(how: Any) -> None:
    result = vit_iba(extra_tokens=how).explain(noise_images(3), 1, evidence_samples=0, keep_capacity=True)
    all_bits_are_counted(result, 1, (4, 4), (16, 16))
    assert result.extra_bits is not None
    assert (result.extra_bits > 0).all() == (how == "restricted")
    assert result.settings["extra_tokens"] == how


@pytest.mark.filterwarnings("ignore:nothing behind layer .* reads its patches")
@pytest.mark.parametrize("block", [0, 1])
def test_held_at_its_mean_the_class_token_tells_nothing_of_the_image(block: int) -> None:
    """When patches pass for nothing, the evidence is what the network says with the class token replaced."""
    images = noise_images(3)
    iba = vit_iba(block, extra_tokens="mean", beta=0.0, smoothing=0.0)
    result = iba.explain(images, 1, evidence_samples=8)
    recording = iba.probe.record(images)
    features = recording.features.clone()
    features[:, 0] = iba.statistics.mean[0].float()
    with recording.suffix() as run, torch.no_grad():
        expected = F.softmax(run(features), 1)[:, 1]
    assert result.evidence is not None
    torch.testing.assert_close(result.evidence.under_noise, expected, rtol=0, atol=0.02)
    assert (expected.std() < 1e-6) == (block == 1)  # behind the last block the head reads nothing else
    assert result.evidence.before.std() > 1e-3


@pytest.mark.filterwarnings("ignore:nothing behind layer .* reads its patches")
@pytest.mark.parametrize("how", ["restricted", "whole"])
def test_left_whole_the_class_token_passes(how: str) -> None:
    """However dear bits are: behind the last block the head reads the class token alone."""
    result = vit_iba(1, beta=1e6, steps=60, noise_samples=2, extra_tokens=how).explain(noise_images(3), 1)
    assert result.total_bits is not None
    assert result.evidence is not None
    assert (result.total_bits < 0.1).all()
    gap = (result.evidence.under_noise - result.evidence.before).abs().max()
    assert (gap < 1e-5) == (how == "whole")


@pytest.mark.parametrize("granularity", ["channel", "element"])
def test_statistics_per_hidden_unit_or_per_element(granularity: Any) -> None:
    iba = IBA(spread(small_vit), "encoder.layers.encoder_layer_0", steps=3, noise_samples=2)
    iba.fit_statistics([noise_images(1000, seed=1)], granularity=granularity)
    assert iba.statistics.mean.shape == ((2, 8) if granularity == "channel" else (17, 8))
    result = iba.explain(noise_images(2), 1, evidence_samples=0, keep_capacity=True)
    all_bits_are_counted(result, 1, (4, 4), (16, 16))


def test_statistics_of_one_size_serve_another() -> None:
    model = spread(lambda: timm_vit(reg_tokens=4, dynamic_img_size=True))
    iba = IBA(model, "blocks.2", steps=3, noise_samples=2)
    iba.fit_statistics([noise_images(60, size=(16, 16)), noise_images(60, size=(16, 24))], granularity="channel")
    result = iba.explain(noise_images(2, size=(24, 16)), 1, evidence_samples=0, keep_capacity=True)
    all_bits_are_counted(result, 5, (6, 4), (24, 16))
    noise = iba.statistics.noise(NoiseSettings(), (5 + 24, 16))
    assert noise.mean.shape == (29, 16)


def test_tokens_may_be_left_tokens() -> None:
    iba = IBA(spread(small_vit), "encoder.layers.encoder_layer_0", steps=3, noise_samples=2, layout="TD")
    result = iba.fit_statistics([noise_images(200, seed=1)], granularity="channel").explain(noise_images(2), 1)
    assert (result.map.shape, result.unit, result.extra_bits) == ((2, 17), "bits/token", None)


def test_statistics_of_patches_and_an_input_that_is_no_image() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(2).mT if x.dim() == 4 else x).sum(1)

    iba = IBA(Tokens().eval(), "layer").fit_statistics([noise_images(100)], granularity="channel")
    with pytest.raises(StatisticsError, match="as PD, but for these inputs they are TD"):
        iba.explain(torch.randn(2, 256, 3), 1)


class OnePatch(nn.Module):
    """Encoder blocks behind which the answer depends on one patch alone, found by what stands in it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 4, 4, 4)
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.cls = nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.embed(images).flatten(2).mT
        tokens = self.blocks(torch.cat([self.cls.expand(len(images), -1, -1), patches], 1))
        return tokens[:, 1 + 6] * 3  # row 1, column 2 of a 4 x 4 grid


def test_information_in_one_patch_alone() -> None:
    torch.manual_seed(0)
    model = OnePatch().eval()
    iba = IBA(model, "blocks.0", smoothing=0.0, steps=60, noise_samples=4, beta=1.0, precision="float32")
    iba.fit_statistics([noise_images(1000, channels=1, seed=1)], granularity="channel")
    images = 2 * noise_images(12, channels=1)
    result = iba.explain(images, model(images).argmax(1))
    assert result.cells is not None
    assert result.total_bits is not None
    here, everywhere = result.cells[:, 1, 2], result.total_bits
    assert (everywhere - here < 0.01).all()
    assert (here > 1).sum() >= 4  # elsewhere the answer is that of an average patch
