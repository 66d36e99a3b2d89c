"""From the plan to the condition of the decoder at every codec step."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np

from openvmas.condition import AXES, Condition, Picture
from openvmas.errors import PlanError
from openvmas.planning.beat_grid import MAX_TEMPO, MIN_TEMPO, TempoConstraints, TempoMark, distance_to, fit_grid
from openvmas.planning.schema import Hit, ScorePlan
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events

if TYPE_CHECKING:
    from openvmas.vision.analysis import VideoAnalysis

# A picture event is known to a frame (40 ms at 25 fps) and sound this far from it is felt as simultaneous, so it may
# move to the beat, where music wants its accents (detection of audio-video lag: ITU-R BT.1359, 45 ms early, 125 late).
SNAP_TO_BEAT, SNAP_TO_EIGHTH = 0.040, 0.030  # s
SEMANTICS_FADE, ENERGY_FADE = 1.0, 0.75  # s, to each side of a border between sections
NOVELTY_WIDTH = 1.6  # s, of the peak at a border, as wide as in music (music.analysis.novelty_curve)
PICTURE_NOVELTY = 0.5  # how much of the picture's novelty the music takes
# Accents of training music are 0.2 to 1 high, 0.67 on average; a picture's are often weak but all want an answer.
LEAST_ACCENT = 0.45
LAST_CHORD = (0.6, 3.5)  # s before the end, where a last downbeat gets an accent and the sound may die away after it
LAST_STRENGTH = 0.6
LAST_LEVEL = 0.35  # energy at the very end, of what it was
# The piece is said to have begun so long before the picture, s: there is no time for a slow beginning, and the first
# model fell silent in a fifth of its beginnings when conditioned on the truth.
BEGUN = 10.0
FIRST_LEVEL, FIRST_SPAN = 0.85, 1.0  # energy at the beginning, and s until it is there
SAME_VIDEO = 0.1  # s, that plan and analysis may differ in length


def build_condition(
    plan: ScorePlan, analysis: VideoAnalysis | None = None, events: str = "on", seed: int = 0
) -> Condition:
    """The decoder's condition, on the clock of CONTROL_RATE, from the plan and (for novelty) from the picture.

    events: "on"; "off" for no accents and a steady grid that knows nothing of the picture; "shuffled" for as many
    accents at other times, with a grid fitted to those (both for measuring sync). seed: of what is drawn for these.
    Raises PlanError if the analysis is of a video of another length.
    """
    if analysis is not None and abs(float(analysis.duration - plan.duration)) > SAME_VIDEO:
        raise PlanError(
            f"the plan is for a video of {float(plan.duration):g} s and this one has {float(analysis.duration):g} s; "
            "make a plan of this video with `openvmas plan`."
        )
    clock = Clock(CONTROL_RATE)
    n_steps = clock.count(plan.duration)
    times = clock.times(n_steps)
    novelty = _novelty(plan, analysis, times)
    if events == "shuffled":
        plan, shift = _shuffle(plan, seed)
        novelty = np.roll(novelty, round(shift * float(CONTROL_RATE)))
    elif events == "off":
        plan, novelty = _detach(plan, seed), np.zeros(n_steps)
    elif events != "on":
        raise ValueError(f"events are on, off or shuffled, not {events!r}")
    accents = np.zeros(n_steps) if events == "off" else _accents(plan, clock, n_steps)
    return Condition(
        events=Events(
            rate=CONTROL_RATE,
            accents=accents.astype(np.float32),
            energy=_energy(plan, times).astype(np.float32),
            novelty=novelty.astype(np.float32),
        ),
        beats=plan.grid.beats,
        downbeats=plan.grid.downbeats,
        semantics=_semantics(plan, times),
        time_left=np.maximum(float(plan.duration) - times, 0.0),
        time_since=times + BEGUN,
        picture=picture_of(analysis, n_steps) if analysis is not None and events == "on" else None,
    )


def picture_of(analysis: VideoAnalysis, n_steps: int) -> Picture:
    """A video encoder's input for a picture's first n_steps; the last values go on where the picture is shorter."""
    curves = [analysis.events.accents, analysis.events.energy, analysis.events.novelty, analysis.motion]
    columns = np.stack(curves, axis=1)[:n_steps].astype(np.float32)
    columns = np.pad(columns, ((0, n_steps - len(columns)), (0, 0)), mode="edge" if len(columns) else "constant")
    return Picture(analysis.features, analysis.feature_times, columns)


def accent_times(plan: ScorePlan) -> list[Hit]:
    """Where accents are played: the user's hits at their times, the picture's moved to a beat or eighth nearby."""
    times = np.array([hit.time for hit in plan.hits])
    beats = plan.grid.beats
    to_beat = distance_to(times, beats)
    to_eighth = distance_to(times, (beats[1:] + beats[:-1]) / 2)
    moves = np.where(
        np.abs(to_beat) <= SNAP_TO_BEAT, to_beat, np.where(np.abs(to_eighth) <= SNAP_TO_EIGHTH, to_eighth, 0)
    )
    played = [
        dataclasses.replace(hit, time=max(0.0, hit.time + float(move))) if hit.source == "picture" else hit
        for hit, move in zip(plan.hits, moves, strict=True)
    ]
    last = _last_downbeat(plan)
    if last is not None and all(abs(hit.time - last) > 0.5 for hit in played):
        played.append(Hit(last, LAST_STRENGTH, "picture"))
    return played


def _last_downbeat(plan: ScorePlan) -> float | None:
    """The downbeat on which the piece can end, if there is one in time."""
    left = float(plan.duration) - plan.downbeats
    fitting = plan.downbeats[(left >= LAST_CHORD[0]) & (left <= LAST_CHORD[1])]
    return float(fitting[-1]) if len(fitting) else None


def _accents(plan: ScorePlan, clock: Clock, n_steps: int) -> np.ndarray:
    """Peaks of one step, as high as the accents are strong: [n_steps]."""
    accents = np.zeros(n_steps)
    for hit in accent_times(plan):
        step = min(clock.index(hit.time), n_steps - 1)
        accents[step] = max(accents[step], LEAST_ACCENT + (1 - LEAST_ACCENT) * hit.strength)
    return accents


def _energy(plan: ScorePlan, times: np.ndarray) -> np.ndarray:
    """Levels of the sections, times the finer curve, with a beginning and an end: [T] in [0, 1]."""
    end = float(plan.duration)
    own = [0.0 if section.is_silent else section.energy for section in plan.sections]
    knots, levels = [0.0], [own[0]]
    for i, (before, after) in enumerate(itertools.pairwise(plan.sections)):
        half = min(ENERGY_FADE, (before.end - before.start) / 2, (after.end - after.start) / 2)
        knots += [after.start - half, after.start + half]
        levels += [own[i], own[i + 1]]
    energy = np.interp(times, knots, levels)
    if plan.energy_curve:
        energy = energy * np.interp(times, *np.array(plan.energy_curve).T)
    last = _last_downbeat(plan)
    fall = last + 0.1 if last is not None else end - min(2.5, end / 4)
    shape = np.interp(times, [0.0, min(FIRST_SPAN, fall), fall, end], [FIRST_LEVEL, 1.0, 1.0, LAST_LEVEL])
    return np.clip(energy * shape, 0.0, 1.0)


def _novelty(plan: ScorePlan, analysis: VideoAnalysis | None, times: np.ndarray) -> np.ndarray:
    """Peaks where sections meet, higher where they differ more, the picture's own novelty beneath: [T] in [0, 1]."""
    novelty = np.zeros(len(times))
    for before, after in itertools.pairwise(plan.sections):
        old, new = plan.semantics(before), plan.semantics(after)
        apart = np.sqrt(sum((old.get(axis, 0.0) - new.get(axis, 0.0)) ** 2 for axis in {*old, *new}))
        height = min(1.0, 0.35 + 0.15 * float(apart) + 0.8 * abs(after.energy - before.energy))
        a, b = np.searchsorted(times, [after.start - 5 * NOVELTY_WIDTH, after.start + 5 * NOVELTY_WIDTH])
        bell = height * np.exp(-0.5 * ((times[a:b] - after.start) / NOVELTY_WIDTH) ** 2)
        novelty[a:b] = np.maximum(novelty[a:b], bell)
    if analysis is not None:
        own = analysis.events.novelty
        clock = np.arange(len(own)) / float(analysis.events.rate)
        novelty = np.maximum(novelty, PICTURE_NOVELTY * np.interp(times, clock, own))
    return novelty


