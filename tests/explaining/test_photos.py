"""What a person types as a target, what files are called, and what may be taken over from an earlier run."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from bitlens.core.attribution import Attribution
from bitlens.data.preprocessing import Preprocessing
from bitlens.errors import LayerError, TargetError
from bitlens.explaining.file_names import file_stems
from bitlens.explaining.photos import Explaining, Ready, Request
from bitlens.methods.specs import Spec
from bitlens.models.classes import class_index, class_name
from bitlens.models.loaded import Loaded
from networks import small_net

NAMES = ("tabby, tabby cat", "tiger cat", "crane", "crane")


@pytest.mark.parametrize(
    ("text", "index"),
    [("auto", None), ("3", 3), ("Tabby", 0), ("tabby cat", 0), ("tabby, tabby cat", 0), ("TIGER CAT", 1)],
)
def test_targets(text, index):
    assert class_index(text, NAMES) == index


def test_ambiguous_and_unknown_names_list_what_is_likely():
    with pytest.raises(TargetError, match=r"several classes: 2 crane; 3 crane"):
        class_index("crane", NAMES)
    with pytest.raises(TargetError, match=r"no class: 0 tabby, tabby cat; 1 tiger cat"):
        class_index("cat", NAMES)
    with pytest.raises(TargetError, match="--classes FILE"):
        class_index("cat", None)


def test_class_names():
    assert class_name("1", NAMES) == "tiger cat"
    assert class_name("77", NAMES) == "class 77"
    assert class_name("1", None) == "class 1"
    assert class_name("not 3", NAMES) == "not 3"


def test_no_two_photos_share_their_files():
    photos = [Path("a/cat.jpg"), Path("b/cat.png"), Path("cat-2.jpg"), Path("c/cat.jpg"), Path("dog.jpg")]
    stems = file_stems(photos)
    assert len(set(stems)) == 5
    assert stems[0] == "cat"
    assert stems[4] == "dog"


def test_files_of_one_method_are_called_after_the_photo_of_several_after_both():
    assert Ready("iba", Spec("iba", {}), None).endings == ("", ".iba")
    several = Ready("iba[beta=0.1,layer=a.b/c d]", Spec("iba", {}), None, alone=False)
    assert several.endings == (".iba-beta=0.1-layer=a.b-c-d", "")


class Recorder:
    """A method that notes what it is asked; its maps have the given shape."""

    seed = 0

    def __init__(self, *shape):
        self.shape, self.asked = shape, []

    def settings(self):
        return {"areas": (0.1, 0.2)}  # a tuple comes back from a file as a list

    def explain(self, images, target):
        self.asked.append((tuple(images.shape), target))
        return Attribution(torch.rand(1, *self.shape), "bits/token", "rise", (str(target),), layer="blocks.3")


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for value, path in enumerate(paths):
        Image.new("RGB", (24, 24), (200 * value, 90, 30)).save(path)
    return paths


def network(prepare="plain"):
    def transform(image):
        return functional.pil_to_tensor(image.resize((16, 16))).float() / 255

    return Loaded("small", small_net(), Preprocessing(transform, prepare), None, None)


def run(photos, loaded, methods, out, target=None):
    ready = [Ready(name, Spec("rise", {}), method, len(methods) == 1) for name, method in methods.items()]
    return list(Explaining(Request(loaded, ready, target, None, out)).each(photos))


def test_all_methods_are_asked_about_the_predicted_class_of_each_photo(photos, tmp_path):
    loaded, one, other = network(), Recorder(16, 16), Recorder(16, 16)
    done = run(photos, loaded, {"one": one, "other": other}, tmp_path / "out")
    images = torch.stack([loaded.preprocess(Image.open(path)) for path in photos])
    predicted = loaded.model(images).argmax(1).tolist()
    assert one.asked == other.asked == [((1, 3, 16, 16), target) for target in predicted]
    probabilities = loaded.model(images).softmax(1).amax(1)
    assert [photo.probability for photo in done] == pytest.approx(probabilities.tolist())
    assert [[row["method"] for row in photo.rows()] for photo in done] == [["one", "other"]] * 2


def test_an_earlier_attribution_is_taken_over_only_for_the_very_same(photos, tmp_path):
    def asked(loaded, target=None):
        method = Recorder(16, 16)
        done = run(photos[:1], loaded, {"one": method}, tmp_path / "out", target)
        assert done[0].found[0].repeated == (not method.asked)
        return len(method.asked)

    assert asked(network()) == 1
    assert asked(network()) == 0
    assert asked(network("other preprocessing")) == 1
    changed = network("other preprocessing")
    with torch.no_grad():
        changed.model[-1].bias[0] += 1e-3
    assert asked(changed) == 1
    predicted = int(changed.model(changed.preprocess(Image.open(photos[0]))[None]).argmax())
    assert asked(changed, predicted) == 0
    assert asked(changed, (predicted + 1) % 4) == 1


def test_maps_without_a_grid_are_refused(photos, tmp_path):
    with pytest.raises(LayerError, match=r"layer 'blocks.3' gives tokens, not a grid .* height and width"):
        run(photos, network(), {"one": Recorder(17)}, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
