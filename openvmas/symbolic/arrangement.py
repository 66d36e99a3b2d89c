"""Arrangement of a brief: a finished piece, part by part."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from openvmas.symbolic.accents import accent_hits
from openvmas.symbolic.brief import Brief
from openvmas.symbolic.desk.mixes import Mix, read_mix
from openvmas.symbolic.figures import (
    CHORDAL,
    Stroke,
    bass_root,
    beat_bar,
    crash_at,
    fill_bar,
    play_bass,
    play_chord,
    without,
)
from openvmas.symbolic.form import Form, Measure, Setting, Slot, passages, shape
from openvmas.symbolic.harmony import voice
from openvmas.symbolic.melody import MelodyNote, Theme, fit_pitches, make_theme, place_notes, vary
from openvmas.symbolic.notes import Chord, Composition, Note, Part
from openvmas.symbolic.styles import HAT, KICK, OPEN, SNARE, Style, Voice
from openvmas.symbolic.synth.presets import is_synth, reach_of

KEYS_RANGE, PAD_RANGE, ARP_RANGE = (50, 69), (53, 73), (60, 81)
# Range of each instrument for melodies, MIDI keys.
REACH: dict[str, tuple[int, int]] = {
    "piano": (65, 86), "horn": (55, 74), "strings": (64, 84), "flute": (69, 89), "clarinet": (64, 84),
    "oboe": (64, 84), "vibraphone": (65, 86), "clean_guitar": (64, 83), "overdriven_guitar": (62, 82),
    "saw_lead": (65, 84), "square_lead": (65, 84), "nylon_guitar": (62, 81), "trumpet": (62, 81),
    "celesta": (72, 93),
}  # fmt: skip
ORDER = ("lead", "counter", "arp", "keys", "pad", "bass", "low", "drums", "accent", "lift")
LOUDEST, SOFTEST = 112, 74  # velocity at intensity 1 and 0
HUMAN_MS = 3.5  # standard deviation of when players strike
LIFT = Voice("reverse_cymbal", 0.0, 0.0, 0.0, 0.3)
LIFT_SECONDS = 1.9  # from the beginning of the reversed cymbal to its peak
FREE_SILENT = ("drums", "low", "arp")  # parts that would give a beat where none is asked for


def arrange(brief: Brief, seed: tuple[int, ...]) -> Composition:
    """A finished piece for a brief; the same brief and seed give the same notes."""
    form = shape(brief, seed)
    arranger = _Arranger(brief, form, seed)
    arranger.lay_bass()
    arranger.lay_chords()
    arranger.lay_melody()
    arranger.lay_drums()
    arranger.lay_ending()
    parts = arranger.parts()
    answered = accent_hits(brief, form, parts, seed)
    return Composition(
        duration=brief.length,
        beats=np.zeros(0) if brief.is_free else brief.beats,
        downbeats=np.array([] if brief.is_free else [bar.start for bar in brief.bars]),
        beats_per_bar=int(np.median([bar.n_beats for bar in brief.bars])),
        parts=tuple(part for part in parts if part.notes),
        chords=tuple(
            Chord(max(brief.at(s.start), 0.0), min(brief.at(s.end), brief.duration), s.harmony.root, s.harmony.tones,
                  s.harmony.symbol)
            for s in form.slots
        ),
        passages=passages(brief, form, parts),
        level=expression(brief),
        answered=answered,
        tonic=form.key.tonic,
        is_minor=form.key.is_minor,
        mix=_mix(brief, form),
    )  # fmt: skip


def _mix(brief: Brief, form: Form) -> Mix:
    """The desk's settings of the style that plays longest."""
    seconds: dict[str, float] = defaultdict(float)
    for scene, setting in zip(brief.scenes, form.settings, strict=False):
        seconds[setting.style.name] += scene.end - scene.start
    styles = {setting.style.name: setting.style for setting in form.settings}
    return read_mix(styles[max(seconds, key=lambda name: seconds[name])].mix)


def _is_machine(kit: Voice) -> bool:
    return is_synth(kit.instrument) or "electronic" in kit.instrument


