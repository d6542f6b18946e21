"""Small files that grow large: refused in one sentence, before they take memory or time."""

import gzip
import re
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bitlens.evaluation.rows import SCHEMA

MOST = 400  # MB that a reader may take more than it had
SECONDS = 20
READ = """
import resource, sys
from pathlib import Path
{imports}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
{first}
before = peak()
try:
    {read}
    print("taken")
except BitlensError as error:
    print(error)
print(peak() - before)
"""


def reading(path: Path, module: str, name: str, read: str, first: str = "") -> str:
    """What a fresh process says that reads a file, in one line; its memory stays bounded, and it takes no long time."""
    imports = f"from bitlens.errors import BitlensError\nfrom {module} import {name}"
    start = time.perf_counter()
    script = READ.format(imports=imports, read=read.replace("PATH", repr(str(path))), first=first)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *said, grown = done.stdout.splitlines()
    assert len(said) == 1
    assert int(grown) < MOST
    assert time.perf_counter() - start < SECONDS + 20  # the import alone takes some
    return said[0]


def packed_texts(path: Path) -> None:
    """3 GB of one line in 3 MB."""
    path.write_bytes(gzip.compress(b" " * (16 << 20), 9) * 190)


@pytest.mark.parametrize("form", ["jsonl", *(pytest.param(form, marks=pytest.mark.slow) for form in ("tsv", "csv"))])
def test_packed_texts(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{form}.gz"
    packed_texts(path)
    assert path.stat().st_size < 4 << 20
    said = reading(path, "bitlens.data.texts", "open_texts", f"open_texts('{form}:' + PATH)")
    assert re.search("it unpacks to more than 1[45]. MB, far more than its own size", said)


def packed_archive(path: Path, names: dict[str, Callable[[], bytes]], size: int) -> None:
    """A zip archive with parts as they are, and one of zeros that unpacks to `size` bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in names.items():
            archive.writestr(name, content())
        with archive.open("archive/data/0", "w", force_zip64=True) as part:
            for _ in range(size >> 24):
                part.write(bytes(1 << 24))


def test_pickled_weights(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(4)}, tmp_path / "small.pt")
    with zipfile.ZipFile(tmp_path / "small.pt") as small:
        names = {name: small.read(name) for name in small.namelist() if not name.endswith("data/0")}
    packed_archive(tmp_path / "w.pt", {name: lambda c=content: c for name, content in names.items()}, 1 << 30)
    assert (tmp_path / "w.pt").stat().st_size < 8 << 20
    said = reading(tmp_path / "w.pt", "bitlens.models.weight_files", "read_weights", "read_weights(Path(PATH))")
    assert "its parts unpack to 1024 MB, far more than its own size" in said


def test_small_images(tmp_path: Path) -> None:
    packed_archive(tmp_path / "i.npz", {}, 512 << 20)
    said = reading(tmp_path / "i.npz", "bitlens.data.small", "read_small_images", "read_small_images('npz:' + PATH, 8)")
    assert "its parts unpack to 512 MB" in said


MORE_WAYS = ("done(failures=True)", "first()", "curves('bbox').__next__()")


@pytest.mark.parametrize("read", ["series()", *(pytest.param(way, marks=pytest.mark.slow) for way in MORE_WAYS)])
def test_thirty_million_rows_of_nothing(read: str, tmp_path: Path) -> None:
    part = pa.table({name: pa.nulls(1_000_000, SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA)
    with pq.ParquetWriter(tmp_path / "0.parquet", SCHEMA) as writer:
        for _ in range(30):
            writer.write_table(part)
    assert (tmp_path / "0.parquet").stat().st_size < 1 << 20
    said = reading(tmp_path, "bitlens.evaluation.store", "RowStore", f"RowStore(Path(PATH), 100).{read}")
    assert "rows have no index): delete it" in said


@pytest.mark.slow
def test_rows_with_one_text_that_fills_the_memory(tmp_path: Path) -> None:
    long = pa.table({"index": pa.array([0], pa.int32()), "method": ["x" * (1 << 29)], "metric": ["bbox"]})
    full = {name: pa.nulls(1, SCHEMA.field(name).type) for name in SCHEMA.names}
    table = pa.table({**full, **{name: long[name] for name in long.column_names}}, schema=SCHEMA)
    pq.write_table(table, tmp_path / "0.parquet", compression="zstd", use_dictionary=False, write_statistics=False)
    assert (tmp_path / "0.parquet").stat().st_size < 1 << 20
    said = reading(tmp_path, "bitlens.evaluation.store", "RowStore", "RowStore(Path(PATH), 100).series()")
    assert "it unpacks to 512 MB" in said


def test_a_picture_in_the_zone_where_pillow_only_warns(tmp_path: Path) -> None:
    Image.new("L", (13_300, 13_300)).save(tmp_path / "p.png", compress_level=9)
    assert (tmp_path / "p.png").stat().st_size < 1 << 20
    for read in ("read_image", "read_layout"):
        said = reading(tmp_path / "p.png", "bitlens.data.images", read, f"{read}(PATH)")
        assert "more pixels than PIL.Image.MAX_IMAGE_PIXELS allows" in said


def test_the_command_line_refuses_such_a_picture_in_one_line(bitlens, tmp_path: Path) -> None:
    Image.new("1", (13_300, 13_300)).save(tmp_path / "p.png")
    done = bitlens("explain", tmp_path / "p.png", "--model", "builtin/scenes", "--method", "gradient", code=1)
    assert "Warning" not in done.stderr
    assert "more pixels than" in done.stderr


def test_a_map_whose_head_promises_more_than_there_is(tmp_path: Path) -> None:
    with (tmp_path / "m.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**5, 10**5)})
    said = reading(tmp_path / "m.npy", "bitlens.system.arrays", "read_array", "read_array(PATH, 'a map')")
    assert "cut short" in said


def test_json_of_a_hundred_megabytes(tmp_path: Path) -> None:
    with (tmp_path / "settings.json").open("wb") as file:
        file.truncate(100 << 20)
    said = reading(tmp_path, "bitlens.evaluation.pinned", "read_settings", "read_settings(Path(PATH))")
    assert "it is larger than 64 MB" in said


def test_honest_texts_that_pack_well_are_read(tmp_path: Path) -> None:
    from bitlens.data.texts import open_texts

    lines = "".join(f'{{"text": "a good film number {number}", "label": 1}}\n' for number in range(20_000))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert len(open_texts(f"jsonl:{tmp_path}/t.jsonl.gz")) == 20_000
    assert len(zlib.compress(lines.encode())) * 5 < len(lines)
