"""The options that commands share."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitlens.errors import ModelError, SettingError
from bitlens.system.console import messages, progress_bar
from bitlens.system.optional import refuse_without

if TYPE_CHECKING:
    from bitlens.methods.lessons import How, Lesson
    from bitlens.methods.teaching import Source
    from bitlens.models.loaded import Loaded
    from bitlens.workers import Workers

Where = Literal["auto", "cpu", "cuda"]
Per = Literal["channel", "element"]
Quality = Literal["fast", "paper", "best"]

Photos = Annotated[
    list[str],
    typer.Argument(
        help="Photos, folders, or patterns such as 'photos/**/*.jpg'; signals (.npy, .csv, .wav), volumes (.npy, .npz, .nii.gz), "
        "or tables (.csv, .parquet; FILE#3 is a row)."
    ),
]
Texts = Annotated[list[str] | None, typer.Argument(help="Texts, each in quotes.")]
TextFile = Annotated[Path | None, typer.Option("--file", help="One text from a file; - for standard input.")]
TextData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Texts from csv:FILE, tsv:FILE, jsonl:FILE or builtin:reviews; with `explain` also builtin:recall, questions to a "
        "language model.",
    ),
]
TextLimit = Annotated[int, typer.Option("--limit", min=1, help="How many texts of --data.")]
TextPair = Annotated[str | None, typer.Option("--pair", help="The second text, for networks that compare two.")]
Learnt = Annotated[str, typer.Option("--data", help="folder:DIR, csv:FILE, imagenet:DIR or builtin:scenes-train.")]
Model = Annotated[
    str, typer.Option("--model", help="torchvision/NAME, timm/NAME, hf/ORG/NAME, builtin/NAME or FILE.py:CALLABLE.")
]
TextModel = Annotated[
    str, typer.Option("--model", help="builtin/reviews, hf/NAME, a folder, or FILE.py:CALLABLE -> (module, tokenizer).")
]
Weights = Annotated[Path | None, typer.Option("--weights", help="Your own weights: safetensors or a state dict.")]
Classes = Annotated[Path | None, typer.Option("--classes", help="Class names, one a line, or a csv table.")]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        help="The layer to restrict, by its dotted name (default: the last stage at 1/8 of the resolution; of vision "
        "transformers an early block).",
    ),
]
TextLayer = Annotated[str | None, typer.Option("--layer", help="The layer to restrict, by its dotted name.")]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        help="auto (the prediction), an index, or a class name; or what the network's output is: regression, binary:1, "
        "multi-label:NAME; or of one that answers at places: region:NAME, keypoint:NAME, box:0.",
    ),
]
PhotoCount = Annotated[
    int | None,
    typer.Option("--statistics-count", min=1, help="From how many photos (default: 200, or 1000 rows of a table)."),
]
TextCount = Annotated[int, typer.Option("--statistics-count", min=1, help="From how many texts.")]
Count = Annotated[int, typer.Option("--count", min=1, help="How many photos at most.")]
Pictures = Annotated[Literal["png", "svg", "pdf"], typer.Option("--format", help="Of the pictures.")]
Device = Annotated[Where, typer.Option("--device", help="Where the network runs.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the noise.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Asked = Annotated[
    Literal["label", "predicted"],
    typer.Option("--target", help="Ask about each sample's label, or about the class that is predicted."),
]
SameScale = Annotated[
    bool | None,
    typer.Option(
        "--same-scale/--own-scale",
        help="The same colours mean the same values everywhere, or of each map its own (default: the same for bits, its own for "
        "scores).",
    ),
]
AsReport = Annotated[
    bool, typer.Option("--report", help="Also write report.html into the folder: one page that needs nothing else.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for what is written.")]
OutFile = Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).")]

Keep = Annotated[
    float | None,
    typer.Option(
        "--keep",
        help="Share of the decision that a map must hold (default: 0.9 of bottlenecks, unless --beta or --bits is given).",
    ),
]
Bits = Annotated[float | None, typer.Option("--bits", help="How many bits may pass: the best map within so many.")]
Beta = Annotated[
    float | None,
    typer.Option("--beta", help="Price of information, in place of --keep: larger keeps less (the papers: 10)."),
]
Signed = Annotated[
    bool,
    typer.Option(
        "--signed", help="Of bottlenecks: bits for the answer less bits against it, in two colours; twice the work."
    ),
]
Published = Annotated[
    bool,
    typer.Option("--published", help="Bottlenecks with the papers' prices, unless --beta or the method says another."),
]
Curve = Annotated[
    bool, typer.Option("--curve", help="Also how many bits each share of the decision takes, with the map at each.")
]
Spread = Annotated[
    int | None,
    typer.Option("--spread", min=2, help="Also how far maps of so many seeds differ, of each pixel or token: 4."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ray[://HOST:PORT]",
        help="Work on a Ray cluster: ray for the one this machine belongs to (or one made of this machine).",
    ),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Processes of --cluster (default: one for each GPU, or for every four cores)."
    ),
]


Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many samples; more can follow.")]
Part = Annotated[str, typer.Option("--part", metavar="K/N", help="Only the K-th of N parts of the samples.")]
KeepMaps = Annotated[bool, typer.Option("--keep-maps", help="Keep every map, for pictures and later metrics.")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Try samples again that failed.")]


def printed_as_json(wanted: bool, content: Any) -> bool:
    """Print an answer for machines if that is wanted; gives back whether it is."""
    if wanted:
        print(json.dumps(content, ensure_ascii=False))
    return wanted


@contextmanager
def reached_workers(cluster: str | None, workers: int | None, device: Where) -> "Iterator[tuple[Workers | None, str]]":
    """Open the workers of the cluster that was asked for, if any; also says where this process runs its network.

    Raises:
        SettingError: if workers are wanted of no cluster.
        ModelError: if there is no such device.
    """
    if cluster is None:
        if workers is not None:
            raise SettingError("--workers are those of a cluster: add --cluster ray")
        yield None, device_name(device)
        return
    refuse_without("ray", "cluster")
    from bitlens.workers import open_workers

    messages.print("reaching the cluster", style="dim")
    with open_workers(cluster, workers, device) as found:
        each = "a GPU" if found.device == "cuda" else f"{found.cores} core{'s' if found.cores > 1 else ''}"
        messages.print(f"workers: {found.count}, each with {each}", style="dim", highlight=False)
        yield found, "cpu"


def device_name(device: Where) -> str:
    """Say what `auto` means on this machine.

    Raises:
        ModelError: if there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda, but no CUDA device can be used here: choose --device cpu")
    return device


