"""Statistics equal those of the stacked data, however they were gathered, and refuse what they are not about."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bitlens.core.gaussian import NoiseSettings
from bitlens.core.layout import LAYOUTS, Layout, named_layout
from bitlens.core.statistics import FeatureStatistics, Provenance
from bitlens.errors import BitlensWarning, DataError, StatisticsError
from bitlens.probe import Probe
from bitlens.probe.collecting import collect_statistics
from bitlens.probe.fingerprint import weights_hash
from bitlens.system.arrays import write_arrays

SHAPES = {
    **{"CHW": (4, 3, 2), "HWC": (3, 2, 4), "TD": (5, 4), "CT": (4, 5), "D": (4,)},
    **{"CDHW": (5, 2, 3, 4), "DHWC": (2, 3, 4, 5)},
}
few = pytest.mark.filterwarnings("ignore:statistics per")


def features_of(layout: str, count: int = 21) -> Tensor:
    return torch.randn(count, *SHAPES[layout]).relu() * 3 + torch.rand(SHAPES[layout]).round()


def of(features: Tensor, layout: str = "D", granularity: str = "element") -> FeatureStatistics:
    return FeatureStatistics.of(features, LAYOUTS[layout], granularity)


def assert_same(a: FeatureStatistics, b: FeatureStatistics) -> None:
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(a.std, b.std, rtol=1e-12, atol=1e-12)
    assert torch.equal(a.activity, b.activity)
    assert (a.samples, a.observations) == (b.samples, b.observations)


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("granularity", ["element", "channel"])
def test_mean_std_and_activity_are_numpys(layout: str, granularity: str) -> None:
    features = features_of(layout)
    axes = (0,) if granularity == "element" else (0, *(axis + 1 for axis in LAYOUTS[layout].places))
    data = features.double().numpy()
    statistics = of(features, layout, granularity)
    np.testing.assert_allclose(statistics.mean, data.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, data.std(axes, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(statistics.activity, (data != 0).mean(axes), rtol=1e-12)
    assert statistics.samples == 21
    assert statistics.observations == 21 * data[0].size // statistics.mean.numel()


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("granularity", ["element", "channel"])
@pytest.mark.parametrize("size", [1, 7, 20])
def test_neither_cut_nor_order_matters(layout: str, granularity: str, size: int) -> None:
    features = features_of(layout)
    parts = [of(part, layout, granularity) for part in features.split(size)]
    whole = of(features, layout, granularity)
    for order in (parts, parts[::-1], [parts[i] for i in torch.randperm(len(parts))]):
        total = order[0]
        for part in order[1:]:
            total = total.merge(part)
        assert_same(total, whole)
    middle = len(parts) // 2
    if middle:  # a tree of merges, as several processes make it
        left, right = (merged(half) for half in (parts[:middle], parts[middle:]))
        assert_same(left.merge(right), whole)
        assert_same(right.merge(left), whole)


def merged(parts: list[FeatureStatistics]) -> FeatureStatistics:
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    return total


def test_a_small_spread_on_a_large_offset() -> None:
    """Steps of 2^-10 near 10000 are exact in float32; the naive E[x²] - E[x]² would lose the spread in float32."""
    steps = torch.randint(-16, 17, (400, 3))
    features = 10_000 + steps / 1024
    total = merged([of(part) for part in features.split(7)])
    exact = steps.double() / 1024
    np.testing.assert_allclose(total.std, exact.std(0), rtol=1e-9)
    np.testing.assert_allclose(total.mean - 10_000, exact.mean(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("granularity", ["element", "channel"])
def test_activity_is_being_other_than_zero_below_it_too(granularity: str) -> None:
    """As behind a GELU or a tanh; the smallest number is not zero either."""
    features = torch.tensor([[-1.0, 0.0, 2.0, -0.0], [-3.0, -1e-30, 0.0, 0.0]])
    assert of(features, granularity=granularity).activity.tolist() == [1.0, 0.5, 0.5, 0.0]


def test_a_single_observation_has_no_spread() -> None:
    assert torch.equal(of(torch.ones(1, 3)).std, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(StatisticsError, match="NaN or infinite"):
        of(torch.tensor([[1.0, value]]))


# --- noise ------------------------------------------------------------------------------------------------------------


def test_noise_of_each_mode_by_its_formula() -> None:
    features = torch.randn(200, 4).relu()
    features[:, 1] = 0
    features[:, 2] *= 1e-4
    statistics = of(features)
    data = features.double()
    for mode in ("gaussian", "clamped"):
        noise = statistics.noise(NoiseSettings(noise=mode, min_std=0.02))
        np.testing.assert_allclose(noise.mean, data.mean(0), rtol=1e-6)
        np.testing.assert_allclose(noise.std, data.std(0).clamp_min(0.02), rtol=1e-6)
        assert noise.clamp == (mode == "clamped")
        assert noise.mean.dtype == noise.std.dtype == noise.active.dtype == torch.float32
    noise = statistics.noise(NoiseSettings(noise="zero-mean", min_std=0.02))
    rms = [float(column[column != 0].square().mean().sqrt()) if column.any() else 0.0 for column in data.T]
    np.testing.assert_allclose(noise.std, np.maximum(rms, 0.02), rtol=1e-6)
    assert not noise.mean.any()
    assert noise.clamp


def test_activity_threshold() -> None:
    features = torch.ones(10, 4) * torch.tensor([1.0, 1, 1, 0])
    features[1:, 0] = 0
    features[2:, 1] = 0  # active in 0.1, 0.2, 1 and 0 of the samples
    statistics = of(features)
    wanted = {-1.0: [1, 1, 1, 1], 0.0: [1, 1, 1, 0], 0.1: [0, 1, 1, 0], 0.5: [0, 0, 1, 0]}
    for threshold, active in wanted.items():
        assert statistics.noise(NoiseSettings(activity_threshold=threshold)).active.tolist() == active


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("granularity", ["element", "channel"])
def test_noise_broadcasts_to_features(layout: str, granularity: str) -> None:
    features = features_of(layout)
    statistics = of(features, layout, granularity)
    noise = statistics.noise(NoiseSettings())
    spread = noise.mean.expand(features.shape[1:])
    channel = LAYOUTS[layout].channel
    if granularity == "channel":
        spread = spread.movedim(channel, 0).flatten(1)[:, 0] if len(SHAPES[layout]) > 1 else spread
    np.testing.assert_allclose(spread, statistics.mean, rtol=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_merged() -> None:
    a = of(torch.ones(3, 4))
    with pytest.raises(StatisticsError, match=r"per element \(D\) with statistics per channel"):
        a.merge(of(torch.ones(3, 4), granularity="channel"))
    with pytest.raises(StatisticsError, match=r"shapes \(4,\) and \(5,\): .*granularity='channel'"):
        a.merge(of(torch.ones(3, 5)))
    with pytest.raises(StatisticsError, match=r"\(TD\)"):
        of(torch.ones(3, 4, 4), "TD", "channel").merge(of(torch.ones(3, 4), "D", "channel"))
    for name in ("model", "weights", "layer"):
        named = [replace(a, provenance=Provenance(**{name: text})) for text in ("one", "two", "")]
        with pytest.raises(StatisticsError, match=f"different {name}: 'one' and 'two'"):
            named[0].merge(named[1])
        assert getattr(named[0].merge(named[2]).provenance, name) == "one"


def test_merging_names_both_data_sets() -> None:
    a, b = (replace(of(torch.ones(2, 3)), provenance=Provenance(data=text)) for text in ("photos", "paintings"))
    assert a.merge(b).merge(a).provenance.data.startswith("photos + paintings")


def test_other_features_are_refused_with_what_to_do() -> None:
    element = of(torch.ones(3, 4, 2, 2), "CHW")
    element.check_features((4, 2, 2))
    with pytest.raises(
        StatisticsError, match=r"have shape \(4, 3, 3\): use inputs of the size .* granularity='channel'"
    ):
        element.check_features((4, 3, 3))
    channel = of(torch.ones(3, 4, 2, 2), "CHW", "channel")
    channel.check_features((4, 9, 7))
    for layout, wrong in itertools.product(LAYOUTS, [(), (5,), (9, 9), (9, 9, 9), (1, 2, 3, 4)]):
        with pytest.raises(StatisticsError, match="make new statistics for this layer"):
            of(torch.ones(3, *SHAPES[layout]), layout, "channel").check_features(wrong)


def test_other_networks_and_layers_are_refused_with_what_to_do() -> None:
    known = replace(of(torch.ones(2, 3)), provenance=Provenance(model="net", layer="a", weights="1f"))
    known.check_network("a", "1f")
    of(torch.ones(2, 3)).check_network("b", "2e")
    with pytest.raises(StatisticsError, match="of layer 'a', not 'b': make new ones, or use that layer"):
        known.check_network("b", "1f")
    with pytest.raises(
        StatisticsError, match=r"net with other weights \(1f, not 2e\): make new ones with fit_statistics"
    ):
        known.check_network("a", "2e")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["element", "channel"])
def test_saving_loses_nothing(tmp_path: Path, granularity: str) -> None:
    provenance = Provenance("net", "1f", "layer", "données", "224", "0.1")
    saved = replace(of(features_of("HWC"), "HWC", granularity), provenance=provenance)
    saved.save(tmp_path / "s.safetensors")
    loaded = FeatureStatistics.load(tmp_path / "s.safetensors")
    for name in ("mean", "squares", "nonzero"):
        assert torch.equal(getattr(saved, name), getattr(loaded, name))
        assert getattr(loaded, name).dtype == torch.float64
    for name in ("samples", "observations", "granularity", "layout", "provenance"):
        assert getattr(saved, name) == getattr(loaded, name)


def test_files_that_are_no_statistics(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(DataError, match="there is no file"):
        FeatureStatistics.load(path)
    path.write_text("a picture")
    with pytest.raises(DataError, match="not a readable safetensors file"):
        FeatureStatistics.load(path)
    of(torch.ones(3, 4)).save(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="not a readable safetensors file"):
        FeatureStatistics.load(path)
    write_arrays(path, {"mean": torch.ones(3)}, {"format": "bitlens.attribution/1"})
    with pytest.raises(DataError, match="does not hold statistics"):
        FeatureStatistics.load(path)


@pytest.mark.parametrize(
    "metadata", [{}, {"details": "{"}, {"details": "{}", "provenance": "{}"}, {"details": '{"layout": "X"}'}]
)
def test_statistics_with_holes(tmp_path: Path, metadata: dict[str, str]) -> None:
    write_arrays(tmp_path / "s.safetensors", {"mean": torch.ones(3)}, {"format": "bitlens.statistics/1", **metadata})
    with pytest.raises(DataError, match="does not hold complete statistics"):
        FeatureStatistics.load(tmp_path / "s.safetensors")


# --- collecting -------------------------------------------------------------------------------------------------------


@few
@pytest.mark.parametrize("size", [1, 4, 30])
@pytest.mark.parametrize("granularity", ["element", "channel"])
def test_collecting_from_a_loader(tiny_cnn: nn.Sequential, size: int, granularity: str) -> None:
    images = torch.randn(30, 3, 16, 16)
    loader = DataLoader(TensorDataset(images, torch.zeros(30)), batch_size=size)
    got = collect_statistics(Probe(tiny_cnn, "3"), loader, max_samples=22, granularity=granularity)
    with torch.no_grad():
        wanted = of(tiny_cnn[:4](images[:22]), "CHW", granularity)
    torch.testing.assert_close(got.mean, wanted.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.std, wanted.std, rtol=1e-5, atol=1e-6)
    assert (got.samples, got.observations) == (22, wanted.observations)


@few
def test_no_more_batches_are_drawn_than_needed(tiny_cnn: nn.Sequential) -> None:
    drawn = []

    def batches() -> Iterator[Tensor]:
        for i in itertools.count():
            drawn.append(i)
            yield torch.randn(5, 3, 16, 16)

    assert collect_statistics(Probe(tiny_cnn, "3"), batches(), max_samples=10).samples == 10
    assert collect_statistics(Probe(tiny_cnn, "3"), batches(), max_samples=11).samples == 11
    assert drawn == [0, 1, 0, 1, 2]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[..., None]
        return self.head((self.embed(input_ids) * mask).sum(1))


@few
def test_padding_is_left_out() -> None:
    model, ids = Tokens().eval(), torch.randint(0, 9, (6, 5))
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [2], [5], [4]])
    batches = [{"input_ids": ids[i : i + 4], "attention_mask": mask[i : i + 4].long()} for i in (0, 4)]
    probe = Probe(model, "embed")
    got = collect_statistics(probe, batches, granularity="channel")
    data = model.embed(ids)[mask].detach().double().numpy()
    np.testing.assert_allclose(got.mean, data.mean(0), rtol=1e-6)
    np.testing.assert_allclose(got.std, data.std(0, ddof=1), rtol=1e-6)
    assert (got.samples, got.observations) == (6, 20)
    assert collect_statistics(probe, batches, granularity="element").mean.shape == (5, 4)


def test_padding_that_cannot_be_left_out() -> None:
    features, mask = torch.ones(2, 3, 4), torch.zeros(2, 3)
    with pytest.raises(StatisticsError, match="use granularity='channel'"):
        FeatureStatistics.of(features, LAYOUTS["TD"], valid=mask)
    with pytest.raises(StatisticsError, match="every token of the batch is padding"):
        FeatureStatistics.of(features, LAYOUTS["TD"], "channel", valid=mask)


PATCHES = named_layout("PD", extra=2)


def test_patches_share_statistics_and_other_tokens_have_their_own() -> None:
    features = torch.randn(21, 2 + 6, 4).relu() * torch.arange(1.0, 9)[:, None]
    got = FeatureStatistics.of(features, PATCHES, "channel")
    data = features.double().numpy()
    groups = [data[:, 0], data[:, 1], data[:, 2:].reshape(-1, 4)]
    np.testing.assert_allclose(got.mean, [group.mean(0) for group in groups], rtol=1e-12)
    np.testing.assert_allclose(got.std, [group.std(0, ddof=1) for group in groups], rtol=1e-12)
    np.testing.assert_allclose(got.activity, [(group != 0).mean(0) for group in groups], rtol=1e-12)
    assert (got.samples, got.observations) == (21, 126)
    parts = [FeatureStatistics.of(part, PATCHES, "channel") for part in features.split(4)]
    assert_same(got, reduce(FeatureStatistics.merge, parts))


def test_the_noise_of_tokens_follows_their_number(tmp_path: Path) -> None:
    FeatureStatistics.of(torch.randn(21, 8, 4), PATCHES, "channel").save(tmp_path / "a.safetensors")
    statistics = FeatureStatistics.load(tmp_path / "a.safetensors")
    assert statistics.layout == PATCHES
    for tokens in (8, 14):
        mean = statistics.noise(NoiseSettings(), (tokens, 4)).mean
        torch.testing.assert_close(mean[:2], statistics.mean[:2].float())
        torch.testing.assert_close(mean[2:], statistics.mean[2:].float().expand(tokens - 2, 4))
        statistics.check_features((tokens, 4))
    with pytest.raises(StatisticsError, match="how many tokens there are"):
        statistics.noise(NoiseSettings())
    for wrong in [(8, 5), (4,), (2, 2, 4)]:
        with pytest.raises(StatisticsError, match="make new statistics for this layer"):
            statistics.check_features(wrong)


@few
def test_sizes_may_differ_per_channel_only(tiny_cnn: nn.Sequential) -> None:
    batches = [torch.randn(2, 3, 16, 16), torch.randn(2, 3, 20, 12)]
    got = collect_statistics(Probe(tiny_cnn, "3"), batches, granularity="channel")
    assert got.observations == 2 * 16 * 16 + 2 * 20 * 12
    with pytest.raises(StatisticsError, match=r"inputs must have one size, or use granularity='channel'"):
        collect_statistics(Probe(tiny_cnn, "3"), batches)


def test_few_inputs_are_warned_about(tiny_cnn: nn.Sequential) -> None:
    probe, x = Probe(tiny_cnn, "3"), torch.randn(3, 3, 16, 16)
    with pytest.warns(BitlensWarning, match=r"per element from 3 inputs are rough; use 1000 or more"):
        collect_statistics(probe, [x])
    with pytest.warns(BitlensWarning, match="per channel from 768 values"):
        collect_statistics(probe, [x], granularity="channel")
    enough: Layout = collect_statistics(probe, [x, x], granularity="channel").layout
    assert enough is LAYOUTS["CHW"]


def test_nothing_to_collect_from(tiny_cnn: nn.Sequential) -> None:
    with pytest.raises(StatisticsError, match="the batches are empty"):
        collect_statistics(Probe(tiny_cnn, "3"), [])
    with pytest.raises(StatisticsError, match="max_samples must be at least 1, got 0"):
        collect_statistics(Probe(tiny_cnn, "3"), [torch.zeros(1, 3, 16, 16)], max_samples=0)


def test_weights_hash_follows_weights_and_nothing_else(tiny_cnn: nn.Sequential) -> None:
    first = weights_hash(tiny_cnn)
    assert len(first) == 16
    tiny_cnn.requires_grad_(False).train()
    assert weights_hash(tiny_cnn) == first
    for tensor in (tiny_cnn[6].weight, tiny_cnn[1].running_var, tiny_cnn[1].num_batches_tracked):
        with torch.no_grad():
            tensor.view(-1)[0] += 1
        changed = weights_hash(tiny_cnn)
        with torch.no_grad():
            tensor.view(-1)[0] -= 1
        assert changed != first
    assert weights_hash(tiny_cnn.half()) != first
    assert weights_hash(nn.ReLU()) == weights_hash(nn.Tanh())  # nothing to tell apart by


@pytest.mark.gpu
def test_weights_hash_does_not_follow_the_device(tiny_cnn: nn.Sequential) -> None:
    first = weights_hash(tiny_cnn)
    assert weights_hash(tiny_cnn.cuda()) == first
