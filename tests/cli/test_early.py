"""What can be told without torch is told without it: lists, tables and reports, and whatever is wrong with a command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1"
RUN = """
import contextlib, io, json, sys
sys.modules["torch"] = None  # whoever imports it fails
from bitlens.cli import main
from bitlens.system import console
for command in json.loads(sys.stdin.read()):
    sys.argv, code, said, told = ["bitlens", *command], 0, io.StringIO(), io.StringIO()
    console.messages.file, console.answers.file = told, said
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps([code, said.getvalue(), told.getvalue()]))
assert "pandas" not in sys.modules  # which Arrow imports for its own conversions, where it is installed
"""


def without_torch(folder, *commands):
    """Run commands in one process that has no torch; (exit code, output, errors) of each."""
    environment = {**os.environ, "COLUMNS": "300", "BITLENS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps([[str(word) for word in command] for command in commands]),
        capture_output=True, text=True, check=True, cwd=folder, env=environment,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("early")
    Image.new("RGB", (40, 40), (90, 120, 30)).save(folder / "photo.png")
    (folder / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(200))
    (folder / "scans.csv").write_text("file,label\nphoto.png,0\n")
    (folder / "texts.tsv").write_text("a fine film\tpositive\n")
    (folder / "names.txt").write_text("normal\nnodule\nmass\n")
    (folder / "net.py").write_text("def build():\n    raise RuntimeError('was run')\n")
    (folder / "weights.safetensors").write_bytes(b"")
    (folder / "empty").mkdir()
    cache = folder / "cache" / "models"  # as an earlier run left it
    cache.mkdir(parents=True)
    return folder


def test_lists_tables_and_reports(place):
    commands = [
        ("methods",), ("methods", "--json"), ("methods", "iba"), ("metrics",), ("text", "methods"), ("text", "metrics"),
        ("table", GOLDEN / "evaluation"), ("table", GOLDEN / "evaluation", "--json"),
        ("table", GOLDEN / "text-evaluation"), ("table", GOLDEN / "evaluation", "--plots", "plots"),
        ("table", GOLDEN / "evaluation", "--paper", "iba-table1"), ("version",), ("readout",),
        ("report", GOLDEN / "explained", GOLDEN / "evaluation", GOLDEN / "texts.json", "--out", "all.html"),
        ("report", GOLDEN / "explained" / "scene-1.grad-cam.safetensors", "--out", "one.html"),
    ]  # fmt: skip
    for command, (code, said, told) in zip(commands, without_torch(place, *commands), strict=True):
        assert code == (2 if command == ("readout",) else 0), (command, told)
        assert said or told
    assert "iba" in (place / "all.html").read_text("utf-8")


def test_models(place):
    """Their list takes timm's own word for what is pretrained, once."""
    import importlib.metadata
    import importlib.util

    if importlib.util.find_spec("timm") is not None:
        known = place / "cache" / "models" / f"timm-{importlib.metadata.version('timm')}.json"
        known.write_text(json.dumps(["resnet18.a1_in1k"]))
    ((code, said, told), (_, listed, _)) = without_torch(place, ("models", "resnet18"), ("models", "--json"))
    assert (code, told) == (0, "")
    assert "torchvision/resnet18" in said
    assert {"builtin/scenes", "torchvision/vgg16"} <= {row["spec"] for row in json.loads(listed)}


