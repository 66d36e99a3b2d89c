"""Audio prompts: a few seconds of music that the decoder reads first and keeps in view, so that it sounds like them.

Audio language models take a style from the recording that they continue (AudioLM, Borsos et al. 2023). Attention that
keeps its first keys while a window moves on is that of Xiao et al. 2024; here the kept keys travel along: they are
rotated so that they stay right behind the window, at distances that training knew (`batch_decoder.Ring`).
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import AXES, Condition
from openvmas.errors import ModelError
from openvmas.planning.schema import ScorePlan
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events

STEPS = 384  # of a prompt at most: what the decoder's wide layers see
CURVE_NAMES = ("accents", "energy", "novelty")
SINCE = 30.0  # s since the beginning of its track that a prompt is said to lie
ENERGY_EVERY, NOVELTY_EVERY = 5, 25  # steps between the values of the curves that a bank keeps
AXIS_SCALE, CURVE_SCALE = 32, 255  # of the whole numbers that a bank keeps
BEST = 24  # prompts that fit best, among which the seed chooses
SHARPNESS, WORDED = 1.0, 6.0  # by how much likelier it chooses what fits better: for what pictures say, and for words
PICTURE_GAIN = 1.5  # what pictures say is narrower than music is
POPULARITY_SHARE = 0.7  # of its nearness to all pictures that is held against a prompt
NAMED = 1.0  # standard deviations from which an axis is really meant: a prompt may have more of it, but not less
VALENCE_WEIGHT, LEAST_VALENCE = (
    0.5,
    0.2,
)  # of valence besides: loud music is tagged happy, so arousal alone would choose
TEMPO_WEIGHT, ENERGY_WEIGHT = 10.0, 4.0  # beside mean squared distances of axes in standard deviations
NO_TEMPO = 0.2  # octaves that a prompt without beats counts as off
STRONG = 1.5  # standard deviations from which an axis that is asked for has its full weight
REACH = 2.5  # standard deviations, beyond which more is no more
KEY_WEIGHT = 8.0  # of unlike pitch classes, where music goes on from another prompt
APART = 2.0  # standard deviations, over all axes together, from which sections have prompts of their own
SHORTEST = 5.0  # s that a section with a prompt of its own lasts at least
UNASKED = 0.5  # weight of the mean over all axes: a prompt should not be extreme where nobody asked for it


@dataclass(frozen=True)
class AudioPrompt:
    """Music to begin from.

    codes: [K, n]. condition: its own curves, beats and axes. tempo: BPM, 0 where there is none. axes: [len(AXES)] in
    standard deviations, NaN where unknown. energy: mean, in [0, 1]. source: track and time; licence: of the track.
    chroma: strength of the 12 pitch classes, C first, of unit length; zeros where unknown.
    """

    name: str
    codes: np.ndarray
    condition: Condition
    tempo: float
    axes: np.ndarray
    energy: float
    source: str
    licence: str
    chroma: np.ndarray = field(default_factory=lambda: np.zeros(12, np.float32))

    @property
    def n_steps(self) -> int:
        return self.codes.shape[1]

    def describe(self) -> dict[str, Any]:
        """Where it comes from, for reports."""
        return {"name": self.name, "source": self.source, "licence": self.licence, "tempo": round(self.tempo, 1)}


@dataclass(frozen=True)
class Cue:
    """From which step on which prompt is kept in view, and the axes for which it was chosen."""

    step: int
    prompt: AudioPrompt
    reasons: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """For reports; start in s."""
        start = round(self.step / float(CONTROL_RATE), 2)
        return {"start": start, **self.prompt.describe(), "chosen_for": list(self.reasons)}


def condition_of(events: Events, beats: np.ndarray, downbeats: np.ndarray, axes: np.ndarray) -> Condition:
    """The condition of a prompt from its own curves: a part of a longer piece with no end in sight."""
    n = events.n_steps
    since = SINCE + np.arange(n) / float(CONTROL_RATE)
    semantics = np.repeat(axes[None].astype(np.float32), n, axis=0)
    return Condition(events, beats, downbeats, semantics, np.full(n, np.inf), since)


class PromptBank:
    """The prompts of a file that `tools/build_prompts.py` wrote."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError for a file that is no bank."""
        try:
            with np.load(path) as data:
                self._data = {name: data[name] for name in data.files}
            self._rows = json.loads(bytes(self._data["rows"]).decode())
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(f"{path} is no bank of audio prompts ({error}); install openvmas again.") from error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> AudioPrompt:
        data, row = self._data, self._rows[index]
        codes = data["codes"][index]
        steps = np.arange(codes.shape[1])
        accents = data["accents"][index].astype(np.float32) / CURVE_SCALE
        energy, novelty = (
            np.interp(steps, steps[::every], data[name][index] / CURVE_SCALE).astype(np.float32)
            for name, every in (("energy", ENERGY_EVERY), ("novelty", NOVELTY_EVERY))
        )
        axes = self.axes[index]
        beats, downbeats = np.array(row["beats"]), np.array(row["downbeats"])
        condition = condition_of(Events(CONTROL_RATE, accents, energy, novelty), beats, downbeats, axes)
        source = f"{row['track']} at {row['start']:.1f} s"
        return AudioPrompt(
            row["name"], codes, condition, row["tempo"], axes, float(energy.mean()), source, row["licence"],
            self.chroma[index],
        )  # fmt: skip

    @cached_property
    def axes(self) -> np.ndarray:
        """[N, len(AXES)] in standard deviations."""
        return self._data["axes"].astype(np.float32) / AXIS_SCALE

    @cached_property
    def chroma(self) -> np.ndarray:
        """[N, 12], each of unit length."""
        chroma = self._data["chroma"].astype(np.float32)
        return chroma / np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), 1)

    @cached_property
    def popularity(self) -> np.ndarray:
        """Mean distance of each prompt from what pictures ask for: [N], as tools/balance_prompts.py measured it."""
        return self._data.get("popularity", np.zeros(len(self))).astype(np.float32)

    def cues(
        self, plan: ScorePlan, condition: Condition, seed: int, given: Sequence[AudioPrompt | None] = ()
    ) -> list[Cue]:
        """Prompts for the sections of a plan, the first from step 0 on.

        Sections that ask for much the same share one, so it comes back with them; another goes on in a near key.
        given: the user's own for each section, None where the bank is to choose.
        """
        kinds: list[tuple[np.ndarray, AudioPrompt]] = []
        found: list[Cue] = []
        for i, section in enumerate(plan.sections):
            start, end = (round(float(time * condition.rate)) for time in (section.start, section.end))
            asked = plan.semantics(section)
            place = np.array([asked.get(axis, 0.0) for axis in AXES])
            apart = [float(np.linalg.norm(place - other)) for other, _ in kinds]
            if i < len(given) and (own := given[i]) is not None:
                prompt = own
            elif kinds and min(apart) < APART:
                prompt = kinds[int(np.argmin(apart))][1]
            elif kinds and section.end - section.start < SHORTEST:
                continue
            else:
                before = found[-1].prompt if found else None
                energy = float(condition.events.energy[start : max(end, start + 1)].mean())
                has_words = bool(plan.text or plan.mood or section.text or section.mood)
                prompt = self.choose(asked, plan.tempo, energy, seed, before, has_words)
                kinds.append((place, prompt))
            if not found or found[-1].prompt is not prompt:
                found.append(Cue(start if found else 0, prompt, agreements(asked, prompt)))
        return found

    def of(self, condition: Condition, seed: int) -> AudioPrompt:
        """A prompt for what a condition of one step or more asks for; the same seed gives the same one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of axes that are not conditioned at any step
            means = np.nanmean(condition.semantics, axis=0)
        asked = {axis: float(mean) for axis, mean in zip(AXES, means, strict=True) if np.isfinite(mean)}
        periods = np.diff(condition.beats)
        tempo = 60 / float(np.median(periods)) if len(periods) else 0.0
        return self.choose(asked, tempo, float(condition.events.energy.mean()), seed)

    @cached_property
    def _tempi(self) -> np.ndarray:
        return np.array([row["tempo"] for row in self._rows])

    def distances(self, asked: dict[str, float], tempo: float, energy: float) -> np.ndarray:
        """Distances of all prompts from what is asked for: [N], 0 is best.

        asked: axis → standard deviations; tempo: BPM, 0 where there is none; energy: in [0, 1].
        """
        target = np.clip([asked.get(axis, 0.0) for axis in AXES], -REACH, REACH)
        weights = np.minimum(1, np.abs(target) / STRONG) ** 2
        more = np.clip(self.axes, -REACH, REACH) - target
        apart = np.where((np.abs(target) >= NAMED) & (more * target > 0), 0, more) ** 2
        found = apart @ weights / max(1.0, weights.sum()) + UNASKED * apart.mean(1)
        if "valence" in asked:
            place = AXES.index("valence")
            found = found + VALENCE_WEIGHT * max(float(weights[place]), LEAST_VALENCE) * apart[:, place]
        if tempo:
            octaves = np.log2(np.maximum(self._tempi, 1) / tempo)
            off = np.where(self._tempi > 0, np.abs(octaves - np.round(octaves)), NO_TEMPO)
            found = found + TEMPO_WEIGHT * off**2
        mean = self._data["energy"].mean(1) / CURVE_SCALE
        return found + ENERGY_WEIGHT * (mean - energy) ** 2

    def nearness(self, asked: dict[str, float], tempo: float, energy: float) -> np.ndarray:
        """Distances of all prompts from what a picture asks for, less most of those from pictures at large: [N]."""
        return self.picture_distances(asked, tempo, energy) - POPULARITY_SHARE * self.popularity

    def picture_distances(self, asked: dict[str, float], tempo: float, energy: float) -> np.ndarray:
        """Distances as from `distances`, of what a picture asks for: it says less than music is: [N]."""
        return self.distances({axis: PICTURE_GAIN * value for axis, value in asked.items()}, tempo, energy)

    def choose(
        self,
        asked: dict[str, float],
        tempo: float,
        energy: float,
        seed: int,
        before: AudioPrompt | None = None,
        has_words: bool = False,
    ) -> AudioPrompt:
        """One of the prompts that fit best, by lot: the better it fits, the likelier.

        before: the prompt of the music that it goes on from, in whose key or a near one it should be. has_words: words
        are taken strictly. For what a picture alone says, a prompt is near if it is nearer than to other
        pictures: else the few that are near to all would be chosen for all (Radovanović et al. 2010; the remedy is that
        of Conneau et al. 2018, with a mean over all).
        """
        distances = self.distances(asked, tempo, energy) if has_words else self.nearness(asked, tempo, energy)
        if before is not None:
            distances = distances + KEY_WEIGHT * (1 - self.chroma @ before.chroma)
        order = np.argsort(distances, kind="stable")[:BEST]
        share = np.exp(-(WORDED if has_words else SHARPNESS) * (distances[order] - distances[order[0]]))
        return self[int(np.random.default_rng((seed, 7)).choice(order, p=share / share.sum()))]


def follow(condition: Condition, plan: ScorePlan | None, cues: Sequence[Cue]) -> Condition:
    """The condition with the prompts' own axes, but for those that the user's words name.

    What a picture says has chosen the prompt. Told to the decoder as well it would pull the music out of the prompt
    again, towards what all pictures have in common.
    """
    if not cues:
        return condition
    semantics = condition.semantics.copy()
    ends = [cue.step for cue in cues[1:]] + [len(semantics)]
    for cue, end in zip(cues, ends, strict=True):
        known = np.isfinite(cue.prompt.axes)
        semantics[cue.step : end, known] = cue.prompt.axes[known]
    if plan is None:  # then the condition is all that somebody has said
        semantics = np.where(np.isfinite(condition.semantics), condition.semantics, semantics)
        return dataclasses.replace(condition, semantics=semantics)
    for section in plan.sections:
        steps = slice(*(round(float(time * condition.rate)) for time in (section.start, section.end)))
        named = [AXES.index(axis) for axis in plan.said(section)]
        semantics[steps, named] = condition.semantics[steps, named]
    return dataclasses.replace(condition, semantics=semantics)


def given_cues(plan: ScorePlan, given: Sequence[AudioPrompt | None]) -> list[Cue]:
    """The user's own prompts alone, each from its section on, the first of one or more from step 0 on."""
    found: list[Cue] = []
    for section, prompt in zip(plan.sections, given, strict=True):
        if prompt is not None and (not found or found[-1].prompt is not prompt):
            found.append(Cue(round(float(section.start * CONTROL_RATE)) if found else 0, prompt))
    return found


def agreements(asked: dict[str, float], prompt: AudioPrompt, most: int = 3) -> tuple[str, ...]:
    """The axes that are asked for and that the prompt has, the strongest first, as words such as "less drums"."""
    both = {axis: value for axis, value in asked.items() if value * prompt.axes[AXES.index(axis)] > 0}
    strongest = sorted(both, key=lambda axis: -abs(both[axis]))[:most]
    return tuple(axis if both[axis] > 0 else f"less {axis}" for axis in strongest)
