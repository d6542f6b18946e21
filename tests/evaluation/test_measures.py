"""Every metric of the list, as evaluation computes it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bitlens.bottlenecks.per_sample import IBA
from bitlens.core.regions import Region
from bitlens.core.targets import as_target
from bitlens.data.datasets import Sample
from bitlens.errors import DataError, InputError, TargetError
from bitlens.evaluation.case import Case
from bitlens.evaluation.measures import METRICS, metric_settings, ready_metric
from bitlens.explaining.photo import fingerprint, read_photo
from bitlens.methods.specs import Spec, parse_specs
from bitlens.models.load import load_model
from bitlens.probe import Network
from small_evaluation import NETWORK, context_for, make_home

QUICK = {"points": 5, "sets": 10, "noise_samples": 4, "layer": "0", "samples": 2}
EVERY = pytest.mark.parametrize("name", list(METRICS["image"]))


class Given:
    """A method that gives the map it was made with."""

    def __init__(self, values):
        self.values, self.asked = values, 0

    def explain(self, *_):
        self.asked += 1
        return type("Attribution", (), {"map": self.values[None], "evidence": None})()


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    return load_model(f"{tmp_path / 'net.py'}:build")


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path)


@pytest.fixture
def network(loaded):
    return Network(loaded.model)


@pytest.fixture
def photo(loaded, network):
    """48 x 48 pixels, an object of a quarter of them in the upper left."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8))
    mask = np.zeros((48, 48), bool)
    mask[:24, :24] = True
    sample = Sample("one", lambda: picture, 2, ((0, 0, 24, 24),), mask)
    return read_photo(sample, network, loaded.preprocess)


def scored(name, photo, network, values, method=None, **settings):
    spec = Spec(
        name, {key: value for key, value in {**QUICK, **settings}.items() if key in metric_settings(Spec(name, {}))}
    )
    others = {
        "randomised": lambda *_: [Given(-values), Given(values)],
        "reseeded": lambda count: [Given(values)] * count,
        "judge": lambda deletion, epochs: network,  # noqa: ARG005
    }
    case = Case(photo, network, method or Given(values), 0, **others)
    return ready_metric(spec)(case)


@EVERY
def test_a_score_has_all_that_the_list_says(name, photo, network, loaded):
    values = torch.rand(48, 48, generator=torch.Generator().manual_seed(0))
    iba = IBA(loaded.model, "0", seed=0).fit_statistics([torch.randn(200, 3, 48, 48)], granularity="channel")
    metric = METRICS["image"][name]
    found = scored(name, photo, network, values, iba if "bottleneck" in metric.needs else None)
    assert np.isfinite(found.value)
    assert (len(found.x) > 1) == (metric.axes is not None)
    assert len(found.upper) == len(found.x)
    assert len(found.lower) == (len(found.x) if metric.axes and len(metric.axes.names) == 2 else 0)
    assert (found.scale is not None) == (metric.axes is not None and metric.axes.normalised)
    assert metric.better in ("higher", "lower")
    json.dumps(metric_settings(Spec(name, {})))
    if metric.axes and metric.axes.along({"layers": "a+b"}):
        assert len(metric.axes.along({"layers": "a+b"})) == len(found.x)


@pytest.mark.parametrize(
    ("name", "value"),
    [("bbox", 1), ("ehr", 1), ("mass-inside", 1), ("pointing-game", 1), ("rank-auc", 1)],
)
@pytest.mark.parametrize("region", ["boxes", "mask"])
def test_a_map_of_the_object_itself_is_perfect(name, value, region, photo, network):
    inside = photo.inside(region, 1.0)[0]
    assert float(inside.mean()) == 0.25
    assert scored(name, photo, network, inside, region=region).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "value"), [("degradation-8", 0), ("degradation-14", 0), ("mass-inside", 0.25), ("pointing-game", 0.25),
                        ("rank-auc", 0.5), ("ehr", 0.25), ("sds", 0), ("idsds", 0), ("road", 0), ("aim", 0), ("sparseness", 0)]
)  # fmt: skip
def test_a_constant_map_scores_chance(name, value, photo, network):
    assert scored(name, photo, network, torch.ones(48, 48)).value == pytest.approx(value, abs=1e-6)


def test_large_objects_are_left_out(photo, network):
    assert scored("bbox", photo, network, torch.rand(48, 48), max_area=0.2) is None
    assert scored("bbox", photo, network, torch.rand(48, 48), max_area=0.25) is not None


def test_the_map_is_made_once_for_all_metrics_and_not_where_none_applies(photo, network):
    given = Given(torch.rand(48, 48))
    case = Case(photo, network, given, 0)
    assert ready_metric(Spec("bbox", {"max_area": 0.1}))(case) is None
    assert given.asked == 0
    for name in ("bbox", "rank-auc", "ehr"):
        assert ready_metric(Spec(name, {}))(case) is not None
    assert given.asked == 1


