"""Arrangement of a brief: a finished piece, part by part."""

from __future__ import annotations

import functools
from collections import defaultdict

import numpy as np

from openvmas.symbolic.accents import accent_hits, low_pitch
from openvmas.symbolic.brief import Brief, with_ritard
from openvmas.symbolic.desk.mixes import Mix, read_mix
from openvmas.symbolic.figures import (
    Lane,
    Mark,
    Stroke,
    bass_root,
    beat_bar,
    crash_at,
    fill_bar,
    play_bass,
    play_chord,
    warped,
    without,
)
from openvmas.symbolic.form import Form, Measure, Setting, Slot, passages, shape
from openvmas.symbolic.harmony import voice, voicing_of
from openvmas.symbolic.melodist.proposals import Melodist
from openvmas.symbolic.melody import (
    MelodyNote,
    Theme,
    ask_pitches,
    decorate,
    fit_pitches,
    make_theme,
    place_notes,
    vary,
)
from openvmas.symbolic.notes import Chord, Composition, Note, Part
from openvmas.symbolic.players.touch import Drummer, Place, Player
from openvmas.symbolic.styles import CLAP, FLOOR, HAT, KICK, LOW_TOM, OPEN, RIDE, SNARE, Style, Voice
from openvmas.symbolic.synth.presets import is_synth
from openvmas.symbolic.synth.presets import reach_of as synth_reach

KEYS_RANGE, PAD_RANGE, ARP_RANGE = (50, 69), (53, 73), (60, 81)
# Range of each instrument for melodies, MIDI keys.
REACH: dict[str, tuple[int, int]] = {
    "piano": (65, 86), "horn": (55, 74), "strings": (64, 84), "flute": (69, 89), "clarinet": (64, 84),
    "oboe": (64, 84), "vibraphone": (65, 86), "clean_guitar": (64, 83), "overdriven_guitar": (62, 82),
    "saw_lead": (65, 84), "square_lead": (65, 84), "nylon_guitar": (62, 81), "trumpet": (62, 81),
    "celesta": (72, 93), "steel_guitar": (62, 81), "cello": (50, 69), "electric_piano": (64, 84),
    "organ": (62, 82), "muted_guitar": (62, 81), "marimba": (64, 86), "harp": (64, 88), "pizzicato": (62, 82),
    "tenor_sax": (55, 74), "alto_sax": (60, 79), "muted_trumpet": (62, 81), "brass_section": (58, 77),
    "fiddle": (62, 86), "violin": (62, 86), "accordion": (62, 82), "harmonica": (64, 84), "banjo": (62, 81),
    "jazz_guitar": (60, 80), "recorder": (70, 89), "piccolo": (74, 93), "bassoon": (48, 67), "xylophone": (70, 89),
    "pan_flute": (67, 86), "shakuhachi": (64, 83), "steel_drums": (64, 84), "distortion_guitar": (62, 82),
    "english_horn": (60, 79), "viola": (57, 77), "ukulele": (64, 81), "kalimba": (65, 86),
    "fantasia": (64, 84), "choir": (60, 79), "synth_strings": (62, 82), "warm_pad": (60, 80),
}  # fmt: skip
SYNTH_REACH = (60, 86)  # of melodies on sounds that reach farther
ORDER = ("lead", "counter", "arp", "keys", "pad", "bass", "low", "drums", "accent", "lift")
LOUDEST, SOFTEST = 112, 74  # velocity at intensity 1 and 0
LIFT = Voice("reverse_cymbal", 0.0, 0.0, 0.0, 0.3)
RISER = Voice("synth:riser_noise", -4.0, 0.0, 0.0, 0.3)  # of styles with a drum machine
LIFT_SECONDS = 1.9  # from the beginning of the reversed cymbal to its peak
FREE_SILENT = ("drums", "low", "arp")  # parts that would give a beat where none is asked for
FREE_KEYS = ("r---------------", "1.......3.......", "r-------..5.....", "3.....5.......1.")  # a sparse piano
BOOST, BEFORE = 0.18, 0.12  # of intensity after the strongest moment, and taken before it
STOP_BEATS = (0.5, 1.0)  # of silence before a strong hit, and before the strongest moment
STOP_STRENGTH, STOP_GAP = 0.95, 8.0  # of hits that are worth it, and s between two of them
BASS_LATE = 0.002  # s
LONG_FORM = 12  # bars, from which a piece has an introduction and a long section pauses


