"""Questions about what a short text states, with the words of the text that carry each answer: `builtin:recall`.

A text says who has what, among sentences that say nothing of anybody; a question asks what somebody ends up with. That is stated
in one place, or in two that say the same, or takes two places: what somebody has may hold another thing. All is drawn at
random, so only the text can answer.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitlens.data.tokenizing import Span
from bitlens.errors import SettingError

Kind = Literal["once", "twice", "two hops"]

_STARTS, _ENDS = ("mi", "to", "ka", "le", "du", "no", "ri", "sa"), ("ra", "bin", "lo", "ven", "mar")
NAMES = tuple((start + end).capitalize() for start in _STARTS for end in _ENDS)
THINGS = (
    "box", "lamp", "chair", "table", "coat", "scarf", "boat", "cup", "bowl", "drum", "flute", "kite", "ladder", "mirror",
    "basket", "carpet", "clock", "violin", "bicycle", "blanket", "pearl", "coin", "map", "key", "ring", "candle", "stone",
    "feather", "bottle", "letter", "ticket", "shell", "button", "ribbon", "spoon", "whistle", "brush", "needle", "marble",
    "bell",
)  # fmt: skip
IDLE = (
    "It rained all morning.", "Nobody came to the market.", "The road is long and quiet.", "Tea was served at four.",
    "Winter came late this year.", "The train left on time.", "There were clouds over the hills.", "A dog barked twice.",
)  # fmt: skip
HAS, HOLDS = "We know that {0} has the {1}.", "There the {0} holds the {1}."
ASKED = "What does {0} end up with? Answer:"
_MOST = 8  # people


@dataclass(frozen=True)
class Question:
    """A question to a text, its answer, and where the text states it.

    Attributes:
        name: unique within its data set.
        kind: "once", "twice" (two places say the same) or "two hops" (both places are needed).
        text: what is told.
        asked: the question, and where the answer begins.
        answer: one word.
        places: of each place the characters of `text` that carry the answer: who or what it is about, and what is said.
    """

    name: str
    kind: Kind
    text: str
    asked: str
    answer: str
    places: tuple[tuple[Span, ...], ...]

    @property
    def prompt(self) -> str:
        """Return the text and the question, behind which the answer stands."""
        return f"{self.text} {self.asked}"

    @property
    def who(self) -> Span:
        """Return the characters of the prompt's question that name who is asked about."""
        name = next(name for name in NAMES if name in self.asked)
        start = len(self.text) + 1 + self.asked.index(name)
        return start, start + len(name)


@dataclass(frozen=True)
class Story:
    """A text about some people, and all that it answers.

    Attributes:
        text: what is told.
        people: names, in an order of their own.
        answers: what each ends up with.
        places: of each, for each place that states it, the characters that carry the answer.
    """

    text: str
    people: Sequence[str]
    answers: Sequence[str]
    places: Sequence[tuple[tuple[Span, ...], ...]]


def questions(count: int, seed: int = 0, *, facts: int = 6, idle: int = 4) -> Sequence[Question]:
    """Draw questions, the same for the same arguments; in turn of each kind.

    Args:
        count: how many.
        seed: of what is drawn.
        facts: of how many people each text tells, 1 to 8.
        idle: how many sentences say nothing of anybody, 0 to 8.

    Raises:
        SettingError: if there are fewer or more.
    """
    if count < 1 or not 1 <= facts <= _MOST or not 0 <= idle <= len(IDLE):
        raise SettingError(
            f"count must be 1 or more, facts 1 to {_MOST} and idle 0 to {len(IDLE)}; got {count}, {facts} and {idle}"
        )
    kinds: tuple[Kind, ...] = ("once", "twice", "two hops")
    return [_drawn(random.Random(f"{seed} {n}"), kinds[n % 3], facts, idle, f"question {n}") for n in range(count)]


def _drawn(source: random.Random, kind: Kind, facts: int, idle: int, name: str) -> Question:
    """Draw a text about some people, and a question of a kind about the first of them."""
    told = story(source, kind, facts, idle)
    return Question(name, kind, told.text, ASKED.format(told.people[0]), told.answers[0], told.places[0])


def story(source: random.Random, kind: Kind, facts: int, idle: int) -> Story:
    """Draw a text about so many people, the first of whom is told of in this way, and so many sentences about nobody."""
    people, things = source.sample(NAMES, facts), source.sample(THINGS, 2 * facts)
    kinds: list[Kind] = [kind, *(source.choice(("once", "twice", "two hops")) for _ in range(facts - 1))]
    lines: list[tuple[int, str, tuple[str, str]]] = [(-1, line, ("", "")) for line in source.sample(IDLE, idle)]
    for number, own in enumerate(kinds):
        first, second = things[2 * number : 2 * number + 2]
        lines += [(number, HAS, (people[number], first))] * (2 if own == "twice" else 1)
        lines += [(number, HOLDS, (first, second))] if own == "two hops" else []
    source.shuffle(lines)
    text, places = "", defaultdict[int, list[tuple[Span, ...]]](list)
    for number, form, words in lines:
        text += " " if text else ""
        said = form.format(*words)
        starts = [len(text) + said.index(word) for word in words]
        places[number].append(tuple((start, start + len(word)) for start, word in zip(starts, words, strict=True)))
        text += said
    answers = [things[2 * number + (own == "two hops")] for number, own in enumerate(kinds)]
    return Story(text, people, answers, [tuple(places[number]) for number in range(facts)])
