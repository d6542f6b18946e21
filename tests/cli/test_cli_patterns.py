"""`bitlens patterns` as a person uses it."""

import json
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from bitlens.baselines.pattern_attribution import PatternAttribution
from bitlens.baselines.patterns import Patterns
from bitlens.cli import main
from bitlens.models.load import load_model

NETWORK = """
import torch
from torch import nn
from torchvision.transforms import v2

def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    steps = [v2.Resize(32), v2.CenterCrop(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return model.eval(), v2.Compose(steps)

def transposed():
    model, prepare = build()
    return nn.Sequential(nn.ConvTranspose2d(3, 3, 2), model).eval(), prepare
"""


@pytest.fixture
def place(tmp_path):
    """A folder with networks and ten photos."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


@pytest.fixture
def bitlens(monkeypatch, capsys):
    """Run the command line: (exit code, standard output, error stream)."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() sets its own

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bitlens", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:  # noqa: PT012
            warnings.simplefilter("default")
            main()
            sys.exit(0)
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_patterns_are_written_and_used(bitlens, place):
    command = ["patterns", "--model", f"{place / 'net.py'}:build", "--data", place / "photos", "--device", "cpu"]
    code, out, err = bitlens(*command, "--count", 8, "--out", place / "p.safetensors", "--json")
    assert code == 0, err
    patterns = Patterns.load(place / "p.safetensors")
    facts = {"file": str(place / "p.safetensors"), "samples": 8, "neurons": 13, "replaced": patterns.replaced}
    assert json.loads(out) == facts
    assert patterns.provenance.data == f"{place / 'photos'} (8 photos)"
    loaded = load_model(f"{place / 'net.py'}:build")
    photos = [loaded.preprocess(Image.open(place / "photos" / f"{i}.png").convert("RGB")) for i in range(10)]
    spread = torch.stack([photos[i * 10 // 8] for i in range(8)])
    expected = PatternAttribution(loaded.model).fit_patterns([spread]).patterns
    for name, pattern in expected.arrays.items():
        assert torch.allclose(patterns.arrays[name], pattern, rtol=1e-3, atol=1e-4 * float(pattern.abs().max()))
    made = PatternAttribution(loaded.model, patterns=place / "p.safetensors").explain(spread)
    assert made.map.abs().max() > 0

    code, out, _ = bitlens(*command, "--out", place / "all.safetensors")
    assert code == 0
    assert "13 neurons" in out
    assert "10 photos" in out


def test_what_cannot_be_done_is_said_in_one_line(bitlens, place):
    out = ["--out", place / "p.safetensors"]
    code, _, err = bitlens("patterns", "--model", f"{place / 'net.py'}:transposed", "--data", place / "photos", *out)
    assert code == 1
    assert "bitlens: pattern-attribution has no rule for the operation 'conv_transpose2d'" in err
    assert not (place / "p.safetensors").exists()
    code, _, err = bitlens("patterns", "--model", f"{place / 'net.py'}:build", "--data", "nowhere", *out)
    assert code == 1
    assert "unknown data set 'nowhere'" in err
