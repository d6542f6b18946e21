"""The kinds of files that bitlens reads: how a good one is made, and who reads it. For `fuzz.py` and the tests."""

import gzip
import json
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from torch import Tensor, nn

from bitlens.baselines.patterns import Patterns
from bitlens.bottlenecks.groups import ORDINARY
from bitlens.bottlenecks.layer_analysis import LayerAnalysis
from bitlens.bottlenecks.readout.network import Normaliser, ReadoutNetwork
from bitlens.bottlenecks.readout.reads import Reads
from bitlens.bottlenecks.readout.weights import ReadoutWeights, settled
from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.core.attribution import Attribution
from bitlens.core.evidence import Curve, Evidence, Spread
from bitlens.core.guarantee import Guarantee
from bitlens.core.layout import LAYOUTS
from bitlens.core.seen import Seen
from bitlens.core.statistics import FeatureStatistics, Provenance
from bitlens.data.datasets import open_dataset
from bitlens.data.imagenet import read_annotation
from bitlens.data.images import read_image
from bitlens.data.kinds import Form
from bitlens.data.number_files import read_numbers
from bitlens.data.small import read_small_images
from bitlens.data.texts import open_texts
from bitlens.data.words import WordTokenizer
from bitlens.evaluation.pinned import pin_settings, read_settings
from bitlens.evaluation.rows import Row, RowWriter
from bitlens.evaluation.store import RowStore
from bitlens.explaining.shown import read_shown, save_shown
from bitlens.explaining.summary import read_summary
from bitlens.metrics.retraining import read_state
from bitlens.models.classes import read_classes
from bitlens.models.weight_files import load_weights
from bitlens.reports.found import read_results
from bitlens.system.arrays import read_array
from bitlens.training.checkpoint import Checkpoint, State
from bitlens.training.curve import EpochRow
from bitlens.view.heatmap import save_raw

