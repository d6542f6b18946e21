"""What is installed, by whom and how: extras, the Makefile, how to cite."""

import re
import zlib
from pathlib import Path

import yaml

from bitlens.version import __version__
from needed import needed

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
EXTRAS = set(needed()) - {"core"}


def texts():
    places = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "src").rglob("*.py"),
    ]
    return {path: path.read_text("utf-8") for path in places}


def test_documents_and_extras_agree():
    named = {
        (str(path.relative_to(ROOT)), extra)
        for path, text in texts().items()
        for listed in re.findall(r"(?:bitlens|\.)\[([a-z,]+)\]'", text)
        for extra in listed.split(",")
    }
    assert {extra for _, extra in named} <= EXTRAS, named
    assert len(named) >= 4
    table = (ROOT / "docs" / "index.md").read_text("utf-8").partition("| extra | brings |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == EXTRAS


def rule(target):
    found = re.search(rf"^{re.escape(target)}:(.*)\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert found, target
    return found[1].partition("##")[0].split(), found[2]


def test_the_demo_installs_what_the_library_needs_and_no_extra():
    needs, _ = rule("demo")
    assert needs == ["$(CORE)"]
    sources, recipe = rule("$(CORE)")
    assert sources == ["pyproject.toml", "constraints.txt"]
    assert "--editable .\n" in recipe
    assert "[" not in recipe
    assert rule("$(READY)")[0] == ["$(CORE)"]


def test_the_tests_install_every_extra():
    assert rule("test")[0] == ["check"]
    assert rule("check")[0] == ["$(READY)"]
    (listed,) = re.findall(r"'\.\[([a-z,]+)\]'", rule("$(READY)")[1])
    assert set(listed.split(",")) == EXTRAS


def test_the_package_is_small():
    """A wheel is a zip of these files; the slow tests build the wheel itself."""
    files = [
        path for path in (ROOT / "src" / "bitlens").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(len(zlib.compress(path.read_bytes(), 6)) for path in files) < 7_500_000


def test_how_to_cite_says_what_is_installed():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= cited.keys()
    assert (cited["title"], cited["version"], cited["license"]) == ("bitlens", __version__, "MIT")
    (paper,) = cited["references"]
    assert paper["year"] == 2020
    assert [author["family-names"] for author in paper["authors"]] == ["Schulz", "Sixt", "Tombari", "Landgraf"]
    assert "CITATION.cff" in (ROOT / "pyproject.toml").read_text("utf-8")
