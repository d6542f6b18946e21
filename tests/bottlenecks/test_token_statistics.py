"""Statistics over tokens: real tokens only, special tokens apart, however the texts are batched."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitlens.bottlenecks.groups import ORDINARY, PADDING, Samples
from bitlens.bottlenecks.token_statistics import (
    TokenStatistics,
    collect_token_statistics,
)
from bitlens.core.gaussian import NoiseSettings
from bitlens.errors import BitlensWarning, DataError, InputError, StatisticsError
from bitlens.probe import Probe
from small_transformers import CLS, SEP, batches, small_classifier, texts

LAYERS = ["bert.encoder.layer.0", "bert.encoder.layer.2"]
pytestmark = pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")


def _tokens_of(layer: str, given: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Features and ids of all tokens that are not padding, one text at a time, and whether they are special."""
    probe, found, kinds = Probe(small_classifier("Bert"), layer), [], []
    for batch in given:
        for row in range(len(batch["input_ids"])):
            length = int(batch["attention_mask"][row].sum())
            one = {name: batch[name][row : row + 1, :length] for name in ("input_ids", "attention_mask")}
            found.append(probe.features(one)[0])
            special = batch["special_tokens_mask"][row, :length].bool()
            kinds.append(torch.where(special, one["input_ids"][0], ORDINARY))
    return torch.cat(found), torch.cat(kinds)


@pytest.mark.parametrize("layer", LAYERS)
def test_against_all_tokens_at_once(layer: str) -> None:
    features, kinds = _tokens_of(layer, batches())
    got = collect_token_statistics(small_classifier("Bert"), LAYERS, batches())[layer]
    assert set(got.groups) == {ORDINARY, CLS, SEP}
    assert got.samples == 24
    for kind, group in got.groups.items():
        own = features[kinds == kind].double()
        assert group.observations == len(own)
        torch.testing.assert_close(group.mean, own.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(group.std, own.std(0), rtol=1e-3, atol=1e-5)


def test_stops_at_the_last_text_that_is_wanted() -> None:
    model = small_classifier("Bert")
    got = collect_token_statistics(model, LAYERS[:1], iter(batches()), max_samples=6, data="numbers")[LAYERS[0]]
    assert got.samples == 6
    assert got.provenance.data == "numbers"
    assert got.provenance.layer == LAYERS[0]
    with pytest.raises(StatisticsError, match="max_samples"):
        collect_token_statistics(model, LAYERS, batches(), max_samples=0)
    with pytest.raises(StatisticsError, match="no texts"):
        collect_token_statistics(model, LAYERS, [])


@pytest.mark.filterwarnings("default")
def test_few_tokens_are_warned_of() -> None:
    with pytest.warns(BitlensWarning, match="statistics from 92 tokens are rough"):
        collect_token_statistics(small_classifier("Bert"), LAYERS, batches(1))


def test_noise_is_that_of_each_positions_kind() -> None:
    features, given = torch.randn(4, 6, 3), torch.tensor([[CLS, -1, -1, SEP, -2, -2]] * 4)
    noise = TokenStatistics.of(features, given).noise(NoiseSettings(activity_threshold=-1), given)
    torch.testing.assert_close(noise.mean[0, 0], features[:, 0].mean(0))
    torch.testing.assert_close(noise.std[2, 3], features[:, 3].std(0))
    torch.testing.assert_close(noise.mean[1, 1], features[:, 1:3].flatten(0, 1).mean(0))
    assert torch.equal(noise.mean[0, 4], torch.zeros(3))
    assert torch.equal(noise.std[0, 5], torch.ones(3))


def test_merging_does_not_depend_on_the_order() -> None:
    features = torch.randn(9, 5, 3)
    kinds = torch.randint(-2, 2, (9, 5))
    whole = TokenStatistics.of(features, kinds)
    parts = [TokenStatistics.of(features[i : i + 3], kinds[i : i + 3]) for i in (6, 0, 3)]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    for kind, group in whole.groups.items():
        torch.testing.assert_close(merged.groups[kind].mean, group.mean)
        torch.testing.assert_close(merged.groups[kind].std, group.std)


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = collect_token_statistics(small_classifier("Bert"), LAYERS, batches())[LAYERS[0]]
    made.save(tmp_path / "s.safetensors")
    again = TokenStatistics.load(tmp_path / "s.safetensors")
    assert again.fingerprint == made.fingerprint
    assert again.provenance == made.provenance
    assert all(torch.equal(again.groups[k].std, made.groups[k].std) for k in made.groups)
    with pytest.raises(DataError, match=r"missing\.safetensors"):
        TokenStatistics.load(tmp_path / "missing.safetensors")


def test_what_they_do_not_know_is_refused() -> None:
    made = TokenStatistics.of(torch.randn(4, 5, 3), torch.tensor([[CLS, -1, -1, -1, -2]] * 4))
    with pytest.raises(StatisticsError, match="nothing of the special token with id 2"):
        made.check_features((5, 3), torch.tensor([[CLS, -1, SEP]]))
    with pytest.raises(StatisticsError, match="have shape"):
        made.check_features((5, 4), torch.tensor([[CLS, -1]]))


def test_texts_are_read_from_mappings() -> None:
    given = texts([7, 4])
    read = Samples.of_texts(given)
    assert read.kinds[1].tolist()[:1] == [CLS]
    assert read.kinds[1].tolist()[3:] == [SEP, *[PADDING] * 3]
    assert "special_tokens_mask" not in read.inputs.kwargs
    assert read.lengths.tolist() == [7, 4]
    assert read.select(torch.tensor([1])).kinds.shape == (1, 4)
    plain = Samples.of_texts({"input_ids": given["input_ids"]})
    assert bool((plain.kinds == ORDINARY).all())
    with pytest.raises(InputError, match="must hold input_ids"):
        Samples.of_texts({"pixel_values": torch.zeros(1, 3)})
    with pytest.raises(InputError, match="one entry for each token"):
        Samples.of_texts({**given, "attention_mask": torch.ones(2, 3)})


def test_what_is_no_matter_of_tokens_is_not_cut() -> None:
    """A mask between pairs of tokens: which of its axes count tokens is not guessed."""
    given = {"input_ids": torch.ones(2, 6, dtype=torch.long), "bias": torch.zeros(2, 6, 6)}
    assert Samples.of_texts(given).select(torch.tensor([0])).kinds.shape == (1, 6)
