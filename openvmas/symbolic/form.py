"""The form of a piece: which scene each bar belongs to, its intensity, its key, and the chords from bar to bar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.brief import Bar, Brief, Scene
from openvmas.symbolic.harmony import CADENCES, MINOR_MODES, PROGRESSIONS, Harmony, Key, fit_mode
from openvmas.symbolic.notes import Part, Passage
from openvmas.symbolic.styles import Band, Style, choose_style, equip, fit, named_style

PHRASE = 4  # bars
LOW_ENERGY, HIGH_ENERGY = 0.32, 0.88  # of ordinary music, from the emptiest to the fullest setting
ALIKE = 1.1  # distance of semantics (standard deviations) below which two scenes share their material
MODE_BORDER = 0.5  # a scene takes a mode of its own where its valence lies this far from the piece's, on the other side
STYLE_MARGIN = 1.2  # how much better another style must fit a scene than that of the piece (see styles.fit)
LEAST_FIT = 1.0  # and how well at least
LIFT, LIFT_RISE = 2, 0.04  # semitones up for the last section, and the rise of energy that it needs
DROP_PLACE = (0.2, 0.9)  # share of the piece in which its strongest moment may lie
DROP_STRENGTH = 0.75
DROP_REACH = 0.3  # of a bar, from a downbeat, so that the band can come in there
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
    n_phrases: of its scene.
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
    n_phrases: int = 1


@dataclass(frozen=True)
class Setting:
    """A scene with its style, players and key.

    letter: of its material; variation: times that the letter came before; pace: beats of the style in one of the plan.
    """

    scene: Scene
    style: Style
    band: Band
    key: Key
    letter: str
    variation: int
    progressions: tuple[tuple[str, ...], ...]
    pace: float = 1.0


@dataclass(frozen=True)
class Form:
    """settings: one a scene. measures: one a bar, up to the last chord; slots: the chords, the last one included.

    drop: the time (s) of the picture's strongest moment where the piece leads up to it, or None.
    """

    settings: tuple[Setting, ...]
    measures: tuple[Measure, ...]
    slots: tuple[Slot, ...]
    key: Key
    drop: float | None = None

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
    return Form(settings, measures, slots, slots[-1].key, _drop(brief, settings, measures))


def _drop(brief: Brief, settings: tuple[Setting, ...], measures: tuple[Measure, ...]) -> float | None:
    """The strongest moment of the picture, if it lies inside, near a downbeat, and the style leads up to such."""
    low, high = (share * brief.duration for share in DROP_PLACE)
    inside = [hit for hit in brief.hits if low <= hit[0] <= high and hit[1] >= DROP_STRENGTH]
    if brief.is_free or not inside:
        return None
    for time, _ in sorted(inside, key=lambda hit: (-hit[1], hit[0])):
        here = [m for m in measures if abs(m.bar.start - time) <= DROP_REACH * (m.bar.end - m.bar.start)]
        form = settings[here[0].scene].style.form if here else None
        if form and (form.build != "none" or form.has_stop):
            return time
    return None


def _mean_semantics(brief: Brief) -> dict[str, float]:
    """Semantics of the whole piece: the mean over its length, where an axis without a value counts as ordinary."""
    total: dict[str, float] = {}
    for scene in brief.scenes:
        for axis, value in scene.semantics.items():
            total[axis] = total.get(axis, 0.0) + value * (scene.end - scene.start) / brief.duration
    return total


def _settings(brief: Brief, rng: np.random.Generator) -> tuple[Setting, ...]:
    whole = _mean_semantics(brief)
    tempo = 60 / float(np.median(np.diff(brief.beats)))
    common = [phrase for phrase in brief.scenes[0].named if all(phrase in scene.named for scene in brief.scenes)]
    main_style = choose_style(whole, common, brief.metre, rng, None if brief.is_free else tempo)
    main_key = Key(int(rng.integers(12)), fit_mode(whole, rng, main_style.modes))
    seed = int(rng.integers(2**31))
    kept: list[Setting] = []
    for scene in brief.scenes:
        semantics = dict(scene.semantics)
        style = _style_of(scene, main_style, brief.metre, tempo)
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
            choice = style.progressions.get(key.mode) or PROGRESSIONS[key.mode]
            order = rng.permutation(len(choice))
            progressions = tuple(choice[k] for k in order[:2])
        variation = sum(s.letter == letter for s in kept)
        equipped, band = equip(style, semantics, np.random.default_rng((seed, *style.name.encode())))
        kept.append(Setting(scene, equipped, band, key, letter, variation, progressions, style.pace(tempo)))
    return _lifted(tuple(kept), brief, rng)


def _style_of(scene: Scene, main: Style, metre: int, tempo: float) -> Style:
    """The style of a scene: that which its words name, or another than the piece's where that fits much better."""
    semantics = dict(scene.semantics)
    named = named_style(scene.named)
    if named is not None:
        return named
    own = choose_style(semantics, scene.named, metre, tempo=tempo)
    fits, usual_fits = fit(own, semantics, tempo, metre), fit(main, semantics, tempo, metre)
    return own if fits > max(usual_fits + STYLE_MARGIN, LEAST_FIT) else main


