"""The form of a piece: which scene each bar belongs to, its intensity, its key, and the chords from bar to bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.brief import Bar, Brief, Scene
from openvmas.symbolic.harmony import CADENCES, PROGRESSIONS, Harmony, Key, fit_mode
from openvmas.symbolic.notes import Part, Passage
from openvmas.symbolic.styles import Style, agreement, choose_style, equip

PHRASE = 4  # bars
LOW_ENERGY, HIGH_ENERGY = 0.32, 0.88  # of ordinary music, from the emptiest to the fullest setting
ALIKE = 1.1  # distance of semantics (standard deviations) below which two scenes share their material
MODE_BORDER = 0.5  # a scene takes a mode of its own where its valence lies this far from the piece's, on the other side
STYLE_MARGIN = 1.25  # how much better another style must fit a scene than that of the piece
LEAST_FIT = 0.8  # and how well at least
HARMONIC_AXES = ("valence", "arousal", "happy", "sad", "scary", "tender", "exciting", "angry", "funny")


class Slot(NamedTuple):
    """A chord from one beat to another. key: of its scene; is_cadence: it leads to the next section or to the end."""

    start: float
    end: float
    harmony: Harmony
    key: Key
    is_cadence: bool = False


class Measure(NamedTuple):
    """A bar with its place in the form.

    start, end: beats, end cut at the last chord. scene: index; intensity: of the bar in [0, 1], held: of its phrase;
    phrase: number of the phrase in its scene, place: of the bar in the phrase; is_last: another scene follows.
    """

    bar: Bar
    start: float
    end: float
    scene: int
    intensity: float
    held: float
    phrase: int
    place: int
    is_last: bool


@dataclass(frozen=True)
class Setting:
    """A scene with its style and key. letter: of its material; variation: times that the letter came before."""

    scene: Scene
    style: Style
    key: Key
    letter: str
    variation: int
    progressions: tuple[tuple[int | str, ...], ...]


@dataclass(frozen=True)
class Form:
    """settings: one a scene. measures: one a bar, up to the last chord; slots: the chords, the last one included."""

    settings: tuple[Setting, ...]
    measures: tuple[Measure, ...]
    slots: tuple[Slot, ...]
    key: Key

    def slot_at(self, beat: float) -> Slot:
        """The chord that sounds at a beat."""
        starts = [slot.start for slot in self.slots]
        return self.slots[max(int(np.searchsorted(starts, beat + 1e-6, side="right")) - 1, 0)]


def shape(brief: Brief, seed: tuple[int, ...]) -> Form:
    """Decide the form. The same brief and seed give the same."""
    rng = np.random.default_rng((*seed, 1))
    settings = _settings(brief, rng)
    measures = _measures(brief, settings)
    slots = _slots(brief, settings, measures)
    return Form(settings, measures, slots, slots[-1].key)


def _mean_semantics(brief: Brief) -> dict[str, float]:
    """Semantics of the whole piece: the mean over its length, where an axis without a value counts as ordinary."""
    total: dict[str, float] = {}
    for scene in brief.scenes:
        for axis, value in scene.semantics.items():
            total[axis] = total.get(axis, 0.0) + value * (scene.end - scene.start) / brief.duration
    return total


def _settings(brief: Brief, rng: np.random.Generator) -> tuple[Setting, ...]:
    whole = _mean_semantics(brief)
    main_style = choose_style(whole)
    main_key = Key(int(rng.integers(12)), fit_mode(whole, rng))
    kept: list[Setting] = []
    for scene in brief.scenes:
        semantics = dict(scene.semantics)
        own = choose_style(semantics)
        fits, usual_fits = agreement(own, semantics), agreement(main_style, semantics)
        style = own if fits > max(STYLE_MARGIN * usual_fits, LEAST_FIT) else main_style
        valence, usual = semantics.get("valence", 0.0), whole.get("valence", 0.0)
        key = main_key
        if valence * usual < 0 and abs(valence) > MODE_BORDER and abs(valence - usual) > 2 * MODE_BORDER:
            key = main_key.relative(fit_mode(semantics, rng))
        level = brief.mean_energy(scene.start, scene.end)
        alike = [s for s in kept if s.style.name == style.name and s.key == key and _distance(s, scene, brief) < ALIKE]
        # Two scenes in a row with the same material are one; from the third on there is something new.
        if len(alike) >= 2 and kept[-1].letter == kept[-2].letter == alike[-1].letter:
            alike = []
        if alike:
            first = min(alike, key=lambda s: abs(brief.mean_energy(s.scene.start, s.scene.end) - level))
            letter, progressions = first.letter, first.progressions
        else:
            letter = chr(ord("A") + len({s.letter for s in kept}) % 26)
            choice = PROGRESSIONS[key.mode]
            order = rng.permutation(len(choice))
            progressions = (choice[order[0]], choice[order[1]])
        variation = sum(s.letter == letter for s in kept)
        kept.append(Setting(scene, equip(style, semantics), key, letter, variation, progressions))
    return tuple(kept)


def _distance(setting: Setting, scene: Scene, brief: Brief) -> float:
    """Distance of two scenes in semantics and energy."""
    a, b = setting.scene.semantics, scene.semantics
    apart = sum((a.get(axis, 0.0) - b.get(axis, 0.0)) ** 2 for axis in HARMONIC_AXES) ** 0.5
    levels = [brief.mean_energy(s.start, s.end) for s in (setting.scene, scene)]
    return float(apart + 6 * abs(levels[0] - levels[1]))


def _measures(brief: Brief, settings: tuple[Setting, ...]) -> tuple[Measure, ...]:
    """The bars before the last chord, each in its scene and phrase."""
    bars = [bar for bar in brief.bars if bar.beat < brief.ending - 1e-6]
    starts = [setting.scene.start for setting in settings]
    owner = [
        max(int(np.searchsorted(starts, bar.start + 0.3 * (bar.end - bar.start), side="right")) - 1, 0) for bar in bars
    ]
    energy = np.array([brief.mean_energy(max(bar.start, 0.0), min(bar.end, brief.duration)) for bar in bars])
    deviation = max(float(energy.std()), 0.06) if len(energy) else 1.0
    measures: list[Measure] = []
    first = 0
    for i, (bar, scene) in enumerate(zip(bars, owner, strict=True)):
        if i and owner[i - 1] != scene:
            first = i
        semantics = settings[scene].scene.semantics
        level = (energy[i] - LOW_ENERGY) / (HIGH_ENERGY - LOW_ENERGY) + 0.1 * (energy[i] - energy.mean()) / deviation
        level += 0.07 * semantics.get("arousal", 0.0) + 0.07 * semantics.get("density", 0.0)
        end = min(bar.beat + bar.n_beats, brief.ending)
        is_last = i + 1 < len(bars) and owner[i + 1] != scene
        place = i - first
        measures.append(
            Measure(bar, float(bar.beat), float(end), scene, float(np.clip(level, 0, 1)), 0.0, place // PHRASE,
                    place % PHRASE, is_last)
        )  # fmt: skip
    # A part comes and goes with the phrase, not with the bar.
    for i, measure in enumerate(measures):
        same = [m.intensity for m in measures if (m.scene, m.phrase) == (measure.scene, measure.phrase)] \
            if i == 0 or measures[i - 1][3::3] != measure[3::3] else None  # fmt: skip
        held = measures[i - 1].held if same is None and i else float(np.mean(same or [measure.intensity]))
        measures[i] = measure._replace(held=held)
    return tuple(measures)


def _slots(brief: Brief, settings: tuple[Setting, ...], measures: tuple[Measure, ...]) -> tuple[Slot, ...]:
    """Chords of each scene from its progressions, with a cadence before another section and before the end."""
    slots: list[Slot] = []
    for index, setting in enumerate(settings):
        mine = [measure for measure in measures if measure.scene == index]
        if not mine:
            continue
        spans = _spans(mine, brief, setting.style.chord_seconds)
        is_end = all(m.scene <= index for m in measures)
        for k, (start, end) in enumerate(spans):
            # Three times the first, then the other.
            progression = setting.progressions[(k // 4 + setting.variation) % 4 // 3]
            degree = progression[k % 4]
            is_cadence = k == len(spans) - 1 and len(spans) > 1
            if (is_cadence and is_end) or (is_cadence and degree == 0):
                degree = CADENCES[setting.key.mode]
            elif k == 0:
                degree = 0 if setting.variation == 0 else degree
            slots.append(Slot(start, end, setting.key.chord(degree, setting.style.n_tones), setting.key, is_cadence))
    last = settings[measures[-1].scene] if measures else settings[-1]
    home = last.key.chord(0, 3)
    slots.append(Slot(brief.ending, brief.beat_of(brief.duration) + 1.0, home, last.key))
    return tuple(slots)


def _spans(mine: list[Measure], brief: Brief, seconds: float) -> list[tuple[float, float]]:
    """Where the chords of a scene begin and end: in bars, pairs of bars or half bars, whatever comes near `seconds`."""
    bar_seconds = float(np.median([measure.bar.end - measure.bar.start for measure in mine]))
    if bar_seconds * 1.45 < seconds:
        pairs = [mine[i : i + 2] for i in range(0, len(mine), 2)]
        return [(pair[0].start, pair[-1].end) for pair in pairs]
    spans: list[tuple[float, float]] = []
    for measure in mine:
        n = measure.end - measure.start
        if bar_seconds > 1.6 * seconds and n >= 4 and n % 2 == 0:
            spans += [(measure.start, measure.start + n / 2), (measure.start + n / 2, measure.end)]
        else:
            spans.append((measure.start, measure.end))
    return spans


def passages(brief: Brief, form: Form, parts: Sequence[Part]) -> tuple[Passage, ...]:
    """The sections as they were set, for who reads the score."""
    made = []
    for setting in form.settings:
        scene = setting.scene
        active = tuple(part.name for part in parts if any(scene.start <= note.start < scene.end for note in part.notes))
        scale = set(setting.key.scale)
        # A chord of the section before may go on into this one.
        used = {
            tone
            for slot in form.slots
            if brief.at(slot.start) < scene.end and brief.at(slot.end) > scene.start
            for tone in slot.harmony.scale
        }
        made.append(
            Passage(scene.start, scene.end, setting.letter, setting.key.name, setting.style.name, active,
                    tuple(sorted(scale)), tuple(sorted(used - scale)))
        )  # fmt: skip
    return tuple(made)
