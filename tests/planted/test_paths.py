"""Networks whose answer goes round the layer: they are refused, or allowed with a warning, and then every result says so.

And networks that do not answer twice alike, or answer otherwise for a sample beside others.
"""

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.bottlenecks.input.texts import TokenInputIBA
from bitlens.bottlenecks.layered import LayeredTokenIBA
from bitlens.bottlenecks.token_statistics import collect_token_statistics
from bitlens.bottlenecks.tokens import TokenIBA
from bitlens.errors import BitlensWarning, LayerError, ModelError
from bitlens.probe import Probe
from networks import noise_images, small_net, small_vit
from planted_paths import Dense, Dropping, Glance, Mixing, Residual, Told, UNet, bart, seeded, t5

LAYER = "within.2"
STATISTICS = pytest.mark.filterwarnings("ignore:statistics:bitlens.errors.BitlensWarning")
pytestmark = STATISTICS


def maps(network: nn.Module, layer: str = LAYER, inputs: Any = None, **settings: Any) -> Any:
    given = noise_images(4) if inputs is None else inputs
    iba = bitlens.IBA(network, layer, **settings).fit_statistics([given], granularity="channel")
    return iba.explain(given)


@pytest.mark.parametrize(
    ("kind", "layer", "through"),
    [
        (Dense, LAYER, "stem"),
        (Dense, "within", "stem"),
        (UNet, LAYER, "fine"),
        (Residual, "within", "stem"),
        (Glance, LAYER, "the network's arguments"),
    ],
)
def test_what_skips_the_layer_is_refused(kind: type[nn.Module], layer: str, through: str) -> None:
    says = rf"with noise at layer '{layer}' the output still shows .* they reach it through {through} as well.* allow_bypass"
    with pytest.raises(LayerError, match=says):
        maps(seeded(kind), layer)
    with pytest.warns(
        BitlensWarning, match=f"they reach it through {through} as well, so bits at the layer do not bound"
    ):
        found = maps(seeded(kind), layer, allow_bypass=True)
    assert found.settings["allow_bypass"] is True
    assert found.evidence is not None
    assert found.evidence.bypass_allowed
    assert [row["bypass_allowed"] for row in found.summary()] == [True] * 4
    assert "bypass_allowed" in maps(small_net(), "2", allow_bypass=True).summary()[0]
    assert "bypass_allowed" not in maps(small_net(), "2").summary()[0]
    assert found.map.shape == (4, 16, 16)


@pytest.mark.parametrize("kind", [Dense, UNet, Residual, Glance])
@pytest.mark.parametrize("made", ["readout", "input-iba"])
def test_every_bottleneck_refuses_it(kind: type[nn.Module], made: str) -> None:
    network = seeded(kind)
    if made == "readout":
        pytest.importorskip("accelerate")
        from bitlens.training.settings import TrainingSettings

        method: Any = bitlens.ReadoutIBA(network, LAYER)
        method.fit_weights([(noise_images(4), torch.arange(4))], TrainingSettings(epochs=1, batch=4, held_out=0.0))
        with pytest.raises(LayerError, match="with noise at layer"):
            method.explain(noise_images(1))
    else:
        method = bitlens.method(made, network, layer=LAYER).fit_statistics([noise_images(4)], granularity="channel")
        with pytest.raises(LayerError, match="with noise at layer"):
            method.explain(noise_images(1))


@pytest.mark.parametrize("kind", [Dense, UNet, Residual, Glance])
@pytest.mark.parametrize("name", ["grad-cam", "layer-cam", "occlusion-8", "integrated-gradients"])
def test_methods_that_bound_nothing_take_it(kind: type[nn.Module], name: str) -> None:
    settings = {"layer": LAYER} if name.endswith("cam") else {}
    assert bitlens.method(name, seeded(kind), **settings).explain(noise_images(1)).map.abs().sum() > 0


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        (small_net(), "2"),
        (small_vit(), "encoder.layers.encoder_layer_0"),
        (seeded(Residual), "stem"),
        (seeded(UNet), "fine"),
    ],
)
def test_what_nothing_goes_round_is_taken(network: nn.Module, layer: str) -> None:
    assert not Probe(network, layer).around(noise_images(2)).share
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "statistics")
        maps(network, layer)


META = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("named", [True, False])
def test_a_table_that_carries_the_answer_is_warned_of(count: int, *, named: bool) -> None:
    images = noise_images(4)[:count]
    inputs: Any = {"meta": META[:count], "image": images} if named else (images, META[:count])
    argument = "'meta'" if named else "1"
    with pytest.warns(
        BitlensWarning, match=f"argument {argument} says it, so bits at the layer are of what is left to decide"
    ):
        maps(seeded(Told, 1.0), LAYER, inputs)
    assert maps(seeded(Told, 1e-4), LAYER, inputs).map.shape == (count, 16, 16)


