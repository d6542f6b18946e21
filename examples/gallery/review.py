"""A text, word by word

Words get the bits of their tokens. Nothing is coloured because of its neighbours: bits add up to the total.
"""

from matplotlib.figure import Figure

import bitlens

explainer = bitlens.Explainer("builtin/reviews")
explanation = explainer("The plot is thin, but a warm and wonderful cast makes it a delight.")

words = [word.text for word in explanation.words]
figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
axes.bar(range(len(words)), [word.value for word in explanation.words], color="#d65f0c")
axes.set_xticks(range(len(words)), words, rotation=45, ha="right")
axes.set(ylabel="bits", title=f"{explanation.prediction}, p = {explanation.probability:.2f}")
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("review.png", dpi=200)
print(f"{float(explanation.attribution.total_bits):,.0f} bits at {explanation.attribution.layer}")
