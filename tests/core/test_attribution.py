import json
from contextlib import nullcontext
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Evidence
from bitlens.core.told import BYPASSED
from bitlens.errors import DataError, InputError
from bitlens.system.arrays import write_arrays


def _full(count: int = 5, seed: int = 0) -> Attribution:
    """Every field set; numbers that a text format would not keep."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) / 3

    return Attribution(
        map=some(8, 6),
        unit="bits/pixel",
        method="iba",
        targets=tuple(f"Häuschen „{i}“ 猫\n🦆" for i in range(count)),
        settings={"beta": 0.1 + 0.2, "steps": 10, "clamp": False, "nothing": None, "data": "föhn"},
        model="ResNet",
        layer="layer2.0",
        total_bits=some(),
        evidence=Evidence(some(), some(), some(), "score", 7),
        cells=some(4, 3),
        capacity=some(2, 4, 3),
        version="1.2.3",
    )


def _bare(count: int = 3) -> Attribution:
    return Attribution(torch.rand(count, 4, 4), "score", "random", ("a",) * count)


def _assert_same(got: Attribution, expected: Attribution) -> None:
    for field in fields(Attribution):
        mine, theirs = getattr(got, field.name), getattr(expected, field.name)
        if isinstance(theirs, Tensor):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs), field.name
        elif isinstance(theirs, Evidence):
            assert (mine.measure, mine.noise_samples) == (theirs.measure, theirs.noise_samples)
            for name in ("before", "under_noise", "under_noise_std"):
                assert torch.equal(getattr(mine, name), getattr(theirs, name)), name
        else:
            assert mine == theirs, field.name


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        _full().unit = "score"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        _full().evidence.measure = "score"  # type: ignore[misc, union-attr]


@pytest.mark.parametrize("attribution", [_full(), _bare(), replace(_full(), evidence=None), _full()[1], _full()[1:4]])
def test_saved_and_loaded_bit_for_bit(attribution: Attribution, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.safetensors"
    attribution.save(path)
    _assert_same(Attribution.load(path), attribution)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("allowed", [True, False])
def test_evidence_says_that_a_bypass_was_allowed(tmp_path: Path, *, allowed: bool) -> None:
    path, whole = tmp_path / "a.safetensors", _full()
    assert whole.evidence is not None
    assert not whole.evidence.caveat
    made = replace(whole, evidence=replace(whole.evidence, bypass_allowed=allowed))
    made.save(path)
    assert (b"bypass_allowed" in path.read_bytes()) is allowed  # without one a file is what it was
    read = Attribution.load(path)
    for one in (made, read, read[1:3]):
        assert one.evidence is not None
        assert one.evidence.bypass_allowed is allowed
        assert one.evidence.caveat == (BYPASSED if allowed else "")
        assert all(row.get("bypass_allowed", False) is allowed for row in one.summary())
    with pytest.raises(InputError, match="evidence") if allowed else nullcontext():
        Attribution.join([made, whole])


def test_maps_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    cells = torch.rand(2, 5)
    attribution = Attribution(cells, "bits/token", "iba", ("0", "1"), cells=cells)
    attribution.save(tmp_path / "a.safetensors")
    _assert_same(Attribution.load(tmp_path / "a.safetensors"), attribution)


def test_maps_that_are_not_contiguous_can_be_saved(tmp_path: Path) -> None:
    attribution = Attribution(torch.rand(4, 5, 2).permute(2, 0, 1), "score", "random", ("0", "1"))
    attribution.save(tmp_path / "a.safetensors")
    _assert_same(Attribution.load(tmp_path / "a.safetensors"), attribution)


def test_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        Attribution.load(tmp_path / "none.safetensors")
    other = tmp_path / "other.safetensors"
    write_arrays(other, {"map": torch.rand(2)}, {"format": "something/1"})
    with pytest.raises(DataError, match="does not hold an attribution"):
        Attribution.load(other)
    damaged = tmp_path / "damaged.safetensors"
    _full().save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(DataError, match="is not a readable safetensors file"):
        Attribution.load(damaged)


def test_one_sample_or_several() -> None:
    whole = _full()
    assert len(whole) == 5
    one, last, part = whole[2], whole[-1], whole[1:3]
    assert (len(one), len(last), len(part)) == (1, 1, 2)
    assert torch.equal(one.map, whole.map[2:3])
    assert last.targets == whole.targets[4:]
    assert part.evidence is not None
    assert whole.evidence is not None
    assert torch.equal(part.evidence.under_noise, whole.evidence.under_noise[1:3])
    assert part.capacity is not None
    assert part.capacity.shape == (2, 2, 4, 3)
    assert (part.settings, part.layer) == (whole.settings, whole.layer)
    assert [len(sample) for sample in whole] == [1] * 5
    with pytest.raises(IndexError):
        whole[5]


@pytest.mark.parametrize("whole", [_full(), _bare(5)])
def test_parts_joined_are_the_whole(whole: Attribution) -> None:
    _assert_same(Attribution.join([whole[:2], whole[2], whole[3:]]), whole)
    _assert_same(Attribution.join([whole]), whole)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"layer": "layer3"}, "layer"),
        ({"method": "grad-cam"}, "method"),
        ({"unit": "score"}, "unit"),
        ({"model": "VGG"}, "model"),
        ({"settings": {"beta": 1.0}}, "settings"),
        ({"map": torch.rand(5, 9, 9)}, "map"),
        ({"cells": torch.rand(5, 9, 9)}, "cells"),
        ({"capacity": None}, "capacity"),
        ({"evidence": None}, "evidence"),
    ],
)
def test_what_does_not_belong_together_is_not_joined(change: dict[str, object], name: str) -> None:
    for parts in ([_full(), replace(_full(), **change)], [replace(_full(), **change), _full()]):  # type: ignore[arg-type]
        with pytest.raises(InputError, match=f"cannot be joined that differ in: .*{name}"):
            Attribution.join(parts)


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(InputError, match="no attribution to join"):
        Attribution.join([])


def test_summary_is_plain_json() -> None:
    whole = _full()
    rows = json.loads(json.dumps(whole.summary()))
    assert len(rows) == 5
    assert whole.total_bits is not None
    assert whole.evidence is not None
    assert rows[1]["target"] == whole.targets[1]
    assert (rows[1]["method"], rows[1]["layer"], rows[1]["unit"]) == ("iba", "layer2.0", "bits/pixel")
    assert rows[1]["total_bits"] == float(whole.total_bits[1])
    assert rows[1]["max"] == float(whole.map[1].max())
    assert rows[1]["score_before"] == float(whole.evidence.before[1])
    assert rows[1]["score_under_noise_std"] == float(whole.evidence.under_noise_std[1])
    assert set(_bare().summary()[0]) == {"target", "method", "layer", "unit", "max"}