def _lifted(settings: tuple[Setting, ...], brief: Brief, rng: np.random.Generator) -> tuple[Setting, ...]:
    """The settings with the last one a tone higher, where its style does that and the energy rises to it."""
    last = settings[-1]
    if len(settings) < 3 or rng.random() >= last.style.form.lift or last.key.mode in ("phrygian", "lydian"):
        return settings
    levels = [brief.mean_energy(s.scene.start, s.scene.end) for s in settings[-2:]]
    if levels[1] < levels[0] + LIFT_RISE or settings[-2].key != last.key:
        return settings
    return (*settings[:-1], replace(last, key=Key((last.key.tonic + LIFT) % 12, last.key.mode)))


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
        n_phrases = -(-owner.count(scene) // PHRASE)
        level = (energy[i] - LOW_ENERGY) / (HIGH_ENERGY - LOW_ENERGY) + 0.1 * (energy[i] - energy.mean()) / deviation
        level += 0.07 * semantics.get("arousal", 0.0) + 0.07 * semantics.get("density", 0.0)
        end = min(bar.beat + bar.n_beats, brief.ending)
        is_last = i + 1 < len(bars) and owner[i + 1] != scene
        place = i - first
        measures.append(
            Measure(bar, float(bar.beat), float(end), scene, float(np.clip(level, 0, 1)), 0.0, place // PHRASE,
                    place % PHRASE, is_last, n_phrases)
        )  # fmt: skip
    # A part comes and goes with the phrase, not with the bar.
    phrases: dict[tuple[int, int], list[float]] = defaultdict(list)
    for measure in measures:
        phrases[measure.scene, measure.phrase].append(measure.intensity)
    return tuple(m._replace(held=float(np.mean(phrases[m.scene, m.phrase]))) for m in measures)


def _slots(brief: Brief, settings: tuple[Setting, ...], measures: tuple[Measure, ...]) -> tuple[Slot, ...]:
    """Chords of each scene from its progressions, with a cadence before another section and before the end."""
    slots: list[Slot] = []
    for index, setting in enumerate(settings):
        mine = [measure for measure in measures if measure.scene == index]
        if not mine:
            continue
        spans = _spans(mine, brief, setting.style)
        is_end = all(m.scene <= index for m in measures)
        following = settings[index + 1] if not is_end else setting
        first, other = setting.progressions[0], setting.progressions[-1]
        # Three times the first, then the other; a long one, such as a blues, goes round by itself.
        cycle = [*first * 3, *other] if len(first) <= 4 else [*first]
        begin = setting.variation * len(first) if len(first) <= 4 else 0
        for k, (start, end) in enumerate(spans):
            numeral = cycle[(begin + k) % len(cycle)]
            is_cadence = k == len(spans) - 1 and len(spans) > 1
            if is_cadence and following.key != setting.key:
                numeral = setting.key.common_chord(following.key) or CADENCES[setting.key.mode]
            elif is_cadence and (is_end or numeral.upper() == "I"):
                numeral = _cadence(setting)
            elif k == 0 and setting.variation == 0:
                numeral = "i" if setting.key.mode in MINOR_MODES else "I"
            slots.append(Slot(start, end, setting.key.chord(numeral, setting.style.n_tones), setting.key, is_cadence))
    last = settings[measures[-1].scene] if measures else settings[-1]
    home = last.key.chord("i" if last.key.mode in MINOR_MODES else "I", 3)
    slots.append(Slot(brief.ending, brief.beat_of(brief.duration) + 1.0, home, last.key))
    return tuple(slots)


def _cadence(setting: Setting) -> str:
    """The chord that leads home: that of the mode, or of a style's own progressions the one before they begin again."""
    own = setting.style.progressions.get(setting.key.mode)
    last = own[0][-1] if own else "I"
    return CADENCES[setting.key.mode] if last.upper() in ("I", "I7") else last


def _spans(mine: list[Measure], brief: Brief, style: Style) -> list[tuple[float, float]]:
    """Where the chords of a scene begin and end: in bars, several bars or half bars, as the style says or whatever
    comes near its `chord_seconds`."""
    bar_seconds = float(np.median([measure.bar.end - measure.bar.start for measure in mine]))
    bars = style.chord_bars
    if not bars:
        ratio = style.chord_seconds / bar_seconds
        bars = 4 if ratio > 3 else 2 if ratio > 1.45 else 1 if ratio > 0.62 else 0.5
    if bars > 1:
        n = round(bars)
        groups = [mine[i : i + n] for i in range(0, len(mine), n)]
        return [(group[0].start, group[-1].end) for group in groups]
    spans: list[tuple[float, float]] = []
    for measure in mine:
        n = measure.end - measure.start
        if bars < 1 and n >= 4 and n % 2 == 0:
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
