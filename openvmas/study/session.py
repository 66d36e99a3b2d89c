"""What one listener does, step by step: known from study.json and the number of the block alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError
from openvmas.study.design import deal, part_order, rating_round, spread
from openvmas.study.study_builder import MEDIA, PUBLIC, VERSION

PASS_HEADPHONES = 5  # of 6 right (Woods et al. 2017)
PARTS = ("picture_pairs", "sound_pairs", "ratings")


@dataclass(frozen=True)
class Step:
    """One screen. kind: volume, headphones, pair or rating; part: the section it belongs to, as in PARTS.

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

    @property
    def is_check(self) -> bool:
        """An attention check; the headphone check is none."""
        return self.right is not None and self.kind != "headphones"


class Study:
    """A study folder as the server sees it: without any name of a system."""

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
        return tuple(steps)

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
        cells = [deal(block * n_trials + i, clips, pairs) for i in range(n_trials)]
        for cell in spread(cells, generator):
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

    def _any(self, part: str, generator: np.random.Generator) -> tuple[int, int]:
        """A clip and one of the pairs, at random."""
        return int(generator.integers(len(self.facts["sound"]))), int(generator.integers(len(self.facts["pairs"])))

    def _training(self, part: str, generator: np.random.Generator) -> Step:
        stimuli = self._stimuli(part)
        if part == "ratings":
            clip, condition = (int(generator.integers(n)) for n in (len(stimuli), self.facts["n_conditions"]))
            return self._rating(stimuli[clip][condition], is_training=True)
        clip, pair = self._any(part, generator)
        return Step("pair", part, tuple(stimuli[clip][i] for i in self.facts["pairs"][pair]), is_training=True)

    def _check(self, part: str, generator: np.random.Generator) -> Step:
        """A comparison with noise, or a rating whose answer is written on the page."""
        stimuli = self._stimuli(part)
        if part == "ratings":
            clip, condition = (int(generator.integers(n)) for n in (len(stimuli), self.facts["n_conditions"]))
            right = str(generator.integers(1, 6))
            note = f"This one only checks that you are reading: whatever you hear, choose {right} for every question."
            return self._rating(stimuli[clip][condition], right=right, note=note)
        clip, pair = self._any(part, generator)
        music = stimuli[clip][self.facts["pairs"][pair][0]]
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
    return [i for i in left if not (may_skip and is_second(steps[i]))]


def is_second(step: Step) -> bool:
    return step.kind == "headphones" and step.attempt == 2


def accepts(step: Step, choice: str | None, quality: int | None, fit: int | None) -> bool:
    """Whether an answer is one that the step asks for. quality, fit: 1 .. 5."""
    allowed: dict[str, Collection[str | None]] = {
        "volume": ("ok",),
        "headphones": ("1", "2", "3"),
        "pair": ("a", "b", "same"),
        "rating": (None,),
    }
    wants_quality = step.kind == "rating"
    return (
        choice in allowed[step.kind]
        and (quality is not None) == wants_quality
        and (fit is not None) == (wants_quality and step.has_fit)
    )
