"""From the analysis of a picture and the wishes of the user to the plan of a score."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from openvmas.errors import PlanError
from openvmas.planning.beat_grid import MAX_TEMPO, MIN_TEMPO, TempoConstraints, check_tempo, fit_grid
from openvmas.planning.schema import JOINT, Hit, ScorePlan, Section
from openvmas.planning.text import TextCondition, parse_mood, parse_text
from openvmas.settings import PlanOptions

if TYPE_CHECKING:
    from openvmas.vision.analysis import VideoAnalysis

MIN_SECTION = 8.0  # s
LOOK_SPAN = 6.0  # s, compared before and after a possible border
LOOK_RATE = 2.0  # per second
LONG_SHOT = 16.0  # s, from which a shot may be divided where its look changes
SAME_MOMENT = 0.18  # s, a picture event this near to the user's hit is the same moment
MIN_GAP = 0.18  # s, between accents: closer ones sound as one (music.analysis.ACCENT_GAP)
CROWD, CROWD_CELLS = 8, 11  # accents at most within so many MIN_GAP to each side: as in music (music.analysis)
MIN_STRENGTH = 0.05  # of a picture event that gets an accent
ORDINARY_TEMPO = 108.0  # BPM, at ordinary arousal
USER_WEIGHT = 1.5  # of the user's hits when the grid is fitted, against 1 for the strongest picture event
LOOK_FLOORS = {"brightness": 0.08, "saturation": 0.08, "warmth": 0.08, "contrast": 0.05, "motion": 0.1}


def make_plan(
    analysis: VideoAnalysis, options: PlanOptions | None = None, seed: int = 0, keep_from: ScorePlan | None = None
) -> ScorePlan:
    """The plan for a video.

    keep_from: a plan of the same video whose locked sections, user's hits and music are kept.
    Raises PlanError if a hit lies outside the video, or tempo or mood make no sense.
    """
    options = options or PlanOptions()
    end = float(analysis.duration)
    words, mood = parse_text(options.text), parse_mood(options.mood)
    asked = check_tempo(options.tempo) if options.tempo is not None else words.tempo if words.is_tempo_exact else None
    if keep_from is not None and abs(float(keep_from.duration - analysis.duration)) > JOINT:
        raise PlanError(
            f"the earlier plan is for a video of {float(keep_from.duration):g} s and this one has {end:g} s; "
            "plan this video without it."
        )
    hits = _gather_hits(analysis, options.hit, keep_from)
    locked = [section for section in keep_from.sections if section.is_locked] if keep_from else []
    sections = _make_sections(analysis, find_sections(analysis), locked, _asked_value(words, mood, "arousal") or 0.0)
    times = np.array([hit.time for hit in hits])
    weights = np.array([USER_WEIGHT if hit.source == "user" else hit.strength for hit in hits])
    marks, beats_per_bar = fit_grid(times, weights, end, _tempo_limits(asked, words, mood, sections))
    return ScorePlan(
        duration=Fraction(analysis.duration),
        sections=tuple(sections),
        tempo_map=tuple(marks),
        beats_per_bar=beats_per_bar,
        hits=tuple(hits),
        energy_curve=tuple(_energy_detail(analysis, sections)),
        text=options.text,
        mood=options.mood,
        seed=seed,
        music=keep_from.music if keep_from else None,
    )


def _asked_value(words: TextCondition, mood: TextCondition, axis: str) -> float | None:
    """The value of an axis that the user's words for the whole ask for, or None."""
    return words.axes.get(axis, mood.axes.get(axis))


def _gather_hits(analysis: VideoAnalysis, asked: Sequence[float], keep_from: ScorePlan | None) -> list[Hit]:
    """The user's hits at their exact times, and the picture's events that are not the same moments."""
    end = float(analysis.duration)
    for time in asked:
        if not 0 <= time < end:
            raise PlanError(f"hit: {time:g} s lies outside the video; give a moment from 0 to below {end:g} s.")
    kept = [hit for hit in keep_from.hits if hit.source == "user" and hit.time < end] if keep_from else []
    users = {hit.time: hit for hit in [*kept, *(Hit(float(time)) for time in asked)]}
    times, strengths = np.asarray(analysis.visual_beats, float), np.asarray(analysis.visual_beat_strengths, float)
    taken = np.sort(np.array(list(users), float))
    chosen: list[Hit] = []
    # One cell for each MIN_GAP and its event's time, so that only the neighbours need a look.
    cells = np.full(int(end / MIN_GAP) + 3, np.inf)
    for k in np.argsort(-strengths, kind="stable"):
        time, cell = float(times[k]), int(times[k] / MIN_GAP) + 1
        if not 0 <= time < end or strengths[k] < MIN_STRENGTH:
            continue
        around = cells[max(cell - CROWD_CELLS, 0) : cell + CROWD_CELLS + 1]
        if np.abs(cells[cell - 1 : cell + 2] - time).min() < MIN_GAP or np.isfinite(around).sum() >= CROWD:
            continue
        if len(taken) and np.abs(taken - time).min() < SAME_MOMENT:
            continue
        cells[cell] = time
        chosen.append(Hit(round(time, 4), round(min(float(strengths[k]), 1.0), 3), "picture"))
    return sorted([*users.values(), *chosen], key=lambda hit: hit.time)


