"""Statistics and patterns are made once, and again when anything they depend on changes."""

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from bitlens.baselines.pattern_attribution import PatternAttribution
from bitlens.bottlenecks.per_sample import IBA
from bitlens.data.datasets import open_dataset
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import BitlensWarning
from bitlens.methods.lessons import PATTERNS, STATISTICS
from bitlens.methods.teaching import Source, Teacher
from bitlens.models.loaded import Loaded
from bitlens.system.files import cache_folder
from networks import quadrant_net

pytestmark = pytest.mark.filterwarnings("ignore::bitlens.errors.BitlensWarning")


def prepare(image):
    return functional.pil_to_tensor(image.resize((16, 16))).float() / 255


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for i in range(6):
        Image.new("RGB", (20, 20), (40 * i, 30, 200)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


def make(photos, network=None, count=6, layer="3"):
    loaded = Loaded("mine", network or quadrant_net(), Preprocessing(prepare, "small"), None, None)
    iba = IBA(loaded.model, layer)
    seen = []
    source = Source("photos", open_dataset(str(photos)), count)
    (place,) = Teacher(loaded, source, progress=seen.append).teach(STATISTICS, iba)
    return iba, iba.statistics, place, bool(seen)


def test_the_second_time_comes_from_the_cache(photos):
    _, first, place, worked = make(photos)
    iba, second, same, again = make(photos)
    assert worked
    assert not again
    assert place == same
    assert place.is_relative_to(cache_folder())
    assert torch.equal(first.mean, second.mean)
    assert iba.statistics.samples == 6
    assert first.provenance.data == "photos (6 photos)"
    assert first.provenance.preprocessing == "small"


def test_other_photos_weights_layers_and_counts_are_other_statistics(photos):
    places = {make(photos)[2], make(photos, count=3)[2], make(photos, layer="0")[2]}
    changed = quadrant_net()
    with torch.no_grad():
        next(changed.parameters()).add_(0.1)
    places.add(make(photos, changed)[2])
    Image.new("RGB", (20, 20), (1, 2, 3)).save(photos / "0.png")
    places.add(make(photos)[2])
    assert len(places) == 5


def test_damaged_statistics_are_made_again(photos):
    _, first, place, _ = make(photos)
    place.write_bytes(place.read_bytes()[:50])
    _, again, _, worked = make(photos)
    assert worked
    assert torch.equal(first.mean, again.mean)


def test_an_unreadable_photo_is_left_out_with_a_note(photos):
    (photos / "3.png").write_bytes(b"nothing")
    with pytest.warns(BitlensWarning, match=r"3\.png"):
        assert make(photos)[1].samples == 5


def test_a_part_is_spread_over_the_whole_set(photos):
    _, few, *_ = make(photos, count=2)
    _, every, *_ = make(photos)
    assert few.samples == 2
    assert not torch.allclose(few.mean, every.mean)


def make_patterns(photos, network=None):
    loaded = Loaded("mine", network or quadrant_net(), Preprocessing(prepare, "small"), None, None)
    method, seen = PatternAttribution(loaded.model), []
    source = Source("photos", open_dataset(str(photos)), 4)
    (place,) = Teacher(loaded, source, progress=seen.append).teach(PATTERNS, method)
    return method.patterns, place, seen


def test_patterns_are_made_once_and_again_where_they_are_damaged_or_of_another_network(photos):
    first, place, seen = make_patterns(photos)
    assert seen == [4]
    assert (first.samples, first.provenance.data, first.provenance.preprocessing) == (4, "photos (4 photos)", "small")
    second, same, again = make_patterns(photos)
    assert (same, again, second.fingerprint) == (place, [], first.fingerprint)
    place.write_bytes(place.read_bytes()[:50])
    third, _, once_more = make_patterns(photos)
    assert (once_more, third.fingerprint) == ([4], first.fingerprint)
    changed = quadrant_net()
    with torch.no_grad():
        next(changed.parameters()).add_(0.1)
    assert make_patterns(photos, changed)[1] != place


def test_nothing_is_kept_where_that_is_not_wanted(photos):
    loaded = Loaded("mine", quadrant_net(), Preprocessing(prepare, "small"))
    source = Source("photos", open_dataset(str(photos)), 4)
    assert Teacher(loaded, source, cached=False).teach(PATTERNS, PatternAttribution(loaded.model)) == []
    assert not cache_folder().exists()


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("BITLENS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "bitlens"
