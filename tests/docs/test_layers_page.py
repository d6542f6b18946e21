"""The table of layers is what its command prints, as far as a few of its rows show."""

from pathlib import Path

import pytest

import layers

PAGE = (Path(__file__).parents[2] / "docs" / "layers.md").read_text("utf-8")


def test_the_page_has_a_row_for_each_network():
    assert PAGE.startswith(layers.HEADER)
    names = [f"torchvision/{name}" for name in layers.TORCHVISION.split()]
    names += [f"timm/{name}" for name in layers.TIMM.split()]
    names += [f"{name}ForImageClassification" for name in layers.TRANSFORMERS.split()]
    names += [f"{name}ForSequenceClassification" for name in layers.TEXTS.split()]
    assert [name for name in names if f"| `{name}` | " not in PAGE] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "name"),
    [
        ("of_library", "torchvision/resnet18"),
        ("of_library", "timm/deit_tiny_patch16_224"),
        ("of_transformers", "ViT"),
        ("of_text", "Bert"),
    ],
)
def test_a_row_is_what_the_command_prints(make, name):
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    assert getattr(layers, make)(name) in PAGE.splitlines()
