"""What a person may type for a method or a metric."""

from typing import Literal

import pytest

from bitlens.errors import SettingError
from bitlens.methods import METHODS
from bitlens.methods.specs import Spec, parse_specs


class Method:
    def __init__(self, model: object, layer: str | object, *, beta: float = 1.0, steps: int | None = None,
                 kind: Literal["a", "b"] = "a", rows: int | Literal["auto"] = "auto", sign: bool = False,
                 name: str | None = None, other: dict[str, int] | None = None) -> None: ...  # fmt: skip


def metric(case: object, *, tile: int = 14) -> None: ...


ENTRIES = {"m": Method, "metric-8": metric, "metric-14": metric}


def parse(text):
    return list(parse_specs(text, ENTRIES, "method", lambda build: build).values())


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("beta=100", 100.0),
        ("beta=1e-3", 1e-3),
        ("steps=-3", -3),
        ("steps=none", None),
        ("kind=b", "b"),
        ("rows=auto", "auto"),
        ("rows=7", 7),
        ("sign=true", True),
        ("sign=no", False),
        ("name=none", None),
        ("name=7", "7"),
        ("layer=layer4.1", "layer4.1"),
    ],
)
def test_values_have_the_type_of_their_setting(pair, value):
    (spec,) = parse(f"m:{pair}")
    (read,) = spec.settings.values()
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no method was named"),
        ("x", "no method 'x'; did you mean"),
        ("metric-9", "did you mean metric-"),
        ("m:gamma=1", "no setting 'gamma'; it has beta, steps"),
        ("m:step=1", "no setting 'step'; did you mean steps\\?"),
        ("m:model=1", "no setting 'model'"),
        ("m:beta", "beta has no value; write m:beta=VALUE"),
        ("m:beta=much", "m:beta=much: expected a number"),
        ("m:steps=1.5", "a whole number or none"),
        ("m:kind=c", "expected a or b"),
        ("m:sign=1", "true or false"),
        ("m:other=1", "can only be given in Python"),
    ],
)
def test_what_makes_no_sense_is_refused(text, words):
    with pytest.raises(SettingError, match=words):
        parse(text)


def test_labels_name_what_was_set_in_one_order():
    specs = parse_specs(
        "m, m:steps=20:beta=100,m:beta=100:steps=20,metric-8:tile=8", ENTRIES, "method", lambda build: build
    )
    assert list(specs) == ["m", "m[beta=100,steps=20]", "metric-8[tile=8]"]
    assert specs["metric-8[tile=8]"] == Spec("metric-8", {"tile": 8})


def test_all_stands_for_every_entry():
    assert list(parse_specs("all", ENTRIES, "method", lambda build: build)) == ["m", "metric-8", "metric-14"]


def test_a_beginning_stands_for_all_that_begin_so():
    assert list(parse_specs("metric:tile=3", ENTRIES, "method", lambda build: build)) == [
        "metric-8[tile=3]",
        "metric-14[tile=3]",
    ]


def test_every_method_of_the_list_can_be_typed():
    builders = {name: entry.build for name, entry in METHODS["image"].items()}
    assert list(parse_specs("all", builders, "method", lambda build: build)) == list(METHODS["image"])
    assert parse_specs("iba:beta=100:layer=layer2", builders, "method", lambda build: build)[
        "iba[beta=100,layer=layer2]"
    ]
