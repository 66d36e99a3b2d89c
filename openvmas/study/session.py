"""The session of one listener, step by step: balanced over listeners, known from study.json and a block's number alone.

Blocks are numbered from 0. A new listener gets the smallest number that nobody holds, so those who stop early leave no
hole. Everything is derived from the seed and the block; nothing is drawn while the study runs.

- Comparisons are dealt like cards: a fixed endless sequence goes through all (clip, pair of systems) before any comes
  again, clips and pairs both turning, and each listener takes the next few. After any number of blocks the counts of
  any two cells differ by at most one, and a cell's sides change from one time to the next: a balanced incomplete
  block design.
- Ratings follow a Williams design (Williams 1949), in which every condition comes equally often at every place and
  after every other one; the clip of a condition moves on by one from listener to listener (a Latin square).
- The order of the parts runs through all permutations.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError
from openvmas.study.texts import texts_of

VERSION = 1  # of study.json
PUBLIC, KEY, MEDIA = "study.json", "key.json", "media"  # in the folder of a study
PASS_HEADPHONES = 5  # of 6 right (Woods et al. 2017)
PARTS = ("picture_pairs", "sound_pairs", "ratings")


@dataclass(frozen=True)
class Step:
    """One screen of the page. kind: volume, headphones, pair, rating or question; part: its section, as in PARTS.

    question: place in the questionnaire, with n_answers to choose from.
    media: names of stimuli, of a pair A first. has_fit: the rating also asks how well the music fits the picture.
    right: the answer of a check ("a", "b" or a number), else None. attempt: 1 or 2, of the headphone check.
    """

    kind: str
    part: str
    media: tuple[str, ...]
    is_training: bool = False
    has_fit: bool = False
    right: str | None = None
    attempt: int = 1
    note: str = ""
    question: int = -1
    n_answers: int = 0

    @property
    def is_check(self) -> bool:
        """Whether this is an attention check; the headphone check is none."""
        return self.right is not None and self.kind != "headphones"


class Study:
    """A study folder as the server knows it: without any name of a system. Raises InputError for another folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.facts: dict[str, Any] = json.loads((self.folder / PUBLIC).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder} is not a study ({PUBLIC} cannot be read); make one with `openvmas study create`."
            ) from error
        if not isinstance(self.facts, dict) or self.facts.get("version") != VERSION:
            raise InputError(f"{folder} was made by another version of OpenVMAS; create the study again.")
        self.plan = functools.lru_cache(maxsize=4096)(self._plan)

    def media_path(self, name: str) -> Path:
        """The file of a stimulus; the name is looked up, never joined to a path. Raises KeyError."""
        return self.folder / MEDIA / self.facts["files"][name]

    def _plan(self, block: int) -> tuple[Step, ...]:
        facts = self.facts
        generator = np.random.default_rng([facts["seed"], block, 1])
        steps = [Step("volume", "volume", (facts["calibration"],))]
        for attempt in (1, 2):
            steps += [
                Step("headphones", "headphones", (item["media"],), right=item["right"], attempt=attempt)
                for item in facts["headphones"]
            ]
        made = {name: self._part(name, block, generator) for name in PARTS}
        for name in part_order(block, [name for name in PARTS if made[name]]):
            steps += made[name]
        for i, question in enumerate(facts.get("questions", [])):
            steps.append(Step("question", "questions", (), question=i, n_answers=len(question["answers"])))
        return tuple(steps)

    @property
    def texts(self) -> dict[str, str]:
        """Texts that listeners read, in the study's language."""
        return texts_of(self.facts.get("language", "en"))

    def _part(self, part: str, block: int, generator: np.random.Generator) -> list[Step]:
        """Training, trials and checks of one part; empty if the study does not ask for it."""
        trials = self._ratings(block) if part == "ratings" else self._pairs(part, block, generator)
        if not trials:
            return []
        for _ in range(self.facts["n_checks"]):
            trials.insert(int(generator.integers(1, len(trials) + 1)), self._check(part, generator))
        return [self._training(part, generator), *trials]

    def _stimuli(self, part: str) -> list[list[str]]:
        facts = self.facts
        return facts["sound"] if part == "sound_pairs" or not facts["picture"] else facts["picture"]

    def _orders(self, part: str) -> tuple[list[int], list[int]]:
        """Fixed permutations of clips and pairs, others for each part."""
        generator = np.random.default_rng([self.facts["seed"], 2, PARTS.index(part)])
        n_clips, n_pairs = len(self.facts["sound"]), len(self.facts["pairs"])
        return generator.permutation(n_clips).tolist(), generator.permutation(n_pairs).tolist()

    def _pairs(self, part: str, block: int, generator: np.random.Generator) -> list[Step]:
        n_trials = self.facts[part]
        clips, pairs = self._orders(part)
        stimuli, made = self._stimuli(part), []
        cells = [comparison_at(block * n_trials + i, clips, pairs) for i in range(n_trials)]
        for cell in shuffle_apart(cells, generator):
            sides = self.facts["pairs"][cell.pair]
            media = tuple(stimuli[cell.clip][i] for i in (sides[::-1] if cell.is_swapped else sides))
            made.append(Step("pair", part, media))
        return made

    def _ratings(self, block: int) -> list[Step]:
        n_rounds, n_conditions = self.facts["rounds"], self.facts["n_conditions"]
        clips, _ = self._orders("ratings")
        stimuli = self._stimuli("ratings")
        return [
            self._rating(stimuli[clip][condition])
            for number in range(block * n_rounds, (block + 1) * n_rounds)
            for condition, clip in rating_round(number, n_conditions, clips)
        ]

    def _rating(self, name: str, **changes: Any) -> Step:
        return Step("rating", "ratings", (name,), has_fit=bool(self.facts["picture"]), **changes)

    def _any_rated(self, generator: np.random.Generator) -> str:
        """A stimulus of the ratings, at random."""
        stimuli = self._stimuli("ratings")
        clip = int(generator.integers(len(stimuli)))
        return stimuli[clip][int(generator.integers(self.facts["n_conditions"]))]

    def _any_pair(self, generator: np.random.Generator) -> tuple[int, int]:
        """A clip and one of the pairs, at random."""
        return int(generator.integers(len(self.facts["sound"]))), int(generator.integers(len(self.facts["pairs"])))

    def _training(self, part: str, generator: np.random.Generator) -> Step:
        if part == "ratings":
            return self._rating(self._any_rated(generator), is_training=True)
        clip, pair = self._any_pair(generator)
        media = tuple(self._stimuli(part)[clip][i] for i in self.facts["pairs"][pair])
        return Step("pair", part, media, is_training=True)

    def _check(self, part: str, generator: np.random.Generator) -> Step:
        """A comparison with noise, or a rating whose answer is written on the page."""
        if part == "ratings":
            name, right = self._any_rated(generator), str(generator.integers(1, 6))
            note = self.texts["check"].replace("{right}", right)
            return self._rating(name, right=right, note=note)
        clip, pair = self._any_pair(generator)
        music = self._stimuli(part)[clip][self.facts["pairs"][pair][0]]
        noise = self.facts["noise"][clip]["picture" if part == "picture_pairs" else "sound"]
        is_first = bool(generator.integers(2))
        return Step("pair", part, (music, noise) if is_first else (noise, music), right="a" if is_first else "b")