NETWORK = ("--model", "net.py:build")
PHOTO = ("explain", "photo.png")
EVALUATE = ("evaluate", *NETWORK, "--data", "csv:scans.csv")
WRONG = [
    ((*PHOTO, "--modl", "x"), 2, "--model"),
    (("explain", "nowhere.png", *NETWORK), 1, "nowhere.png does not exist"),
    (("explain", "empty", *NETWORK), 1, "empty holds no image"),
    (("explain", "scan.dcm", *NETWORK), 1, "DICOM"),
    (("explain", "scans.csv", "--model", "builtin/scenes"), 1, "csv:"),
    ((*PHOTO, "--model", "net.py"), 1, "write net.py:build"),
    ((*PHOTO, "--model", "net.py:biuld"), 1, "did you mean net.py:build?"),
    ((*PHOTO, "--model", "none.py:build"), 1, "no file none.py"),
    ((*PHOTO, "--model", "resnet50"), 1, "did you mean torchvision/resnet50?"),
    ((*PHOTO, "--model", "torchvision/resnet5O"), 1, "did you mean resnet50"),
    ((*PHOTO, "--model", "weights.safetensors"), 1, "--weights weights.safetensors"),
    ((*PHOTO, "--model", "builtin/scene"), 1, "builtin/scenes"),
    ((*PHOTO, *NETWORK, "--method", "grad-camm"), 1, "did you mean grad-cam"),
    ((*PHOTO, *NETWORK, "--method", "iba:betta=3"), 1, "did you mean beta?"),
    ((*PHOTO, *NETWORK, "--method", "iba:beta=high"), 1, "expected a number"),
    ((*PHOTO, *NETWORK, "--method", "rise", "--beta", "3"), 1, "--beta is not for rise"),
    ((*PHOTO, *NETWORK, "--out", "photo.png"), 1, "photo.png is a file; name a folder"),
    ((*PHOTO, *NETWORK, "--out", "photo.png/maps"), 1, "photo.png is a file; name a folder"),
    ((*PHOTO, *NETWORK, "--weights", "gone.pt"), 1, "--weights gone.pt is not there"),
    ((*PHOTO, *NETWORK, "--statistics", "empty"), 1, "--statistics empty is a folder: name a file"),
    ((*PHOTO, *NETWORK, "--statistics-from", "others"), 1, "unknown data set 'others'"),
    ((*PHOTO, *NETWORK, "--statistics-from", "folder:others"), 1, "no folder others"),
    ((*PHOTO, *NETWORK, "--classes", "names.txt", "--target", "nodul"), 1, "did you mean 'nodule'?"),
    ((*PHOTO, *NETWORK, "--classes", "gone.txt"), 1, "gone.txt"),
    ((*PHOTO, "--model", "builtin/scenes", "--target", "squar"), 1, "did you mean 'square' or 'star'?"),
    (("grid", "photo.png", *NETWORK, "--betas", "1,x"), 1, "--betas is '1,x'"),
    (("grid", "photo.png", "--model", "net.py"), 1, "write net.py:build"),
    (("evaluate", *NETWORK, "--data", "scans.csv"), 1, "did you mean csv:scans.csv?"),
    (("evaluate", *NETWORK, "--data", "csv:gone.csv"), 1, "gone.csv is not there"),
    (("evaluate", *NETWORK, "--data", "csv:empty"), 1, "empty is a folder"),
    (("evaluate", "--data", "csv:scans.csv"), 1, "give --model"),
    ((*EVALUATE, "--metrics", "degradatio"), 1, "did you mean degradation"),
    ((*EVALUATE, "--methods", "ibaa"), 1, "did you mean iba"),
    ((*EVALUATE, "--part", "2"), 1, "expected K/N"),
    ((*EVALUATE, "--out", "scans.csv"), 1, "scans.csv is a file"),
    (("statistics", *NETWORK, "--data", "empty", "--out", "empty"), 1, "--out empty is a folder: name the file"),
    (("statistics", *NETWORK, "--data", "imagenet:gone", "--out", "s.safetensors"), 1, "no folder gone"),
    (("patterns", "--model", "net.py", "--data", "empty", "--out", "s.safetensors"), 1, "write net.py:build"),
    (("readout", "train", *NETWORK, "--data", "nowhere", "--out", "r.safetensors"), 1, "unknown data set"),
    (("roar", "--data", "npz:gone.npz"), 1, "gone.npz is not there"),
    (("roar", "--data", "builtin:scenes", "--methods", "iab"), 1, "did you mean iba"),
    (("text", "explain", "a film", "--method", "limee"), 1, "did you mean lime"),
    (("text", "explain", "a film", "--method", "lime", "--beta", "3"), 1, "--beta is not for lime"),
    (("text", "explain", "a film", "--target", "positiv"), 1, "did you mean 'positive'?"),
    (("text", "explain"), 1, "exactly one of the three"),
    (("text", "explain", "--file", "gone.txt"), 1, "gone.txt"),
    (("text", "explain", "--data", "texts.tsv"), 1, "did you mean tsv:texts.tsv?"),
    (("text", "explain", "a film", "--model", "hf/./empty"), 1, "no config.json"),
    (("text", "evaluate", "--data", "tsv:gone.tsv"), 1, "gone.tsv is not there"),
    (("text", "layers", "a film", "--betas", "x"), 1, "--betas"),
    (("table", "empty"), 1, "holds no results"),
    (("report", "gone"), 1, "there is no gone"),
    (("app", "--model", "net.py", "--statistics-from", "empty"), 1, "write net.py:build"),
]  # fmt: skip


def test_what_is_wrong_with_a_command_is_said_without_torch_in_one_sentence(place):
    found = without_torch(place, *(command for command, _, _ in WRONG))
    for (command, code, text), (ended, said, told) in zip(WRONG, found, strict=True):
        shown = " ".join(map(str, command))
        assert ended == code, (shown, said, told)
        assert text in told, (shown, told)
        if code == 1:
            assert told.startswith("bitlens: "), (shown, told)
            assert told.count("\n") == 1, (shown, told)
        assert "did not expect" not in told, (shown, told)
    assert not (place / "bitlens-out").exists()


def test_the_first_words_come_before_torch(place):
    ((code, _, told),) = without_torch(place, (*PHOTO, *NETWORK))
    assert code == 1
    assert told.startswith("loading torch …\n")
    assert "halted" in told  # then torch is imported, and here there is none