def find_sections(analysis: VideoAnalysis) -> list[float]:
    """Borders between sections, s, without 0 and the end: cuts, and moments inside long shots, where the look changes.

    Of all sets of borders at least MIN_SECTION apart, the one with the most change and the most even lengths.
    """
    end = float(analysis.duration)
    times, change = _change_of_look(analysis)
    starts = np.array([shot.start for shot in analysis.shots if MIN_SECTION <= shot.start <= end - MIN_SECTION])
    inner = [
        float(times[k])
        for k in range(1, len(times) - 1)
        if change[k] >= max(change[k - 1], change[k + 1], 0.8)
        and any(shot.start + LONG_SHOT / 2 <= times[k] <= shot.end - LONG_SHOT / 2 for shot in analysis.shots)
    ]
    is_cut = np.concatenate([np.ones(len(starts)), np.zeros(len(inner))])
    candidates = np.concatenate([starts, inner])
    inside = (candidates >= MIN_SECTION) & (candidates <= end - MIN_SECTION)
    candidates, is_cut = candidates[inside], is_cut[inside]
    candidates, first = np.unique(candidates, return_index=True)
    gain = 0.6 * (np.interp(candidates, times, change) - 1.0) + 0.25 * is_cut[first]
    return _choose_borders(candidates, gain, end)


def _choose_borders(candidates: np.ndarray, gain: np.ndarray, end: float) -> list[float]:
    """The subset of candidates [N] with the most gain less a price for uneven lengths (dynamic programming)."""
    points = np.concatenate([[0.0], candidates, [end]])
    gains = np.concatenate([[0.0], gain, [0.0]])
    target = min(max(end / 6, 12.0), 30.0)
    best, back = np.full(len(points), -np.inf), np.zeros(len(points), int)
    best[0] = 0.0
    for j in range(1, len(points)):
        length = points[j] - points[:j]
        price = 0.35 * np.log(np.maximum(length, 1e-3) / target) ** 2
        value = np.where(
            (length >= MIN_SECTION) | (j == len(points) - 1) & (np.arange(j) == 0), best[:j] - price, -np.inf
        )
        back[j] = int(value.argmax())
        best[j] = value[back[j]] + gains[j]
    borders, j = [], back[-1]
    while j > 0:
        borders.append(float(points[j]))
        j = back[j]
    return borders[::-1]


def _change_of_look(analysis: VideoAnalysis) -> tuple[np.ndarray, np.ndarray]:
    """Difference of the picture after a moment from that before, at LOOK_RATE: times [G] s and change [G].

    1 is an ordinary difference within this video, or the least that can be seen where it hardly varies.
    """
    end = float(analysis.duration)
    times = np.arange(0.0, end, 1 / LOOK_RATE)
    energy = analysis.events.energy
    clock = np.arange(len(energy)) / float(analysis.events.rate)
    columns = [(np.interp(times, clock, energy), 0.08)]
    if len(analysis.feature_times):
        columns += [
            (np.interp(times, analysis.feature_times, analysis.looks[name]), floor)
            for name, floor in LOOK_FLOORS.items()
            if name in analysis.looks
        ]
    look = np.stack([(x - x.mean()) / max(float(x.std()), floor) for x, floor in columns], axis=1)
    if len(analysis.feature_times) and analysis.features.shape[1]:
        # A random projection keeps distances (Johnson and Lindenstrauss 1984) and two hours of features small.
        rng = np.random.default_rng(0)
        matrix = rng.standard_normal((analysis.features.shape[1], 24)).astype(np.float32) / np.sqrt(24)
        projected = np.asarray(analysis.features, np.float32) @ matrix
        nearest = np.clip(np.searchsorted(analysis.feature_times, times), 0, len(projected) - 1)
        centred = projected[nearest] - projected.mean(axis=0)
        scale = max(float(np.sqrt((centred**2).sum(axis=1).mean())), 0.1 * float(np.abs(projected).mean()), 1e-6)
        look = np.concatenate([look, centred / scale * 2.0], axis=1)
    total = np.concatenate([np.zeros((1, look.shape[1])), np.cumsum(look, axis=0)])
    n, half = len(times), round(LOOK_SPAN * LOOK_RATE)
    here = np.arange(n)
    low, high = np.maximum(here - half, 0), np.minimum(here + half, n)
    before = (total[here] - total[low]) / np.maximum(here - low, 1)[:, None]
    after = (total[high] - total[here]) / np.maximum(high - here, 1)[:, None]
    change = np.sqrt(((after - before) ** 2).sum(axis=1) / 4.0)
    change[0] = 0.0
    return times, change