def headphones_passed(steps: tuple[Step, ...], choices: Mapping[int, str | None], attempt: int) -> bool | None:
    """Whether an attempt at the headphone check was passed; None before it is complete or where there is none."""
    places = [i for i, step in enumerate(steps) if step.kind == "headphones" and step.attempt == attempt]
    if not places or any(i not in choices for i in places):
        return None
    return sum(choices[i] == steps[i].right for i in places) >= PASS_HEADPHONES


def pending(steps: tuple[Step, ...], choices: Mapping[int, str | None]) -> list[int]:
    """Places of the steps still to do; the second attempt at the headphone check is only for those who need it.

    choices: what was answered, by place.
    """
    may_skip = headphones_passed(steps, choices, 1) is not False
    left = [i for i in range(len(steps)) if i not in choices]
    return [i for i in left if not (may_skip and steps[i].attempt == 2)]


def accepts(step: Step, choice: str | None, quality: int | None, fit: int | None) -> bool:
    """Whether an answer is one that the step asks for. quality, fit: 1 .. 5."""
    allowed: dict[str, Collection[str | None]] = {
        "volume": ("ok",),
        "headphones": ("1", "2", "3"),
        "pair": ("a", "b", "same"),
        "rating": (None,),
        "question": [str(number + 1) for number in range(step.n_answers)],
    }
    wants_quality = step.kind == "rating"
    return (
        choice in allowed[step.kind]
        and (quality is not None) == wants_quality
        and (fit is not None) == (wants_quality and step.has_fit)
    )


@dataclass(frozen=True)
class Comparison:
    """A trial of two systems: clip and pair by index; is_swapped: the second system of the pair is A."""

    clip: int
    pair: int
    is_swapped: bool


def williams(n: int) -> list[tuple[int, ...]]:
    """Rows of 0 .. n-1: every number equally often at every place and directly after every other; n rows, 2n if n is
    odd."""
    if n < 2:
        return [tuple(range(n))]
    first = [0]
    for step in range(1, n):
        first.append((first[-1] + (step if step % 2 else -step)) % n)
    rows = [tuple((value + shift) % n for value in first) for shift in range(n)]
    return rows if n % 2 == 0 else [*rows, *(row[::-1] for row in rows)]


def comparison_at(index: int, clips: Sequence[int], pairs: Sequence[int]) -> Comparison:
    """The comparison at a place of the endless sequence. clips, pairs: a permutation of their indices each."""
    n_clips, n_pairs = len(clips), len(pairs)
    replicate, place = divmod(index, n_clips * n_pairs)
    # Both indices turn; after a whole turn of both, the pairs are shifted by one, so that every cell comes once.
    clip = clips[place % n_clips]
    pair = pairs[(place + place // math.lcm(n_clips, n_pairs)) % n_pairs]
    return Comparison(clip, pair, bool((clip + pair + replicate) % 2))


def rating_round(number: int, n_conditions: int, clips: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (condition, clip) in playing order, for round `number` of all rounds of all listeners."""
    rows = williams(n_conditions)
    row = rows[number % len(rows)]
    # The extra shift keeps places and clips from going in step when their numbers share a factor.
    shift = number + number // math.lcm(len(rows), len(clips))
    return [(condition, clips[(condition + shift) % len(clips)]) for condition in row]


def part_order(block: int, parts: Sequence[str]) -> tuple[str, ...]:
    """The parts of a session in the order of this block."""
    orders = list(itertools.permutations(parts))
    return orders[block % len(orders)]


def shuffle_apart(cells: list[Comparison], generator: np.random.Generator) -> list[Comparison]:
    """The cells in random order, with as few neighbours of one clip as a few draws find."""
    orders = [[cells[i] for i in generator.permutation(len(cells))] for _ in range(20)]
    return min(orders, key=lambda order: sum(a.clip == b.clip for a, b in itertools.pairwise(order)), default=cells)
