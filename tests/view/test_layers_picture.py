"""Layers × words: every word is there, and what cannot be drawn is refused."""

import numpy as np
import pytest

from bitlens.errors import InputError
from bitlens.view.layer_maps import LayerPanel, draw_layers

LAYERS = ["layer 1", "layer 2", "layer 3"]


def _panel(words: int, title: str = "tuned") -> LayerPanel:
    bits = np.random.default_rng(0).exponential(1, (3, words)).astype(np.float32)
    return LayerPanel(title, bits, [f"{row.sum():.0f} bits" for row in bits])


@pytest.mark.parametrize(("words", "networks"), [(1, 1), (12, 2), (140, 2)])
def test_all_words_of_all_networks_are_drawn(words: int, networks: int) -> None:
    named = [f"w{i}" for i in range(words)]
    panels = [_panel(words, f"network {i}") for i in range(networks)]
    page = draw_layers(panels, named, LAYERS, title="1", caption="a caption")
    written = [text.get_text() for axes in page.axes for text in axes.get_xticklabels()]
    assert [text for text in written if text.startswith("w")] == named
    drawn = sum(
        mesh.get_array().size for axes in page.axes for mesh in axes.collections if mesh.get_array() is not None
    )
    assert drawn >= networks * 3 * words
    texts = [text.get_text() for text in page.texts]
    assert {"layer 1", "a caption", panels[0].notes[0]} <= set(texts)


def test_a_row_is_shares_of_its_own_bits_or_of_ten() -> None:
    bits = np.array([[1.0, 3.0], [1000.0, 3000.0], [0.0, 0.0]], dtype=np.float32)
    page = draw_layers([LayerPanel("", bits, ["", "", ""])], ["a", "b"], LAYERS, title="")
    shares = page.axes[0].collections[0].get_array()
    np.testing.assert_allclose(np.asarray(shares).reshape(3, 2), [[0.1, 0.3], [0.25, 0.75], [0, 0]])


def test_layers_of_next_to_nothing_are_pale_whatever_the_others_are() -> None:
    def shades(*rows: list[float]) -> np.ndarray:
        bits = np.array(rows, dtype=np.float32)
        page = draw_layers([LayerPanel("", bits, [""] * len(rows))], list("abcd"), LAYERS[: len(rows)], title="")
        mesh = page.axes[0].collections[0]
        colours = mesh.to_rgba(mesh.get_array())[..., :3].reshape(len(rows), 4, 3)
        return 1 - colours.min(-1)  # 0 is white

    assert shades([0.2, 0.1, 0, 0]).max() < 0.1  # alone, too
    assert shades([0.2, 0.1, 0, 0], [40, 20, 20, 20])[0].max() < 0.2
    assert shades([0.2, 0.1, 0, 0], [40, 20, 20, 20])[1].max() > 0.7
    assert shades([0.0, 0, 0, 0]).max() == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"has shape \(3, 4\): expected 3 layers, 5 words"):
        draw_layers([_panel(4)], list("abcde"), LAYERS, title="")
    with pytest.raises(InputError, match="at least one panel"):
        draw_layers([], ["a"], LAYERS, title="")
    with pytest.raises(InputError, match="negative or not finite"):
        draw_layers([LayerPanel("x", -np.ones((3, 1), np.float32), [""] * 3)], ["a"], LAYERS, title="")