def _make_sections(
    analysis: VideoAnalysis, borders: list[float], locked: list[Section], arousal: float
) -> list[Section]:
    """Sections between the borders, each with what its picture says; locked ones stay as they are.

    arousal: value of that axis in the user's words.
    """
    from openvmas.vision.mood import distinguish  # here, so that plans are read and edited without loading the networks

    end = float(analysis.duration)
    free = [b for b in borders if all(b <= s.start - MIN_SECTION / 2 or b >= s.end + MIN_SECTION / 2 for s in locked)]
    edges = sorted({0.0, end, *(round(b, 4) for b in free), *(s.start for s in locked), *(s.end for s in locked)})
    edges = [edge for edge in edges if edge == end or edge < end - 0.01]
    kept = {section.start: section for section in locked}
    spans = list(itertools.pairwise(edges))
    energy = np.array([_mean_energy(analysis, start, stop) for start, stop in spans])
    lengths = np.array([stop - start for start, stop in spans])
    mean = float(np.average(energy, weights=lengths))
    deviation = max(float(np.sqrt(np.average((energy - mean) ** 2, weights=lengths))), 0.06)
    sections = []
    for i, (start, stop) in enumerate(spans):
        if start in kept:
            sections.append(kept[start])
            continue
        # Music keeps its range narrower than the picture's, and grows a little towards the end.
        position = (start + stop) / 2 / end
        level = 0.66 + 0.13 * np.clip((energy[i] - mean) / deviation, -1.8, 1.8) + 0.2 * (mean - 0.4)
        level += 0.06 * (position - 0.5) * 2 * (len(spans) > 1) + 0.06 * arousal
        picture = {axis: round(float(value), 3) for axis, value in distinguish(analysis, start, stop).items()}
        sections.append(Section(start, stop, round(float(np.clip(level, 0.25, 0.98)), 3), picture=picture))
    return sections


def _mean_energy(analysis: VideoAnalysis, start: float, end: float) -> float:
    """Mean of the picture's energy from start to end, s."""
    energy, rate = analysis.events.energy, float(analysis.events.rate)
    part = energy[int(start * rate) : max(int(end * rate), int(start * rate) + 1)]
    return float(part.mean()) if len(part) else 0.0


def _energy_detail(analysis: VideoAnalysis, sections: Sequence[Section]) -> list[tuple[float, float]]:
    """The finer course of energy: what the picture does within each section, and a slight growth towards its end."""
    energy, rate = analysis.events.energy, float(analysis.events.rate)
    if len(energy) == 0:
        return []
    span = max(1, min(len(energy), round(1.5 * rate)))
    padded = np.pad(energy, (span // 2, span - 1 - span // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(span) / span, mode="valid")
    deviation = max(float(smooth.std()), 0.08)
    clock = np.arange(len(energy)) / rate
    points: list[tuple[float, float]] = []
    for section in sections:
        length = section.end - section.start
        times = section.start + (np.arange(max(1, round(length))) + 0.5) * length / max(1, round(length))
        values = np.interp(times, clock, smooth)
        growth = 1 + 0.05 * (2 * (times - section.start) / length - 1)
        factor = np.clip(growth + 0.12 * (values - values.mean()) / deviation, 0.7, 1.3)
        points += _simplify(times, factor / factor.mean(), 0.03)
    return points


def _simplify(times: np.ndarray, values: np.ndarray, tolerance: float) -> list[tuple[float, float]]:
    """The fewest points whose straight lines stay within the tolerance (Douglas and Peucker 1973)."""
    keep = np.zeros(len(times), bool)
    keep[[0, -1]] = True
    spans = [(0, len(times) - 1)]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        line = np.interp(times[a : b + 1], times[[a, b]], values[[a, b]])
        far = int(np.abs(values[a : b + 1] - line).argmax()) + a
        if abs(values[far] - line[far - a]) > tolerance:
            keep[far] = True
            spans += [(a, far), (far, b)]
    return [(round(float(t), 2), round(float(v), 3)) for t, v in zip(times[keep], values[keep], strict=True)]


def _tempo_limits(
    asked: float | None, words: TextCondition, mood: TextCondition, sections: Sequence[Section]
) -> TempoConstraints:
    """Constraints of the grid from the words, and from the picture where they say nothing."""
    shared = TempoConstraints(
        beats_per_bar=words.beats_per_bar or mood.beats_per_bar,
        borders=tuple(section.start for section in sections[1:]),
    )
    if asked is not None:
        return replace(shared, tempo=asked)
    if hint := words.tempo or mood.tempo:
        low, high = max(MIN_TEMPO, 0.86 * hint), min(MAX_TEMPO, 1.16 * hint)
        return replace(shared, prior=hint, lowest=low, highest=high, prior_width=0.12)
    arousal = _asked_value(words, mood, "arousal")
    if arousal is None:
        lengths = [section.end - section.start for section in sections]
        arousal = float(np.average([section.picture.get("arousal", 0.0) for section in sections], weights=lengths))
    return replace(shared, prior=ORDINARY_TEMPO * 2 ** (0.16 * arousal))
