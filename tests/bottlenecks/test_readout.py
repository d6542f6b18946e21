"""The Readout Bottleneck: what it reads, what it says, what it refuses."""

import functools
import math

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens import IBA, ReadoutIBA
from bitlens.bottlenecks.readout.task import ReadoutTask, Teaching
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.gaussian import information
from bitlens.core.targets import NotClass
from bitlens.errors import BitlensWarning, DataError, FitError, LayerError, SettingError, StatisticsError, TargetError
from bitlens.training.examples import InMemory
from bitlens.training.settings import TrainingSettings
from networks import LAYER, model_state, noise_images, quadrant_images, quadrant_net, small_net, small_vit

FAST = TrainingSettings(epochs=8, learning_rate=1e-2, patience=0)


@functools.cache
def trained_weights(conditional: bool = False) -> ReadoutWeights:
    readout = ReadoutIBA(quadrant_net(), LAYER, beta=0.3, conditional=conditional)
    images, classes = two_patches(384) if conditional else quadrant_images(256)
    readout.fit_weights([(images, classes[:, 0] if conditional else classes)], FAST)
    return readout.weights


def trained(model: nn.Module | None = None, *, conditional: bool = False, **settings) -> ReadoutIBA:
    return ReadoutIBA(model or quadrant_net(), weights=trained_weights(conditional), precision="float32", **settings)


def two_patches(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images with bright patches in two quadrants, and the numbers of both (N, 2), in no order; fewer than `count`."""
    (one, first), (two, second) = quadrant_images(count, seed=seed), quadrant_images(count, seed=seed + 1000)
    differ = first != second
    return (one + two)[differ], torch.stack([first, second], 1)[differ]


class Counting(nn.Conv2d):
    """A convolution that knows how often it ran."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return super().forward(x)


def test_public_name_and_defaults():
    assert bitlens.ReadoutIBA is ReadoutIBA
    readout = ReadoutIBA(quadrant_net(), LAYER)
    assert (readout.fit.beta, readout.fit.smoothing) == (10.0, 1.0)
    assert readout.read_layers == ()
    readout.fit_statistics([noise_images(64)])
    assert readout.read_layers == ("2", "3", "4", "output")


@pytest.mark.slow
def test_it_finds_the_object_and_the_class_survives():
    images, classes = quadrant_images(32, seed=5)
    found = trained().explain(images)
    before, after = found.evidence.before.mean(), found.evidence.under_noise.mean()
    assert before > 0.99
    assert after > 0.95
    start = 7.2 * 8 * 8 * 8  # bits while everything passes
    assert float(found.total_bits.mean()) < 0.05 * start
    quarters = found.map.unflatten(1, (2, 8)).unflatten(3, (2, 8)).sum((2, 4)).flatten(1)
    assert float((quarters.argmax(1) == classes).float().mean()) > 0.8


def test_maps_are_bits_of_the_predicted_mask():
    readout, (images, _) = trained(), quadrant_images(3, seed=6)
    found = readout.explain(images, keep_capacity=True)
    assert found.unit == "bits/pixel"
    torch.testing.assert_close(found.map.sum((1, 2)), found.total_bits, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.capacity.sum(1), found.cells, rtol=1e-4, atol=1e-4)
    assert bool((found.capacity >= 0).all())


def test_the_mask_is_what_the_network_says_of_standardised_features():
    """Straight from the definition: hooks, statistics, resize, three layers, blur, closed form of the information."""
    model, readout = quadrant_net(), trained()
    images, _ = quadrant_images(4, seed=7)
    kept: dict[str, Tensor] = {}
    for name in ("2", "3", "4"):
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: kept.__setitem__(name, out.clone())
        )
    with torch.no_grad():
        kept["output"] = model(images)
    weights = readout.weights
    reads = []
    for name, one in weights.reads.normalisers.items():
        scaled = (kept[name] - one.mean) / one.std
        reads.append(scaled.movedim(1, -1))
    with torch.no_grad():
        alpha = readout.network(reads, torch.Size((8, 8))).movedim(-1, 1)
    taps = torch.exp(-0.5 * torch.arange(-2.0, 3.0) ** 2)
    kernel = (taps[:, None] * taps[None, :] / taps.sum() ** 2).expand(8, 1, 5, 5)
    padded = nn.functional.pad(torch.sigmoid(alpha), (2, 2, 2, 2), mode="reflect")
    passed = nn.functional.conv2d(padded.double(), kernel.double(), groups=8)
    statistics = weights.statistics
    score = (kept["2"] - statistics.mean[:, None, None]) / statistics.std.clamp_min(0.01)[:, None, None]
    u = 1 - passed
    nats = -u.log() + 0.5 * (u.square() + passed.square() * score.square() - 1)
    found = readout.explain(images, evidence_samples=0, keep_capacity=True)
    torch.testing.assert_close(found.capacity.double(), nats / torch.tensor(2.0).double().log(), rtol=2e-3, atol=1e-3)


