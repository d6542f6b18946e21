# %% [markdown]
# # What a text classifier reads
# The bundled network says whether a review is good or bad. Its words are shaded by the bits that it needs of them.

# %%
from pathlib import Path

from bitlens.explaining.explainer import Explainer
from bitlens.explaining.text_page import page

explain = Explainer("builtin/reviews")
found = explain(
    [
        "A warm, funny film with a wonderful cast.",
        "The plot is thin, but the actors are brilliant.",
        "Two hours that I want back: boring and badly made.",
    ]
)
for one in found:
    strongest = sorted(one.words, key=lambda word: word.value, reverse=True)[:3]
    print(
        f"{one.prediction} ({one.probability:.2f}):",
        ", ".join(f"{word.text} {word.value:.0f} bits" for word in strongest),
    )

# %%
Path("texts.html").write_text(page(found, "Three reviews"), encoding="utf-8")