def _semantics(plan: ScorePlan, times: np.ndarray) -> np.ndarray:
    """Semantics at each step, faded where both sides of a border have values: [T, len(AXES)] float32, else NaN."""
    rows = np.full((len(plan.sections), len(AXES)), np.nan)
    for i, section in enumerate(plan.sections):
        for axis, value in plan.semantics(section).items():
            rows[i, AXES.index(axis)] = value
    starts = np.array([section.start for section in plan.sections])
    index = np.clip(np.searchsorted(starts, times + 1e-9, side="right") - 1, 0, len(starts) - 1)
    semantics = rows[index].astype(np.float32)
    for i, (before, after) in enumerate(itertools.pairwise(plan.sections)):
        half = min(SEMANTICS_FADE, (before.end - before.start) / 2, (after.end - after.start) / 2)
        a, b = np.searchsorted(times, [after.start - half, after.start + half])
        share = ((times[a:b] - (after.start - half)) / (2 * half))[:, None]
        mixed = rows[i] * (1 - share) + rows[i + 1] * share
        semantics[a:b] = np.where(np.isnan(mixed), semantics[a:b], mixed)
    return semantics


def _detach(plan: ScorePlan, seed: int) -> ScorePlan:
    """The plan without the picture's events: no accents, no finer energy, the same tempo from a beat drawn by lot."""
    marks: tuple[TempoMark, ...] = ()
    if plan.tempo_map or len(plan.beats):
        rng = np.random.default_rng(seed)
        period = 60.0 / plan.tempo
        time = min(float(rng.uniform(0, period)), float(plan.duration))
        marks = (TempoMark(time, plan.tempo, int(rng.integers(plan.beats_per_bar)) + 1),)
    sections = tuple(dataclasses.replace(section, tempo=None) for section in plan.sections)
    return dataclasses.replace(plan, hits=(), energy_curve=(), tempo_map=marks, sections=sections)


