"""Questions about what a short text states, with the words of the text that carry each answer: `builtin:recall`.

A text states facts about invented people among sentences that say nothing of them; a question asks for one fact. The answer
is stated in one place, or in two that say the same, or takes two places: what somebody bought was made by somebody else,
and another sentence tells the colour of what they make. All is drawn at random, so only the text can answer.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitlens.data.tokenizing import Span
from bitlens.errors import at_least

Kind = Literal["once", "twice", "two hops"]

_STARTS, _ENDS = ("mi", "to", "ka", "le", "du", "no", "ri", "sa", "ve", "jo"), ("ra", "bin", "lo", "ven", "mar", "dis")
NAMES = tuple((start + end).capitalize() for start in _STARTS for end in _ENDS)
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey", "pink", "purple", "orange", "golden")
THINGS = (
    "box", "lamp", "chair", "table", "coat", "hat", "boat", "cup", "bowl", "drum", "flute", "kite", "ladder", "mirror",
    "basket", "carpet", "clock", "violin", "bicycle", "blanket",
)  # fmt: skip
PLACES = (
    "harbour", "mill", "school", "library", "station", "tower", "bridge", "bakery", "forest", "lake", "castle", "market",
    "church", "museum", "theatre", "hospital", "garden", "quarry", "airport", "beach",
)  # fmt: skip
IDLE = (
    "It rained all morning.", "Nobody heard the bell.", "The road is long and quiet.", "Tea was served at four.",
    "The train left on time.", "There were clouds over the hills.", "A dog barked twice.", "The windows were open.",
    "Somebody sang in the street.", "The old shop closed early.", "Winter came late this year.", "The letters were lost.",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A question to a text, its answer, and where the text states it.

    Attributes:
        name: unique within its data set.
        kind: "once", "twice" (two places say the same) or "two hops" (both places are needed).
        text: what is told.
        asked: the question, and where the answer begins.
        answer: as the text has it.
        places: of each place the characters of `text` that carry the answer: who it is about, and what is said.
        who: the characters of `prompt` that name who is asked about.
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
class _Fact:
    """Sentences that together state one thing: {who}, {maker} and what is said in braces."""

    kind: Kind
    sentences: tuple[str, ...]
    asked: str
    answer: str
    words: dict[str, str]


_HAS = ("{who} has a {colour} {thing}.", "The {colour} {thing} belongs to {who}.")
_LIVES = ("{who} lives near the {place}.", "Near the {place} stands the house of {who}.")
_MADE = ("{who} bought the thing that {maker} made.", "All that {maker} makes is {colour}.")


def questions(count: int, seed: int = 0, *, facts: int = 6, idle: int = 4) -> Sequence[Question]:
    """Draw questions, the same for the same arguments; in turn of each kind.

    Args:
        count: how many.
        seed: of what is drawn.
        facts: how many facts each text states.
        idle: how many sentences say nothing of anybody.
    """
    at_least(1, count=count, facts=facts)
    kinds: tuple[Kind, ...] = ("once", "twice", "two hops")
    return [story(random.Random(f"{seed} {n}"), [kinds[n % 3]], facts, idle, f"question {n}")[0] for n in range(count)]


def story(
    source: random.Random, kinds: Sequence[Kind], facts: int, idle: int, name: str = "question"
) -> list[Question]:
    """Draw one text, and a question of each of these kinds about it, each about somebody else.

    Args:
        source: of what is drawn.
        kinds: of the questions.
        facts: how many facts the text states, those that are asked for included.
        idle: how many sentences say nothing of anybody.
        name: of the questions.
    """
    others: list[Kind] = ["once", "twice", "two hops"]
    names = source.sample(NAMES, 2 * max(facts, len(kinds)))
    told = [*kinds, *(source.choice(others) for _ in range(facts - len(kinds)))]
    stated = [_fact(source, kind, names.pop(), names.pop()) for kind in told]
    lines: list[tuple[str, _Fact | None]] = [(sentence, fact) for fact in stated for sentence in fact.sentences]
    lines += [(sentence, None) for sentence in source.sample(IDLE, idle)]
    source.shuffle(lines)
    text, places = "", defaultdict[int, list[tuple[Span, ...]]](list)
    for sentence, fact in lines:
        text += " " if text else ""
        if fact is None:
            text += sentence
            continue
        said, found = _filled(sentence, fact.words, len(text))
        text += said
        places[id(fact)].append(found)
    return [
        Question(
            name,
            fact.kind,
            text,
            _filled(fact.asked, fact.words, 0)[0],
            _filled(fact.answer, fact.words, 0)[0],
            tuple(places[id(fact)]),
        )
        for fact in stated[: len(kinds)]
    ]


def _fact(source: random.Random, kind: Kind, who: str, maker: str) -> _Fact:
    words = {"who": who, "maker": maker, "colour": source.choice(COLOURS)}
    words |= {"thing": source.choice(THINGS), "place": source.choice(PLACES)}
    if kind == "two hops":
        return _Fact(kind, _MADE, "Question: Which colour did {who} buy? Answer:", "{colour}.", words)
    asked = [
        (_HAS, "Question: What does {who} have? Answer:", "a {colour} {thing}."),
        (_LIVES, "Question: Where does {who} live? Answer:", "near the {place}."),
    ]
    stated, question, answer = source.choice(asked)
    return _Fact(kind, stated if kind == "twice" else (source.choice(stated),), question, answer, words)


def _filled(sentence: str, words: dict[str, str], shift: int) -> tuple[str, tuple[Span, ...]]:
    """Return a sentence with its words, and the characters of these, counted from a shift."""
    said, found = "", []
    for piece in sentence.split("{"):
        slot, closed, rest = piece.partition("}")
        if not closed:
            said += piece
            continue
        found.append((shift + len(said), shift + len(said) + len(words[slot])))
        said += words[slot] + rest
    return said, tuple(found)