def arrange(
    brief: Brief, seed: tuple[int, ...], form_seed: tuple[int, ...] | None = None, melodist: Melodist | None = None
) -> Composition:
    """A finished piece for a brief; the same brief and seed give the same notes.

    form_seed: `seed` of another composition, whose style, key and chords this one is to have. melodist: proposes
    melodies.
    """
    seed = (*seed, brief.picture)
    form = shape(brief, form_seed or seed)
    if form.settings[-1].style.form.ending == "slow":
        brief = with_ritard(brief)
    arranger = _Arranger(brief, form, seed, melodist)
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
        beats_per_bar=brief.metre,
        parts=tuple(part for part in parts if part.notes),
        chords=tuple(
            Chord(max(brief.at(s.start), 0.0), min(brief.at(s.end), brief.duration), s.harmony.root, s.harmony.tones,
                  s.harmony.symbol)
            for s in form.slots
        ),
        passages=passages(brief, form, parts),
        level=expression(brief, form),
        answered=answered,
        tonic=form.key.tonic,
        is_minor=form.key.is_minor,
        mix=_mix(form),
        seed=form_seed or seed,
    )  # fmt: skip


def _mix(form: Form) -> Mix:
    """The desk's settings of the style that plays longest."""
    seconds: dict[str, float] = defaultdict(float)
    for setting in form.settings:
        seconds[setting.style.name] += setting.scene.end - setting.scene.start
    longest = max(seconds, key=lambda name: seconds[name])
    return read_mix(next(s.style.mix for s in form.settings if s.style.name == longest))


