"""Attention rollout on the transformers of three libraries, against dense products of weights that were got otherwise."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from bitlens.baselines.attention import AttentionRollout, GradientAttentionRollout, Recorder
from bitlens.baselines.patches import patches_of
from bitlens.errors import SettingError
from networks import noise_images, small_net, small_vit

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

TARGETS = [1, 0, 3]
Weights = Sequence[Tensor]
"""(n, heads, T, T) for each layer, in the graph of the logits."""


def dense(weights: Weights, logits: Tensor, rows: Sequence[int], extra: int, size: int = 16) -> dict[str, Tensor]:
    """Both maps, by products of whole matrices.

    Args:
        weights: of all layers.
        logits: of `TARGETS`' images.
        rows: tokens that the head reads.
        extra: tokens that are no patches.
        size: of the image.
    """
    score = logits[range(len(logits)), TARGETS].sum()
    gradients = torch.autograd.grad(score, list(weights))
    one = torch.eye(weights[0].shape[-1])
    rollout, relevance = one, one
    for attention, gradient in zip(weights, gradients, strict=True):
        rollout = (attention.detach().mean(1) + one) / 2 @ rollout
        relevance = relevance + F.relu(gradient * attention.detach()).mean(1) @ relevance
    maps = {"attention-rollout": rollout, "gradient-attention-rollout": relevance - one}
    side = round((len(one) - extra) ** 0.5)
    return {
        name: F.interpolate(m[:, list(rows), extra:].mean(1).view(-1, 1, side, side), (size, size), mode="bilinear")[
            :, 0
        ]
        for name, m in maps.items()
    }


def check(model: nn.Module, images: Any, expected: dict[str, Tensor]) -> None:
    for method in (AttentionRollout, GradientAttentionRollout):
        got = method(model).explain(images, TARGETS).map
        want = expected[method.method]
        assert (got.std((1, 2)) > 0).all()
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.max()))


def by_hand(model: Any, images: Tensor) -> tuple[Weights, Tensor]:
    """The forward pass of torchvision's ViT with attention written out."""
    x = model.conv_proj(images).flatten(2).mT
    x = torch.cat([model.class_token.expand(len(x), -1, -1), x], 1) + model.encoder.pos_embedding
    kept = []
    for block in model.encoder.layers:
        attention = block.self_attention
        y = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = y.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        kept.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1))
        x = x + attention.out_proj((kept[-1] @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.ln_2(x))
    return kept, model.heads(model.encoder.ln(x)[:, 0])


def test_torchvision() -> None:
    model, images = small_vit(), noise_images(3)
    weights, logits = by_hand(model, images)
    torch.testing.assert_close(logits, model(images))
    check(model, images, dense(weights, logits, [0], 1))


@pytest.mark.parametrize(
    ("settings", "rows", "extra"),
    [
        ({}, [0], 1),
        ({"global_pool": "avg"}, range(1, 17), 1),
        ({"global_pool": "avg", "class_token": False, "reg_tokens": 3}, range(3, 19), 3),
        ({"reg_tokens": 4, "no_embed_class": True}, [0], 5),
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_timm(settings: dict[str, Any], rows: Sequence[int], extra: int, fused: bool) -> None:
    torch.manual_seed(0)
    small = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 4}
    model = timm.models.VisionTransformer(**small, **settings).eval()
    _spread(model)
    _compare_with_timm(model, rows, extra, fused)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "beit_base_patch16_224"])
def test_other_transformers_of_timm(name: str) -> None:
    """Two tokens that are read; a bias on the logits of attention."""
    torch.manual_seed(0)
    model = timm.create_model(
        name, img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=3, num_classes=4, global_pool="token"
    ).eval()
    _spread(model)
    _compare_with_timm(model, [0, 1] if "distilled" in name else [0], 2 if "distilled" in name else 1, fused=True)


