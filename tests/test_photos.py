"""What a person types as a target, and what files are called."""

from pathlib import Path

import pytest

from bitlens.errors import TargetError
from bitlens.photos import class_index, class_name, file_stems

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