def expression(brief: Brief) -> np.ndarray:
    """Gain of all players that follows the energy, dB: [T] at the brief's rate."""
    if not len(brief.energy):
        return np.zeros(0)
    span = max(1, int(0.6 * brief.rate))
    padded = np.pad(brief.energy, (span // 2, span - 1 - span // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(span) / span, mode="valid")
    return np.clip(14.0 * (smooth - 0.75), -8.0, 2.5)


class _Arranger:
    """Strokes in musical time, by part and instrument, while a piece is written."""

    def __init__(self, brief: Brief, form: Form, seed: tuple[int, ...]) -> None:
        self.brief, self.form, self.seed = brief, form, seed
        self.strokes: dict[tuple[str, Voice], list[Stroke]] = defaultdict(list)
        self._bass_line: list[Stroke] = []
        self._leads = {s.letter: int(np.random.default_rng((*seed, 9)).integers(8)) for s in form.settings}

    def setting(self, measure: Measure) -> Setting:
        return self.form.settings[measure.scene]

    def plays(self, part: str, measure: Measure) -> bool:
        """Whether a part plays in a bar: its entry is reached, and the piece has begun."""
        if self.brief.is_free and part in FREE_SILENT:
            return False
        held = measure.held
        first = self.form.measures[0]
        if measure.scene == first.scene and measure.phrase == 0 and len(self.form.measures) >= 12:
            held = max(held - 0.12, 0.0)  # a long piece begins with less
            if part == "lead" and measure.place < 2:
                return False
        return held >= self.setting(measure).style.entry(part)

    def _figure(self, style: Style, part: str, intensity: float) -> str:
        figures = style.figures.get(part, ("held",) if part == "bass" else ("block",))
        return figures[min(int(intensity * len(figures) * 0.999), len(figures) - 1)]

    def _loud(self, loud: float, intensity: float) -> float:
        """Velocity of a stroke in [0, 1] by its own loudness and the intensity of its bar."""
        return loud * (SOFTEST + (LOUDEST - SOFTEST) * intensity) / 127

    def _put(self, part: str, instrument: Voice, strokes: list[Stroke], intensity: float) -> None:
        self.strokes[part, instrument] += [s._replace(loud=self._loud(s.loud, intensity)) for s in strokes]

    def _pieces(self, slot: Slot) -> list[tuple[Measure, float, float]]:
        """The parts of a chord that lie in each bar: (bar, start, end)."""
        found = []
        for measure in self.form.measures:
            start, end = max(slot.start, measure.start), min(slot.end, measure.end)
            if end - start > 1e-6:
                found.append((measure, start, end))
        return found

    def lay_bass(self) -> None:
        root: int | None = None
        slots = self.form.slots
        roots = []
        for slot in slots:
            root = bass_root(slot.harmony, root)
            roots.append(root)
        for i, slot in enumerate(slots[:-1]):
            for measure, start, end in self._pieces(slot):
                style = self.setting(measure).style
                if not self.plays("bass", measure):
                    continue
                figure = self._figure(style, "bass", measure.intensity)
                is_end = end > slot.end - 1e-6
                line = play_bass(
                    figure, slot.harmony, roots[i], roots[i + 1] if is_end else roots[i], start, end, measure.start
                )  # fmt: skip
                if figure == "held" and start > slot.start + 1e-6 and self._bass_line:
                    last = self._bass_line[-1]  # a long tone goes on over the bar line
                    if last.pitch == roots[i] and abs(last.beat + last.length - start) < 0.5:
                        self.strokes["bass", style.bass][-1] = self.strokes["bass", style.bass][-1]._replace(
                            length=end - last.beat - 0.05
                        )
                        self._bass_line[-1] = last._replace(length=end - last.beat - 0.05)
                        continue
                self._bass_line += line
                self._put("bass", style.bass, line, measure.intensity)
        self._bass_line.append(Stroke(slots[-1].start, slots[-1].end - slots[-1].start, roots[-1], 1.0))

    def _bass_at(self, beat: float) -> int | None:
        """The pitch of the bass that sounds at a beat, or that sounded last before it."""
        starts = [stroke.beat for stroke in self._bass_line]
        k = int(np.searchsorted(starts, beat + 1e-6, side="right")) - 1
        return self._bass_line[k].pitch if k >= 0 else None

    def lay_chords(self) -> None:
        """Pad, keys and arpeggio, each with its own voice leading."""
        last: dict[str, tuple[int, ...]] = {}
        for slot in self.form.slots[:-1]:
            pieces = self._pieces(slot)
            if not pieces:
                continue
            style = self.setting(pieces[0][0]).style
            voicings = self._voicings(slot, style, last)
            low = bass_root(slot.harmony, 40) + (12 if bass_root(slot.harmony, 40) < 40 else 0)
            if self.plays("pad", pieces[0][0]):
                start, end = pieces[0][1], pieces[-1][2]
                pad = [Stroke(start, end - start, pitch, 0.72) for pitch in voicings["pad"]]
                self._put("pad", style.pad, pad, pieces[0][0].intensity)
            for measure, start, end in pieces:
                strum_delay = 0.014 / max(self.brief.at(start + 1) - self.brief.at(start), 0.1)
                for part, instrument in (("keys", style.keys), ("arp", style.arp)):
                    if instrument is None or not self.plays(part, measure):
                        continue
                    figure = self._figure(style, part, measure.intensity)
                    is_single = figure in ("block", "rolled")
                    if is_single and start > slot.start + 1e-6:
                        continue
                    until = pieces[-1][2] if is_single else end
                    strokes = play_chord(figure, voicings[part], low, start, until, measure.start, strum_delay)
                    if part == "keys" and figure in CHORDAL:
                        strokes = [_swung(stroke, measure.start, style.swing) for stroke in strokes]
                    self._put(part, instrument, strokes, measure.intensity)

    def _voicings(self, slot: Slot, style: Style, last: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        n_voices = 4 if style.n_tones > 3 else 3
        for part, (low, high), n in (
            ("pad", PAD_RANGE, n_voices),
            ("keys", KEYS_RANGE, n_voices),
            ("arp", ARP_RANGE, 4),
        ):
            last[part] = voice(slot.harmony, last.get(part), low, high, n)
        if style.has_power_chords:
            root = 40 + (slot.harmony.root - 40) % 12
            fifth = next((p for p in (root + 7,) if p % 12 in slot.harmony.tones), root + 12)
            last["keys"] = tuple(sorted({root, fifth, root + 12}))
        return dict(last)

    def lay_melody(self) -> None:
        themes: dict[tuple[str, str, str], Theme] = {}
        before: Stroke | None = None
        last = self.form.slots[-1]
        phrases: dict[tuple[int, int], list[Measure]] = defaultdict(list)
        for measure in self.form.measures:
            phrases[measure.scene, measure.phrase].append(measure)
        for (_, number), measures in phrases.items():
            setting = self.setting(measures[0])
            style = setting.style
            kind = "ab"[number % 4 == 2]  # a a b a
            busy = self._figure(style, "lead", float(np.mean([m.intensity for m in measures])))
            rng = np.random.default_rng((*self.seed, ord(setting.letter), ord(kind), len(busy)))
            theme = themes.setdefault((setting.letter, kind, busy), make_theme(rng, busy))
            rests = measures[0].held < 0.4 and number % 2 == 1 and rng.random() < 0.5
            if (number + setting.variation) % 2 and kind == "a":
                theme = vary(theme, rng, busy)
            instrument = style.lead[(self._leads[setting.letter] + setting.variation) % len(style.lead)]
            sound = instrument.instrument
            reach = reach_of(sound) if is_synth(sound) else REACH[sound]
            centre = (reach[0] + reach[1]) / 2 - 2 + 4 * (measures[0].held - 0.5) + (2 if kind == "b" else 0)
            notes = [
                note
                for m in measures
                if self.plays("lead", m) and not rests
                for note in place_notes(theme, m.place, m.start, m.end, centre)
            ]
            if notes and measures[-1] is self.form.measures[-1] and self.plays("lead", measures[-1]):
                notes.append(MelodyNote(last.start, last.end - last.start, centre, True, True))
            line = fit_pitches(notes, self.form.slot_at, self._bass_at, reach, theme.seed, before)
            before = line[-1] if line else before
            self._put("lead", instrument, [_swung(s, measures[0].start, style.swing) for s in line], measures[0].held)
            self._lay_counter(style, measures)

    def _lay_counter(self, style: Style, measures: list[Measure]) -> None:
        """A slow second voice of chord tones, where the setting is full."""
        if style.counter is None or not self.plays("counter", measures[0]):
            return
        pitch = 69
        for slot in self.form.slots[:-1]:
            if not measures[0].start - 1e-6 <= slot.start < measures[-1].end - 1e-6:
                continue
            guides = slot.harmony.tones[1:] or slot.harmony.tones
            options = [p for p in range(60, 80) if p % 12 in guides]
            pitch = min(options, key=lambda p: (abs(p - pitch) + 0.2 * abs(p - 69), p))
            self._put(
                "counter", style.counter, [Stroke(slot.start, slot.end - slot.start, pitch, 0.8)], measures[0].held
            )

    def lay_drums(self) -> None:
        rng = np.random.default_rng((*self.seed, 5))
        measures = self.form.measures
        for i, measure in enumerate(measures):
            style = self.setting(measure).style
            new = i == 0 or measures[i - 1].scene != measure.scene
            grows = new and i > 0 and measure.held > measures[i - 1].held + 0.04
            if style.low_drum is not None and self.plays("low", measure):
                pattern = "X.....x.....x..." if measure.intensity < 0.7 else "X..x..x.X..x.xx."
                strokes = beat_bar({45: pattern}, measure.start, measure.end, 0.0, 1.0)
                self._put("low", style.low_drum, [s._replace(pitch=43 if k % 2 else 40) for k, s in enumerate(strokes)],
                          measure.intensity)  # fmt: skip
            if grows and self.plays("pad", measure) and not self.brief.is_free:
                time = self.brief.at(measure.start)
                if time > LIFT_SECONDS:
                    begin = self.brief.beat_of(time - LIFT_SECONDS)
                    self._put("lift", LIFT, [Stroke(begin, measure.start - begin, 60, 0.7)], measure.held)
            if style.kit is None or not self.plays("drums", measure):
                continue
            span = 1 - style.entry("drums")
            level = (measure.intensity - style.entry("drums")) / max(span, 0.1)
            groove = style.grooves[int(np.clip(level * len(style.grooves), 0, len(style.grooves) - 1))]
            strokes = beat_bar(groove, measure.start, measure.end, style.swing, 0.8)
            ends_phrase = measure.place == 3 and i + 1 < len(measures) and self.plays("drums", measures[i + 1])
            if (
                (measure.is_last or ends_phrase)
                and measure.end - measure.start >= 2
                and SNARE in {s.pitch for s in strokes}
            ):
                fill = fill_bar(measure.end, measure.is_last, _is_machine(style.kit), rng)
                strokes = without(strokes, fill[0].beat, measure.end, (SNARE, HAT, OPEN, 39)) + fill
            if new and (i == 0 or measure.held > 0.5) and groove is not style.grooves[0]:
                strokes = without(strokes, measure.start, measure.start + 0.1, (KICK, HAT))
                strokes += crash_at(measure.start, 0.85)
            self._put("drums", style.kit, strokes, measure.intensity)

    def lay_ending(self) -> None:
        """The last chord: home, in every part that was playing, until the picture ends."""
        slot = self.form.slots[-1]
        measures = self.form.measures
        setting = self.form.settings[measures[-1].scene if measures else -1]
        style, intensity = setting.style, measures[-1].intensity if measures else 0.5
        length = slot.end - slot.start
        root = self._bass_line[-1].pitch
        playing = {part for part, _ in self.strokes} & {
            p for p in ("bass", "pad", "drums", "low") if not measures or self.plays(p, measures[-1])
        }  # fmt: skip
        voicings = self._voicings(slot, style, {})
        if "bass" in playing:
            self._put("bass", style.bass, [Stroke(slot.start, length, root, 0.9)], intensity)
        if "pad" in playing:
            self._put("pad", style.pad, [Stroke(slot.start, length, p, 0.75) for p in voicings["pad"]], intensity)
        step = 0.0 if style.kit else 0.1  # without drums the last chord is rolled
        chord = [36 + slot.harmony.root % 12, *voicings["keys"]]
        rolled = [Stroke(slot.start + k * step, length - k * step, p, 0.8) for k, p in enumerate(chord)]
        self._put("keys", style.keys, rolled, max(intensity, 0.35))
        if style.kit is not None and "drums" in playing:
            self._put("drums", style.kit, crash_at(slot.start, 0.9), intensity)
        if style.low_drum is not None and "low" in playing:
            self._put("low", style.low_drum, [Stroke(slot.start, 0.5, 40, 1.0)], intensity)

    def parts(self) -> list[Part]:
        """Notes in seconds, cut to the picture: one Part for each player."""
        rng = np.random.default_rng((*self.seed, 7))
        made: dict[str, int] = defaultdict(int)
        parts = []
        for name, voice_ in sorted(self.strokes, key=lambda key: ORDER.index(key[0])):
            made[name] += 1
            part = voice_.part(name, made[name])
            for stroke in self.strokes[name, voice_]:
                start, end = self.brief.at(stroke.beat), self.brief.at(stroke.beat + stroke.length)
                start += float(rng.normal(0, HUMAN_MS / 1000)) if start > 0.02 else 0.0
                if end <= 0.02 or start >= self.brief.duration - 0.02:
                    continue
                if start < 0 and (part.is_kit or end - start < 0.6):
                    continue  # a short note that begins before the picture is left out
                velocity = int(np.clip(round(127 * stroke.loud + rng.normal(0, 2)), 12, 127))
                start = max(start, 0.0)
                part.notes.append(Note(start, max(min(end, self.brief.duration), start + 0.03), stroke.pitch, velocity))
            part.notes.sort()
            parts.append(part)
        return parts


def _swung(stroke: Stroke, bar: float, swing: float) -> Stroke:
    """Every second sixteenth late by a share of a sixteenth."""
    place = (stroke.beat - bar) * 4
    is_off = abs(place - round(place)) < 1e-6 and round(place) % 2 == 1
    if not is_off:
        return stroke
    return stroke._replace(beat=stroke.beat + swing / 4, length=max(stroke.length - swing / 4, 0.05))