def _compare_with_timm(model: nn.Module, rows: Sequence[int], extra: int, fused: bool) -> None:
    """Timm hands the weights of unfused attention to a dropout module, where a hook finds them."""
    images, kept = noise_images(3), []
    layers = [block.attn for block in model.blocks]
    hooks = [a.attn_drop.register_forward_hook(lambda _m, _i, output: kept.append(output)) for a in layers]
    for attention in layers:
        attention.fused_attn = False
    logits = model(images)
    expected = dense(kept, logits, rows, extra)
    for hook, attention in zip(hooks, layers, strict=True):
        hook.remove()
        attention.fused_attn = fused
    check(model, images, expected)


def _spread(model: nn.Module) -> None:
    """Weights that make attention and scores differ from place to place, as after training."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or "bias" in name:
            nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_transformers(attention: str) -> None:
    torch.manual_seed(0)
    settings = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=24, image_size=16, patch_size=4
    )
    settings.num_labels = 4
    model = transformers.ViTForImageClassification(settings).eval()
    _spread(model)
    images = noise_images(3)
    model.set_attn_implementation("eager")
    output = model(images, output_attentions=True)
    expected = dense(output.attentions, output.logits, [0], 1)
    model.set_attn_implementation(attention)
    check(model, {"pixel_values": images}, expected)


def test_the_network_says_the_same_while_it_is_recorded() -> None:
    class Attends(nn.Module):
        """Fused attention with all that it can be told."""

        def forward(self, x: Tensor, **settings: Any) -> Tensor:
            return F.scaled_dot_product_attention(x, x.flip(2), x * 2, **settings)

    x = torch.randn(2, 3, 5, 4, requires_grad=True)
    allowed = torch.ones(5, 5).tril(1).bool()
    every: list[dict[str, Any]] = [{}, {"attn_mask": allowed}, {"attn_mask": torch.randn(5, 5)}, {"scale": 0.3}]
    for settings in [*every, {"is_causal": True}]:
        with Recorder() as recorder:
            got = Attends()(x, **settings)
        torch.testing.assert_close(got, Attends()(x, **settings))
        torch.testing.assert_close(recorder.layers[0].weights.sum(-1), torch.ones(2, 3, 5))
        torch.testing.assert_close(recorder.layers[0].weights @ (x * 2), got)


@pytest.mark.parametrize(("need", "average"), [(False, True), (True, True), (True, False)])
def test_multi_head_attention_gives_back_what_was_asked_for(need: bool, average: bool) -> None:
    attention, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8, requires_grad=True)
    asked = {"need_weights": need, "average_attn_weights": average}
    with Recorder() as recorder:
        output, weights = attention(x, x, x, **asked)
    expected, expected_weights = attention(x, x, x, **asked)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(recorder.layers[0].weights, attention(x, x, x, average_attn_weights=False)[1])


def test_rollout_shares_out_all_that_is_read() -> None:
    """Patches and class token together get 1, and the class token keeps at least one half for each layer."""
    cells = AttentionRollout(small_vit()).explain(noise_images(3)).map[:, ::4, ::4]
    assert (cells >= 0).all()
    assert (cells.sum((1, 2)) < 1 - 0.5**2).all()


class Sinks(nn.Module):
    """Attention of one head that may go to no token, as `add_bias_kv` has it, before a head that reads the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 1, add_bias_kv=True, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images).flatten(2).mT
        return self.head((tokens + self.attention(tokens, tokens, tokens)[0])[:, 0])


def test_what_goes_to_no_token_is_given_to_none() -> None:
    torch.manual_seed(0)
    model, images = Sinks().eval(), noise_images(3)
    tokens = model.conv(images).flatten(2).mT
    _, weights = model.attention(tokens, tokens, tokens)
    assert weights.shape == (3, 16, 17)
    want = weights[:, 0, :16].detach() / 2
    want[:, 0] += 0.5
    got = AttentionRollout(model).explain(images, TARGETS).map
    expected = F.interpolate(want.view(3, 1, 4, 4), (16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


class NullFirst(nn.Module):
    """Attention by hand whose first column is no token, as some write it; or its last, of tokens that see none behind them."""

    def __init__(self, *, last: bool, causal: bool) -> None:
        super().__init__()
        self.conv, self.head, self.last, self.causal = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4), last, causal

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images).flatten(2).mT
        scores = tokens @ tokens.mT
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        scores = F.pad(scores, (0, 1) if self.last else (1, 0))
        weights = scores[:, None].softmax(3)[:, 0]
        own = weights[..., :-1] if self.last else weights[..., 1:]
        return self.head((tokens + own @ tokens)[:, -1])


