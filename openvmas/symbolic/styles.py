"""Styles as data: who plays, what figures, when each part comes in; and the choice of a style by semantics.

Figures are written in sixteenths: X strong, x ordinary, o soft, a dot is silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

KICK, RIM, SNARE, CLAP, HAT, PEDAL, OPEN, CRASH, RIDE = 36, 37, 38, 39, 42, 44, 46, 49, 51
FLOOR, LOW_TOM, HIGH_TOM, TAMBOURINE, SHAKER, TRIANGLE = 41, 45, 48, 54, 70, 81
Groove = Mapping[int, str]


@dataclass(frozen=True)
class Voice:
    """An instrument of the bank and its place in the mix: see notes.Part; gain_db: beside that of its role."""

    instrument: str
    gain_db: float = 0.0
    pan: float = 0.0
    width: float = 0.0
    reverb: float = 0.2


@dataclass(frozen=True)
class Style:
    """How a piece is played.

    profile: axes of semantics that speak for it. entries: part → intensity in [0, 1] from which it plays. grooves: of
    the drums, from light to full. figures: part → figures from calm to busy (see figures.py). n_tones: in a chord.
    has_power_chords: keys leave the third out.
    chord_seconds: how long a chord lasts, about. swing: how late every second sixteenth is, share of a sixteenth.
    """

    name: str
    profile: Mapping[str, float]
    bass: Voice
    keys: Voice
    pad: Voice
    lead: tuple[Voice, ...]
    accent: Voice
    figures: Mapping[str, tuple[str, ...]]
    kit: Voice | None = None
    grooves: tuple[Groove, ...] = ()
    arp: Voice | None = None
    counter: Voice | None = None
    low_drum: Voice | None = None
    entries: Mapping[str, float] = field(default_factory=dict)
    n_tones: int = 3
    has_power_chords: bool = False
    chord_seconds: float = 2.6
    swing: float = 0.0

    def entry(self, part: str) -> float:
        """The intensity from which a part plays."""
        return {**ENTRIES, **self.entries}[part]


ENTRIES = {"pad": 0.0, "keys": 0.0, "bass": 0.2, "lead": 0.3, "drums": 0.38, "arp": 0.6, "counter": 0.72, "low": 0.5}

# dB, of parts against each other: chords have several tones at a time.
ROLE_DB = {
    "lead": 1.0, "counter": -4.5, "arp": -6.0, "keys": -4.5, "pad": -5.5, "bass": 0.0, "low": 2.0, "drums": -0.5,
    "accent": -6.0, "lift": -6.0,
}  # fmt: skip

PIANO = Voice("piano", 0.0, 0.0, 0.0, 0.22)
STRINGS = Voice("strings", 0.0, 0.0, 0.35, 0.35)
SOFT_STRINGS = replace(STRINGS, gain_db=-2.0)
HORN = Voice("horn", 0.0, -0.2, 0.0, 0.4)
FLUTE = Voice("flute", 0.0, 0.2, 0.0, 0.35)
CELLO = Voice("cello", 0.0, 0.15, 0.0, 0.3)
FINGERED = Voice("fingered_bass", 0.0, 0.0, 0.0, 0.03)
UPRIGHT = Voice("acoustic_bass", 1.0, 0.0, 0.0, 0.06)
SYNTH_BASS = Voice("synth_bass", 0.0, 0.0, 0.0, 0.02)
KIT = Voice("kit", 0.0, 0.0, 0.0, 0.1)
MACHINE = Voice("electronic_kit", -2.0, 0.0, 0.0, 0.08)
NYLON = Voice("nylon_guitar", 0.0, -0.2, 0.0, 0.2)
STEEL = Voice("steel_guitar", 0.0, 0.25, 0.0, 0.16)
RHODES = Voice("electric_piano", 0.0, -0.1, 0.3, 0.2)
VIBES = Voice("vibraphone", 0.0, 0.2, 0.0, 0.3)
HARP = Voice("harp", 0.0, -0.25, 0.0, 0.4)
CELESTA = Voice("celesta", -2.0, 0.3, 0.0, 0.4)
CHOIR = Voice("choir", -1.0, 0.0, 0.3, 0.5)
SYNTH_STRINGS = Voice("synth_strings", -1.0, 0.0, 0.5, 0.35)
WARM = Voice("warm_pad", 0.0, 0.0, 0.5, 0.35)
TIMPANI = Voice("timpani", 1.0, 0.0, 0.0, 0.3)
TAIKO = Voice("taiko", 0.0, 0.0, 0.0, 0.3)

LIGHT_ROCK: Groove = {KICK: "X.......x.......", RIM: "....x.......x...", HAT: "x...x...x...x..."}
ROCK: Groove = {KICK: "X.......x.x.....", SNARE: "....X.......X...", HAT: "X.x.x.x.X.x.x.x."}
FULL_ROCK: Groove = {
    KICK: "X..x....x.x...x.",
    SNARE: "....X.......X..o",
    HAT: "X.x.X.x.X.x.X.x.",
    TAMBOURINE: "....x.......x...",
}
LIGHT_FOUR: Groove = {KICK: "X...x...x...x...", HAT: "..x...x...x...x."}
FOUR: Groove = {KICK: "X...X...X...X...", CLAP: "....X.......X...", HAT: "o.x.o.x.o.x.o.x.", SHAKER: "o.o.o.o.o.o.o.o."}
FULL_FOUR: Groove = {KICK: "X...X...X...X...", CLAP: "....X.......X...", HAT: "o.oxo.oxo.oxo.ox",
                     OPEN: "..x...x...x...x.", SNARE: "....x.......x..o"}  # fmt: skip
LAZY: Groove = {KICK: "X.........x.....", RIM: "....x.......x...", HAT: "x...x...x...x..."}
BOOM_BAP: Groove = {KICK: "X......x..x.....", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."}
FULL_BAP: Groove = {KICK: "X..x...x..x..x..", SNARE: "....X..o.o..X...", HAT: "x.x.xox.x.x.xoxo"}
RIDING: Groove = {RIDE: "x...x.x.x...x.x.", PEDAL: "....x.......x..."}
RIDE_SNARE: Groove = {
    RIDE: "X...x.x.X...x.x.",
    PEDAL: "....x.......x...",
    SNARE: "..o...o....o..o.",
    KICK: "o.......o.......",
}
SHAKEN: Groove = {SHAKER: "x.o.x.o.x.o.x.o."}
FOLK_BEAT: Groove = {SHAKER: "x.oox.oox.oox.oo", KICK: "X.......x.......", RIM: "....x.......x..."}
FOLK_FULL: Groove = {
    SHAKER: "xoooxoooxoooxooo",
    KICK: "X.....x.x.......",
    RIM: "....X.......X...",
    TAMBOURINE: "....x.......x...",
}
TINKLE: Groove = {TRIANGLE: "x.......o......."}
PLAY_BEAT: Groove = {SHAKER: "o.x.o.x.o.x.o.x.", RIM: "....x.......x..o", KICK: "x.......x......."}
PLAY_FULL: Groove = {SHAKER: "oxoxoxoxoxoxoxox", SNARE: "....x..o....x.oo", KICK: "X.....x.X.......",
                     TRIANGLE: "x...............", TAMBOURINE: "..x...x...x...x."}  # fmt: skip
CHIP: Groove = {KICK: "X.......X.......", SNARE: "....X.......X...", HAT: "x.x.x.x.x.x.x.x."}
CHIP_FULL: Groove = {KICK: "X..X....X.X.....", SNARE: "....X.......X..x", HAT: "xoxoxoxoxoxoxoxo"}

STYLES: tuple[Style, ...] = (
    Style(
        "piano", {"piano": 1.0, "classical": 0.5, "tender": 0.7, "sad": 0.6, "acousticness": 0.3, "arousal": -0.4},
        bass=replace(CELLO, gain_db=-3.0), keys=PIANO, pad=SOFT_STRINGS, lead=(replace(PIANO, gain_db=1.0),),
        counter=STRINGS, accent=HARP,
        figures={"keys": ("rolled", "broken", "broken", "flowing"), "bass": ("held",), "lead": ("slow", "plain")},
        entries={"pad": 0.25, "bass": 0.45, "lead": 0.1, "counter": 0.6}, chord_seconds=3.0,
    ),
    Style(
        "ambient", {"ambient": 1.2, "arousal": -0.6, "density": -0.5, "danceability": -0.3},
        bass=replace(SYNTH_BASS, gain_db=-2.0), keys=Voice("fantasia", -1.0, 0.0, 0.3, 0.5), pad=WARM,
        lead=(replace(VIBES, reverb=0.6), replace(FLUTE, reverb=0.6)), arp=Voice("electric_piano", -1.0, 0.3, 0.3, 0.6),
        counter=CHOIR, accent=replace(CELESTA, reverb=0.6),
        figures={"keys": ("rolled", "broken", "broken", "broken"), "bass": ("held",), "lead": ("slow",),
                 "arp": ("eighths",)},
        entries={"bass": 0.15, "lead": 0.35, "arp": 0.6, "counter": 0.65}, n_tones=5, chord_seconds=5.0,
    ),
    Style(
        "cinematic", {"soundtrack": 1.0, "strings": 0.5, "brass": 0.6, "exciting": 0.5, "choir": 0.3, "scary": 0.5},
        bass=CELLO, keys=replace(STRINGS, gain_db=2.0), pad=CHOIR,
        lead=(HORN, replace(STRINGS, pan=-0.2)), arp=Voice("pizzicato", 2.0, -0.3, 0.0, 0.35),
        counter=replace(HORN, pan=0.3), low_drum=TAIKO, accent=TIMPANI,
        figures={"keys": ("block", "block", "pulse", "drive"), "bass": ("held", "held", "pulse", "drive"),
                 "lead": ("slow", "plain"), "arp": ("eighths", "sixteenths")},
        entries={"pad": 0.55, "lead": 0.35, "arp": 0.3, "counter": 0.65, "low": 0.4, "bass": 0.1},
    ),
    Style(
        "playful", {"funny": 1.1, "bells": 0.5, "happy": 0.3, "flute": 0.3},
        bass=UPRIGHT, keys=Voice("pizzicato", 2.0, -0.2, 0.0, 0.25), pad=SOFT_STRINGS,
        lead=(Voice("clarinet", 0.0, 0.1, 0.0, 0.25), Voice("oboe", 0.0, 0.1, 0.0, 0.25), FLUTE),
        arp=Voice("marimba", 1.0, 0.3, 0.0, 0.25), counter=CELESTA, accent=Voice("marimba", 1.0, 0.0, 0.0, 0.3),
        kit=replace(KIT, gain_db=-3.0), grooves=(TINKLE, PLAY_BEAT, PLAY_FULL),
        figures={"keys": ("offbeat", "offbeat", "stabs"), "bass": ("root_fifth",), "lead": ("plain", "lively"),
                 "arp": ("eighths", "sixteenths")},
        entries={"pad": 0.7, "lead": 0.15, "arp": 0.55, "bass": 0.1},
    ),
    Style(
        "electronic", {"electronic": 1.0, "danceability": 0.4, "synthesizer": 0.5, "arousal": 0.25},
        bass=SYNTH_BASS, keys=Voice("saw_lead", -2.0, 0.0, 0.5, 0.3), pad=SYNTH_STRINGS,
        lead=(Voice("saw_lead", -1.0, 0.0, 0.2, 0.35), Voice("square_lead", -1.0, 0.0, 0.2, 0.35)),
        arp=Voice("square_lead", -1.0, 0.35, 0.3, 0.35), counter=SYNTH_STRINGS,
        kit=MACHINE, grooves=(LIGHT_FOUR, FOUR, FULL_FOUR), accent=Voice("fantasia", 0.0, 0.0, 0.3, 0.5),
        figures={"keys": ("block", "stabs", "stabs"), "bass": ("held", "offbeat", "drive", "octaves"),
                 "lead": ("plain", "lively"), "arp": ("eighths", "sixteenths")},
        entries={"keys": 0.35, "arp": 0.0, "lead": 0.5, "bass": 0.1, "drums": 0.3}, chord_seconds=2.2,
    ),
    Style(
        "pop", {"pop": 1.0, "happy": 0.4, "valence": 0.3, "guitar": 0.2, "danceability": 0.2},
        bass=FINGERED, keys=PIANO, pad=SOFT_STRINGS,
        lead=(Voice("clean_guitar", 0.0, 0.15, 0.0, 0.25), VIBES), arp=STEEL,
        counter=STRINGS, kit=KIT, grooves=(LIGHT_ROCK, ROCK, FULL_ROCK), accent=PIANO,
        figures={"keys": ("block", "push", "push"), "bass": ("held", "sync", "eighths"), "lead": ("plain", "lively"),
                 "arp": ("strum", "strum16")},
        entries={"pad": 0.5, "arp": 0.35, "lead": 0.3, "drums": 0.35},
    ),
    Style(
        "rock", {"rock": 1.0, "metal": 1.0, "angry": 0.5, "guitar": 0.3, "exciting": 0.2, "arousal": 0.2},
        bass=FINGERED, keys=Voice("overdriven_guitar", -1.0, -0.45, 0.0, 0.1),
        pad=Voice("organ", -1.0, 0.2, 0.3, 0.2), lead=(Voice("overdriven_guitar", -4.0, 0.15, 0.0, 0.25),),
        arp=Voice("muted_guitar", 1.0, 0.45, 0.0, 0.1), kit=KIT,
        grooves=(LIGHT_ROCK, ROCK, FULL_ROCK), accent=Voice("overdriven_guitar", -2.0, 0.4, 0.0, 0.2),
        figures={"keys": ("block", "push", "chug"), "bass": ("pulse", "eighths", "eighths"),
                 "lead": ("plain", "lively"), "arp": ("eighths", "sixteenths")},
        entries={"pad": 0.65, "arp": 0.3, "lead": 0.5, "drums": 0.25, "bass": 0.1}, has_power_chords=True,
        chord_seconds=2.2,
    ),
    Style(
        "lo-fi", {"hip_hop": 0.9, "electronic": 0.25, "jazz": 0.2, "arousal": -0.25, "danceability": 0.2},
        bass=FINGERED, keys=RHODES, pad=WARM,
        lead=(replace(VIBES, gain_db=-1.0), NYLON), counter=replace(SYNTH_STRINGS, gain_db=-3.0),
        kit=replace(KIT, gain_db=-1.0), grooves=(LAZY, BOOM_BAP, FULL_BAP), accent=RHODES,
        figures={"keys": ("rolled", "push", "push"), "bass": ("held", "sync", "sync"), "lead": ("slow", "plain")},
        entries={"drums": 0.2, "lead": 0.35, "pad": 0.3, "bass": 0.1}, n_tones=5, chord_seconds=3.0, swing=0.28,
    ),
    Style(
        "folk", {"folk": 1.0, "acousticness": 0.5, "guitar": 0.6, "flute": 0.2},
        bass=UPRIGHT, keys=NYLON, pad=SOFT_STRINGS, lead=(FLUTE, Voice("oboe", 0.0, 0.1, 0.0, 0.3), VIBES),
        arp=STEEL, counter=CELLO, kit=replace(KIT, gain_db=-3.0),
        grooves=(SHAKEN, FOLK_BEAT, FOLK_FULL), accent=replace(STEEL, pan=0.0),
        figures={"keys": ("rolled", "pick", "pick"), "bass": ("held", "root_fifth", "root_fifth"),
                 "lead": ("slow", "plain", "lively"), "arp": ("strum", "strum16")},
        entries={"pad": 0.6, "arp": 0.5, "lead": 0.25},
    ),
    Style(
        "jazz", {"jazz": 1.1, "bass": 0.1},
        bass=UPRIGHT, keys=replace(PIANO, pan=-0.2), pad=SOFT_STRINGS,
        lead=(VIBES, Voice("trumpet", -1.0, 0.1, 0.0, 0.25), Voice("clarinet", 0.0, 0.1, 0.0, 0.25)),
        kit=replace(KIT, gain_db=-2.0), grooves=(RIDING, RIDE_SNARE, RIDE_SNARE), accent=PIANO,
        figures={"keys": ("push", "push", "stabs"), "bass": ("held", "walking", "walking"),
                 "lead": ("plain", "lively")},
        entries={"pad": 0.75, "drums": 0.15, "lead": 0.25}, n_tones=4, swing=0.33,
    ),
    Style(
        "chiptune", {"game": 1.2},
        bass=Voice("synth_bass", 1.0, 0.0, 0.0, 0.0), keys=Voice("square_lead", -2.0, -0.4, 0.0, 0.06),
        pad=replace(SYNTH_STRINGS, gain_db=-4.0), lead=(Voice("square_lead", 0.0, 0.0, 0.0, 0.1),),
        arp=Voice("square_lead", -1.0, 0.4, 0.0, 0.06), kit=replace(MACHINE, gain_db=-2.0),
        grooves=(LIGHT_FOUR, CHIP, CHIP_FULL), accent=Voice("square_lead", -2.0, 0.0, 0.0, 0.1),
        figures={"keys": ("offbeat", "stabs", "stabs"), "bass": ("pulse", "octaves", "octaves"),
                 "lead": ("plain", "lively"), "arp": ("eighths", "sixteenths")},
        entries={"pad": 0.85, "keys": 0.3, "arp": 0.0, "lead": 0.1, "drums": 0.3, "bass": 0.1}, chord_seconds=2.0,
    ),
)  # fmt: skip

# Instruments that the words name, and the part that each takes over.
ASKED: Mapping[str, tuple[str, Voice]] = {
    "piano": ("keys", PIANO),
    "guitar": ("keys", NYLON),
    "strings": ("pad", STRINGS),
    "brass": ("lead", HORN),
    "flute": ("lead", FLUTE),
    "bells": ("arp", CELESTA),
    "choir": ("pad", CHOIR),
    "organ": ("pad", Voice("organ", 0.0, 0.0, 0.3, 0.3)),
    "synthesizer": ("pad", SYNTH_STRINGS),
}
INSISTED, REFUSED = 0.9, -0.25  # values of an instrument's axis from which it must be heard, and must not


def agreement(style: Style, semantics: Mapping[str, float]) -> float:
    """How well a style's profile agrees with semantics."""
    total = sum(weight * semantics.get(axis, 0.0) for axis, weight in style.profile.items())
    return total / sum(abs(weight) for weight in style.profile.values()) ** 0.5


