"""Planted inputs: the same bytes every time, an exact answer, and no way to the class but the planted places."""

import numpy as np
import numpy.typing as npt
import pytest

from bitlens.data.datasets import open_dataset
from bitlens.data.numbers import Numbers
from bitlens.data.planted import Draw, Planted, PlantedSet
from bitlens.data.planted_signals import RATE, planted_signal
from bitlens.data.planted_table import DECISIVE, FEATURES, MEAN, planted_row
from bitlens.data.planted_volumes import planted_volume
from bitlens.errors import DataError

DRAWS: dict[str, Draw] = {"signals": planted_signal, "volumes": planted_volume, "table": planted_row}
COUNT = 400


@pytest.fixture(scope="module")
def signals() -> list[Planted]:
    return PlantedSet(planted_signal, count=COUNT)[:]


def same(a: Planted, b: Planted) -> bool:
    return a.numbers.values.tobytes() == b.numbers.values.tobytes() and a.mask.tobytes() == b.mask.tobytes()


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_bytes_in_any_order_and_other_splits_and_seeds_share_nothing(name: str) -> None:
    first = PlantedSet(DRAWS[name], count=5)
    assert all(same(first[i], PlantedSet(DRAWS[name])[i]) for i in (3, 0, 2))
    for other in (PlantedSet(DRAWS[name], "train"), PlantedSet(DRAWS[name], seed=1)):
        assert not any(same(other[i], first[i]) for i in range(3))
    assert same(first[-1], first[4])
    with pytest.raises(IndexError):
        first[5]


@pytest.mark.parametrize("name", DRAWS)
def test_masks_lie_at_the_places_of_the_values_and_data_sets_name_them(name: str) -> None:
    one, sample = PlantedSet(DRAWS[name])[7], open_dataset(f"builtin:{name}")[7]
    places = one.numbers.values.shape if name == "table" else one.numbers.values.shape[1:]
    assert one.mask.shape == places
    assert 0 < one.mask.mean() < 0.25
    content = sample.read()
    assert isinstance(content, Numbers)
    assert np.array_equal(content.values, one.numbers.values)
    assert sample.label == one.label < 4
    assert np.array_equal(sample.mask, one.mask)
    train = open_dataset(f"builtin:{name}-train")[7].read()
    assert isinstance(train, Numbers)
    assert not np.array_equal(train.values, content.values)
    with pytest.raises(DataError, match="no photo"):
        sample.image  # noqa: B018


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}, {"split": "val"}])
def test_arguments_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"count=|split="):
        PlantedSet(planted_row, **wrong)


def spectra(signal: Planted, inside: bool) -> npt.NDArray[np.float64]:
    """Return the mean power at 24 frequencies, of the planted samples or of all others."""
    kept = np.where(signal.mask == inside, signal.numbers.values, 0)
    power = np.abs(np.fft.rfft(kept, axis=1)).mean(0)[:96]
    return np.log1p(power.reshape(24, 4).mean(1))


def probed(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the accuracy on the second half of a ridge regression fitted to the first."""
    x = np.column_stack([(features - features.mean(0)) / (features.std(0) + 1e-9), np.ones(len(features))])
    half = len(x) // 2
    gram = x[:half].T @ x[:half] + 10 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[:half].T @ np.eye(labels.max() + 1)[labels[:half]])
    return float(((x[half:] @ weights).argmax(1) == labels[half:]).mean())


def test_what_lies_around_a_waveform_says_nothing_about_the_class(signals: list[Planted]) -> None:
    labels = np.array([one.label for one in signals])
    chance, error = 0.25, np.sqrt(0.25 * 0.75 / (COUNT / 2))
    around = np.array([spectra(one, inside=False) for one in signals])
    assert probed(around, labels) < chance + 3 * error
    thirds = []
    for one in signals:  # slow and fast power in each third of the waveform
        parts = np.array_split(one.numbers.values[:, one.mask], 6, axis=1)
        power = [np.abs(np.fft.rfft(part - part.mean(1, keepdims=True), 64, axis=1)).mean(0) for part in parts]
        thirds.append(np.log1p(np.concatenate([p.reshape(-1)[:32].reshape(8, 4).mean(1) for p in power])))
    assert probed(np.array(thirds), labels) > 0.8, "the probe is too weak to find anything"


def test_a_waveform_lies_where_its_mask_says(signals: list[Planted]) -> None:
    lengths = np.array([one.mask.sum() for one in signals]) / RATE
    assert lengths.min() > 0.48
    assert lengths.max() < 0.72
    energy = [np.diff(one.numbers.values)[:, one.mask[1:]].std() for one in signals]
    assert np.quantile(energy, 0.01) > 0.25  # noise alone has 0.14 to 0.28


def test_sizes_and_brightness_of_a_body_say_little_about_its_shape() -> None:
    volumes = PlantedSet(planted_volume, count=120)[:]
    labels = np.array([one.label for one in volumes])
    inside = np.array([[one.numbers.values[0][one.mask].mean()] for one in volumes])
    outside = np.array(
        [[one.numbers.values[0][~one.mask].mean(), one.numbers.values[0][~one.mask].std()] for one in volumes]
    )
    error = np.sqrt(0.25 * 0.75 / 60)
    assert probed(np.hstack([inside, outside]), labels) < 0.25 + 3 * error
    assert all(
        one.numbers.values[0][one.mask].mean() > one.numbers.values[0][~one.mask].mean() + 0.4 for one in volumes
    )
    assert np.bincount(labels, minlength=4).min() > 15


def test_two_features_decide_a_row_and_no_other_says_anything() -> None:
    rows = PlantedSet(planted_row, count=2000)[:]
    values = np.array([one.numbers.values for one in rows])
    labels = np.array([one.label for one in rows])
    high = values > MEAN
    assert np.array_equal(labels, high[:, DECISIVE[0]] + 2 * high[:, DECISIVE[1]])
    assert all(np.flatnonzero(one.mask).tolist() == list(DECISIVE) for one in rows[:5])
    others = np.delete(high, DECISIVE, axis=1)
    agreement = [(others[:, i] == high[:, feature]).mean() for i in range(others.shape[1]) for feature in DECISIVE]
    assert max(abs(share - 0.5) for share in agreement) < 4 * 0.5 / np.sqrt(2000)
    assert rows[0].numbers.names == FEATURES
    assert len(set(FEATURES)) == 20


@pytest.mark.parametrize(
    ("values", "more", "told"),
    [
        (np.zeros((2, 3, 4)), {}, r"shape \(2, 3, 4\): expected \(C, T\)"),
        (np.zeros((2, 0)), {}, "with something in it"),
        (np.array([[0.0, np.nan]]), {}, "1 values that are NaN"),
        (np.zeros((2, 5)), {"names": ("a",)}, "2 rows of values and 1 names"),
    ],
)
def test_numbers_are_checked(values: npt.NDArray[np.float64], more: dict[str, tuple[str, ...]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Numbers(values.astype(np.float32), "signal", **more)