def test_what_a_map_holds_is_what_its_explanation_says_and_takes_no_other_fit(photo, network, loaded):
    photo = replace(photo, target=1)  # of which noise says less than the photo does
    iba = IBA(loaded.model, "0", keep=0.9, statistics="own", seed=0)
    told = iba.explain(photo.image, photo.target)
    made, explain = [0], iba.explain

    def counted(*given, evidence_samples=None, **settings):
        made[0] += 1
        return explain(*given, evidence_samples=evidence_samples, **settings)

    iba.explain = counted
    case = Case(photo, network, iba, 0)
    assert ready_metric(Spec("kept", {}))(case).value == pytest.approx(float(told.evidence.kept.clamp(max=1)))
    assert torch.equal(case.map, told.map), "what is judged is the map that people are shown"
    assert made == [1]
    again = Case(photo, network, iba, 0, known=told.map[0])
    assert ready_metric(Spec("kept", {}))(again).value == pytest.approx(float(told.evidence.kept.clamp(max=1)))


def test_a_published_map_is_proved_beside_and_a_method_without_bits_has_no_proof(photo, network, loaded):
    photo = replace(photo, target=1)
    iba = IBA(loaded.model, "0", seed=0, quality="fast", statistics="own", beta=1.0)
    told = iba.explain(photo.image, photo.target)
    case = Case(photo, network, iba, 0)
    assert torch.equal(case.map, told.map)
    assert ready_metric(Spec("kept", {}))(case).value == pytest.approx(float(told.evidence.kept.clamp(max=1)))
    assert ready_metric(Spec("kept", {}))(Case(photo, network, Given(torch.rand(48, 48)), 0)) is None


def test_a_map_that_fails_fails_once(photo, network):
    class Failing:
        asked = 0

        def explain(self, *_):
            self.asked += 1
            raise ValueError("no")

    failing = Failing()
    case = Case(photo, network, failing, 0)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            _ = case.map
    assert failing.asked == 1


@pytest.mark.parametrize(("values", "words"), [(torch.full((48, 48), torch.nan), "NaN"), (torch.ones(7, 7), "7, 7")])
def test_maps_that_cannot_be_measured_are_refused(values, words, photo, network):
    with pytest.raises(InputError, match=words):
        _ = Case(photo, network, Given(values), 0).map


def test_insertion_and_deletion_share_their_passes(photo, network, monkeypatch):
    from bitlens.evaluation import scoring

    calls, measure = [], scoring.insertion_deletion
    monkeypatch.setattr(scoring, "insertion_deletion", lambda *a, **k: calls.append(1) or measure(*a, **k))
    case = Case(photo, network, Given(torch.rand(48, 48)), 0)
    for name in ("insertion", "deletion"):
        ready_metric(Spec(name, {"points": 5}))(case)
    assert len(calls) == 1
    ready_metric(Spec("deletion", {"points": 6}))(case)
    assert len(calls) == 2


def test_deletions_and_adversarial_photos_are_made_once_for_all_methods(photo, network, monkeypatch):
    from bitlens.evaluation import removal_scoring

    calls = []
    for name in ("single_deletion", "adversarial"):
        measure = getattr(removal_scoring, name)
        monkeypatch.setattr(
            removal_scoring, name, lambda *a, measure=measure, **k: calls.append(measure) or measure(*a, **k)
        )
    values = torch.rand(48, 48, generator=torch.Generator().manual_seed(0))
    found = [[scored(name, photo, network, one).value for name in ("sds", "aim")] for one in (values, -values)]
    assert len(calls) == 2
    np.testing.assert_allclose(found[0], -np.array(found[1]), atol=1e-5)  # the other way round


def test_a_method_is_measured_with_seeds_that_follow_its_own(home, monkeypatch):
    from bitlens.metrics import stability

    stacks, measure = [], stability.seed_stability
    monkeypatch.setattr(stability, "seed_stability", lambda maps: stacks.append(maps) or measure(maps))
    context = context_for(home, "iba:quality=fast:seed=3,random,grad-cam:layer=0", "seed-stability")
    subject = context.read(context.samples[0])
    scores = [context.metrics["seed-stability"](context.case(subject, method)).value for method in context.methods]
    assert scores[2] == pytest.approx(1)
    assert abs(scores[1]) < 0.1
    assert 0.3 < scores[0] < 1
    alone = context_for(home, "iba:quality=fast:seed=5", "bbox")
    same = alone.case(subject, "iba[quality=fast,seed=5]").map
    torch.testing.assert_close(stacks[0][2], same)


def test_long_curves_are_thinned_and_keep_their_ends(photo, network):
    found = scored("deletion", photo, network, torch.rand(48, 48), points=48 * 48)
    assert len(found.x) == 201
    assert (found.x[0], found.x[-1]) == (0, 1)
    assert found.upper[0] == pytest.approx(photo.probability, abs=2e-3)


def test_labels_that_the_network_does_not_have_are_refused(loaded, network, photo):
    sample = Sample("two", lambda: photo.sample.image, 4)
    with pytest.raises(TargetError, match="class 4"):
        read_photo(sample, network, loaded.preprocess)


