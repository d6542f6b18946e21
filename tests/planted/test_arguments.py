"""What networks are called with: which argument is the image, which follow the samples, and what of a batch is meant."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.core.inputs import ModelInputs
from bitlens.errors import InputError
from bitlens.methods.lessons import STATISTICS
from bitlens.probe.following import arguments_of, following
from networks import noise_images, small_net

pytestmark = [
    pytest.mark.filterwarnings("ignore:statistics:bitlens.errors.BitlensWarning"),
    pytest.mark.filterwarnings("ignore:with noise at layer .* argument:bitlens.errors.BitlensWarning"),  # which it may
]
METHODS = ["iba", "grad-cam", "occlusion-8", "integrated-gradients"]
LAYER = "image.2"


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


class Both(nn.Module):
    """An image and numbers that belong to it."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.table, self.head = small_net(classes=6), nn.Linear(5, 6), nn.Linear(12, 3)

    def forward(self, img: Tensor, meta: Tensor | None = None) -> Tensor:
        told = self.table(meta) if meta is not None else torch.zeros(len(img), 6)
        return self.head(torch.cat([self.image(img), told], 1).relu())


class Needed(Both):
    """The same, which cannot do without the numbers."""

    def forward(self, img: Tensor, meta: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(img, meta)


class Numbered(Both):
    """An image and a whole number that it must be given."""

    def forward(self, img: Tensor, kind: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(img, nn.functional.one_hot(kind, 5).float())


class Matrix(nn.Module):
    """An image compared with as many texts as there are rows: (N, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.image = small_net(classes=6)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        return self.image(images) @ nn.functional.normalize(texts, dim=1).T


class Paired(Matrix):
    """Each image compared with a text of its own and with one of all."""

    def forward(self, images: Tensor, own: Tensor, common: Tensor) -> Tensor:  # type: ignore[override]
        features = self.image(images)
        return torch.cat([(features * own).sum(1, keepdim=True), features @ common.T], 1)


def made(name: str, model: nn.Module, batches: Any, **settings: Any) -> Any:
    """A method, which has learnt what it must."""
    if name in ("iba", "grad-cam"):
        settings["layer"] = LAYER
    method: Any = bitlens.method(name, model, **settings)
    if name == "iba":
        method.fit_statistics(batches, granularity="channel")
    return method


IMAGES, META = noise_images(3), torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
TEXTS = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_keywords_says_nothing(name: str) -> None:
    model = seeded(Both)
    maps = []
    for inputs in ({"img": IMAGES, "meta": META}, {"meta": META, "img": IMAGES}, (IMAGES, META)):
        found = made(name, model, [inputs]).explain(inputs)
        assert found.map.shape == (3, 16, 16)
        assert found.unit in ("bits/pixel", "score")
        maps.append(found.map)
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2])


@pytest.mark.parametrize(
    ("inputs", "lead"),
    [
        ({"attention_mask": torch.ones(2, 7), "input_ids": torch.ones(2, 7).long()}, "input_ids"),
        ({"mask": torch.ones(2, 1, 8, 8), "x": torch.ones(2, 3, 8, 8)}, "x"),
        ({"input_ids": torch.ones(2, 7).long(), "pixel_values": torch.ones(2, 3, 8, 8)}, "pixel_values"),
        ({"age": torch.ones(2), "scan": torch.ones(2, 1, 4, 4, 4)}, "scan"),
        ({"meta": torch.ones(2, 5), "input_values": torch.ones(2, 900)}, "input_values"),
        ({"a": torch.ones(2, 5), "b": torch.ones(2, 9)}, "a"),
        ((torch.ones(2, 5), torch.ones(2, 3, 8, 8)), 1),
        ((torch.ones(2, 7).long(), torch.ones(2, 1, 7, 7)), 0),
        ((None, torch.ones(2, 7), {"x": 1}), 1),
    ],
)
def test_what_carries_the_samples_is_found_by_its_kind(inputs: Any, lead: int | str) -> None:
    found = ModelInputs.of(inputs)
    assert found.lead == lead
    assert found.count == 2
    changed = found.with_first(found.first + 1)
    assert torch.equal(changed.first, found.first + 1)
    assert sum(value is not old for (value, _), (old, _) in zip(changed.items(), found.items(), strict=True)) == 1


def test_the_same_tensor_twice_is_two_arguments() -> None:
    twice = ModelInputs.of((IMAGES, IMAGES)).with_first(IMAGES + 1)
    assert torch.equal(twice.args[1], IMAGES)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_texts_as_images_are_those_of_all(name: str, count: int) -> None:
    model, texts = seeded(Matrix), TEXTS[:count] if count > 1 else TEXTS[:2]
    method = made(name, model, [(noise_images(8, seed=4), texts)])
    together = method.explain((IMAGES[: len(texts)], texts), 1)
    for one in range(len(texts)):
        alone = method.explain((IMAGES[one : one + 1], texts), 1)
        scale = float(alone.map.abs().max())
        torch.testing.assert_close(together.map[one], alone.map[0], atol=1e-3 * scale, rtol=1e-3)


@pytest.mark.parametrize("name", ["iba", "occlusion-8"])
def test_one_text_for_one_image_is_not_multiplied(name: str) -> None:
    model = seeded(Matrix)
    method = made(name, model, [(noise_images(8, seed=4), TEXTS[:1])], output="regression")
    found = method.explain((IMAGES[:1], TEXTS[:1]))
    assert found.targets == (f"value {model(IMAGES[:1], TEXTS[:1]).item():.4g}",)
    assert found.map.shape == (1, 16, 16)


@pytest.mark.parametrize("name", METHODS)
def test_what_belongs_to_each_image_goes_with_it(name: str) -> None:
    for model, inputs in ((seeded(Both), (IMAGES, META)), (seeded(Paired), (IMAGES, TEXTS, TEXTS.flip(0)))):
        method = made(name, model, [inputs])
        together = method.explain(inputs, 1)
        for one in range(3):
            own = (IMAGES[one : one + 1], inputs[1][one : one + 1], *inputs[2:])
            alone = method.explain(own, 1).map[0]
            torch.testing.assert_close(together.map[one], alone, atol=1e-3 * float(alone.abs().max()), rtol=1e-3)


def test_of_two_texts_the_network_says_which_follows() -> None:
    given = following(seeded(Paired), ModelInputs.of((IMAGES, TEXTS, TEXTS.flip(0))))
    assert given.carriers == {0, 1}
    assert given.decided
    assert following(seeded(Matrix), ModelInputs.of((IMAGES, TEXTS))).carriers == {0}
    assert following(seeded(Both), ModelInputs.of((IMAGES, META))).carriers == {0, 1}


def test_the_network_is_asked_once_and_only_where_lengths_do_not_tell() -> None:
    model, passes = seeded(Matrix), []
    model.register_forward_hook(lambda *_: passes.append(1))
    following(model, ModelInputs.of((IMAGES[:2], TEXTS)))
    assert not passes
    following(model, ModelInputs.of((IMAGES, TEXTS)))
    asked = len(passes)
    assert 0 < asked <= 4
    assert following(model, ModelInputs.of((IMAGES + 1, TEXTS))).carriers == {0}
    assert len(passes) == asked
    ids = torch.ones(3, 7).long()
    tokens = ModelInputs.of({"input_ids": ids, "attention_mask": ids, "token_type_ids": ids, "position_ids": ids})
    assert tokens.doubtful == ()


def test_a_user_may_say_which_arguments_follow() -> None:
    model = seeded(Matrix)
    given = ModelInputs.of((IMAGES, TEXTS), follows=())
    assert given.carriers == {0}
    assert following(model, given) is given
    torch.testing.assert_close(
        made("occlusion-8", model, None).explain(given, 1).map,
        made("occlusion-8", model, None).explain((IMAGES, TEXTS), 1).map,
    )
    assert ModelInputs.of({"img": IMAGES, "meta": META, "w": TEXTS}, follows=("meta",)).carriers == {"img", "meta"}
    with pytest.raises(InputError, match="follows names 'meta', which is no argument with one entry for each of 3"):
        ModelInputs.of({"img": IMAGES, "meta": META[:2]}, follows=("meta",))


class Whole(nn.Module):
    """Samples that mix: nothing that is measured can say what follows."""

    def forward(self, images: Tensor, meta: Tensor) -> Tensor:
        return images.mean((2, 3)) - images.mean() + meta.mean()


def test_where_nothing_can_be_said_the_lengths_count() -> None:
    assert following(Whole().eval(), ModelInputs.of((IMAGES, META))).carriers == {0, 1}


@pytest.mark.parametrize("kind", [Both, Needed])
def test_statistics_are_those_of_all_arguments(kind: type[Both]) -> None:
    class Late(kind):  # type: ignore[misc,valid-type]
        """With a layer behind both."""

    model = seeded(Late)
    features: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    model(IMAGES, META)
    expected = model.head(features[0]).mean(0)
    for batch in (
        (IMAGES, META),
        [IMAGES, META],
        (IMAGES, META, torch.tensor([0, 1, 2])),
        {"img": IMAGES, "meta": META},
    ):
        iba = bitlens.IBA(model, "head").fit_statistics([batch], granularity="channel")
        torch.testing.assert_close(iba.statistics.noise(iba.noise, (3,)).mean, expected, check_dtype=False)
    assert STATISTICS.setting == "statistics"


def test_labels_are_no_arguments_unless_the_network_needs_them() -> None:
    labels = torch.tensor([0, 1, 2])
    inputs, told = arguments_of(seeded(Both), (IMAGES, labels))
    assert (len(inputs.args), told) == (1, labels)
    inputs, told = arguments_of(seeded(Numbered), [IMAGES, labels])
    assert (len(inputs.args), told) == (2, None)
    inputs, told = arguments_of(seeded(Numbered), [IMAGES, labels, labels + 1])
    assert len(inputs.args) == 2
    assert torch.equal(told, labels + 1)
    inputs, told = arguments_of(small_net(), (IMAGES, ["a", "b", "c"]))
    assert (len(inputs.args), told) == (1, ["a", "b", "c"])
    inputs, told = arguments_of(small_net(), (IMAGES, META))
    assert len(inputs.args) == 1
    inputs, told = arguments_of(seeded(Both), ((IMAGES, META), labels))
    assert len(inputs.args) == 2
    assert told is labels


def test_a_readout_learns_from_all_arguments() -> None:
    pytest.importorskip("accelerate")
    from bitlens.training.settings import TrainingSettings

    readout = bitlens.ReadoutIBA(seeded(Needed), LAYER)
    readout.fit_weights(
        [(noise_images(8, seed=5), torch.randn(8, 5), torch.arange(8) % 3)],
        TrainingSettings(epochs=1, batch=4, held_out=0.0),
    )
    assert readout.explain((IMAGES, META)).map.shape == (3, 16, 16)


class Twins(nn.Module):
    """Two images, seen by the same layers one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.image = small_net(classes=6)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        a, b = self.image(one), self.image(other)
        return torch.stack([(a * b).sum(1), (a - b).square().sum(1)], 1)


@pytest.mark.filterwarnings("ignore:with noise at layer:bitlens.errors.BitlensWarning")
@pytest.mark.parametrize(("call", "size"), [(0, (16, 16)), (1, (24, 40))])
def test_a_map_has_the_size_of_the_image_that_the_call_looks_at(call: int, size: tuple[int, int]) -> None:
    inputs = (IMAGES, noise_images(3, size=(24, 40), seed=7))
    iba = bitlens.IBA(seeded(Twins), LAYER, call=call, allow_bypass=True)  # the other image goes round, and is meant to
    iba.fit_statistics([inputs], granularity="channel")
    found = iba.explain(inputs)
    assert tuple(found.map.shape[1:]) == size
    assert found.total_bits is not None
    torch.testing.assert_close(found.map.sum((1, 2)), found.total_bits, rtol=1e-3, atol=1e-3)
    assert (
        tuple(bitlens.method("grad-cam", seeded(Twins), layer=LAYER, call=call).explain(inputs).map.shape[1:]) == size
    )


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    """A small CLIP with random weights."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 30, "max_position_embeddings": 12, "eos_token_id": 29},
        vision_config={**sizes, "image_size": 16, "patch_size": 4},
        projection_dim=8,
    )
    return seeded(lambda: transformers.CLIPModel(config))


def test_clip_asked_about_each_pair(clip: nn.Module) -> None:
    """The question says which arguments follow: a text for each image, where each is compared with its own."""
    ids = torch.randint(3, 28, (3, 6), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 29
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": IMAGES}

    def own(output: Any) -> Tensor:
        return nn.functional.cosine_similarity(output.image_embeds, output.text_embeds)

    method: Any = bitlens.method("occlusion-8", clip)
    together = method.explain(inputs, own)
    for one in range(3):
        alone = method.explain({name: value[one : one + 1] for name, value in inputs.items()}, own)
        torch.testing.assert_close(together.map[one], alone.map[0], atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("name", ["iba", "occlusion-8", "integrated-gradients"])
def test_clip_with_as_many_texts_as_images(clip: nn.Module, name: str) -> None:
    ids = torch.randint(3, 28, (3, 6), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 29
    texts = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    given = following(clip, ModelInputs.of({**texts, "pixel_values": IMAGES}))
    assert given.carriers == {"pixel_values"}
    settings: dict[str, Any] = {"output": "logits_per_image"}
    if name == "iba":
        settings["layer"] = "vision_model.encoder.layers.0"
    method: Any = bitlens.method(name, clip, **settings)
    if name == "iba":
        method.fit_statistics([{**texts, "pixel_values": noise_images(3, seed=8)}], granularity="channel")
    together = method.explain({**texts, "pixel_values": IMAGES})
    for one in range(3):
        alone = method.explain({**texts, "pixel_values": IMAGES[one : one + 1]})
        assert alone.targets[0] == together.targets[one]
        scale = float(alone.map.abs().max())
        torch.testing.assert_close(together.map[one], alone.map[0], atol=1e-2 * scale, rtol=1e-2)
