"""What is read without torch is what the attribution says."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch

from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Curve, Evidence, Spread
from bitlens.core.stored_map import StoredMap
from bitlens.errors import DataError


@pytest.fixture
def made():
    before, under = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.8, 0.2, 0.55])
    proof = Evidence(before, under, torch.full((3,), 0.01), "probability", 32, torch.tensor([0.1, 0.2, 0.499]),
                     torch.tensor([0.01, 0.01, 0.1]), torch.tensor([0.01, 0.01, 0.1]) / 32**0.5)  # fmt: skip
    curve = Curve(torch.rand(3, 4), torch.rand(3, 4), torch.rand(3, 4, 6, 5))
    return Attribution(torch.rand(3, 6, 5), "bits/pixel", "iba", ("a", "b", "c"), {"beta": 0.1}, "Net", "layer2",
                       torch.rand(3), evidence=proof, curve=curve, version="1",
                       spread=Spread(torch.rand(3, 6, 5), torch.rand(3), 4))  # fmt: skip


def same(mine, theirs):
    for field in (field for field in fields(theirs) if field.name != "seen"):  # never saved
        one, other = getattr(mine, field.name), getattr(theirs, field.name)
        if isinstance(other, torch.Tensor):
            assert one.dtype == other.numpy().dtype
            assert np.array_equal(one, other.numpy()), field.name
        elif isinstance(other, Evidence | Curve | Spread):
            same(one, other)
        else:
            assert one == other, field.name


def test_the_same_numbers_under_the_same_names(made, tmp_path):
    made.save(tmp_path / "a.safetensors")
    stored = StoredMap.load(tmp_path / "a.safetensors")
    same(stored, made)
    assert len(stored) == 3
    same(stored[1], made[1])
    kept, expected = stored.evidence.kept, made.evidence.kept.numpy()
    assert np.allclose(kept, expected, equal_nan=True, rtol=1e-6)
    assert np.isnan(kept).tolist() == [False, True, True]


def test_without_a_floor_nothing_is_said_of_what_is_kept(tmp_path):
    proof = Evidence(torch.ones(3), torch.ones(3), torch.ones(3), "score")
    Attribution(torch.rand(3, 4), "score", "x", ("a",) * 3, evidence=proof).save(tmp_path / "b.safetensors")
    assert np.isnan(StoredMap.load(tmp_path / "b.safetensors").evidence.kept).all()


def test_a_flipped_bit_is_seen(made, tmp_path):
    path = tmp_path / "a.safetensors"
    made.save(path)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    for read in (StoredMap.load, Attribution.load):
        with pytest.raises(DataError, match="checksum"):
            read(path)


def test_reading_does_not_import_torch(made, tmp_path):
    made.save(tmp_path / "a.safetensors")
    code = (
        "import sys; from bitlens.core.stored_map import StoredMap; StoredMap.load(sys.argv[1]);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.safetensors"], check=True)