def test_without_evidence_nothing_runs_twice():
    torch.manual_seed(0)
    model = nn.Sequential(
        Counting(3, 4, 3), nn.ReLU(True), Counting(4, 4, 3), nn.ReLU(True), nn.Flatten(), nn.Linear(400, 3)
    )
    readout = ReadoutIBA(model.eval(), "2")
    images = noise_images(40, size=(14, 14))
    readout.fit_weights([images], TrainingSettings(epochs=1))
    readout.explain(images[:2], evidence_samples=0)
    Counting.calls = 0
    readout.explain(images[:2], evidence_samples=0)
    assert Counting.calls == 2


def test_what_is_read_is_not_what_an_in_place_relu_left():
    model = quadrant_net()
    model[3] = nn.ReLU(inplace=True)
    images, _ = quadrant_images(4)
    recording = ReadoutIBA(model, LAYER, ["2", "output"]).fit_statistics([images]).probe.record(images)
    assert float(recording.reads["2"].min()) < -0.1
    torch.testing.assert_close(recording.reads["2"], model[:3](images))


def test_a_batch_is_as_its_samples_alone_and_inputs_of_other_sizes_fit():
    readout, (images, _) = trained(), quadrant_images(3, seed=8)
    together = readout.explain(images).map
    alone = torch.cat([readout.explain(images[i : i + 1]).map for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert readout.explain(noise_images(2, size=(20, 24))).map.shape == (2, 20, 24)


def test_saved_and_loaded(tmp_path):
    readout, (images, _) = trained(), quadrant_images(2, seed=9)
    readout.save(tmp_path / "r.safetensors")
    model = quadrant_net()
    again = ReadoutIBA.load(tmp_path / "r.safetensors", model, precision="float32")
    assert torch.equal(again.explain(images).map, readout.explain(images).map)
    assert again.settings() == readout.settings()
    known = again.weights
    assert (known.provenance.layer, known.settings["beta"], known.training["epochs"]) == (LAYER, 0.3, 8)
    assert bitlens.method("readout", model, weights=tmp_path / "r.safetensors").read_layers == ("2", "3", "4", "output")
    with pytest.raises(StatisticsError, match="trained for Sequential with other weights"):
        ReadoutIBA.load(tmp_path / "r.safetensors", small_net())
    with pytest.raises(StatisticsError, match="trained for layer '2', not '0'"):
        ReadoutIBA(model, "0", weights=tmp_path / "r.safetensors")
    with pytest.raises(SettingError, match=r"trained with beta=0\.3, not 1\.0"):
        ReadoutIBA(model, beta=1.0, weights=tmp_path / "r.safetensors")
    with pytest.raises(DataError, match="there is no file"):
        ReadoutIBA.load(tmp_path / "gone.safetensors", model)
    readout.statistics.save(tmp_path / "s.safetensors")
    with pytest.raises(DataError, match="does not hold a readout"):
        ReadoutIBA.load(tmp_path / "s.safetensors", model)


def test_on_another_network_it_stays_the_same_readout():
    other = trained().on(small_net())
    assert other.weights.fingerprint == trained().weights.fingerprint
    assert other.explain(noise_images(2)).map.shape == (2, 16, 16)


def test_other_classes_are_warned_of():
    images, classes = quadrant_images(16, seed=11)
    with pytest.warns(BitlensWarning, match="16 of 16 targets are not the prediction"):
        plain = trained().explain(images, (classes + 1) % 4)
    assert torch.equal(plain.map, trained().explain(images).map)


@pytest.mark.slow
def test_a_conditional_readout_points_at_what_is_asked_for():
    """Two patches: asked for one of them, most bits of the two quadrants lie on it, and it becomes the answer."""
    images, classes = two_patches(64, seed=21)
    readout, rows = trained(conditional=True), torch.arange(len(classes))
    for asked, other in ((0, 1), (1, 0)):
        found = readout.explain(images, classes[:, asked])
        quarters = found.map.unflatten(1, (2, 8)).unflatten(3, (2, 8)).sum((2, 4)).flatten(1)
        mine, theirs = quarters[rows, classes[:, asked]], quarters[rows, classes[:, other]]
        assert float((mine / (mine + theirs)).mean()) > 0.6
        assert found.evidence.under_noise.mean() > found.evidence.before.mean() + 0.2
        assert found.targets == tuple(str(int(c)) for c in classes[:, asked])


def test_evidence_is_what_the_score_owes_to_each_place():
    """For a network that is linear behind the last read layer: weights times deviation, of the class and of its rivals."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    images, classes = noise_images(5), torch.tensor([0, 1, 2, 3, 1])
    readout = ReadoutIBA(model.eval(), "0", ["1", "output"], conditional=True).fit_statistics([images])
    found = readout.reads.evidence(readout.probe.record(images), classes)
    with torch.no_grad():
        features = model[:2](images)
        deviation = features - features.mean((0, 2, 3))[:, None, None]
        weights, scores = model[4].weight - model[4].weight.mean(0), model(images)
        own = torch.einsum("nchw,nc->nhw", deviation, weights[classes]) / 256
        others = scores.scatter(1, classes[:, None], float("-inf")).softmax(1)
        against = torch.einsum("nchw,nk,kc->nhw", deviation, others, weights) / 256
    expected = torch.stack([own, against], -1)
    expected /= expected.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_a_conditional_readout_needs_a_layer_to_read():
    with pytest.raises(SettingError, match="needs a layer in read_layers, not the output alone"):
        ReadoutIBA(quadrant_net(), LAYER, ["output"], conditional=True).fit_statistics([noise_images(4)])


def test_questions_in_training_are_for_what_the_network_sees():
    readout = ReadoutIBA(quadrant_net(), LAYER, conditional=True)
    images, classes = quadrant_images(64, seed=3)
    wrong = (classes + 1) % 4
    readout.fit_statistics([images])
    task = ReadoutTask(readout.probe, readout.learnt, nn.Linear(1, 1), Teaching())
    seen = task.prepare(InMemory([(images, wrong)]).take(range(64)))
    asked = seen.questions.gather(1, task._asked(seen, range(64))[:, None])[:, 0]
    assert bool(((asked == wrong) | (asked == classes)).all())  # it is sure of the class
    assert 16 < int((asked == wrong).sum()) < 48
    assert seen.evidence.shape == (64, 5, 2, 2, 2)


def test_questions_that_are_no_classes_are_refused():
    with pytest.raises(TargetError, match="answers for classes, not for NotClass targets"):
        trained().explain(noise_images(1), NotClass(1))


def test_what_is_missing_is_said():
    readout = ReadoutIBA(quadrant_net(), LAYER)
    with pytest.raises(StatisticsError, match="the readout of layer '2' is not trained: call fit_weights"):
        readout.explain(noise_images(1))
    with pytest.raises(SettingError, match="a readout needs a layer"):
        ReadoutIBA(quadrant_net())
    with pytest.raises(StatisticsError, match="the batches are empty"):
        readout.fit_statistics([])
    with pytest.raises(LayerError, match="no layer 'x'"):
        ReadoutIBA(quadrant_net(), LAYER, ["x"]).fit_statistics([noise_images(2)])


def test_a_layer_that_is_called_twice_cannot_be_read():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.Flatten(), nn.Linear(400, 3)).eval()
    with pytest.raises(LayerError, match="layer '1' is called 2 times"):
        ReadoutIBA(model, "2", ["1"]).fit_statistics([noise_images(2, size=(14, 14))])


def test_the_network_and_the_global_random_state_stay_as_found():
    model = quadrant_net()
    next(model.parameters()).requires_grad_(False)
    state, random = model_state(model), torch.get_rng_state()
    ReadoutIBA(model, LAYER).fit_weights([quadrant_images(40)], TrainingSettings(epochs=1))
    assert model_state(model) == state
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("layer", ["encoder.layers.encoder_layer_0", "heads"])
def test_other_ranks(layer):
    """Tokens of a transformer, and vectors."""
    model = small_vit()
    readout = ReadoutIBA(model, layer)
    readout.fit_weights([noise_images(60)], TrainingSettings(epochs=1))
    found = readout.explain(noise_images(2))
    assert found.map.shape == ((2, 16, 16) if layer != "heads" else (2, 4))
    assert bool(torch.isfinite(found.map).all())


def test_statistics_per_element_are_kept_per_element():
    readout = ReadoutIBA(quadrant_net(), LAYER).fit_statistics([noise_images(50)], granularity="element")
    assert readout.statistics.mean.shape == (8, 8, 8)
    assert readout.reads.normalisers["4"].mean.shape == (8, 2, 2)
    assert float(readout.reads.normalisers["4"].std.min()) >= 0.01


def test_a_teacher_comes_first_and_is_imitated():
    readout = ReadoutIBA(quadrant_net(), LAYER, beta=0.3)
    done = readout.fit_weights([quadrant_images(128)], FAST, teaching=Teaching(epochs=6))
    lost = [row.train["loss"] for row in done.rows]
    assert lost[5] < 0.2 * lost[0]
    assert set(done.rows[5].train) == {"loss"}
    assert set(done.rows[6].train) == set(done.rows[0].held_out) == {"loss", "cross_entropy", "information"}


def test_the_teacher_is_the_per_sample_bottleneck():
    readout = ReadoutIBA(quadrant_net(), LAYER, beta=0.3).fit_statistics([quadrant_images(64)[0]])
    images, classes = quadrant_images(4, seed=13)
    task = ReadoutTask(readout.probe, readout.learnt, nn.Linear(1, 1), Teaching(epochs=1))
    seen = task.prepare(InMemory([(images, classes)]).take(range(4)))
    teacher = IBA(readout.model, LAYER, beta=0.3, quality="fast", readout="final", precision="float32")
    teacher.statistics = readout.statistics
    bits = teacher.explain(images, classes, evidence_samples=0, keep_capacity=True).capacity
    u = readout.learnt.noise_shares(task._teach(seen), seen.layout)
    features, noise_model = task._features(seen)
    passed = information(u, noise_model.squared_score(features), noise_model.active) / math.log(2)
    torch.testing.assert_close(passed, bits, rtol=1e-3, atol=1e-4)


def test_a_clean_pass_that_is_not_finite_is_refused():
    model = quadrant_net()
    model[5] = nn.Sequential(nn.Flatten(), nn.Threshold(1e9, float("nan")))
    with pytest.raises(StatisticsError, match="NaN or infinite"):
        ReadoutIBA(model, LAYER).fit_weights([quadrant_images(40)], TrainingSettings(epochs=1))


def test_nan_is_caught_at_its_first_step_with_layer_and_element():
    class Fragile(nn.Module):
        """Finite on what it saw in clean passes, not under noise."""

        limit = float("inf")

        def forward(self, x: Tensor) -> Tensor:
            out = x.relu()
            if not x.requires_grad:
                return out
            bad = torch.zeros_like(out)
            bad[-1, 2, 1, 3] = float("nan")
            return out + bad

    model = quadrant_net()
    model[3] = Fragile()
    with pytest.raises(
        FitError, match=r"epoch 1: .* layer '3' puts out under noise: element \(2, 1, 3\) of sample \d+"
    ):
        ReadoutIBA(model, LAYER).fit_weights([quadrant_images(40)], TrainingSettings(epochs=1))


def test_the_price_grows_by_equal_factors():
    prices = [Teaching(ramp=4).price(10.0, epoch) for epoch in (0, 1, 2, 3, 4, 9, None)]
    assert prices == pytest.approx([0.1, 10**-0.5, 1.0, 10**0.5, 10, 10, 10])
    with pytest.raises(SettingError, match="ramp of teaching"):
        Teaching(ramp=-1)