class Masked(nn.Module):
    """How many tokens there are goes round, and may."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.within, self.head = nn.Embedding(30, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.within(self.embedding(input_ids)) * attention_mask[..., None]
        return self.head(x.sum(1) / attention_mask.sum(1, keepdim=True)) + attention_mask.sum(1, keepdim=True)


IDS = torch.randint(3, 28, (4, 8), generator=torch.Generator().manual_seed(0))
IDS[:, -1] = 29
MASK = torch.ones_like(IDS)
MASK[1, 5:] = 0
TEXTS = {"input_ids": IDS, "attention_mask": MASK}


def test_length_and_padding_may_go_round() -> None:
    iba = TokenIBA(seeded(Masked), "within", precision="float32").fit_statistics([TEXTS])
    assert iba.explain(TEXTS).map.shape == (4, 8)


DECODERS = [
    (bart, "model.encoder.layers.0"),
    (bart, "model.encoder.layers.1"),
    (bart, "model.encoder"),
    (t5, "transformer.encoder.block.0"),
    (t5, "transformer.encoder.block.1"),
    (t5, "transformer.encoder.final_layer_norm"),
]


@pytest.mark.parametrize(("make", "layer"), DECODERS)
def test_decoders_that_read_the_text_again_are_refused(make: Any, layer: str) -> None:
    network = make()
    statistics = collect_token_statistics(network, [layer], [TEXTS])[layer]
    iba = TokenIBA(network, layer, statistics=statistics, precision="float32")
    with pytest.raises(LayerError, match=rf"with noise at layer '{layer}' the output still shows .*allow_bypass=True"):
        iba.explain({name: value[:1] for name, value in TEXTS.items()})
    iba = TokenIBA(network, layer, statistics=statistics, precision="float32", beta=1e6, allow_bypass=True)
    with pytest.warns(BitlensWarning, match="so bits at the layer do not bound what the network uses"):
        found = iba.explain({name: value[:1] for name, value in TEXTS.items()})
    assert found.settings["allow_bypass"] is True
    assert found.total_bits is not None
    assert found.evidence is not None
    assert found.evidence.before.shape == found.evidence.under_noise.shape == (1,)
    assert found.evidence.bypass_allowed
    assert found.total_bits.item() < 5  # and all the same the answer may stay


@pytest.mark.filterwarnings("ignore:with noise at layer:bitlens.errors.BitlensWarning")
def test_evidence_tells_of_a_bypass_where_the_bits_are_counted() -> None:
    some: Any = {"steps": 1, "noise_samples": 1, "allow_bypass": True}
    image: Any = bitlens.method("input-iba", seeded(UNet), layer=LAYER, **some)
    found = image.fit_statistics([noise_images(4)], granularity="channel").explain(noise_images(1))
    assert not found.evidence.bypass_allowed  # nothing goes round the input
    given = {name: value[:1] for name, value in TEXTS.items()}
    text = TokenInputIBA(bart(), "model.encoder.layers.0", "model.encoder.embed_tokens", **some).explain(given)
    several = LayeredTokenIBA(bart(), ["model.encoder.layers.0", "model.encoder.layers.1"], **some).explain(given)
    for made in (text, several):
        assert made.settings["allow_bypass"] is True
        assert made.evidence is not None
        assert made.evidence.bypass_allowed


@pytest.mark.parametrize("make", [bart, t5])
def test_what_lies_behind_the_decoder_is_taken(make: Any) -> None:
    network = make()
    last = {bart: "model.decoder.layers.1", t5: "transformer.decoder.final_layer_norm"}[make]
    given = {name: value[:1] for name, value in TEXTS.items()}
    assert Probe(network, "model.encoder" if make is bart else "transformer.encoder").around(given).share > 0.5
    assert not Probe(network, last).around(given).share


@pytest.mark.parametrize("make", [bart, t5])
@pytest.mark.parametrize("name", ["saliency", "integrated-gradients"])
def test_gradients_at_one_of_two_embeddings_say_so(make: Any, name: str) -> None:
    from supported import loaded_of

    loaded = loaded_of(make())
    batch = loaded.tokenizer(["w4 w5 w6 w7 w8 w9"])
    with pytest.warns(
        BitlensWarning, match=r"the text also reaches the output past '.*embed_tokens'.* compare with occlusion"
    ):
        assert bitlens.method(name, loaded).explain(batch).map.abs().sum() > 0
    assert bitlens.method("occlusion", loaded).explain(batch).map.abs().sum() > 0


def test_a_report_says_that_more_went_round() -> None:
    from bitlens.reports.explained import figure_details

    with pytest.warns(BitlensWarning, match="do not bound"):
        found = maps(seeded(Dense), allow_bypass=True)
    assert "more goes round this layer" not in figure_details(
        found, "iba"
    )  # the evidence says it, if there is one that does
    before = replace(found, evidence=replace(found.evidence, bypass_allowed=False))
    for one in (before, replace(found, evidence=None)):
        assert "more goes round this layer" in figure_details(one, "iba")
    assert "more goes round this layer" not in figure_details(maps(small_net(), "2"), "iba")


METHODS = ["iba", "grad-cam", "layer-cam", "occlusion-8", "gradient", "integrated-gradients", "input-iba"]


def learnt(name: str, network: nn.Module, layer: str) -> Any:
    method: Any = bitlens.method(name, network, **({"layer": layer} if name in METHODS[:3] + METHODS[-1:] else {}))
    return method.fit_statistics([noise_images(8)], granularity="channel") if name in ("iba", "input-iba") else method


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [1, 2])
def test_passes_that_do_not_repeat_are_refused(name: str, count: int) -> None:
    with pytest.raises(ModelError, match=r"two passes of Dropping over the same inputs do not repeat: .*dropout"):
        learnt(name, seeded(Dropping), LAYER).explain(noise_images(count))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [1, 3])
def test_samples_that_mix_are_warned_of(name: str, count: int) -> None:
    with pytest.warns(
        BitlensWarning, match="Mixing answers otherwise for a sample alone than beside another, by .* batch norm"
    ):
        learnt(name, seeded(Mixing), "2").explain(noise_images(count))
