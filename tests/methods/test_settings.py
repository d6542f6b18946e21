"""The files of settings say what the code says, and are read without a network library."""

import subprocess
import sys
from typing import Literal

import pytest

import list_settings
from bitlens.core.statistics import FeatureStatistics
from bitlens.evaluation.measures import METRICS
from bitlens.methods import METHODS
from bitlens.methods.settings import Listed, Setting, as_row, settings_of


@pytest.mark.parametrize("place", list_settings.files(), ids=lambda place: place.parent.name)
def test_the_files_say_what_the_signatures_say(place):
    said = place.read_text("utf-8") == list_settings.files()[place]
    assert said, "a signature changed: python tools/list_settings.py"


def test_what_is_read_is_what_the_code_says():
    for entries in METHODS.values():
        for entry in entries.values():
            assert as_row(entry.listed) == as_row(settings_of(entry.build))
    for metrics in METRICS.values():
        for metric in metrics.values():
            assert as_row(metric.listed) == as_row(settings_of(metric.compute))


def build(model: object, *, steps: int | None = None, how: Literal["a", 2] = "a",
          learnt: FeatureStatistics | None = None, sizes: tuple[int, ...] = (1,)) -> object:  # fmt: skip
    """Build something.

    Args:
        model: the network.
        steps: how many.
    """


def test_a_method_beyond_the_list_is_asked_itself():
    found = settings_of(build)
    assert found.description == "Build something."
    assert {name: one.takes for name, one in found.settings.items()} == {
        "steps": "a whole number or none", "how": "a or 2", "learnt": "", "sizes": "",
    }  # fmt: skip
    assert found.settings["steps"].summary == "how many."
    assert found.defaults == {"steps": None, "how": "a", "learnt": None, "sizes": (1,)}
    assert as_row(found)["settings"]["sizes"]["default"] is None
    assert Listed("", {"a": Setting(int, 1)}).kinds == {"a": int}


def test_reading_them_does_not_import_torch():
    code = (
        "import sys; from bitlens.methods.naming import read_methods; from bitlens.evaluation.measures import read_metrics;"
        "assert list(read_methods('iba:beta=3:steps=none')) == ['iba[beta=3,steps=none]'];"
        "read_metrics('removal', 'text'); read_metrics('insertion:step=3'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