def choose_style(semantics: Mapping[str, float]) -> Style:
    """The style that agrees best with semantics; the piano for empty ones."""
    return max(STYLES, key=lambda style: agreement(style, semantics))


def equip(style: Style, semantics: Mapping[str, float]) -> Style:
    """The style with the instruments that are asked for, and without the drums or the bass where these are refused."""
    changes: dict[str, object] = {}
    entries = dict(style.entries)
    used = {style.keys.instrument, style.pad.instrument, *(voice.instrument for voice in style.lead)}
    for axis, (part, voice) in ASKED.items():
        if (
            semantics.get(axis, 0.0) < INSISTED
            or voice.instrument in used
            or (axis == "guitar" and "guitar" in str(used))
        ):
            continue
        changes[part] = (voice,) if part == "lead" else voice
        entries[part] = min(entries.get(part, ENTRIES[part]), 0.1)
    figures = dict(style.figures)
    figures.setdefault("arp", ("eighths",))
    drums = semantics.get("drums", 0.0)
    if drums <= REFUSED:
        accent = HARP if style.accent.instrument == "timpani" else style.accent
        changes |= {"kit": None, "low_drum": None, "accent": accent}
    elif drums >= INSISTED and style.kit is None and style.low_drum is None:
        changes |= {"kit": KIT, "grooves": (LIGHT_ROCK, ROCK, FULL_ROCK)}
        entries["drums"] = 0.15
    if semantics.get("bass", 0.0) <= REFUSED:
        entries["bass"] = 9.0
    return replace(style, entries=entries, figures=figures, **changes)