def expression(brief: Brief, form: Form) -> np.ndarray:
    """Gain of all players that follows the energy, dB: [T] at the brief's rate. Without a beat each chord swells."""
    if not len(brief.energy):
        return np.zeros(0)
    span = max(1, int(0.6 * brief.rate))
    padded = np.pad(brief.energy, (span // 2, span - 1 - span // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(span) / span, mode="valid")
    level = np.clip(14.0 * (smooth - 0.75), -8.0, 2.5)
    if brief.is_free:
        edges = np.array([brief.at(slot.start) for slot in form.slots] + [brief.duration])
        times = np.arange(len(level)) / brief.rate
        k = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 2)
        share = (times - edges[k]) / np.maximum(np.diff(edges)[k], 0.1)
        level = level + 3.0 * np.sin(np.pi * np.clip(share, 0, 1)) - 1.5
    return level


class _Arranger:
    """Strokes in musical time, by part and instrument, while a piece is written."""

    def __init__(self, brief: Brief, form: Form, seed: tuple[int, ...], melodist: Melodist | None = None) -> None:
        self.brief, self.form, self.seed, self.melodist = brief, form, seed, melodist
        self.strokes: dict[tuple[str, Voice], list[Stroke]] = defaultdict(list)
        # A video that is hardly longer than its last chord has no bar before it.
        only = Measure(
            brief.bars[0], float(brief.bars[0].beat), brief.ending, len(form.settings) - 1, 0.5, 0.5, 0, 0, False
        )
        self._measures = form.measures or (only,)
        self._starts = np.array([measure.start for measure in self._measures])
        self._bass_line: list[Stroke] = []
        self._leads = {s.letter: int(np.random.default_rng((*seed, 9)).integers(8)) for s in form.settings}
        self._drop = None if form.drop is None else brief.beat_of(form.drop)
        self._sections = [m.start for i, m in enumerate(form.measures) if m.scene != form.measures[i - 1].scene]

    def setting(self, measure: Measure) -> Setting:
        return self.form.settings[measure.scene]

    def measure_at(self, beat: float) -> Measure:
        return self._measures[max(int(np.searchsorted(self._starts, beat + 1e-6, side="right")) - 1, 0)]

    def lane(self, measure: Measure) -> Lane:
        setting = self.setting(measure)
        return Lane(
            float(measure.bar.beat), measure.place, float(measure.bar.n_beats), setting.style.steps * setting.pace,
            setting.style.bar_steps, setting.pace != 1,
        )  # fmt: skip

    def intensity(self, measure: Measure) -> float:
        """Intensity of a bar, less on the way to the strongest moment and more from there on."""
        return float(np.clip(measure.intensity + self._push(measure), 0, 1))

    def _push(self, measure: Measure) -> float:
        if self._drop is None:
            return 0.0
        bars = (measure.start - self._drop) / max(measure.bar.n_beats, 1)
        return BOOST if -0.3 <= bars < 8 else -BEFORE if -2.3 <= bars < -0.3 else 0.0

    def plays(self, part: str, measure: Measure) -> bool:
        """Whether a part plays in a bar: its entry is reached, the piece has begun, and it does not pause."""
        setting = self.setting(measure)
        style, first = setting.style, self.form.measures[0]
        if setting.scene.is_silent or (self.brief.is_free and part in FREE_SILENT):
            return False
        held = measure.held + self._push(measure)
        if measure.scene == first.scene and measure.phrase == 0 and len(self.form.measures) >= LONG_FORM:
            held = max(held - 0.12, 0.0)  # a long piece begins with less
            if measure.place < 2 and (part not in style.form.intro if style.form.intro else part == "lead"):
                return False
        if measure.phrase % 2 and measure.n_phrases >= 3 and measure.phrase < measure.n_phrases - 1:
            breaks = style.form.breaks
            if breaks and part == breaks[(measure.phrase // 2 + self.seed[0]) % len(breaks)]:
                return False
        return held >= style.entry(part)

    def pattern(self, part: str, measure: Measure, default: str) -> str:
        """The pattern of a part in a bar: by intensity from calm to busy, one of those that the style offers."""
        setting = self.setting(measure)
        levels = setting.style.figures.get(part)
        if self.brief.is_free and part == "keys":
            rng = np.random.default_rng((*self.seed, 21, round(measure.start)))
            return FREE_KEYS[int(rng.integers(len(FREE_KEYS)))]
        if self.brief.is_free and part == "bass":
            return "1---------------"
        if not levels:
            return default
        level = min(int(self.intensity(measure) * len(levels) * 0.999), len(levels) - 1)
        if setting.style.form.ending == "slow" and measure is self.form.measures[-1] and len(self.form.measures) > 4:
            level = 0
        rng = np.random.default_rng((*self.seed, ord(setting.letter), level, *part.encode()))
        return levels[level][int(rng.integers(len(levels[level])))]

    def put(self, part: str, instrument: Voice, strokes: list[Stroke], intensity: float | None = None) -> None:
        """Add strokes, louder the more intense their bar is, in the style's swing."""
        for stroke in strokes:
            measure = self.measure_at(stroke.beat)
            level = self.intensity(measure) if intensity is None else intensity
            setting = self.setting(measure)
            if setting.style.swing and (setting.style.steps == 4 or part in ("lead", "counter")):
                unit = setting.style.swing_of * (setting.pace if part not in ("lead", "counter") else 1)
                stroke = warped(stroke, float(measure.bar.beat), setting.style.swing, round(unit))
            loud = stroke.loud * (SOFTEST + (LOUDEST - SOFTEST) * level) / 127
            self.strokes[part, instrument].append(stroke._replace(loud=loud))

    def _pieces(self, slot: Slot) -> list[tuple[Measure, float, float]]:
        """The parts of a chord that lie in each bar: (bar, start, end)."""
        found = []
        for measure in self.form.measures:
            start, end = max(slot.start, measure.start), min(slot.end, measure.end)
            if end - start > 1e-6:
                found.append((measure, start, end))
        return found

    def _marks(self, part: str, slot: Slot, default: str, was_tied: bool) -> list[Mark]:
        """The marks of a part over a chord: holds go over bar lines, and what would sound on is struck anew."""
        found: list[Mark] = []
        for measure, start, end in self._pieces(slot):
            if not self.plays(part, measure):
                continue
            pattern, lane = self.pattern(part, measure, default), self.lane(measure)
            if lane.begins_held(pattern, start):
                held = lane.held_until(pattern, start, end)
                if found and abs(found[-1].beat + found[-1].length - start) < 1e-6:
                    found[-1] = found[-1]._replace(length=held - found[-1].beat)
                elif not (was_tied and start <= slot.start + 1e-6):
                    sign = next(
                        (s for s in pattern if s not in ".-/awx" and not s.isdigit()), "1" if part == "bass" else ""
                    )
                    found += [Mark(start, held - start, sign)] if sign else []
            found += lane.read(pattern, start, end)
        return found

    def lay_bass(self) -> None:
        root: int | None = None
        slots = self.form.slots
        roots = []
        for slot in slots:
            root = bass_root(slot.harmony, root)
            roots.append(root)
        was_tied = False
        for i, slot in enumerate(slots[:-1]):
            marks = self._marks("bass", slot, "1---------------", was_tied)
            next_is_near = slots[i + 1].start not in self._sections and i + 1 < len(slots) - 1
            if not next_is_near:
                marks = [mark._replace(ties=False, length=min(mark.length, slot.end - mark.beat)) for mark in marks]
            was_tied = bool(marks) and marks[-1].ties
            if not marks:
                continue
            if abs(marks[0].beat - slot.start) < 1e-6 and marks[0].sign in "234567":
                marks[0] = marks[0]._replace(sign="1")  # a chord is heard by its root
            line = play_bass(marks, slot.harmony, roots[i], roots[i + 1], roots[i + 1] if was_tied else None)
            self._bass_line += line
            for stroke in line:
                band = self.setting(self.measure_at(stroke.beat)).band
                self.put("bass", band.bass, [stroke])
        self._bass_line.append(Stroke(slots[-1].start, slots[-1].end - slots[-1].start, roots[-1], 1.0))

    def _bass_at(self, beat: float) -> int | None:
        """The pitch of the bass that sounds at a beat, or that sounded last before it."""
        starts = [stroke.beat for stroke in self._bass_line]
        k = int(np.searchsorted(starts, beat + 1e-6, side="right")) - 1
        return self._bass_line[k].pitch if k >= 0 else None

    def _bass_below(self, measure: Measure, beat: float) -> int | None:
        """The pitch of the bass under a note of a melody, whose swing patterns of three steps do not share."""
        style = self.setting(measure).style
        if style.steps == 3:
            beat = warped(Stroke(beat, 0.1, 0, 0), float(measure.bar.beat), style.swing, style.swing_of).beat + 0.01
        return self._bass_at(beat)

    def lay_chords(self) -> None:
        """Pad, keys and arpeggio, each with its own voice leading."""
        last: dict[str, tuple[int, ...]] = {}
        tied = {"keys": False, "arp": False}
        slots = self.form.slots
        voicings = []
        for slot in slots:
            style = self.setting(self.measure_at(slot.start)).style
            last = self._voicings(slot, style, last)
            voicings.append(last)
        for i, slot in enumerate(slots[:-1]):
            pieces = self._pieces(slot)
            if not pieces:
                continue
            band = self.setting(pieces[0][0]).band
            style = self.setting(pieces[0][0]).style
            self._lay_pad(pieces, band.pad, voicings[i]["pad"])
            low = bass_root(slot.harmony, 40) + (12 if bass_root(slot.harmony, 40) < 40 else 0)
            beat_seconds = max(self.brief.at(slot.start + 1) - self.brief.at(slot.start), 0.1)
            is_near = slots[i + 1].start not in self._sections and i + 1 < len(slots) - 1
            for part, instrument in (("keys", band.keys), ("arp", band.arp)):
                if instrument is None:
                    continue
                marks = self._marks(part, slot, "X---------------", tied[part])
                if not is_near:
                    marks = [mark._replace(ties=False, length=min(mark.length, slot.end - mark.beat)) for mark in marks]
                tied[part] = bool(marks) and marks[-1].ties
                following = voicings[i + 1][part] if is_near else None
                pedal = style.pedal or self.brief.is_free
                self.put(
                    part,
                    instrument,
                    play_chord(marks, voicings[i][part], following, low, slot.end, beat_seconds, pedal),
                )

    def _lay_pad(self, pieces: list[tuple[Measure, float, float]], pad: Voice, voicing: tuple[int, ...]) -> None:
        """A held chord over the bars in which the pad plays."""
        playing = [piece for piece in pieces if self.plays("pad", piece[0])]
        if playing:
            start, end = playing[0][1], playing[-1][2]
            self.put("pad", pad, [Stroke(start, end - start, pitch, 0.72) for pitch in voicing])

    def _voicings(self, slot: Slot, style: Style, last: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        n_voices = 4 if style.n_tones > 3 else 3
        made = {}
        for part, (low, high), n in (("pad", PAD_RANGE, n_voices), ("arp", ARP_RANGE, 4)):
            made[part] = voice(slot.harmony, last.get(part), low, high, n)
        if style.voicing == "power":
            made["arp"] = voicing_of("power", slot.harmony, None, *KEYS_RANGE, 3)  # the same on the other side
        made["keys"] = voicing_of(style.voicing, slot.harmony, last.get("keys"), *KEYS_RANGE, n_voices)
        return made

    def lay_melody(self) -> None:
        themes: dict[tuple[str, str, str], Theme] = {}
        before: Stroke | None = None
        last = self.form.slots[-1]
        phrases: dict[tuple[int, int], list[Measure]] = defaultdict(list)
        for measure in self.form.measures:
            phrases[measure.scene, measure.phrase].append(measure)
        for (_, number), measures in phrases.items():
            setting = self.setting(measures[0])
            lead = setting.style.lead
            kind = "ab"[number % 4 == 2]  # a a b a
            intensity = float(np.mean([self.intensity(m) for m in measures]))
            busy = lead.busy[min(int(intensity * len(lead.busy) * 0.999), len(lead.busy) - 1)]
            if self.brief.is_free:
                busy = "slow"
            rng = np.random.default_rng((*self.seed, ord(setting.letter), ord(kind), len(busy)))
            theme = themes.setdefault((setting.letter, kind, busy), make_theme(rng, busy, lead.rhythms))
            rests = number % 2 == 1 and rng.random() < lead.rests + (0.35 if measures[0].held < 0.4 else 0.0)
            if (number + setting.variation) % 2 and kind == "a":
                theme = vary(theme, rng, busy, lead.rhythms)
            voices = setting.band.lead
            instrument = voices[(self._leads[setting.letter] + setting.variation) % len(voices)]
            reach = reach_of(instrument.instrument)
            centre = (reach[0] + reach[1]) / 2 - 2 + 4 * (measures[0].held - 0.5) + (2 if kind == "b" else 0)
            centre += 5 * lead.octave
            notes = [
                note
                for m in measures
                if self.plays("lead", m) and not rests
                for note in place_notes(theme, m.place, m.start, m.end, centre)
            ]
            if notes and measures[-1] is self.form.measures[-1] and self.plays("lead", measures[-1]):
                notes.append(MelodyNote(last.start, last.end - last.start, centre, True, True))
            bass_at = functools.partial(self._bass_below, measures[0])
            around = (notes, self.form.slot_at, bass_at, reach, theme.seed)
            if self.melodist is None or not notes:
                line = fit_pitches(*around, before, lead.scale)
            else:
                line = ask_pitches(self.melodist, *around, measures[0].bar.n_beats, before, lead.scale)
            before = line[-1] if line else before
            beat_seconds = max(self.brief.at(measures[0].start + 1) - self.brief.at(measures[0].start), 0.1)
            line = decorate(line, lead.ornament, lead.legato, beat_seconds, self.form.slot_at, reach, rng)
            self.put("lead", instrument, line, float(np.clip(measures[0].held, 0, 1)))
            self._lay_counter(setting, measures)

    def _lay_counter(self, setting: Setting, measures: list[Measure]) -> None:
        """A slow second voice of chord tones, where the setting is full."""
        counter = setting.band.counter
        if counter is None or not self.plays("counter", measures[0]):
            return
        pitch = 69
        for slot in self.form.slots[:-1]:
            if not measures[0].start - 1e-6 <= slot.start < measures[-1].end - 1e-6:
                continue
            guides = slot.harmony.tones[1:] or slot.harmony.tones
            options = [p for p in range(60, 80) if p % 12 in guides]
            pitch = min(options, key=lambda p: (abs(p - pitch) + 0.2 * abs(p - 69), p))
            self.put("counter", counter, [Stroke(slot.start, slot.end - slot.start, pitch, 0.8)], measures[0].held)

    def lay_drums(self) -> None:
        rng = np.random.default_rng((*self.seed, 5))
        measures = self.form.measures
        for i, measure in enumerate(measures):
            setting = self.setting(measure)
            new = i == 0 or measures[i - 1].scene != measure.scene
            grows = new and i > 0 and measure.held > measures[i - 1].held + 0.04
            self._lay_low(setting, measure)
            is_drop = self._drop is not None and abs(measure.start - self._drop) < 0.3 * measure.bar.n_beats
            if (grows or is_drop) and not setting.scene.is_silent and not self.brief.is_free:
                self._lay_lift(measure, setting, is_drop)
            if setting.band.kit is None or not self.plays("drums", measure):
                continue
            following = measures[i + 1] if i + 1 < len(measures) else None
            strokes = self._groove(setting, measure, following, new or is_drop, rng)
            self.put("drums", setting.band.kit, strokes)

    def _groove(
        self, setting: Setting, measure: Measure, following: Measure | None, new: bool, rng: np.random.Generator
    ) -> list[Stroke]:
        """The drums of a bar: groove and ghost notes, a fill or a build before something new, then a crash."""
        style = setting.style
        level = (self.intensity(measure) - style.entry("drums")) / max(1 - style.entry("drums"), 0.1)
        number = int(np.clip(level * len(style.grooves), 0, len(style.grooves) - 1))
        lane = self.lane(measure)
        strokes = beat_bar(style.grooves[number], lane, measure.start, measure.end)
        strokes += (
            Drummer(style.drummer, style.steps, rng).ghosts(strokes, measure.start, measure.end) if level > 0.3 else []
        )
        ends_phrase = measure.place == 3 and following is not None and self.plays("drums", following)
        leads = self._drop is not None and -0.3 <= (self._drop - measure.end) / measure.bar.n_beats < 0.3
        is_long = measure.end - measure.start >= 2
        if leads and is_long and style.form.build in ("roll", "toms"):
            strokes = without(strokes, measure.start, measure.end, (SNARE, CLAP, HAT, OPEN, RIDE))
            strokes += _build(measure, style.form.build, lane.rate)
        elif (measure.is_last or ends_phrase) and is_long and style.fills:
            half = len(style.fills) // 2
            pool = style.fills[half:] if measure.is_last else style.fills[: max(half, 1)]
            fill = fill_bar(pool[int(rng.integers(len(pool)))], measure.end, lane.rate)
            if fill and fill[0].beat >= measure.start - 1e-6:
                strokes = without(strokes, fill[0].beat, measure.end, (SNARE, HAT, OPEN, CLAP, RIDE)) + fill
        if new and (measure is self.form.measures[0] or self.intensity(measure) > 0.5) and number > 0:
            strokes = without(strokes, measure.start, measure.start + 0.1, (KICK, HAT))
            strokes += crash_at(measure.start, 0.85)
        return strokes

    def _lay_low(self, setting: Setting, measure: Measure) -> None:
        low = setting.band.low_drum
        if low is None or not self.plays("low", measure):
            return
        pattern = self.pattern("low", measure, "X.....x.....x...")
        strokes = beat_bar({45: pattern}, self.lane(measure), measure.start, measure.end)
        self.put("low", low, [s._replace(pitch=low_pitch(self.form.slot_at(s.beat).harmony.root)) for s in strokes])

    def _lay_lift(self, measure: Measure, setting: Setting, is_drop: bool) -> None:
        """A swell that ends where a bar begins; to the strongest moment it lasts a bar."""
        kit, time = setting.band.kit, self.brief.at(measure.start)
        lift = RISER if kit is not None and is_synth(kit.instrument) else LIFT
        seconds = LIFT_SECONDS
        if is_drop and lift is RISER:
            seconds = max(seconds, self.brief.at(measure.start + measure.bar.n_beats) - time)
        if time > seconds and not self.brief.is_silent(time - 0.1):
            begin = self.brief.beat_of(time - seconds)
            self.put("lift", lift, [Stroke(begin, measure.start - begin, 60, 0.7)], measure.held)

    def lay_ending(self) -> None:
        """The last chord: home, in every part that was playing, until the picture ends."""
        slot = self.form.slots[-1]
        measures = self.form.measures
        setting = self.form.settings[measures[-1].scene if measures else -1]
        if setting.scene.is_silent:
            return
        style, band = setting.style, setting.band
        intensity = measures[-1].intensity if measures else 0.5
        length = slot.end - slot.start
        is_short = style.form.ending == "button" and not self.brief.is_free
        struck = min(0.6, length) if is_short else length
        root = self._bass_line[-1].pitch
        playing = {part for part, _ in self.strokes} & {
            p for p in ("bass", "pad", "drums", "low") if not measures or self.plays(p, measures[-1])
        }  # fmt: skip
        voicings = self._voicings(slot, style, {})
        if "bass" in playing:
            self.put("bass", band.bass, [Stroke(slot.start, struck, root, 0.9)], intensity)
        if "pad" in playing:
            self.put("pad", band.pad, [Stroke(slot.start, length, p, 0.75) for p in voicings["pad"]], intensity)
        step = 0.0 if band.kit else 0.2 if style.form.ending == "slow" else 0.1  # without drums the chord is rolled
        chord = [36 + slot.harmony.root % 12, *voicings["keys"]]
        rolled = [
            Stroke(slot.start + k * step, struck - k * step, p, 0.8) for k, p in enumerate(chord) if k * step < struck
        ]
        self.put("keys", band.keys, rolled, max(intensity, 0.35))
        if band.kit is not None and "drums" in playing:
            self.put("drums", band.kit, crash_at(slot.start, 0.9), intensity)
        if band.low_drum is not None and "low" in playing:
            self.put("low", band.low_drum, [Stroke(slot.start, 0.5, low_pitch(slot.harmony.root), 1.0)], intensity)

    def parts(self) -> list[Part]:
        """Notes in seconds, as people play them, cut to the picture: one Part for each player."""
        made: dict[str, int] = defaultdict(int)
        parts = []
        for name, voice_ in sorted(self.strokes, key=lambda key: ORDER.index(key[0])):
            made[name] += 1
            part = voice_.part(name, made[name])
            rng = np.random.default_rng((*self.seed, 7, len(parts)))
            players: dict[str, Drummer | Player] = {}
            for stroke in sorted(self.strokes[name, voice_]):
                measure = self.measure_at(stroke.beat)
                style = self.setting(measure).style
                if style.name not in players:
                    players[style.name] = _player(name, style, rng)
                part.notes += self._played(stroke, measure, players[style.name], part)
            part.notes.sort()
            parts.append(part)
        self._stop(parts)
        for scene in self.brief.scenes:
            for part in parts if scene.is_silent else ():
                part.notes = _cut(part.notes, scene.start, scene.end)
        return parts

    def _played(self, stroke: Stroke, measure: Measure, player: Drummer | Player, part: Part) -> list[Note]:
        """The note of a stroke, or none where it lies outside of the picture."""
        start, end = self.brief.at(stroke.beat), self.brief.at(stroke.beat + stroke.length)
        within = stroke.beat - float(measure.bar.beat)
        share = (measure.place + within / max(measure.bar.n_beats, 1)) / 4
        late, loud = player.play(stroke, Place(within, measure.bar.n_beats, share))
        start += late if start > 0.03 else 0.0
        if end <= 0.02 or start >= self.brief.duration - 0.02:
            return []
        if start < 0 and (part.is_kit or end - start < 0.6):
            return []  # a short note that begins before the picture is left out
        velocity = int(np.clip(round(127 * loud), 12, 127))
        start = max(start, 0.0)
        end = max(min(end, self.brief.duration), start + 0.03)
        return [Note(start, end, stroke.pitch, velocity, stroke.slide)]

    def _stop(self, parts: list[Part]) -> None:
        """Silence before the strongest moment, and shorter before other strong hits, in styles that do so."""
        moments = [] if self.form.drop is None else [(self.form.drop, STOP_BEATS[1])]
        for time, strength in self.brief.hits:
            if strength >= STOP_STRENGTH and all(abs(time - other) >= STOP_GAP for other, _ in moments) and time > 4:
                moments.append((time, STOP_BEATS[0]))
        for time, beats in moments:
            beat = self.brief.beat_of(time)
            measure = self.measure_at(beat - 0.05)
            setting = self.setting(measure)
            if not setting.style.form.has_stop or self.brief.is_free:
                continue
            begin = self.brief.at(beat - beats * max(1.0, 1 / setting.pace))
            for part in parts:
                if part.name.split()[0] != "lift":
                    part.notes = _cut(part.notes, begin, time)


def reach_of(instrument: str) -> tuple[int, int]:
    """The range of an instrument for melodies, MIDI keys."""
    if not is_synth(instrument):
        return REACH.get(instrument, SYNTH_REACH)
    low, high = synth_reach(instrument)
    low = max(low, SYNTH_REACH[0])
    return low, max(min(high, SYNTH_REACH[1]), low + 14)


def _player(part: str, style: Style, rng: np.random.Generator) -> Drummer | Player:
    """Who plays a part in a style."""
    if part in ("drums", "low"):
        return Drummer(style.drummer, style.steps, rng)
    late = style.lead.late / 1000 if part == "lead" else BASS_LATE if part == "bass" else 0.0
    return Player(late, rng, 0.6 if style.drummer == "machine" and part != "lead" else 3.0)


def _build(measure: Measure, kind: str, rate: float) -> list[Stroke]:
    """A bar of drums that grows: ever more strokes of the snare, or toms."""
    strokes = []
    n = round((measure.end - measure.start) * rate)
    for k in range(n):
        share = k / n
        every = 4 if share < 0.25 else 2 if share < 0.5 else 1
        if k % every == 0:
            key = SNARE if kind == "roll" else (LOW_TOM, FLOOR)[(k // 2) % 2]
            strokes.append(Stroke(measure.start + k / rate, 0.2, key, 0.45 + 0.5 * share))
    return strokes


def _cut(notes: list[Note], start: float, end: float) -> list[Note]:
    """The notes without what would sound from start to just before end, s."""
    kept = []
    for note in notes:
        if start - 0.02 <= note.start < end - 0.03:
            continue
        if note.start < start < note.end <= end + 1.0 or note.start < start < note.end:
            note = note._replace(end=max(start, note.start + 0.03))
        kept.append(note)
    return kept
