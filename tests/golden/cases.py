"""All that is frozen of bitlens, computed with whatever bitlens is installed: maps, tables, and what reads the files of 0.1.

`freeze.py` writes it down, `test_golden.py` computes it again. What is no public name of bitlens is imported in one small
function each, at the top, so that a move changes one line.
"""

import contextlib
import functools
import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import bitlens
from bitlens.cli import main

HERE = Path(__file__).parent
FILES = HERE / "0.1"
MAPS, WORDS, TABLES_FILE = HERE / "maps.safetensors", HERE / "maps.json", HERE / "tables.json"


# What is no public name


def bundled_readout() -> Path:
    from bitlens.models.builtin import scenes

    return scenes.READOUT


def open_scenes(split: str) -> Sequence[Any]:
    from bitlens.data.datasets import open_dataset

    return open_dataset("builtin:scenes" if split == "test" else f"builtin:scenes-{split}")


def statistics_of_tokens(place: Path) -> Any:
    from bitlens.bottlenecks.token_statistics import TokenStatistics

    return TokenStatistics.load(place)


def analysis_of_layers(place: Path) -> Any:
    from bitlens.bottlenecks.layer_analysis import LayerAnalysis

    return LayerAnalysis.load(place)


def training(**settings: Any) -> Any:
    from bitlens.training.settings import TrainingSettings

    return TrainingSettings(**settings)


# What is found


