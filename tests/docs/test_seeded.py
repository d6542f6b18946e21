"""Errors of the tables of photos include the seed, and where iba stands is told as the rows have it."""

import numpy as np
import pytest

from bitlens.evaluation.paired import compare, mean_of
from bitlens.evaluation.pinned import pin_settings
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import build_table
from paired import paired_table
from seeded import seeded, standing_table, without_seed

SHIFT = 0.2  # of the second seed, on all photos alike
SECOND = "iba[quality=best,seed=1]"


@pytest.fixture
def folder(tmp_path):
    labels = ("iba", "iba[seed=1]", "iba[quality=best]", SECOND, "grad-cam", "saliency")
    metrics = {"degradation-14[points=17]": 1.0, "bbox": -0.1, "sds": 0.01, "f-fidelity[draws=5]": 0.02}  # of grad-cam
    metrics |= dict.fromkeys(("aim", "degradation-8[points=10]", "road", "kept-per-bit"), 0.5)
    pin_settings(
        tmp_path,
        {"model": "net.py:build", "data": "csv:val.csv", "samples": 40, "seed": 0}
        | {"methods": {label: {} for label in labels}, "metrics": {metric: {} for metric in metrics}},
    )
    rng = np.random.default_rng(0)
    with RowWriter(tmp_path / "rows") as writer:
        for i in range(40):
            for metric, lead in metrics.items():
                photo, apart = rng.normal(), 0.1 * (-1) ** i  # whose mean is 0, with a standard error of 0.016
                values = dict.fromkeys(labels, photo)
                values["iba[quality=best]"] += rng.normal(-0.5, 0.1)
                values[SECOND] = values["iba[quality=best]"] + SHIFT
                values["grad-cam"] += lead + apart
                values["saliency"] -= 2
                scale = 1.0 if metric.startswith("degradation") else None
                writer.add(
                    [Row(i, f"{i}.png", "0" * 16, label, metric, value=values[label], scale=scale) for label in labels]
                )
    return tmp_path


@pytest.mark.parametrize(
    ("label", "bare"),
    [
        ("iba", "iba"),
        ("iba[seed=1]", "iba"),
        (SECOND, "iba[quality=best]"),
        ("rise[seed=12,stride=4]", "rise[stride=4]"),
        ("rise[samples=2,seed=1,stride=4]", "rise[samples=2,stride=4]"),
        ("random:seed=1", "random"),
        ("lime:samples=9:seed=1", "lime:samples=9"),
        ("lime:seed=1:samples=9", "lime:samples=9"),
        ("iba[reseed=1]", "iba[reseed=1]"),
    ],
)
def test_a_label_loses_its_seed_and_nothing_else(label, bare):
    assert without_seed(label) == bare


def test_a_paired_table_has_the_seed_in_its_errors_and_in_no_line_of_its_own(folder):
    lines = [
        line.strip("| ").split(" | ") for line in paired_table(folder, reference="iba", metrics="bbox").splitlines()
    ]
    assert [line[0] for line in lines[2:]] == ["`iba`", "`iba[quality=best]`", "`grad-cam`", "`saliency`"]
    found = RowStore(folder / "rows").series()
    own = mean_of(found["iba[quality=best]", "bbox"])
    error = (own.standard_error**2 + SHIFT**2 / 2) ** 0.5
    apart = compare(found["iba", "bbox"], found["iba[quality=best]", "bbox"])
    between = (apart.standard_error**2 + SHIFT**2 / 2) ** 0.5
    told = f"{own.mean:.3f} ± {error:.3f}", f"{apart.difference:+.3f} ± {between:.3f}"
    assert lines[3][2:] == [one.replace("-", "−") for one in told]


def test_what_a_seed_changes_on_all_photos_is_in_the_error(folder):
    table, found = seeded(folder), RowStore(folder / "rows").series()
    assert table.methods == ["iba", "iba[quality=best]", "grad-cam", "saliency"]
    for metric in table.metrics:
        over_photos = mean_of(found["iba[quality=best]", metric]).standard_error
        mean = table.cells["iba[quality=best]", metric].mean
        assert mean.standard_error == pytest.approx((over_photos**2 + SHIFT**2 / 2) ** 0.5)
        paired = compare(found["iba[quality=best]", metric], found["iba", metric])
        versus = table.cells["iba[quality=best]", metric].versus
        assert versus.difference == pytest.approx(paired.difference)
        assert versus.standard_error == pytest.approx((paired.standard_error**2 + SHIFT**2 / 2) ** 0.5)
        assert versus.p > paired.p


def test_without_a_second_seed_nothing_changes(folder):
    before, after = build_table(folder), seeded(folder)
    for metric in before.metrics:
        pair = ("grad-cam", metric)
        assert (after.cells[pair].mean, after.cells[pair].versus) == (
            before.cells[pair].mean,
            before.cells[pair].versus,
        )


def test_the_standing_names_whoever_is_furthest_ahead_but_no_other_map_of_iba(folder):
    cells = [line.strip("| ").split(" | ") for line in standing_table([folder]).splitlines()]
    assert cells[0] == ["metric", "method", folder.name]
    assert cells[2::2] == [
        ["degradation-14", "iba", "behind: grad-cam +1.000 ± 0.016"],
        ["bbox", "iba", "**first**"],
        ["sds", "iba", "**level**: grad-cam +0.010 ± 0.016"],
        ["f-fidelity", "iba", "behind: grad-cam +0.020 ± 0.016"],
        *([one, "iba", "behind: grad-cam +0.500 ± 0.016"] for one in ("aim", "degradation-8", "road", "kept-per-bit")),
    ]
    assert all(best[1] == "iba[quality=best]" and best[2].startswith("behind: grad-cam +") for best in cells[3::2])
