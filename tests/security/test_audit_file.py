"""The file of an audit: no flipped bit goes unseen, and nothing in it leaves its folder, unpacks to more, or is a program."""

import hashlib
import json
import random
import zipfile

import pytest

from bitlens.errors import DataError
from bitlens.reports.audit_file import opened_audit, write_audit

HELD = {"about.json": '{"a": 1}', "explained/0.iba[beta=1].npy": "x" * 300, "page.html": "<p>é</p>"}


@pytest.fixture
def audit(tmp_path):
    file = tmp_path / "run.audit"
    write_audit(file, HELD)
    return file


def sealed(file, members, manifest=None, *, packed=False, comment=None):
    """An audit made by someone else, whose seal is right."""
    listed = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in members.items()}
    content = manifest if manifest is not None else {"format": "bitlens.audit/1", "members": listed}
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, part in members.items():
            archive.writestr(name, part)
        archive.writestr("manifest.json", content if isinstance(content, bytes) else json.dumps(content))
        archive.comment = b"0" * 64 if comment is None else comment
    bytes_ = file.read_bytes()[:-64]
    file.write_bytes(bytes_ + hashlib.sha256(bytes_).hexdigest().encode())
    return file


def refused(file):
    with pytest.raises(DataError) as error, opened_audit(file):
        raise AssertionError("it was opened")
    assert len(str(error.value)) < 600
    return str(error.value)


def test_what_was_packed_comes_out(audit, tmp_path):
    with opened_audit(audit) as place:
        found = {p.relative_to(place).as_posix(): p.read_text("utf-8") for p in place.rglob("*") if p.is_file()}
    assert found == HELD
    assert not place.exists()
    assert write_audit(tmp_path / "again", HELD) == write_audit(tmp_path / "once more", HELD)
    assert (tmp_path / "again").read_bytes() == audit.read_bytes()
    with zipfile.ZipFile(audit) as archive:  # anybody can look into it
        assert archive.testzip() is None


def test_any_flipped_bit_is_found(audit):
    whole, chance = audit.read_bytes(), random.Random(0)
    places = [
        *range(8 * 40),
        *range(8 * len(whole) - 8 * 90, 8 * len(whole)),
        *chance.sample(range(8 * len(whole)), 300),
    ]
    for bit in places:
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        audit.write_bytes(broken)
        refused(audit)


@pytest.mark.parametrize("length", [0, 1, 64, 127, 128, 400, -1, -64, -65])
def test_a_cut_or_longer_file_is_refused(audit, length):
    whole = audit.read_bytes()
    audit.write_bytes(whole[:length])
    refused(audit)
    audit.write_bytes(whole + b"0")
    refused(audit)


@pytest.mark.parametrize(
    "name",
    ["../out.json", "/etc/out.json", "a/../../out.json", "a\\..\\out.json", "c:/out.json", "code.py", "x.pt", "a//b.json",
     "./a.json", "\n.json", "a.json/", "x" * 300 + ".json", ".."],
)  # fmt: skip
def test_members_that_leave_the_folder_or_are_programs_are_refused(tmp_path, name):
    assert "member" in refused(sealed(tmp_path / "f", {name: b"{}"})) or "holds no" in refused(tmp_path / "f")
    assert not list(tmp_path.parent.glob("out.json"))


def test_packed_members_doubled_names_and_other_manifests_are_refused(tmp_path):
    assert "packed" in refused(sealed(tmp_path / "f", {"a.json": b"0" * 100_000}, packed=True))
    for manifest in (b"[]", b"{", b"[" * 50_000, {"format": "bitlens.audit/1"}, {"format": "x", "members": {}},
                     {"format": "bitlens.audit/1", "members": {"a.json": {"sha256": "0", "bytes": 2}, "b.json": {}}},
                     {"format": "bitlens.audit/1", "members": {"a.json": {"sha256": "0" * 64, "bytes": 2}}},
                     {"format": "bitlens.audit/1", "members": {}}):  # fmt: skip
        refused(sealed(tmp_path / "f", {"a.json": b"{}"}, manifest))
    with zipfile.ZipFile(tmp_path / "g", "w") as archive:
        archive.writestr("manifest.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("manifest.json", "{}")
        archive.comment = b"0" * 64
    content = (tmp_path / "g").read_bytes()[:-64]
    (tmp_path / "g").write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    assert "one name" in refused(tmp_path / "g")
    refused(tmp_path / "missing")
    refused(tmp_path)