@pytest.mark.parametrize(("last", "causal"), [(False, False), (False, True), (True, False)])
def test_where_what_is_no_token_stands_is_not_guessed(last: bool, causal: bool) -> None:
    with pytest.raises(SettingError, match="which of the 17 columns"):
        AttentionRollout(NullFirst(last=last, causal=causal).eval()).explain(noise_images(3), TARGETS)


def test_what_stands_behind_tokens_that_see_none_behind_them_is_known() -> None:
    AttentionRollout(NullFirst(last=True, causal=True).eval()).explain(noise_images(3), TARGETS)


def test_gradient_rollout_depends_on_the_target() -> None:
    model, images = small_vit(), noise_images(2)
    a, b = (GradientAttentionRollout(model).explain(images, target).map for target in (0, 1))
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] < 0.9
    a, b = (AttentionRollout(model).explain(images, target).map for target in (0, 1))
    torch.testing.assert_close(a, b)


def windows() -> nn.Module:
    return torchvision.models.SwinTransformer([2, 2], 8, [1, 1], [2, 2], [4, 4], num_classes=3)


class Pyramid(nn.Module):
    """Attends to half as many tokens the second time."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2).mT[:, None]
        tokens = F.scaled_dot_product_attention(tokens, tokens, tokens)[:, :, ::2]
        return F.scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))


def class_attention() -> nn.Module:
    return timm.create_model("cait_xxs24_224", img_size=16, patch_size=4, embed_dim=8, depth=1, num_heads=2)


@pytest.mark.parametrize("method", [AttentionRollout, GradientAttentionRollout])
@pytest.mark.parametrize(
    ("build", "size", "message"),
    [
        (small_net, 16, "needs a vision transformer: Sequential computes no attention"),
        (windows, 32, r"from all tokens to all tokens .*; those of SwinTransformer have shapes \(32, 2, 16, 16\)"),
        (class_attention, 16, r"from all tokens to all tokens .*\(2, 2, 16, 16\), \(2, 2, 1, 17\)"),
        (Pyramid, 4, r"from all tokens to all tokens .*\(2, 1, 16, 16\), \(2, 1, 8, 8\)"),
    ],
)
def test_other_networks_are_refused(method: Any, build: Callable[[], nn.Module], size: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        method(build().eval(), internal_batch_size=8).explain(noise_images(2, size=(size, size)))


class Detached(nn.Module):
    """Attention that the score does not depend on, or that has no gradient."""

    def __init__(self, begins: bool) -> None:
        super().__init__()
        self.begins = begins

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(1, 2).unsqueeze(1)
        tokens = tokens.detach() if self.begins else tokens
        attended = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return images.mean((2, 3)) + attended.detach().mean((1, 2))[:, :1]


@pytest.mark.parametrize(
    ("begins", "message"), [(True, "the attention has no gradient"), (False, "does not depend on the network's last")]
)
def test_attention_that_leads_nowhere_is_refused(begins: bool, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        AttentionRollout(Detached(begins).eval(), output="binary").explain(noise_images(1, channels=1, size=(4, 4)))


def test_the_values_of_patches() -> None:
    values = torch.arange(29.0).expand(2, 3, 29)
    cells = patches_of(values, (64, 96))
    assert cells.shape == (2, 3, 4, 6)
    assert (cells[0, 0, 0, 0], cells[1, 2, -1, -1]) == (5, 28)
    with pytest.raises(SettingError, match="3 tokens are no grid of square patches of an image of 64x96 pixels"):
        patches_of(torch.zeros(2, 3), (64, 96))
