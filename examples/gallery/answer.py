"""An answer of a language model

Which sentences of its prompt did an answer come from? Here it takes two: what somebody has, and what that holds. Bits of words
add up to those of sentences; the rest of the prompt is not needed, and gets none.
"""

from matplotlib.figure import Figure

import bitlens
from bitlens.data.recall import questions

asked = next(one for one in questions(3) if one.kind == "two hops")
found = bitlens.AnswerExplainer("builtin/recall")(asked.prompt, f" {asked.answer}")
(part,) = found.parts
sentences = found.grouped(part, "sentence")

figure = Figure(figsize=(7, 4.5), layout="constrained")
axes = figure.subplots()
axes.barh(range(len(sentences)), [bits for _, bits in sentences], color="#d65f0c")
axes.set_yticks(range(len(sentences)), [piece.text.strip() for piece, _ in sentences])
axes.invert_yaxis()
axes.set(xlabel="bits", title=f"answer: {part.text.strip()}")
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("answer.png", dpi=200)
print(*found.notes(part), sep="\n")
