"""From rows to the table, its formats, the papers' numbers beside it, and its pictures."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from bitlens.errors import DataError, SettingError
from bitlens.evaluation import formats
from bitlens.evaluation.measures import METRICS
from bitlens.evaluation.paired import Mean, mean_of
from bitlens.evaluation.papers import load_paper, paper_names, side_by_side
from bitlens.evaluation.pinned import pin_settings
from bitlens.evaluation.plots import draw_plots
from bitlens.evaluation.plotted import _without_layers
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.store import Series
from bitlens.evaluation.tables import Cell, Selection, build_table, with_best

METHODS = {"gradient": 0.2, "iba[beta=10]": 0.6, "random": 0.0}


def make(folder, methods=METHODS, model="net.py:build", samples=20):
    rng = np.random.default_rng(0)
    names = {label: label.partition("[")[0] for label in methods}
    settings = {
        "model": model, "data": "csv:val.csv", "samples": samples, "seed": 0,
        "methods": {label: {"name": names[label], "beta": 10.0} for label in methods},
        "metrics": {"degradation-8": {}, "bbox": {}, "deletion[points=4]": {}, "sanity": {"layers": "fc+conv"}},
    }  # fmt: skip
    pin_settings(folder, settings)
    x = np.linspace(0, 1, 5)
    with RowWriter(folder / "rows") as writer:
        for i in range(samples):
            clean = rng.uniform(0.3, 1)
            about = {"target": 1, "predicted": 1 if i % 4 else 0, "probability": clean}
            for label, level in methods.items():
                lower, upper = clean * (1 - x) ** 3, clean * (1 - x) ** (1 - level)
                area = float(torch.trapezoid(torch.tensor(upper - lower), torch.tensor(x)))
                rows = [
                    Row(i, f"{i}.png", "0" * 16, label, "degradation-8", value=area, scale=clean, x=x, upper=upper,
                        lower=lower, **about),
                    Row(i, f"{i}.png", "0" * 16, label, "bbox", value=level + rng.normal(0, 0.1) if i % 2 else None, **about),
                    Row(i, f"{i}.png", "0" * 16, label, "deletion[points=4]", value=1 - level, x=x, upper=lower, **about)
                    if i else Row(0, "0.png", "", label, "deletion[points=4]", error="DataError: broken"),
                    Row(i, f"{i}.png", "0" * 16, label, "sanity", value=0.5, x=[0, 1, 2], upper=[1, 0.5, np.nan], **about),
                ]  # fmt: skip
                writer.add(rows)
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "out")


def test_means_failures_and_the_best(folder):
    table = build_table(folder)
    assert table.methods == list(METHODS)
    assert table.metrics == ["degradation-8", "bbox", "deletion[points=4]", "sanity"]
    assert table.samples == 20
    assert table.accuracy == pytest.approx(0.75)
    cell = table.cells["gradient", "bbox"]
    assert cell.mean.count == 10
    assert table.cells["gradient", "deletion[points=4]"].failures == 1
    assert table.reasons == {(m, "deletion[points=4]", "DataError: broken"): 1 for m in sorted(METHODS)}
    best = {metric: [m for m in METHODS if table.cells[m, metric].best] for metric in table.metrics}
    assert best["degradation-8"] == best["bbox"] == best["deletion[points=4]"] == ["iba[beta=10]"]


def test_degradation_is_a_ratio_of_means(folder):
    table = build_table(folder)
    x = np.linspace(0, 1, 5)
    expected = float(
        torch.trapezoid(torch.tensor((1 - x) ** 0.4 - (1 - x) ** 3), torch.tensor(x))
    )  # the same curve, whatever the probability of the photo
    cell = table.cells["iba[beta=10]", "degradation-8"]
    assert cell.mean.mean == pytest.approx(expected)
    assert cell.mean.standard_error == pytest.approx(0, abs=1e-12)


def test_others_are_compared_with_the_reference(folder):
    assert build_table(folder).reference == "gradient"
    table = build_table(folder, Selection(reference="iba[beta=10]"))
    versus = table.cells["gradient", "bbox"].versus
    assert versus.difference == pytest.approx(
        table.cells["gradient", "bbox"].mean.mean - table.cells["iba[beta=10]", "bbox"].mean.mean
    )
    assert versus.p < 0.001
    assert table.cells["iba[beta=10]", "bbox"].versus is None


def test_selections(folder):
    table = build_table(folder, Selection(methods=["iba", "random"], metrics=["degradation", "deletion"], part=(2, 2)))
    assert table.methods == ["iba[beta=10]", "random"]
    assert table.metrics == ["degradation-8", "deletion[points=4]"]
    assert table.cells["random", "degradation-8"].mean.count == 10
    assert not table.reasons  # the sample that failed is in the other part
    likely = build_table(folder, Selection(least_probability=0.6))
    assert 0 < likely.cells["random", "degradation-8"].mean.count < 20
    for wrong in (Selection(methods=["grad-cam"]), Selection(metrics=["ehr"]), Selection(reference="occlusion-8")):
        with pytest.raises(SettingError, match="no results of the"):
            build_table(folder, wrong)


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no results"):
        build_table(tmp_path)
    pin_settings(tmp_path, {"model": "m", "data": "d", "seed": 0, "methods": {}, "metrics": {}})
    with pytest.raises(DataError, match="no rows yet"):
        build_table(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        build_table(tmp_path)


def test_json_is_plain_and_the_same_again(folder):
    one, other = (json.dumps(build_table(folder).plain(), allow_nan=False) for _ in range(2))
    assert one == other
    row = json.loads(one)["rows"][0]
    assert {"method", "metric", "mean", "standard_error", "count", "failures", "better"} <= row.keys()


def test_markdown_and_csv_hold_the_same_numbers(folder):
    table = build_table(folder)
    text = formats.as_markdown(formats.means_grid(table))
    best = table.cells["iba[beta=10]", "bbox"].mean
    assert f"**{best.mean:.3f} ± {best.standard_error:.3f}**" in text
    assert "(1 failed)" in text
    lines = list(csv.DictReader(io.StringIO(formats.as_csv([table]))))
    assert len(lines) == 12
    found = next(line for line in lines if line["method"] == "iba[beta=10]" and line["metric"] == "bbox")
    assert float(found["mean"]) == best.mean
    compared = formats.as_markdown(formats.comparison_grid(table))
    assert "***" in compared
    assert "gradient" not in compared.split("\n", 2)[2]


def test_columns_that_do_not_fit_side_by_side_are_grouped():
    grid = formats.Grid("x", ["method", "one\ntwo", "three", "four"], [["iba", "0.1", "0.22", "0.333"]])
    assert formats.fitting_columns(grid, 80) == [[0, 1, 2, 3]]
    assert formats.fitting_columns(grid, 18) == [[0, 1, 2], [0, 3]]
    assert formats.fitting_columns(grid, 1) == [[0, 1], [0, 2], [0, 3]]


def test_methods_that_do_not_apply_are_left_empty(tmp_path):
    pin_settings(
        tmp_path, {"model": "m", "data": "d", "seed": 0, "methods": {"a": {}, "b": {}}, "metrics": {"bbox": {}}}
    )
    with RowWriter(tmp_path / "rows") as writer:
        writer.add([Row(0, "x", "", "a", "bbox", value=0.5), Row(0, "x", "", "b", "bbox")])
    table = build_table(tmp_path)
    grid = formats.means_grid(table)
    assert [row[1] for row in grid.rows] == ["0.500", "", "1"]
    assert [one.title for one in formats.grids_of(table)] == [grid.title], "nothing was compared, so no table says so"
    json.dumps(table.plain(), allow_nan=False)


@pytest.mark.parametrize("name", paper_names())
def test_published_tables_are_whole(name):
    paper = load_paper(name)
    assert paper.source
    assert paper.data
    assert set(paper.metrics) <= set(METRICS["image"])
    assert {network for network, _ in paper.columns} == set(paper.networks)
    for row in paper.rows:
        assert len(row.values) == len(paper.columns)
        assert all(value is None or 0 <= value < 5 for value in row.values)
    assert "iba[beta=10]" in paper.specs()
    assert set(paper.metric_specs())


def test_some_published_numbers():
    """As printed in the papers."""
    rows = {row.name: row.values for row in load_paper("iba-table1").rows}
    assert rows["IBA, β=10/k"] == (0.572, 0.571, 0.582, 0.585, 0.620, 0.593)
    assert rows["PatternAttribution"] == (None, None, 0.440, 0.457, None, 0.404)
    assert {row.name: (*row.values, *row.standard_errors) for row in load_paper("inputiba-table3").rows}["IBA"] == (
        0.713, 0.090, 0.004, 0.002)  # fmt: skip
    assert load_paper("inputiba-table2").rows[0].values == (0.476,)
    row = next(row for row in load_paper("iba-table4").rows if row.name == "IBA, β=10/k")
    assert row.values[:2] == (0.984, 0.990)
    assert row.values[2] == pytest.approx(0.098 / np.log(2), abs=1e-3)
    with pytest.raises(SettingError, match="iba-table1"):
        load_paper("table1")


def test_ours_stand_beside_theirs(tmp_path):
    tables = [build_table(make(tmp_path / name, model=f"torchvision/{name}@random")) for name in ("resnet50", "vgg16")]
    paper = load_paper("iba-table1")
    lines = {line.name: line for line in side_by_side(paper, tables)}
    assert lines["IBA, β=10/k"].ours[0]["bbox"] == tables[0].cells["iba[beta=10]", "bbox"].mean
    assert lines["IBA, β=1/k"].ours == ({}, {})
    assert lines["Random"].published[4] == (0.167, pytest.approx(np.nan, nan_ok=True))
    grid = formats.paper_grid(paper, tables)
    assert "bbox\nResNet-50\npublished" in grid.heads
    assert "bbox\nvgg16\nhere" in grid.heads
    assert any("ICLR 2020" in note for note in grid.notes)
    assert sum("torchvision/" in note for note in grid.notes) == 2
    plain = formats.paper_plain(paper, tables)
    json.dumps(plain, allow_nan=False)
    ours = next(row for row in plain["rows"] if row["method"] == "IBA, β=10/k")["here"]
    assert {entry["network"] for entry in ours} == {"torchvision/resnet50@random", "torchvision/vgg16@random"}


def test_methods_that_a_paper_does_not_have_come_last(tmp_path):
    table = build_table(make(tmp_path, {"rise": 0.3, "random": 0.0}))
    lines = side_by_side(load_paper("iba-table1"), [table])
    assert lines[-1].name == "rise"
    assert lines[-1].published == (None,) * 6


def test_plots_are_drawn_for_all_scores_and_every_curve(folder, tmp_path):
    paths = draw_plots(folder, tmp_path / "plots")
    assert [path.name for path in paths] == [
        "scores.png", "curves-degradation-8.png", "curves-deletion-points-4.png", "curves-sanity.png"
    ]  # fmt: skip
    for path in paths:
        assert Image.open(path).width == 1400
    assert paths[0].read_bytes() == draw_plots(folder, tmp_path / "again")[0].read_bytes()


def test_bands_are_standard_errors():
    from bitlens.evaluation.plotted import _MeanCurves

    curves = np.random.default_rng(0).uniform(0.2, 1, (30, 5))
    curves[3, 2] = np.nan
    mean = _MeanCurves(np.arange(5.0), normalise=False)
    mean.add([curves[:10]])
    mean.add([curves[10:]])
    made, count = mean.curve("a", 0), np.isfinite(curves).sum(0)
    np.testing.assert_allclose(made.y, np.nanmean(curves, 0))
    np.testing.assert_allclose(made.error, np.nanstd(curves, 0, ddof=1) / np.sqrt(count))
    ratio = _MeanCurves(np.arange(5.0), normalise=True)
    ratio.add([curves])
    made = ratio.curve("a", 0)
    pair = Series(np.arange(30), curves[:, 1] - curves[:, 4], curves[:, 0] - curves[:, 4], *np.ones((2, 30)))
    assert made.y[1] == pytest.approx(mean_of(pair).mean)
    assert made.error[1] == pytest.approx(mean_of(pair).standard_error)
    np.testing.assert_allclose([made.y[0], made.error[0], made.y[4], made.error[4]], [1, 0, 0, 0], atol=1e-7)


def test_mean_curves_are_normalised_means(folder):
    from bitlens.evaluation.plotted import _mean_curves
    from bitlens.evaluation.store import RowStore

    table = build_table(folder, Selection(part=(1, 2)))
    curved = {name: METRICS["image"][name].axes for name in ("degradation-8", "sanity")}
    curves = _mean_curves(RowStore(folder / "rows"), curved, table)
    upper, lower = (curves["degradation-8"]["random"].curve("random", side) for side in (0, 1))
    x = np.linspace(0, 1, 5)
    np.testing.assert_allclose(upper.y, 1 - x, atol=1e-6)
    np.testing.assert_allclose(lower.y, (1 - x) ** 3, atol=1e-6)
    np.testing.assert_allclose(upper.error, 0, atol=1e-6)  # samples differ in nothing but the photo's probability
    sanity = curves["sanity"]["random"].curve("random", 0)
    np.testing.assert_array_equal(sanity.y, [1, 0.5, np.nan])


def test_titles_leave_out_the_layers_that_stand_along_the_axis():
    assert _without_layers("sanity[layers=fc+conv]") == "sanity"
    assert _without_layers("sanity[layers=fc+conv,window=7]") == "sanity[window=7]"
    assert _without_layers("sanity") == "sanity"


def test_a_mean_over_fewer_samples_is_not_called_the_best():
    nan = float("nan")
    means = {
        "all": Mean(0.5, 0.1, 40),
        "nearly all": Mean(0.6, 0.1, 37),
        "few": Mean(0.9, 0.1, 10),
        "none": Mean(nan, nan, 0),
    }
    cells = with_best({(name, "bbox"): Cell(name, "bbox", mean, 0) for name, mean in means.items()})
    assert [name for (name, _), cell in cells.items() if cell.best] == ["nearly all"]
