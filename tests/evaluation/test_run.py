"""The evaluation of a small network: what is measured, what is done once, what survives a failure or a crash."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bitlens.data.boxes import box_mask
from bitlens.errors import SettingError
from bitlens.evaluation.rows import RowWriter
from bitlens.evaluation.run import carry_out, evaluate_sample, find_tasks, select_samples
from bitlens.evaluation.store import RowStore
from bitlens.evaluation.tables import build_table
from bitlens.methods import method
from bitlens.metrics.degradation import degradation
from bitlens.metrics.localization import bounding_box_ratio
from small_evaluation import context_for

PAIR = ["index", "method", "metric"]
FAST = "bbox,degradation-8:points=5"


def run(context, folder, limit=None, **options):
    tasks = find_tasks(context, folder, select_samples(len(context.samples), (1, 1), limit), **options)
    carry_out(context, folder, tasks)
    return len(tasks)


def numbers(folder):
    """Everything that counts, exactly."""
    found = RowStore(folder / "rows").series()
    return {pair: (s.index.tolist(), s.value.tolist(), s.scale.tolist(), dict(s.failures)) for pair, s in found.items()}


def same(one, other):
    """Equal, NaN included."""
    return json.dumps(one[1], sort_keys=True) == json.dumps(other[1], sort_keys=True)


def test_values_are_those_of_the_metrics_themselves(home):
    context = context_for(home, "gradient,iba", FAST)
    assert run(context, home / "out") == 8
    found = RowStore(home / "out" / "rows").series()
    sample = context.samples[5]
    image = context.loaded.preprocess(sample.image)[None]
    maps = method("gradient", context.loaded.model).explain(image, [sample.label]).map
    inside = box_mask(sample.boxes, sample.image.size, context.loaded.preprocess)[None]
    series = found["gradient", "bbox"]
    assert series.value[5] == float(bounding_box_ratio(maps, inside))
    curves = degradation(context.loaded.model, image, [sample.label], maps, 8, points=5)
    series = found["gradient", "degradation-8[points=5]"]
    assert series.value[5] == float(curves.areas())
    assert series.scale[5] == float(curves.drop)
    assert series.probability[5] == pytest.approx(float(curves.lerf[0, 0]), abs=2e-3)  # that pass may be in bfloat16


def test_what_does_not_apply_is_no_failure(home):
    context = context_for(home, "gradient", "bbox,mass-inside")
    run(context, home / "out")
    found = RowStore(home / "out" / "rows").series()
    assert np.flatnonzero(np.isnan(found["gradient", "bbox"].value)).tolist() == [1, 2]
    assert np.isnan(found["gradient", "mass-inside"].value).all()
    assert not found["gradient", "bbox"].failures


def test_without_a_label_the_predicted_class_is_asked_about(home):
    context = context_for(home, "gradient", "bbox")
    (row,) = evaluate_sample(context, find_tasks(context, home / "out", [3])[0]).rows
    assert row.target == row.predicted


def test_the_predicted_class_can_be_asked_about_whatever_the_label(home):
    by_label = context_for(home, "gradient", "degradation-8:points=5")
    predicted = replace(by_label, plan=replace(by_label.plan, asked="predicted"))
    assert run(by_label, home / "label") == run(predicted, home / "predicted") == 8
    one, other = (RowStore(home / name / "rows").series().popitem()[1] for name in ("label", "predicted"))
    assert not one.correct.all()  # else the two questions would be one
    assert other.correct.all()
    assert np.array_equal(one.value == other.value, one.correct)


def test_questions_do_not_mix(home):
    for first, then in (("label", "predicted"), ("predicted", "label")):
        run(context_for(home, "random", "bbox", asked=first), home / first, 1)
        with pytest.raises(SettingError, match=f'asked was "{first}", now "{then}"'):
            run(context_for(home, "random", "bbox", asked=then), home / first, 2)


def test_folders_of_before_the_question_could_be_chosen_ask_about_labels(home):
    run(context_for(home, "random", "bbox"), home / "out", 1)
    place = home / "out" / "settings.json"
    settings = json.loads(place.read_text())
    del settings["asked"]
    place.write_text(json.dumps(settings))
    with pytest.raises(SettingError, match='asked was "label", now "predicted"'):
        run(context_for(home, "random", "bbox", asked="predicted"), home / "out", 2)
    assert run(context_for(home, "random", "bbox"), home / "out", 2) == 1


def test_what_is_there_is_not_done_again_and_more_can_be_added(home, monkeypatch):
    asked = []
    explain = type(method("gradient", torch.nn.Sequential())).explain
    monkeypatch.setattr(
        "bitlens.baselines.gradient.Gradient.explain",
        lambda self, image, *rest, **more: asked.append(1) or explain(self, image, *rest, **more),
    )
    first = context_for(home, "gradient", "bbox")
    assert run(first, home / "out", 3) == 3
    before = numbers(home / "out")
    assert run(first, home / "out", 3) == 0
    made = len(asked)
    assert run(first, home / "out", 5) == 2
    assert run(context_for(home, "random,gradient", "bbox"), home / "out", 5) == 5
    assert len(asked) == made + 2 - sum(i in (1, 2) for i in select_samples(8, (1, 1), 5)[3:])
    after = numbers(home / "out")
    known = [after["gradient", "bbox"][0].index(i) for i in before["gradient", "bbox"][0]]
    values = [after["gradient", "bbox"][1][k] for k in known]
    assert np.array_equal(values, before["gradient", "bbox"][1], equal_nan=True)
    settings = json.loads((home / "out" / "settings.json").read_text())
    assert list(settings["methods"]) == ["gradient", "random"]


def test_kept_maps_serve_later_metrics(home, monkeypatch):
    run(context_for(home, "gradient", "rank-auc:region=boxes", keep_maps=True), home / "out")
    assert len(list((home / "out" / "maps" / "gradient").glob("*.npy"))) == 7  # all but the one without boxes
    fresh = context_for(home, "gradient", FAST, "fresh")
    run(fresh, home / "fresh")
    monkeypatch.setattr("bitlens.baselines.gradient.Gradient.explain", lambda *_: pytest.fail("made again"))
    later = context_for(home, "gradient", "bbox", keep_maps=True)
    run(later, home / "out")
    assert same((0, numbers(home / "out")["gradient", "bbox"]), (0, numbers(home / "fresh")["gradient", "bbox"]))


def test_a_photo_that_fails_is_recorded_and_tried_again_on_request(home):
    broken = home / "photos" / "5.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:200])
    run(context_for(home, "gradient", FAST, "whole"), home / "whole")
    shutil.copytree(home / "whole", home / "again")
    table = build_table(home / "whole")
    assert {pair: cell.failures for pair, cell in table.cells.items()} == dict.fromkeys(table.cells, 1)
    assert all("5.png" in reason for _, _, reason in table.reasons)
    broken.write_bytes(good)
    context = context_for(home, "gradient", FAST, "again")
    assert run(context, home / "again") == 0
    assert run(context, home / "again", retry_errors=True) == 1
    run(context_for(home, "gradient", FAST, "clean"), home / "clean")
    assert same((0, str(numbers(home / "again"))), (0, str(numbers(home / "clean"))))


def test_a_method_or_metric_that_fails_does_not_stop_the_others(home):
    context = context_for(home, "gradient,random", "bbox,rank-auc:region=boxes")

    def fails(_case):
        raise ZeroDivisionError("by nothing")

    broken = type("Broken", (), {"explain": lambda *_: 1 / 0, "settings": dict, "seed": 0})()
    context = replace(
        context,
        metrics={**context.metrics, "bbox": fails},
        methods={**context.methods, "random": broken},
    )
    run(context, home / "out")
    table = build_table(home / "out")
    assert table.cells["gradient", "rank-auc[region=boxes]"].mean.count == 6
    assert table.cells["gradient", "bbox"].failures == 8
    assert table.cells["random", "rank-auc[region=boxes]"].failures == 7
    reasons = {reason for _, _, reason in table.reasons}
    assert reasons == {"ZeroDivisionError: by nothing", "ZeroDivisionError: division by zero"}


def test_when_memory_is_full_the_run_stops_and_keeps_what_was_done(home):
    context = context_for(home, "gradient", "bbox")
    left = [2]

    def full(case):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError
        return context.metrics["bbox"](case)

    with pytest.raises(MemoryError):
        run(replace(context, metrics={"bbox": full}), home / "out")
    assert len(RowStore(home / "out" / "rows").series()["gradient", "bbox"].index) == 2


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"model": "other"}, "model was .*net.py:build"),
        ({"layer": "1"}, 'iba: layer was "0", now "1"'),
        ({"statistics_count": 5}, "count"),
        ({"data": "photos"}, "data was"),
    ],
)
def test_other_settings_are_refused(home, others, words):
    run(context_for(home, "iba", "bbox"), home / "out", 1)
    if "model" in others:
        others = {"model": f"{home / 'net.py'}:other"}
    if "data" in others:
        others = {"data": f"folder:{home / 'photos'}"}
    with pytest.raises(SettingError, match=words):
        run(context_for(home, "iba", "bbox", **others), home / "out", 1)


def test_other_weights_are_refused(home):
    run(context_for(home, "gradient", "bbox"), home / "out", 1)
    (home / "net.py").write_text((home / "net.py").read_text().replace("manual_seed(0)", "manual_seed(1)"))
    with pytest.raises(SettingError, match="weights was"):
        run(context_for(home, "gradient", "bbox"), home / "out", 1)


def test_other_photos_under_the_same_names_are_refused(home):
    run(context_for(home, "gradient", "bbox"), home / "out")
    for path in (home / "photos").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    with pytest.raises(SettingError, match="other photos"):
        run(context_for(home, "gradient", "bbox"), home / "out")


def test_a_run_can_go_on_in_another_place(home, monkeypatch):
    """Data, network and results may move; what was learnt moves with the results."""
    run(context_for(home, "iba", "bbox"), home / "out", 3)
    moved = home / "elsewhere"
    moved.mkdir()
    for name in ("net.py", "photos", "table.csv", "out"):
        shutil.move(home / name, moved / name)
    monkeypatch.setenv("BITLENS_CACHE", str(moved / "cache"))
    assert run(context_for(moved, "iba", "bbox"), moved / "out") == 5


@pytest.mark.parametrize(("count", "parts"), [(10, 2), (11, 3)])
def test_parts_share_nothing_and_make_the_whole(count, parts):
    chosen = [select_samples(count, (k, parts)) for k in range(1, parts + 1)]
    assert sorted(i for part in chosen for i in part) == list(range(count))
    assert max(map(len, chosen)) - min(map(len, chosen)) <= 1


def test_a_larger_limit_begins_with_the_same_samples():
    assert select_samples(1000, (1, 2), 50)[:20] == select_samples(1000, (1, 2), 20)
    assert abs(np.mean(select_samples(1000, limit=300)) - 500) < 60
    for part, limit in (((0, 2), None), ((3, 2), None), ((1, 1), 0)):
        with pytest.raises(SettingError):
            select_samples(10, part, limit)


def test_sensitivity_n_is_measured_once_for_all_methods_and_is_the_same(home):
    from bitlens.metrics.sensitivity_n import sensitivity_n

    context = context_for(home, "gradient,saliency", "sensitivity-n-8:sets=20")
    run(context, home / "out", 2)
    index = select_samples(8)[0]
    sample = context.samples[index]
    image = context.loaded.preprocess(sample.image)[None]
    target = sample.label if sample.label is not None else int(context.loaded.model(image).argmax())
    for name in context.methods:
        maps = method(name, context.loaded.model).explain(image, target).map
        expected = sensitivity_n(context.loaded.model, image, [target], maps, 8, sets=20).means()
        series = RowStore(home / "out" / "rows").series()[name, "sensitivity-n-8[sets=20]"]
        assert series.value[series.index.tolist().index(index)] == pytest.approx(float(expected), abs=1e-12)


def test_randomised_networks_learn_anew_where_it_matters(home):
    context = context_for(home, "iba,gradient", "sanity")
    run(context, home / "out", 2)
    methods = context._on_random_networks("iba", "", "default")
    fingerprints = [method.statistics.fingerprint for method in methods]
    trained = context.methods["iba"].statistics.fingerprint
    assert fingerprints[0] == trained  # only the last layer is random: the features are the same
    assert fingerprints[-1] != trained
    settings = json.loads((home / "out" / "settings.json").read_text())
    assert len(settings["metrics"]["sanity"]["layers"].split("+")) == len(methods)
    (row,) = evaluate_sample(
        context, replace(find_tasks(context, home / "o2", [0])[0], wanted={"iba": ["sanity"]})
    ).rows
    assert len(row.upper) == len(methods) + 1
    assert row.upper[0] == 1
    assert row.value == pytest.approx(float(np.mean(row.upper[1:])), abs=1e-6)
    assert row.value < 0.99


def test_restricted_accuracy_is_for_bottlenecks_and_fitted_once(home, monkeypatch):
    from bitlens.bottlenecks.per_sample import IBA

    fitted = []
    explain = IBA.explain
    monkeypatch.setattr(IBA, "explain", lambda self, *a, **k: fitted.append(1) or explain(self, *a, **k))
    run(context_for(home, "gradient,iba", "restricted-top1,restricted-top5,information"), home / "out", 2)
    table = build_table(home / "out")
    assert len(fitted) == 2
    assert table.cells["iba", "information"].mean.mean > 0
    assert 0 <= table.cells["iba", "restricted-top1"].mean.mean <= table.cells["iba", "restricted-top5"].mean.mean == 1
    assert table.cells["gradient", "information"].mean.count == 0


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import torch
from small_evaluation import context_for
from bitlens.evaluation.run import carry_out, find_tasks, select_samples
torch.set_num_threads(1)
home = Path(sys.argv[2])

def started(out):
    process = os.fork()
    if process == 0:
        context = context_for(home, "gradient,iba", "bbox,degradation-8:points=5", out, keep_maps=True)
        carry_out(context, home / out, find_tasks(context, home / out, select_samples(8)), every_seconds=0)
        os._exit(0)
    return process

begin = time.monotonic()
assert os.waitpid(started("whole"), 0)[1] == 0
whole, killed, rng = time.monotonic() - begin, 0, random.Random(0)
for _ in range(14):
    process = started("killed")
    time.sleep(rng.uniform(0.05, 0.4) * whole)
    os.kill(process, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
assert os.waitpid(started("killed"), 0)[1] == 0
print(killed)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_gives_the_same_table(home):
    environment = {**os.environ, "BITLENS_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    assert str(numbers(home / "killed")) == str(numbers(home / "whole"))
    one, other = (json.dumps(build_table(home / name).plain()) for name in ("killed", "whole"))
    assert one == other
    files = list((home / "killed" / "rows").glob("[!.]*"))
    assert len(files) > 1
    rows = [tuple(row.values()) for path in files for row in pq.read_table(path, columns=PAIR).to_pylist()]
    assert len(rows) == len(set(rows)) == 8 * 2 * 2


def test_two_runs_at_once_count_once(home):
    context = context_for(home, "gradient", "bbox")
    tasks = find_tasks(context, home / "out", select_samples(8))
    for _ in range(2):
        carry_out(context, home / "out", tasks)
    assert len(RowStore(home / "out" / "rows").series()["gradient", "bbox"].index) == 8


def test_another_engine_may_carry_out_tasks_in_any_order(home):
    def backwards(context, tasks):
        for task in reversed(list(tasks)):
            yield evaluate_sample(context, task)

    for name, engine in (("a", None), ("b", backwards)):
        context = context_for(home, "gradient", FAST, name)
        carry_out(context, home / name, find_tasks(context, home / name, select_samples(8)), engine=engine)
    assert json.dumps(build_table(home / "a").plain()) == json.dumps(build_table(home / "b").plain())


def test_writer_is_not_needed_to_evaluate_a_sample(home, monkeypatch):
    """What a worker elsewhere does writes nothing."""
    context = context_for(home, "gradient", "bbox")
    task = find_tasks(context, home / "out", [0])[0]
    monkeypatch.setattr(RowWriter, "__init__", lambda *_, **__: pytest.fail("wrote"))
    assert len(evaluate_sample(context, task).rows) == 1