def test_a_fingerprint_is_that_of_the_content(tmp_path):
    one, other = tmp_path / "a.png", tmp_path / "b.png"
    for path in (one, other):
        Image.new("RGB", (4, 4), (1, 2, 3)).save(path)
    a, b = (Sample(path.name, lambda: None, path=path) for path in (one, other))
    assert fingerprint(a) == fingerprint(b)
    other.write_bytes(one.read_bytes() + b" ")
    assert fingerprint(a) != fingerprint(b)
    other.unlink()
    with pytest.raises(DataError, match=r"b\.png"):
        fingerprint(b)
    picture = Image.new("RGB", (4, 4))
    assert fingerprint(Sample("c", lambda: picture)) == fingerprint(Sample("d", lambda: picture))


def test_every_metric_can_be_typed():
    computes = {name: metric.compute for name, metric in METRICS["image"].items()}
    assert list(parse_specs("all", computes, "metric", lambda build: build)) == list(METRICS["image"])
    assert list(parse_specs("degradation", computes, "metric", lambda build: build)) == [
        "degradation-8",
        "degradation-14",
    ]
    (spec,) = parse_specs("insertion:step=10", computes, "metric", lambda build: build).values()
    assert metric_settings(spec)["step"] == 10
    assert metric_settings(Spec("degradation-8", {}))["tile"] == 8


class Dense(torch.nn.Module):
    """Three numbers at every place; `sure` says class 0 everywhere, and otherwise what the trained network says."""

    def __init__(self, sure=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Conv2d(3, 3, 5, padding=2)
        self.sure = sure

    def forward(self, images):
        return self.body(images) + self.sure * torch.tensor([1.0, 0.0, 0.0])[:, None, None]


class Told:
    """A method that remembers what it is asked about, and gives a map."""

    def __init__(self, values):
        self.values, self.targets = values, []

    def explain(self, _, target):
        self.targets.append(target)
        return type("Attribution", (), {"map": self.values[None], "evidence": None})()


@pytest.fixture
def dense():
    return Network(Dense().eval())


@pytest.fixture
def dense_photo(loaded, dense):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8))
    return read_photo(Sample("one", lambda: picture, 2), dense, loaded.preprocess)


@pytest.mark.parametrize("name", ["idsds", "f-fidelity"])
def test_a_copy_is_asked_at_the_places_where_the_network_itself_predicts_the_class(name, dense, dense_photo):
    """The copy predicts the class nowhere; asked about the same places as the network, it gives a number all the same."""
    values = torch.rand(48, 48, generator=torch.Generator().manual_seed(0))
    copy = Network(Dense(sure=50.0).eval())
    case = Case(dense_photo, dense, Given(values), 0, judge=lambda *_: copy)
    spec = Spec(name, {"draws": 2} if name == "f-fidelity" else {})
    found = ready_metric(spec)(case)
    with torch.no_grad():
        said = dense.model(dense_photo.image)
    masked = replace(dense_photo, target=Region([2], said.argmax(1) == 2))
    assert found.value == pytest.approx(
        ready_metric(spec)(Case(masked, copy, Given(values), 0, judge=lambda *_: copy)).value
    )
    with pytest.raises(TargetError, match="at no place"):
        ready_metric(spec)(Case(replace(dense_photo), copy, Given(values), 0, judge=lambda *_: copy))


def test_random_networks_are_asked_at_the_places_that_the_trained_one_chose(dense, dense_photo):
    values = torch.rand(48, 48, generator=torch.Generator().manual_seed(0))
    random = Told(values.flip(0))
    case = Case(dense_photo, dense, Given(values), 0, randomised=lambda *_: [random])
    assert np.isfinite(ready_metric(Spec("sanity", {}))(case).value)
    with torch.no_grad():
        said, other = dense.model(dense_photo.image), Dense(sure=50.0)(dense_photo.image)
    asked = as_target(random.targets[0], other, 1)
    assert float(asked.value(other)) == pytest.approx(float(other.softmax(1)[0, 2][said[0].argmax(0) == 2].mean()))


def test_a_changed_photo_is_asked_at_the_places_that_the_network_chose_in_the_photo_itself(dense, dense_photo):
    told = Told(torch.rand(48, 48, generator=torch.Generator().manual_seed(0)))
    case = Case(dense_photo, dense, told, 0)
    assert np.isfinite(ready_metric(Spec("max-sensitivity", {"samples": 2}))(case).value)
    with torch.no_grad():
        said, moved = dense.model(dense_photo.image), dense.model(dense_photo.image.flip(-1))
    there = said[0].argmax(0) == 2
    assert told.targets[0] == 2
    for target in told.targets[1:]:
        asked = as_target(target, moved, 1)
        assert float(asked.value(moved)) == pytest.approx(float(moved.softmax(1)[0, 2][there].mean()))


def test_a_class_of_the_whole_photo_is_asked_of_others_as_it_is(photo, network):
    random = Told(torch.rand(48, 48))
    case = Case(photo, network, Given(torch.rand(48, 48)), 0, randomised=lambda *_: [random])
    ready_metric(Spec("sanity", {}))(case)
    assert random.targets == [photo.target]