def read_part(text: str) -> tuple[int, int]:
    """Read `1/2`, the first of two parts, as numbers.

    Raises:
        SettingError: if it is written otherwise.
    """
    number, slash, parts = text.partition("/")
    if not slash or not number.isdecimal() or not parts.isdecimal():
        raise SettingError(f"part {text!r}: expected K/N, for example 1/2 for the first half")
    return int(number), int(parts)


def numbers(option: str, text: str, *, above: float = float("-inf"), least: float = float("-inf")) -> tuple[float, ...]:
    """Read finite numbers separated by commas.

    Raises:
        SettingError: if it is something else, or one of them is too small.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(above < number < float("inf") and number >= least for number in found):
        kind = f" above {above:g}" if above > float("-inf") else f" of {least:g} or more" if least > above else ""
        raise SettingError(f"{option} is {text!r}: expected numbers{kind}, separated by commas")
    return found


def check_guarantee(path: Path | None, level: float | None, others: Mapping[str, Any]) -> None:
    """Refuse what makes no sense beside a guarantee.

    Args:
        path: its file, if there is one.
        level: the share of inputs; None for the first of the file.
        others: options that decide how much passes, too, by name.

    Raises:
        SettingError: if another option is given that decides it, or a level of no guarantee.
    """
    if path is None and level is not None:
        raise SettingError("--level is that of a guarantee: add --guarantee FILE, made by `bitlens calibrate`")
    given = [f"--{name}" for name, value in others.items() if value is not None]
    if path is not None and given:
        raise SettingError(f"--guarantee decides how many bits pass, and so does {given[0]}: give one of them")


def besides(methods: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be found besides maps.

    Args:
        methods: by their labels.
        chosen: options by name, with what was given.

    Raises:
        SettingError: if none of the methods can.
    """
    from bitlens.explaining.besides import able

    wanted = {name: value for name, value in chosen.items() if value}
    for name in wanted:
        if not any(able(method, {name: True}) for method in methods.values()):
            raise SettingError(f"--{name} is of bottlenecks, not of {' or '.join(methods)}: leave it out")
    return wanted


def teach(
    loaded: "Loaded",
    source: "Source",
    lesson: "Lesson",
    *methods: Any,
    title: str | None = None,
    how: "How | None" = None,
    cached: bool = True,
) -> list[Path]:
    """Teach methods of a network, with progress shown; gives the files in the cache."""
    from bitlens.methods.lessons import How
    from bitlens.methods.teaching import Teacher

    with progress_bar(title or lesson.name, source.total) as advance:
        return Teacher(loaded, source, how or How(), cached=cached, progress=advance).teach(lesson, *methods)
