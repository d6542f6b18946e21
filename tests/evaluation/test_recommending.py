"""Recommendations from rows of which the answer is known: order, ties, costs, and methods that ask nothing of the network."""

import numpy as np
import pytest

from bitlens.errors import DataError
from bitlens.evaluation.pinned import pin_settings
from bitlens.evaluation.recommending import recommend
from bitlens.evaluation.rows import Row, RowWriter

SECONDS = {"iba": 2.0, "grad-cam": 0.1, "saliency": 0.1, "random": 0.01}
IBA = {"name": "iba", "layer": "stage3", "keep": 0.9}


def written(folder, values, metrics=("sds", "deletion"), fails=()):
    """Rows of values (method → (samples,) of the first metric; of the second, where lower is better, their negative)."""
    methods = {method: IBA if method == "iba" else {"name": method} for method in values}
    count = len(next(iter(values.values())))
    named = {"methods": methods, "metrics": {metric: {} for metric in metrics}}
    pin_settings(folder, {"model": "net", "data": "photos", "samples": count, "seed": 0, **named})
    with RowWriter(folder / "rows") as writer:
        for method, numbers in values.items():
            for index, value in enumerate(numbers):
                for metric, sign in zip(metrics, (1, -1), strict=False):
                    if (method, index) in fails:
                        writer.add([Row(index, str(index), "0" * 16, method, metric, error="no gradient here")])
                        continue
                    known = None if np.isnan(value) else sign * float(value)
                    writer.add(
                        [Row(index, str(index), "0" * 16, method, metric, value=known, map_seconds=SECONDS[method])]
                    )
    return folder


def drawn(mean, seed, count=24):
    return mean + np.random.default_rng(seed).normal(0, 1, count)


def test_the_best_comes_first_and_the_rest_is_behind(tmp_path):
    values = {"random": drawn(0, 0), "saliency": drawn(2, 1), "iba": drawn(9, 2), "grad-cam": drawn(6, 3)}
    found = recommend(written(tmp_path, values))
    assert [row.method for row in found.rows] == ["iba", "grad-cam", "saliency", "random"]
    assert found.rows[0].beaten.mean == pytest.approx(1, abs=0.05)
    assert [row.level for row in found.rows] == [True, False, False, False]
    assert found.sentence == "for net: iba at stage3, keep 0.9"
    plain = found.plain()
    assert (plain["samples"], plain["metrics"]) == (24, ["sds", "deletion"])
    assert plain["methods"][1]["behind"]["difference"] < 0


def test_shares_are_exact(tmp_path):
    """Of three methods the middle one beats half of the others; a draw counts half."""
    found = recommend(written(tmp_path, {"iba": [3, 3], "grad-cam": [2, 3], "random": [1, 1]}))
    by_name = {row.method: row for row in found.rows}
    assert by_name["iba"].beaten.mean == pytest.approx((1 + 0.75) / 2)
    assert by_name["grad-cam"].beaten.mean == pytest.approx((0.5 + 0.75) / 2)
    assert by_name["random"].beaten.mean == 0
    assert by_name["grad-cam"].behind.difference == pytest.approx(-0.25)
    assert by_name["grad-cam"].behind.standard_error == pytest.approx(0.25)


def test_a_tie_is_told_with_its_cost(tmp_path):
    one = drawn(5, 1)
    values = {"iba": one + 0.01 * (-1) ** np.arange(24) + 1e-3, "grad-cam": one, "random": drawn(-5, 2)}
    found = recommend(written(tmp_path, values))
    assert [row.level for row in found.rows] == [True, True, False]
    assert found.sentence == "for net: iba at stage3, keep 0.9; grad-cam is level at a twentieth of the cost"
    dearer = recommend(written(tmp_path / "other", {name: values[name] for name in ("grad-cam", "iba", "random")}))
    assert dearer.sentence == "for net: grad-cam; level with it: iba"


def test_what_is_no_better_than_chance_is_not_recommended(tmp_path):
    values = {"iba": drawn(0, 1, 8), "grad-cam": drawn(0, 2, 8), "random": drawn(0, 3, 8)}
    assert "no method can be told from random" in recommend(written(tmp_path, values)).sentence


def test_methods_that_fail_are_named_and_photos_without_a_value_left_out(tmp_path):
    values = {"iba": [3, 4, np.nan, 5], "grad-cam": [2, 3, 1, 4], "saliency": [9, 9, 9, 9]}
    found = recommend(written(tmp_path, values, fails={("saliency", 1)}))
    assert found.failed == {"saliency": "no gradient here"}
    assert [row.method for row in found.rows] == ["iba", "grad-cam"]
    assert found.samples == 3


def test_too_little_to_compare(tmp_path):
    with pytest.raises(DataError, match="at least two of each"):
        recommend(written(tmp_path, {"iba": [1, 2]}))