_FROM = Provenance("net", "0123456789abcdef", "layer2", "data", "how", "0.2")


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        file: what it is called.
        make: writes a good one to a path, the same each time.
        read: reads one, and gives back everything that it says.
        sealed: whether a checksum covers all of it, so that no change goes unseen.
    """

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    sealed: bool = False


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _statistics() -> FeatureStatistics:
    known = FeatureStatistics.of(_some(4, 3, 5, 5).sub(0.3).relu(), LAYOUTS["CHW"], "channel")
    return FeatureStatistics(**{**vars(known), "provenance": _FROM})


def _attribution(path: Path) -> None:
    proof = Evidence(_some(2), _some(2, seed=1), _some(2, seed=2))
    extra: dict[str, Any] = {
        "total_bits": _some(2),
        "cells": _some(2, 3, 3),
        "capacity": _some(2, 4, 3, 3),
        "version": "0.2",
        "curve": Curve(_some(2, 3).sort(1).values, _some(2, 3, seed=3), _some(2, 3, 6, 6)),
        "spread": Spread(_some(2, 6, 6), _some(2, seed=4), 3),
    }
    Attribution(
        _some(2, 6, 6), "bits/pixel", "iba", ("1", "2"), {"beta": 1.0}, "net", "layer2", evidence=proof, **extra
    ).save(path)


def _readout(path: Path) -> None:
    statistics = _statistics()
    reads = Reads({"layer1": Normaliser(LAYOUTS["CHW"], _some(4, 1, 1), _some(4, 1, 1) + 0.1)}, 3, conditional=False)
    torch.manual_seed(0)
    state = ReadoutNetwork(reads.channels, 3).state_dict()
    ReadoutWeights(state, statistics, reads, settled({}, None), {"epochs": 2}, _FROM).save(path)


def _analysis(path: Path) -> None:
    parts = (_some(2, 1, 2, 4), _some(2, 1, 2), _some(2, 1, 2), _some(2))
    LayerAnalysis(("a",), (1.0, 10.0), *parts, ("0", "1"), "probability", {"steps": 3}, "net").save(path)


def _guarantee(path: Path) -> None:
    budgets = torch.tensor([8.0, 16.0, 32.0], dtype=torch.float64)
    parts: dict[str, Any] = {"noises": 4, "asked": "predicted", "inputs": ("a", "b", "c", "d"), "provenance": _FROM}
    Guarantee("iba", {"beta": 1.0}, budgets, torch.tensor([0, 3, 1, 2]), **parts).save(path)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def _trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    net = _net()
    optimizer = torch.optim.Adam(net.parameters())
    net(_some(5, 3)).sum().backward()
    optimizer.step()
    return net, optimizer


def _checkpoint(path: Path) -> None:
    net, optimizer = _trained()
    rows = [EpochRow(1, 2, {"loss": 0.5}, {"loss": 0.6}, 1.0)]
    best = {name: value.clone() for name, value in net.state_dict().items()}
    Checkpoint(path, net, optimizer, None, {"seed": 0}).save(State(1, 1, {"loss": 0.25}, rows, best, 1))


def _read_checkpoint(path: Path) -> Any:
    net, optimizer = _trained()
    state = Checkpoint(path, net, optimizer, None, {"seed": 0}).load()
    return vars(state), net.state_dict(), optimizer.state_dict()["state"]


def _read_weights(path: Path) -> Any:
    net = _net()
    load_weights(net, path)
    return net.state_dict()


def _save_safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(_net().state_dict(), path)


SAMPLES = 9


def _rows(path: Path) -> None:
    folder = path.parent / "writing"
    with RowWriter(folder) as writer:
        for index in range(SAMPLES):
            about: dict[str, Any] = {"target": 1, "predicted": 1, "probability": 0.5, "seconds": 0.1}
            curve: dict[str, Any] = {"x": [0.0, 1.0], "upper": [1.0, 0.5], "lower": [0.5, 0.1]}
            name = f"photo {index}"
            writer.add([Row(index, name, "0" * 16, "iba", "bbox", value=index / 7, scale=0.5, **about, **curve)])
            writer.add([Row(index, name, "0" * 16, "iba", "ehr", error="it failed", **about)])
    (written,) = folder.iterdir()
    written.replace(path)
    folder.rmdir()


def _read_rows(path: Path) -> Any:
    store = RowStore(path.parent, SAMPLES)
    numbers = {pair: vars(series) for pair, series in store.series().items()}
    curves = [(method, part.to_pylist()) for (method, _), part in store.curves(["bbox"])]
    done = store.done(failures=True)
    seen = [done.lacks(("iba", metric), np.arange(SAMPLES)) for metric in ("bbox", "ehr")]
    return numbers, curves, seen, store.first()


def _settings(path: Path) -> None:
    known = {"model": "net", "data": "folder:x", "seed": 0, "samples": 4}
    pin_settings(path.parent, {**known, "methods": {"iba": {"name": "iba"}}, "metrics": {"bbox": {"name": "bbox"}}})


def _summary(path: Path) -> None:
    row = {"photo": "a.png", "files": "a", "seen": "a.seen.jpg", "method": "iba", "probability_before": 0.5}
    path.write_text(json.dumps({"settings": {"model": "net"}, "photos": [row], "texts": []}), "utf-8")


def _read_summary(path: Path) -> Any:
    read_summary(path.parent)
    found = read_results(path.parent)
    return (
        found.settings,
        [[(entry.sample, dict(entry.row)) for entry in group] for group in found.groups],
        found.problems,
    )


def _explained_texts(path: Path) -> None:
    words = [{"word": "good", "span": [0, 4], "value": 0.5}]
    path.write_text(json.dumps([{"text": "good film", "unit": "bits/word", "words": words}]), "utf-8")


def _table(path: Path) -> None:
    Image.new("RGB", (8, 6), "red").save(path.parent / "a.png")
    path.write_text("file,label,boxes\na.png,3,1 1 4 4;0 0 2 2\n", "utf-8")


def _samples(found: Any) -> Any:
    return [(one.name, one.label, one.boxes, one.path) for one in found]


_TEXTS = [{"id": f"t{i}", "text": f"a good film {i}", "label": i % 2, "pair": "and more"} for i in range(5)]
_JSONL = "\n".join(json.dumps(one) for one in _TEXTS).encode()
_XML = b"""<annotation><size><width>9</width><height>8</height></size><object><name>n01</name><bndbox><xmin>1</xmin>
<ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"""


def _photo(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 9, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix == ".jpg" else "PNG")


def _archive(path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 5, 5, 3), np.uint8)
    np.savez(path, images=images, labels=np.arange(6) % 2)


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(100)
        file.writeframes((_some(2, 20) * 30000).numpy().astype("<i2").tobytes())


def _archived_volume(path: Path) -> None:
    np.savez(path, volume=_some(3, 4, 5).numpy(), spacing=[2.0, 1.0, 1.0])


def _lines(path: Path) -> None:
    rows = [f"{number / 100},{value:.4f},{-value:.4f}" for number, value in enumerate(_some(12).tolist())]
    path.write_text("time,left,right\n" + "\n".join(rows) + "\n", "utf-8")


def _columns(path: Path) -> None:
    parquet.write_table(pa.table({"a": _some(6).numpy(), "b": np.arange(6)}), path, write_page_checksum=True)


def _seen(path: Path) -> None:
    save_shown(Seen(values=_some(2, 9), names=("left", "right"), rate=100.0), path)


def _numbers(form: Form, row: str = "") -> Callable[[Path], Any]:
    return lambda path: vars(read_numbers(path.with_name(path.name + row), form))


_STATE = {"format": "bitlens.roar/1", "fingerprint": "f", "rows": [
    {"rate": 0.5, "seed": 0, "validation_accuracy": 0.5, "test_accuracy": 0.25}
]}  # fmt: skip

KINDS: dict[str, Kind] = {
    "statistics": Kind("s.safetensors", lambda p: _statistics().save(p), FeatureStatistics.load, sealed=True),
    "token statistics": Kind(
        "t.safetensors",
        lambda p: (
            TokenStatistics.of(_some(3, 4, 5), torch.tensor([[7, ORDINARY, ORDINARY, 8]] * 3))
            .with_provenance(_FROM)
            .save(p)
        ),
        TokenStatistics.load,
        sealed=True,
    ),
    "attribution": Kind("a.safetensors", _attribution, Attribution.load, sealed=True),
    "readout": Kind("r.safetensors", _readout, ReadoutWeights.load, sealed=True),
    "patterns": Kind(
        "p.safetensors",
        lambda p: Patterns({"000-conv2d": _some(4, 3, 2, 2), "001-linear": _some(2, 4)}, 5, 6, 1, _FROM).save(p),
        Patterns.load,
        sealed=True,
    ),
    "guarantee": Kind("g.safetensors", _guarantee, Guarantee.load, sealed=True),
    "layer analysis": Kind("l.safetensors", _analysis, LayerAnalysis.load, sealed=True),
    "checkpoint": Kind("c.safetensors", _checkpoint, _read_checkpoint, sealed=True),
    "weights": Kind("w.safetensors", _save_safetensors, _read_weights),
    "pickled weights": Kind("w.pt", lambda p: torch.save(_net().state_dict(), p), _read_weights),
    "rows": Kind("0.parquet", _rows, _read_rows),
    "map": Kind("m.npy", lambda p: save_raw(_some(6, 5), p), lambda p: read_array(p, "a map", (6, 5))),
    "signal": Kind("s.npy", lambda p: np.save(p, _some(2, 9).numpy()), _numbers("signal")),
    "sound": Kind("s.wav", _sound, _numbers("signal")),
    "lines of a signal": Kind("l.csv", _lines, _numbers("signal")),
    "volume": Kind("v.npz", _archived_volume, _numbers("volume")),
    "columns": Kind("c.parquet", _columns, _numbers("table", "#1")),
    "input as seen": Kind("i.seen.safetensors", _seen, lambda p: vars(read_shown(p)), sealed=True),
    "small images": Kind("i.npz", _archive, lambda p: vars(read_small_images(f"npz:{p}", 5))),
    "settings": Kind("settings.json", _settings, lambda p: read_settings(p.parent)),
    "summary": Kind("summary.json", _summary, _read_summary),
    "explained texts": Kind("texts.json", _explained_texts, lambda p: read_results(p).texts),
    "retraining": Kind("roar.json", lambda p: p.write_text(json.dumps(_STATE), "utf-8"), lambda p: read_state(p, "f")),
    "vocabulary": Kind(
        "v.json",
        lambda p: p.write_text('["<pad>", "<unk>", "good", "film"]', "utf-8"),
        lambda p: WordTokenizer.load(p, 9).vocabulary,
    ),
    "photos": Kind("t.csv", _table, lambda p: _samples(open_dataset(f"csv:{p}"))),
    "texts": Kind("t.jsonl", lambda p: p.write_bytes(_JSONL), lambda p: open_texts(f"jsonl:{p}")),
    "packed texts": Kind(
        "t.jsonl.gz", lambda p: p.write_bytes(gzip.compress(_JSONL, mtime=0)), lambda p: open_texts(f"jsonl:{p}")
    ),
    "tabbed texts": Kind(
        "t.tsv",
        lambda p: p.write_text("text\tlabel\ngood film\t1\nbad\t0\tpair\n", "utf-8"),
        lambda p: open_texts(f"tsv:{p}"),
    ),
    "texts with commas": Kind(
        "t.csv",
        lambda p: p.write_text('text,label\n"good, film",1\nbad,0\n', "utf-8"),
        lambda p: open_texts(f"csv:{p}"),
    ),
    "class names": Kind("n.txt", lambda p: p.write_text("cat\ndog\nhorse\n", "utf-8"), read_classes),
    "class table": Kind("n.csv", lambda p: p.write_text("index,name\n0,cat\n1,dog\n", "utf-8"), read_classes),
    "photo": Kind("p.png", _photo, lambda p: np.asarray(read_image(p))),
    "jpeg": Kind("p.jpg", _photo, lambda p: np.asarray(read_image(p))),
    "annotation": Kind("a.xml", lambda p: p.write_bytes(_XML), lambda p: vars(read_annotation(p))),
}