def _shuffle(plan: ScorePlan, seed: int) -> tuple[ScorePlan, float]:
    """The plan with its hits at other times and a grid fitted to those; also how far the rest is turned, s.

    The distances between hits stay and change places, and all is turned about the circle of the duration by lot.
    """
    rng = np.random.default_rng(seed)
    end = float(plan.duration)
    shift = float(rng.uniform(0.1, 0.9)) * end
    times = np.array([hit.time for hit in plan.hits])
    gaps = rng.permutation(np.diff(times, prepend=0.0, append=end))
    moved = np.unique(np.round((np.cumsum(gaps)[:-1] + shift) % end, 4))
    moved = moved[moved < end]
    order = rng.permutation(len(plan.hits))[: len(moved)]
    hits = tuple(Hit(float(t), plan.hits[k].strength, "picture") for t, k in zip(moved, order, strict=True))
    curve = sorted(((time + shift) % end, factor) for time, factor in plan.energy_curve)
    curve = [point for i, point in enumerate(curve) if i == 0 or point[0] > curve[i - 1][0]]
    marks = plan.tempo_map
    if marks or len(plan.beats):
        tempo = plan.tempo
        is_exact = len({mark.tempo for mark in marks}) == 1 and all(s.tempo is None for s in plan.sections)
        low, high = max(MIN_TEMPO, 0.94 * tempo), min(MAX_TEMPO, 1.06 * tempo)
        limits = TempoConstraints(tempo if is_exact else None, tempo, low, high, beats_per_bar=plan.beats_per_bar)
        strengths = np.array([hit.strength for hit in hits])
        marks = tuple(fit_grid(moved, strengths, end, limits)[0])
    sections = tuple(dataclasses.replace(section, tempo=None) for section in plan.sections)
    return dataclasses.replace(plan, hits=hits, energy_curve=tuple(curve), tempo_map=marks, sections=sections), shift