@dataclass(frozen=True)
class Found:
    """What a case gives: plain values that must be the same, and arrays that may differ by rounding."""

    words: Mapping[str, Any]
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Something that is computed.

    Attributes:
        make: computes it.
        fitted: whether many steps of an optimiser lie between the input and the numbers, so that rounding grows.
        slow: whether it takes more than a few seconds.
        needs: the package without which it cannot be computed.
    """

    make: Callable[[], Any]
    fitted: bool = False
    slow: bool = False
    needs: str = ""


def quiet(make: Callable[[], Any]) -> Any:
    """The result, without warnings of few samples and the like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums in the same order on any number of cores; the networks are too small to gain from several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _pooled(maps: Tensor) -> np.ndarray:
    """(N, 16, 16) of maps with the size of the scenes; others as they are."""
    size = maps.shape[1:]
    return (F.avg_pool2d(maps[:, None], size[0] // 16)[:, 0] if len(size) == 2 and size[0] % 16 == 0 else maps).numpy()


def _sums(maps: Tensor) -> np.ndarray:
    """Of each sample: sum, sum of sizes, least, greatest, and a sum with weights that differ everywhere."""
    flat = maps.double().flatten(1)
    wave = torch.cos(torch.arange(flat.shape[1], dtype=torch.float64))
    return torch.stack([flat.sum(1), flat.abs().sum(1), flat.amin(1), flat.amax(1), flat @ wave], 1).numpy()


def found_of(attribution: bitlens.Attribution, *, learnt: bool = False) -> Found:
    """What is frozen of an attribution; `learnt` if the fingerprint of what it learnt depends on rounding."""
    settings = plain(dict(attribution.settings))
    if learnt:
        settings = {name: value for name, value in settings.items() if "fingerprint" not in name}
    names = ("unit", "method", "model", "layer")
    words = {name: getattr(attribution, name) for name in names} | {"targets": list(attribution.targets)}
    numbers = {"map": _pooled(attribution.map), "sums": _sums(attribution.map)}
    for name in ("total_bits", "extra_bits"):
        value = getattr(attribution, name)
        if value is not None:
            numbers[name] = value.double().numpy()
    if attribution.cells is not None and attribution.cells.shape != attribution.map.shape:
        numbers["cells"] = _pooled(attribution.cells)
    if attribution.cells is not None:
        numbers["cell_sums"] = _sums(attribution.cells)
    if attribution.capacity is not None:
        words["capacity"] = list(attribution.capacity.shape)
        numbers["capacity_sums"] = _sums(attribution.capacity)
        numbers["capacity_by_first"] = attribution.capacity.double().flatten(2).sum(2).numpy()
    proof = attribution.evidence
    if proof is not None:
        words["evidence"] = [proof.measure, proof.noise_samples]
        for name in ("before", "under_noise", "under_noise_std"):
            numbers[f"evidence_{name}"] = getattr(proof, name).double().numpy()
    return Found({**words, "settings": settings}, numbers)


def or_refusal(make: Callable[[], Found]) -> Found:
    try:
        return quiet(make)
    except bitlens.BitlensError as error:
        return Found({"refused": f"{type(error).__name__}: {error}"})


# Maps of scenes

LAYERS = {"scenes": "layer2", "scenes-vit": "blocks.0"}
BETAS = {"scenes": 1.0, "scenes-vit": 3.0}
SHOWN = (1, 5)
"""Test scenes that both networks name, without being certain."""

METHODS = (
    "iba", "readout", "input-iba", "random", "centre", "edges", "constant", "occlusion-8", "occlusion-14", "gradient",
    "saliency", "gradient-x-input", "guided-backprop",
    "integrated-gradients", "smoothgrad", "grad-cam", "guided-grad-cam", "lrp-alpha1-beta0",
    "lrp-alpha0-beta-1-eps5", "pattern-attribution", "deep-shap", "extremal-perturbation", "rise", "lime", "kernel-shap",
    "layer-cam", "attention-rollout", "gradient-attention-rollout",
)  # fmt: skip
FLOAT32 = {"iba", "readout", "input-iba", "occlusion-8", "occlusion-14", "rise", "lime", "kernel-shap"}
"""Methods that could compute in another precision where the hardware offers one."""

SHORT: dict[str, dict[str, Any]] = {
    **{name: {"samples": 40} for name in ("rise", "lime", "kernel-shap")},
    "extremal-perturbation": {"iterations": 6},
    "integrated-gradients": {"steps": 6},
    "smoothgrad": {"noise_samples": 10},
}
"""Settings of methods whose own ones take long."""


@functools.cache
def network(name: str) -> Any:
    return bitlens.load_model(f"builtin/{name}")


@functools.cache
def shown() -> Tensor:
    """The scenes that are explained, from their files: drawing them anew is a case of its own."""
    photos = [Image.open(FILES / f"scene-{number}.png").convert("RGB") for number in SHOWN]
    return torch.stack([network("scenes").preprocess(photo) for photo in photos])


@functools.cache
def training_scenes(count: int = 32) -> Tensor:
    samples = open_scenes("train")
    chosen = [samples[i * len(samples) // count] for i in range(count)]
    return torch.stack([network("scenes").preprocess(sample.image) for sample in chosen])


def statistics(name: str) -> bitlens.FeatureStatistics:
    """Per channel, from 32 training scenes: those that 0.1 wrote, so that what they are used for does not hang on rounding."""
    return bitlens.FeatureStatistics.load(FILES / f"statistics-{name}.safetensors")


def built(where: str, name: str, **settings: Any) -> Any:
    """A method on a network, with what it needs."""
    model = network(where).model
    if name in ("iba", "input-iba"):
        own = {"layer": LAYERS[where], "beta": BETAS[where]}
        own |= {"statistics": statistics(where)} if settings.get("layer", LAYERS[where]) == LAYERS[where] else {}
        settings = own | settings
    elif name == "readout":
        settings = ({"weights": bundled_readout()} if where == "scenes" else {"layer": LAYERS[where]}) | settings
    settings = ({"precision": "float32"} if name in FLOAT32 else {}) | SHORT.get(name, {}) | settings
    return bitlens.method(name, model, **settings)


def explained(
    where: str, name: str, targets: Any = None, fit: str = "", options: Mapping[str, Any] | None = None, **settings: Any
) -> Found:
    """What a method says of the scenes; `fit` says per what statistics are made anew."""
    ready = built(where, name, **settings)
    if fit:
        ready.fit_statistics([training_scenes()], granularity=fit)
    if name == "pattern-attribution":
        ready.fit_patterns([training_scenes()])
    asked = targets() if callable(targets) else targets
    made = ready.explain(shown(), asked, **(options or {}))
    return found_of(made, learnt=bool(fit) or name == "pattern-attribution")


FITTED = {"iba", "input-iba", "extremal-perturbation"}


def _scene_cases() -> Iterator[tuple[str, Case]]:
    every: list[tuple[str, str, str, dict[str, Any]]] = [(where, name, "", {}) for where in LAYERS for name in METHODS]
    for where, name, title, settings in (*every, *_scene_variants()):
        make = functools.partial(explained, where, name, **settings)
        yield f"{where}/{name} {title}".strip(), Case(functools.partial(or_refusal, make), name in FITTED)


_PRIOR = {"steps": 3, "noise_samples": 2, "beta_input": 1.0}


def _scene_variants() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Network, method, title, settings (of `explained` too)."""
    few = {"quality": "fast"}
    iba = {
        "fast": few,
        "capacity": {**few, "options": {"keep_capacity": True, "evidence_samples": 4}},
        "no evidence": {**few, "options": {"evidence_samples": 0}},
        "per element": {**few, "fit": "element"},
        "noise=clamped": {**few, "noise": "clamped"},
        "noise=zero-mean": {**few, "noise": "zero-mean"},
        "smoothing=0": {**few, "smoothing": 0.0},
        "min_std=1": {**few, "min_std": 0.5, "activity_threshold": 0.3},
        "final": {"readout": "final", "steps": 4, "noise_samples": 3, "learning_rate": 0.5},
        "beta=10": {**few, "beta": 10.0},
        "seed=1": {**few, "seed": 1},
        "layer3": {**few, "layer": "layer3", "fit": "channel"},
        "one row at once": {**few, "internal_batch_size": 1},
        "classes": {**few, "targets": lambda: [3, 5]},
        "not the class": {**few, "targets": lambda: bitlens.targets.NotClass(6)},
        "log-odds": {**few, "targets": lambda: bitlens.targets.LogOdds(torch.tensor([6, 8]))},
        "any of": {**few, "targets": lambda: bitlens.targets.AnyOf([6, 8])},
        "score": {**few, "targets": lambda: lambda output: output[:, 2]},
    }
    vit = {
        "steps=5": {"steps": 5, "noise_samples": 4},
        "extra_tokens=mean": {**few, "steps": 5, "extra_tokens": "mean"},
        "extra_tokens=whole": {**few, "steps": 5, "extra_tokens": "whole"},
        "capacity": {**few, "steps": 5, "options": {"keep_capacity": True, "evidence_samples": 4}},
        "per element": {**few, "steps": 5, "fit": "element"},
    }
    inputs = {
        **{
            f"prior={name}": {**_PRIOR, "prior": name}
            for name in ("feature-map", "none", "feature-matching", "wgan-gp")
        },
        "readout=information": {**_PRIOR, "readout": "information"},
        "readout=beyond-prior": {**_PRIOR, "readout": "beyond-prior"},
        "quality=official prior=none": {**_PRIOR, "quality": "official", "prior": "none"},
        "three masks": {**_PRIOR, "one_mask": False, "smoothing": 0.0, "noise_mean": 0.1, "noise_std": 0.5},
        "capacity": {**_PRIOR, "options": {"keep_capacity": True, "evidence_samples": 4}},
    }
    others = {
        "readout": {
            "classes": {"targets": lambda: [3, 5]},
            "capacity": {"options": {"keep_capacity": True, "evidence_samples": 0}},
        },
        "occlusion-14": {"zero": {"replacement": "zero"}, "classes": {"targets": lambda: [3, 5]}},
        "gradient": {"score": {"targets": lambda: lambda output: output[:, 2]}},
        "saliency": {"classes": {"targets": lambda: [3, 5]}},
        "integrated-gradients": {"mean-colour": {"baseline": "mean-colour"}, "plain": {"multiply": False}},
        "smoothgrad": {"noise=0.3": {"noise": 0.3, "seed": 1}},
        "grad-cam": {"layer3": {"layer": "layer3"}},
        "layer-cam": {"layer2": {"layer": "layer2"}},
        "rise": {"grid": {"grid": 5, "share": 0.3, "replacement": "mean-colour"}},
        "lime": {"segments=16": {"segments": 16, "width": 0.5, "ridge": 0.1}},
        "kernel-shap": {"segments=16": {"segments": 16, "replacement": "zero"}},
        "random": {"seed=1": {"seed": 1}},
    }
    listed = [("scenes", "iba", iba), ("scenes-vit", "iba", vit), ("scenes", "input-iba", inputs)]
    listed += [("scenes", name, variants) for name, variants in others.items()]
    for where, name, variants in listed:
        briefly = {"options": {"evidence_samples": 4}} if name in FITTED else {}
        yield from ((where, name, title, {**briefly, **settings}) for title, settings in variants.items())


def fitted_statistics(where: str, granularity: Any) -> Found:
    """What a layer puts out for the training scenes."""
    iba = bitlens.IBA(network(where).model, LAYERS[where])
    made = quiet(lambda: iba.fit_statistics([training_scenes()], granularity=granularity)).statistics
    words = {"samples": made.samples, "observations": made.observations, "granularity": made.granularity}
    moments = {name: getattr(made, name) for name in ("mean", "std", "activity")}
    if granularity == "element":
        return Found(words, {f"{name}_sums": _sums(value[None]) for name, value in moments.items()})
    return Found(words, {name: value.numpy() for name, value in moments.items()})


def drawn_scenes() -> Found:
    """The scenes that are explained, drawn anew."""
    samples = [open_scenes("test")[number] for number in SHOWN]
    pixels = torch.stack([torch.from_numpy(np.array(sample.image)).float().mean(2) for sample in samples])
    words = {"labels": [sample.label for sample in samples], "boxes": plain([sample.boxes for sample in samples])}
    return Found(words, {"pixels": _pooled(pixels), "mask": np.array([sample.mask.mean() for sample in samples])})


def in_other_shapes(name: str) -> Found:
    """What Captum's and Quantus's metrics call."""
    if name == "attribute":
        made = built("scenes", "iba", quality="fast").attribute(shown(), torch.tensor([6, 8]))
    else:
        settings = {"layer": "layer2", "beta": 1.0, "quality": "fast", "precision": "float32"}
        settings["statistics"] = FILES / "statistics-scenes.safetensors"
        images, classes = shown().numpy(), np.array([6, 8])
        made = torch.from_numpy(bitlens.quantus_explain_func(network("scenes").model, images, classes, **settings))
    return Found({"shape": list(made.shape)}, {"map": _pooled(made[:, 0]), "sums": _sums(made)})


# Maps of texts

REVIEWS = ("Beautiful pictures, a touching story and a perfect ending.", "I have rarely seen a worse performance.")
TEXT_METHODS = (
    "iba", "token-iba", "input-iba", "random", "saliency", "gradient-x-input", "integrated-gradients", "occlusion", "lime",
    "kernel-shap", "leave-one-out", "context-cite", "attention-rollout", "gradient-attention-rollout",
)  # fmt: skip
TEXT_FLOAT32 = {"iba", "token-iba", "input-iba", "occlusion", "lime", "kernel-shap", "leave-one-out", "context-cite"}
TEXT_FITTED = {"iba", "token-iba", "input-iba", "TokenIBA", "TokenInputIBA"}
TEXT_SHORT: dict[str, dict[str, Any]] = {
    **{name: {"samples": 60} for name in ("lime", "kernel-shap")},
    "integrated-gradients": {"steps": 10},
}


TEXTS = ("the film was good", "a dull story", "the plot is never so very long and awful", "great")
"""For a small network with attention, special tokens and random weights."""


def _text_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return ({"precision": "float32"} if name in TEXT_FLOAT32 else {}) | TEXT_SHORT.get(name, {}) | dict(settings)


@functools.cache
def loaded_text(model: str) -> Any:
    """`builtin/reviews`, or the small transformer among the files of 0.1."""
    place = str(FILES / "transformer") if model == "transformer" else f"builtin/{model}"
    return bitlens.text.Explainer(place, method="random").loaded


def explainer_of(model: str, name: str, **settings: Any) -> Any:
    return bitlens.text.Explainer(loaded_text(model), method=name, **_text_settings(name, settings))


def review_explained(
    name: str, targets: Any = None, options: Mapping[str, Any] | None = None, **settings: Any
) -> Found:
    """What a method says of the two reviews; bottlenecks' own classes by their names."""
    loaded = loaded_text("reviews")
    known = {"statistics": loaded.statistics, "precision": "float32"}
    if name == "TokenIBA":
        ready: Any = bitlens.TokenIBA(loaded.model, settings.pop("layer", "embedding"), **known, **settings)
    elif name == "TokenInputIBA":
        ready = bitlens.TokenInputIBA(loaded.model, "rnn_3", "embedding", **known, **settings)
    else:
        ready = explainer_of("reviews", name, **settings).method
    return found_of(ready.explain(loaded.tokenizer(list(REVIEWS)), targets, **(options or {})))


def transformer_explained(name: str, **settings: Any) -> Found:
    """What a method says of four texts on the small transformer."""
    explainer = explainer_of("transformer", name, **settings)
    if name in TEXT_FITTED:
        explainer.learn(TEXTS * 16)
    return found_of(explainer.method.explain(explainer.loaded.tokenizer(list(TEXTS))), learnt=True)


def explained_words() -> Found:
    """What the explainer says of words."""
    explainer = bitlens.text.Explainer("builtin/reviews", method="token-iba", precision="float32")
    made = explainer(list(REVIEWS))
    words = [[(word.text, word.span, word.tokens) for word in one.words] for one in made]
    told = [(one.tokens, one.target, one.prediction, one.unit, one.signed) for one in made]
    numbers = {f"map_{i}": np.array([[word.value for word in one.words]]) for i, one in enumerate(made)}
    return Found({"words": plain(words), "told": plain(told)}, numbers)


def _text_cases() -> Iterator[tuple[str, Case]]:
    tiny = {"steps": 3, "noise_samples": 2}
    kept = {"options": {"keep_capacity": True, "evidence_samples": 4}}
    reviews: list[tuple[str, str, dict[str, Any]]] = [(name, "", {}) for name in TEXT_METHODS]
    reviews += [
        ("iba", "mask=token", {"mask": "token"}),
        ("iba", "classes", {"targets": [0, 1]}),
        ("token-iba", "four layers", {"layer": "embedding+rnn_1+rnn_2+rnn_3"}),
        ("token-iba", "capacity", {"layer": "embedding+rnn_3", **kept}),
        ("token-iba", "one row at once", {"internal_batch_size": 1}),
        ("TokenIBA", "mask=token", {}),
        ("TokenIBA", "mask=unit", {"mask": "unit"}),
        ("TokenIBA", "capacity", {"mask": "unit", **kept}),
        ("TokenIBA", "special_tokens=whole", {"special_tokens": "whole"}),
        ("TokenIBA", "cross-entropy", {"objective": "cross-entropy", "beta": 0.1, "antithetic": False}),
        ("TokenIBA", "last_forward", {"readout": "last_forward", "initial_logit": 5.0, "layer": "rnn_3"}),
        ("TokenIBA", "deeper", {"deeper": ("rnn_1", "rnn_2")}),
        ("TokenInputIBA", "", {}),
        ("TokenInputIBA", "quality=paper prior=none", {"quality": "paper", "prior": "none"}),
        ("TokenInputIBA", "quality=official prior=none", {"quality": "official", "prior": "none"}),
        ("TokenInputIBA", "prior=none", {**tiny, "prior": "none"}),
        ("TokenInputIBA", "prior=feature-matching", {**tiny, "prior": "feature-matching"}),
        ("TokenInputIBA", "prior=wgan-gp", {**tiny, "prior": "wgan-gp"}),
        ("TokenInputIBA", "readout=information", {**tiny, "readout": "information"}),
        ("TokenInputIBA", "readout=beyond-prior", {**tiny, "readout": "beyond-prior", "mask": "token"}),
        ("TokenInputIBA", "noise=standard", {**tiny, "noise": "standard", "objective": "cross-entropy"}),
        ("TokenInputIBA", "capacity", {**tiny, **kept}),
        ("occlusion", "delete", {"removal": "delete"}),
        ("lime", "delete", {"removal": "delete", "width": 0.5, "ridge": 0.1}),
        ("integrated-gradients", "mask", {"baseline": "mask"}),
    ]
    for name, title, settings in reviews:
        make = functools.partial(review_explained, name, **settings)
        yield f"reviews/{name} {title}".strip(), Case(functools.partial(or_refusal, make), name in TEXT_FITTED)
    small: list[tuple[str, str, dict[str, Any]]] = [(name, "", {}) for name in TEXT_METHODS]
    small += [(name, "special_tokens=whole", {"special_tokens": "whole"}) for name in ("iba", "token-iba", "input-iba")]
    for name, title, settings in small:
        make = functools.partial(transformer_explained, name, **settings)
        case = Case(functools.partial(or_refusal, make), name in TEXT_FITTED, needs="transformers")
        yield f"transformer/{name} {title}".strip(), case
    yield "reviews/words", Case(lambda: quiet(explained_words), fitted=True)


def _other_cases() -> Iterator[tuple[str, Case]]:
    yield "scenes/drawn", Case(drawn_scenes)
    for where in LAYERS:
        for per in ("channel", "element"):
            yield f"{where}/statistics per {per}", Case(functools.partial(fitted_statistics, where, per))
    for name in ("attribute", "quantus"):
        yield f"scenes/{name}", Case(functools.partial(in_other_shapes, name), fitted=True)


SLOW = {
    "scenes/occlusion-8", "scenes/occlusion-14 zero", "scenes/occlusion-14 classes", "scenes/iba one row at once",
    "scenes/input-iba prior=wgan-gp", "scenes/rise grid", "scenes/lime segments=16", "scenes/kernel-shap segments=16",
    "scenes-vit/iba", "scenes-vit/input-iba", "scenes-vit/occlusion-8", "scenes-vit/occlusion-14", "scenes-vit/lime",
    "scenes-vit/kernel-shap", "scenes-vit/rise", "scenes-vit/extremal-perturbation", "scenes-vit/pattern-attribution",
    "scenes-vit/smoothgrad", "scenes-vit/guided-grad-cam", "scenes-vit/statistics per element",
    "reviews/TokenInputIBA prior=wgan-gp", "reviews/token-iba one row at once",
    "reviews/TokenInputIBA quality=official prior=none", "transformer/token-iba special_tokens=whole",
}  # fmt: skip
"""What takes longest of what others stand for too: all together would take more than a minute."""

CASES: dict[str, Case] = {
    name: replace(case, slow=name in SLOW) for name, case in (*_other_cases(), *_scene_cases(), *_text_cases())
}
"""Everything that gives arrays, by name."""


# The command line


@dataclass(frozen=True)
class Told:
    """What a command wrote."""

    stdout: str
    stderr: str


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Work in a folder, with an empty cache and a wide terminal."""
    before, known = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update({"BITLENS_CACHE": cache, "COLUMNS": "200"})
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(known)


@contextlib.contextmanager
def inside_a_copy() -> Iterator[Path]:
    """Work in a copy of the files of 0.1."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(FILES, Path(folder) / "files"))
        with inside(copy):
            yield copy


def command(*words: Any) -> Told:
    """Run the command line in this process.

    Raises:
        RuntimeError: if it does not end with 0.
    """
    out, err, argv, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["bitlens", *map(str, words)]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            warnings.simplefilter("default")
            main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = argv
    if code:
        raise RuntimeError(f"bitlens {' '.join(map(str, words))} ended with {code}: {err.getvalue()}")
    return Told(out.getvalue(), err.getvalue())


def answer(*words: Any) -> Any:
    """What a command says with --json."""
    return json.loads(command(*words, "--json").stdout)


CPU = ("--device", "cpu")  # the same numbers where there is a GPU
SCENES = ("--model", "builtin/scenes", *CPU)
FROM_TRAINING = ("--statistics-from", "builtin:scenes-train", "--statistics-count", 32)
FROM_REVIEWS = ("--statistics-from", "builtin:reviews", "--statistics-count", 20)
EVALUATION = ("evaluate", *SCENES, "--data", "builtin:scenes", *FROM_TRAINING)
TEXT_EVALUATION = ("text", "evaluate", "--data", "builtin:reviews", *CPU)
PRICE, TEXT_PRICE = ("--beta", 1), ("--beta", 3)  # of 0.1; since then what is kept decides, unless a price is named
NETWORK = ("--model", "net.py:build", "--weights", "net.safetensors", *CPU)
GIVEN = ("--statistics", "statistics-scenes.safetensors")

FROM_FIRST = (
    "--start",
    "readout-first.safetensors",
    "--layer",
    "layer1",
    "--read-layers",
    "layer1,output",
    "--hidden",
    4,
)
TRAINED = ("--data", "builtin:scenes-train", "--limit", 16, "--epochs", 2, "--batch", 8)

RESUMED: dict[str, tuple[tuple[Any, ...], str, tuple[str, ...]]] = {
    "explained": (
        (
            *("explain", "scene-1.png", *SCENES, *GIVEN, "--method", "iba:precision=float32,grad-cam"),
            *("--beta", 1, "--out", "explained"),
        ),
        "(2 of 2 were there already)",
        ("explained/*.safetensors",),
    ),
    "evaluation": (
        (
            *EVALUATION, *PRICE, "--limit", 2, "--methods", "iba:precision=float32,grad-cam",
            "--metrics", "bbox,degradation-14:points=10:precision=float32", "--keep-maps", "--out", "evaluation",
        ),
        "2 of 2 samples were there already",
        ("evaluation/settings.json", "evaluation/rows/*", "evaluation/learned/*", "evaluation/maps/*/*"),
    ),
    "text-evaluation": (
        (
            *TEXT_EVALUATION, *TEXT_PRICE, "--limit", 2, "--methods", "iba:precision=float32,random",
            "--metrics", "removal:precision=float32", "--out", "text-evaluation",
        ),
        "2 of 2 samples were there already",
        ("text-evaluation/settings.json", "text-evaluation/rows/*"),
    ),
    "readout train": (
        ("readout", "train", *SCENES, *TRAINED, *FROM_FIRST, "--beta", 2, "--out", "readout-second.safetensors"),
        "epoch 2 of 2",
        ("readout-*.checkpoint.safetensors",),
    ),
    "roar": (
        (
            "roar", "--data", "npz:roar.npz", "--methods", "random,grad-cam", "--size", 16, "--limit", 40, "--rates", 0.5,
            "--seeds", 2, "--epochs", 1, "--width", 4, "--batch-size", 16, *CPU, "--out", "roar",
        ),
        "lower is better",
        ("roar/**/*.safetensors", "roar/untouched.json", "roar/random.json", "roar/grad-cam.json"),
    ),
}  # fmt: skip
"""Commands that left folders with the files of 0.1: what they say when all is there already, and which files stay untouched."""


def settings_of_methods() -> Any:
    """Which settings each method takes, by name, without the words that explain them."""
    listed = {name: answer("methods", name)[0]["settings"] for name in METHODS}
    return {n: {one["name"]: [one["default"], one["takes"]] for one in known} for n, known in listed.items()}


def evaluated(*words: Any) -> Any:
    """A new evaluation, with the statistics that 0.1 made, so that it does not hang on their rounding."""
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        shutil.copytree(FILES / "evaluation" / "learned", Path("new", "learned"))
        return answer(*EVALUATION, *words, "--out", "new")


def text_evaluated(*words: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        return answer(*TEXT_EVALUATION, *words, "--out", "new")


def told_in_a_copy(*words: Any) -> Any:
    """What a command says beside the files of 0.1."""
    with inside_a_copy():
        return answer(*words)


def written(*words: Any) -> str:
    """Likewise, as it is printed."""
    with inside_a_copy():
        return command(*words).stdout


def explained_by_readout() -> Any:
    """What the bundled readout says; not its evidence, which is measured in the precision that the hardware offers."""
    words = ("explain", "scene-1.png", *SCENES, "--method", "readout", "--out", "new")
    return [{name: row[name] for name in row if "under_noise" not in name} for row in told_in_a_copy(*words)]


def trained_readout() -> Any:
    """The losses of a small readout; what it is called and how long it took stay out."""
    words = (
        "readout",
        "train",
        *SCENES,
        *TRAINED,
        "--read-layers",
        "layer2,output",
        "--hidden",
        4,
        "--out",
        "new.safetensors",
    )
    told = told_in_a_copy(*words)
    return {name: told[name] for name in ("layer", "read_layers", "epochs", "best_epoch", "losses")}


# What 0.1 wrote, read


def read_statistics(name: str) -> Any:
    made = bitlens.FeatureStatistics.load(FILES / f"statistics-{name}.safetensors")
    return {
        **_of_statistics(made),
        "shape": list(made.mean.shape),
        "layout": made.layout.name,
        "extra": made.layout.extra,
    }


def _of_statistics(made: bitlens.FeatureStatistics) -> dict[str, Any]:
    counted = {name: getattr(made, name) for name in ("samples", "observations", "granularity", "fingerprint")}
    moments = {name: float(getattr(made, name).sum()) for name in ("mean", "std", "activity")}
    return {**counted, **moments, "provenance": plain(vars(made.provenance))}


def read_token_statistics() -> Any:
    made = statistics_of_tokens(FILES / "token-statistics.safetensors")
    groups = {str(kind): _of_statistics(group) for kind, group in made.groups.items()}
    return {"samples": made.samples, "fingerprint": made.fingerprint, "groups": groups}


def read_attribution(place: str) -> Any:
    found = found_of(bitlens.Attribution.load(FILES / place))
    return {**found.words, **{name: plain(values.tolist()) for name, values in found.numbers.items() if "sums" in name}}


def read_readout(place: str) -> Any:
    readout = bitlens.ReadoutIBA.load(FILES / place, network("scenes").model, precision="float32")
    found = quiet(lambda: found_of(readout.explain(shown(), evidence_samples=0)))
    return {
        **found.words,
        "total_bits": plain(found.numbers["total_bits"].tolist()),
        "reads": list(readout.read_layers),
    }


def read_patterns() -> Any:
    """What patterns say, and which they are."""
    words = (
        "explain",
        "scene-1.png",
        *NETWORK,
        "--method",
        "pattern-attribution",
        "--patterns",
        "patterns.safetensors",
    )
    with inside_a_copy():
        rows = answer(*words, "--out", "new")
        settings = dict(bitlens.Attribution.load("new/scene-1.safetensors").settings)
    del settings["preprocessing"]  # its name depends on where net.py lies
    return {"rows": rows, "settings": settings}


def read_layers() -> Any:
    made = analysis_of_layers(FILES / "layers-0.safetensors")
    return {"rows": made.rows(), "settings": dict(made.settings), "model": made.model, "layers": list(made.layers)}


def _tables() -> Iterator[tuple[str, Case]]:
    for words in (("methods",), ("metrics",), ("text", "methods"), ("text", "metrics")):
        yield " ".join(words), Case(functools.partial(answer, *words))
    yield "settings of methods", Case(settings_of_methods)

    compared = "iba:precision=float32,grad-cam,random"
    few = "degradation-14:points=10:precision=float32,insertion:points=10:precision=float32,sensitivity-n-8:sets=5"
    named = "degradation-14:precision=float32,bbox,insertion:precision=float32,sensitivity-n-8:precision=float32"
    objects = (
        "bbox,ehr,mass-inside,pointing-game,rank-auc,restricted-top1:noise_samples=4,restricted-top5:noise_samples=4"
    )
    objects += ",information:noise_samples=4,deletion:points=10:precision=float32,sanity:layers=fc+layer4"
    runs = {"evaluate": (3, compared, named), "evaluate few": (1, compared, few)}
    runs["evaluate objects"] = (1, "iba:precision=float32:quality=fast,grad-cam", objects)
    for title, (limit, methods, metrics) in runs.items():
        words = (*PRICE, "--limit", limit, "--methods", methods, "--metrics", metrics)
        yield title, Case(functools.partial(evaluated, *words), fitted=True, slow=title == "evaluate")
    compared = "iba:precision=float32,token-iba:precision=float32,random"
    words = (*TEXT_PRICE, "--limit", 3, "--methods", compared, "--metrics", "removal:precision=float32")
    yield "text evaluate", Case(functools.partial(text_evaluated, *words), fitted=True)
    others = "insertion-tokens:precision=float32,deletion-tokens:precision=float32,sensitivity-n-tokens:sets=5"
    words = ("--limit", 1, "--target", "predicted", "--methods", "occlusion,random", "--metrics", others)
    yield "text evaluate others", Case(functools.partial(text_evaluated, *words))

    asked = ("--method", "iba:precision=float32:quality=fast,grad-cam", *GIVEN)
    words = ("explain", "scene-5.png", *SCENES, *asked, "--beta", 1, "--target", 3, "--out", "new")
    yield "explain", Case(functools.partial(told_in_a_copy, *words), fitted=True)
    yield "explain readout", Case(explained_by_readout, fitted=True)
    words = ("text", "explain", *REVIEWS, "--method", "token-iba:precision=float32", *TEXT_PRICE, *CPU)
    yield "text explain", Case(functools.partial(told_in_a_copy, *words), fitted=True)
    words = ("text", "layers", REVIEWS[0], "--layers", "rnn_1,rnn_4", "--betas", 1, *FROM_REVIEWS, *CPU)
    yield "text layers", Case(functools.partial(told_in_a_copy, *words), fitted=True)
    yield "readout train", Case(trained_readout, fitted=True, needs="accelerate")

    for place in ("evaluation", "text-evaluation"):
        yield f"0.1/table {place}", Case(functools.partial(told_in_a_copy, "table", place))
        for kind in ("csv", "markdown", "text"):
            yield f"0.1/table {place} {kind}", Case(functools.partial(written, "table", place, "--format", kind))
    words = ("table", "evaluation", "--methods", "grad-cam", "--metrics", "bbox", "--part", "1/2")
    yield "0.1/table of a part", Case(functools.partial(told_in_a_copy, *words))
    words = ("report", "explained", "evaluation", "texts.json")
    yield "0.1/report", Case(functools.partial(told_in_a_copy, *words))
    for name in ("scenes", "scenes-vit", "element"):
        yield f"0.1/statistics {name}", Case(functools.partial(read_statistics, name))
    yield "0.1/token statistics", Case(read_token_statistics)
    for place in ("attribution", "explained/scene-1.grad-cam", "explained/scene-1.iba-precision=float32"):
        yield f"0.1/{place}", Case(functools.partial(read_attribution, f"{place}.safetensors"))
    for place in ("readout", "readout-first", "readout-second"):
        yield f"0.1/{place}", Case(functools.partial(read_readout, f"{place}.safetensors"))
    yield "0.1/patterns", Case(read_patterns)
    yield "0.1/layers", Case(read_layers)


TABLES: dict[str, Case] = dict(_tables())
"""Everything that gives plain values, by name."""


# The files of 0.1

NET = """
import torch
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

def build():
    first = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
    head = [nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)]
    return nn.Sequential(first, *head), prepare

def prepare(image):
    return pil_to_tensor(image.resize((48, 48))).float() / 127.5 - 1
"""


def write_files() -> None:
    """Write what the version that is installed writes, into an empty folder."""
    FILES.mkdir()
    with inside(FILES):
        for number in SHOWN:
            open_scenes("test")[number].image.save(f"scene-{number}.png", optimize=True)
        _write_network()
        _write_transformer()
        quiet(_write_learnt)
        _write_small_images()
        for words, _, _ in RESUMED.values():
            command(*words)
        _write_texts()
        for useless in ("text-*.png", "plane.png", "*.curve.*", "*first.checkpoint*", "*/maps-1.png", "*/roar.png"):
            for place in FILES.glob(useless):
                place.unlink()


def _write_network() -> None:
    """A network of one's own, with its weights."""
    Path("net.py").write_text(NET.lstrip(), "utf-8")
    torch.manual_seed(0)
    made: dict[str, Any] = {}
    exec(NET, made)
    save_file(made["build"]()[0].state_dict(), "net.safetensors")


def _write_transformer() -> None:
    """As transformers keeps a classifier and its tokenizer."""
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(" ".join(TEXTS).split())]
    Path("vocab.txt").write_text("\n".join(words), "utf-8")
    transformers.BertTokenizerFast("vocab.txt", model_max_length=40).save_pretrained("transformer")
    Path("vocab.txt").unlink()
    sizes = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(
        vocab_size=len(words), **sizes, max_position_embeddings=40, pad_token_id=0, initializer_range=0.4, num_labels=3
    )
    transformers.BertForSequenceClassification(config).save_pretrained("transformer")


def _write_learnt() -> None:
    """Statistics, patterns and readouts; and an attribution."""
    data = ("--data", "builtin:scenes-train", "--count", 32)
    for where in LAYERS:
        out = ("--out", f"statistics-{where}.safetensors", "--per", "channel")
        command("statistics", "--model", f"builtin/{where}", *CPU, *data, *out)
    command(
        "statistics", *NETWORK, "--layer", "0", *data, "--out", "statistics-element.safetensors", "--per", "element"
    )
    command("patterns", *NETWORK, *data, "--out", "patterns.safetensors")
    explainer = bitlens.text.Explainer("builtin/reviews", method="token-iba", layer="rnn_1")
    explainer.learn(REVIEWS, data="two reviews").method.statistics["rnn_1"].save("token-statistics.safetensors")
    readout = bitlens.ReadoutIBA(
        network("scenes").model, "layer2", ["layer2", "output"], beta=1.0, hidden=4, middle=4, conditional=True
    )
    readout.fit_weights([training_scenes()], training(epochs=3, batch=8, held_out=0.25), data="32 training scenes")
    readout.save("readout.safetensors")
    first = ("--layer", "layer1", "--read-layers", "layer1,output", "--hidden", 4, "--out", "readout-first.safetensors")
    command("readout", "train", *SCENES, *TRAINED, *first)
    iba = built("scenes", "iba", quality="fast")
    iba.explain(shown()[:1], keep_capacity=True).save("attribution.safetensors")


def _write_small_images() -> None:
    """Two classes that a corner tells apart. Black and white, for sums of such pixels are exact and the run goes on anywhere."""
    pixels = np.random.default_rng(0).integers(0, 2, (40, 16, 16, 3), dtype=np.uint8) * np.uint8(255)
    labels = np.arange(40) % 2
    pixels[labels == 1, :6, :6] = 255
    np.savez_compressed("roar.npz", images=pixels, labels=labels)


def _write_texts() -> None:
    words = ("--layers", "rnn_1,rnn_4", "--betas", "1,10", *FROM_REVIEWS, "--out", ".")
    command("text", "layers", *REVIEWS, *words, *CPU)
    Path("texts.json").write_text(command("text", "explain", *REVIEWS, *TEXT_PRICE, *CPU, "--json").stdout, "utf-8")
