"""The user's own instruments, from soundfonts (.sf2, .sf3) and .sfz files, in place of ours.

What is understood of SFZ: regions with their keys, velocities, pitch, level, pan, loop and envelope (`ampeg_…`), under
`<control>`, `<global>`, `<master>` and `<group>`; of round robins the first. Everything else is passed over.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from openvmas.errors import InputError
from openvmas.symbolic.instruments import LEAST_RELEASE, Bank, Zone, read_zone
from openvmas.symbolic.notes import Part
from openvmas.symbolic.synth.presets import is_synth
from openvmas.symbolic.synth.sf2 import LEFT, Font

PARTS = ("lead", "counter", "arp", "keys", "pad", "bass", "drums", "low", "accent", "lift")
KINDS = (".sf2", ".sf3", ".sfz")
DRUM_BANK = 128
HOW = "give FILE, PART=FILE or PART=FILE#PRESET, such as lead=flute.sfz or keys=grand.sf2#0"
NOTE = re.compile(r"([a-gA-G])([#b]?)(-?\d)")
HEADER = re.compile(r"<(\w+)>")
OPCODE = re.compile(r"(\w+)=")
STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


class FontBank(Bank):
    """Instruments of one soundfont. Names are `PROGRAM`, and `PROGRAM kit` of drums."""

    def __init__(self, path: Path) -> None:
        try:
            self._font = Font(path)
            names = self._font.presets
        except (ValueError, struct.error, OSError) as error:
            raise InputError(f"{path} is no soundfont that can be read ({error}); give another one.") from error
        self.path, self.presets = path, names
        self._pairs: list[tuple[dict[str, Any], ...]] = []
        self._keep({}, {})

    def instrument(self, bank: int, program: int) -> str:
        """The name of a preset, whose zones are read now. Raises InputError for one that is broken."""
        name = f"{program} kit" if bank == DRUM_BANK else str(program)
        if name not in self._zones:
            try:
                rows = _paired(self._font.preset(bank, program))
            except (ValueError, KeyError, IndexError, struct.error) as error:
                raise InputError(f"{self.path}, preset {program}: damaged ({error}); give another one.") from error
            zones = []
            for row in rows:
                zones.append(read_zone(row[0] | {"sample": len(self._pairs)}))
                self._pairs.append(row)
            self._zones[name] = tuple(zones)
        return name

    def _decoded(self, sample: int) -> np.ndarray:
        if sample not in self._waves:
            sides = [self._read(row) for row in self._pairs[sample]]
            n = min(len(side) for side in sides)
            self._waves[sample] = np.stack([side[:n] for side in sides])
        return self._waves[sample]

    def _read(self, row: dict[str, Any]) -> np.ndarray:
        raw = self._font.data[row["bytes"][0] : row["bytes"][1]]
        if row["is_stream"]:
            return decode(io.BytesIO(raw), f"{self.path}, a sample").mean(axis=0)
        return np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768


def _paired(rows: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], ...]]:
    """Zones whose samples are the two sides of one recording as pairs (left, right), others alone."""
    rows, made, used = list(rows), [], set()
    for i, row in enumerate(rows):
        if i in used:
            continue
        other = next(
            (
                j for j in range(i + 1, len(rows))
                if rows[j]["sample"] == row["link"] and rows[j]["link"] == row["sample"] and j not in used
                and all(rows[j][name] == row[name] for name in ("keys", "velocities", "rate"))
            ),
            None,
        )  # fmt: skip
        if other is None:
            made.append((row,))
        else:
            used.add(other)
            pair = (row, rows[other]) if row["side"] == LEFT else (rows[other], row)
            made.append((pair[0] | {"pan": 0.0}, pair[1]))
    return made


class SfzBank(Bank):
    """The one instrument of an .sfz file, of the name "own", or "own kit" for drums."""

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); give the path of an .sfz file.") from error
        self._files: list[Path] = []
        zones = tuple(zone for region in read_sfz(text) if (zone := self._zone(region, path)) is not None)
        if not zones:
            raise InputError(f"{path} has no <region> with a sample; give another .sfz file.")
        self._keep({"own": zones, "own kit": zones}, {})

    def _zone(self, region: dict[str, str], path: Path) -> Zone | None:
        """The zone of a region, or None where it is not for the beginning of a note."""
        if region.get("trigger", "attack") not in ("attack", "first") or region.get("seq_position", "1") != "1":
            return None
        sample = region.get("sample", "")
        if not sample or sample.startswith("*"):
            return None  # a tone of a synthesiser
        file = path.parent / (region.get("default_path", "") + sample).replace("\\", "/")
        if not file.is_file():
            raise InputError(f"{path} wants the sample {file}, which is not there; put it there or give another file.")
        if file not in self._files:
            self._files.append(file)
        try:
            return _sfz_zone(region, self._files.index(file), rate_of(file))
        except ValueError as error:
            raise InputError(f"{path}: {error}; mend that line.") from error

    def _decoded(self, sample: int) -> np.ndarray:
        if sample not in self._waves:
            self._waves[sample] = decode(self._files[sample], str(self._files[sample]))[:2]
        return self._waves[sample]


def read_sfz(text: str) -> list[dict[str, str]]:
    """The opcodes of every region, those of what it lies in added."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    levels: dict[str, dict[str, str]] = {"control": {}, "global": {}, "master": {}, "group": {}}
    regions = []
    parts = HEADER.split(text)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        own = _opcodes(body)
        if name == "region":
            regions.append({k: v for level in levels.values() for k, v in level.items()} | own)
        elif name in levels:
            levels[name] = own
            for inner in list(levels)[list(levels).index(name) + 1 :]:
                levels[inner] = {}
    return regions


def _opcodes(body: str) -> dict[str, str]:
    """Names and values; a value goes on to the next name, since paths may have spaces."""
    found = list(OPCODE.finditer(body))
    ends = [*(match.start() for match in found[1:]), len(body)][: len(found)]
    return {m[1]: body[m.end() : end].split("\n")[0].strip() for m, end in zip(found, ends, strict=True)}


def _sfz_zone(region: dict[str, str], sample: int, rate: int) -> Zone:
    """One region in our units. Raises ValueError."""

    def number(name: str, usual: float) -> float:
        try:
            return float(region.get(name, usual))
        except ValueError:
            raise ValueError(f"{name}={region[name]} is not a number") from None

    def key(name: str, usual: int) -> int:
        value = region.get(name, "")
        note = NOTE.fullmatch(value)
        if note:
            return STEPS[note[1].lower()] + {"#": 1, "b": -1, "": 0}[note[2]] + 12 * (int(note[3]) + 1)
        return round(number(name, usual))

    own = key("key", -1)
    keys = (key("lokey", own if own >= 0 else 0), key("hikey", own if own >= 0 else 127))
    root = key("pitch_keycenter", own if own >= 0 else 60) - number("transpose", 0)
    loop = (round(number("loop_start", 0)), round(number("loop_end", 0)))
    is_loop = region.get("loop_mode", "no_loop") in ("loop_continuous", "loop_sustain") and loop[1] > loop[0] + 8
    sustain = min(max(number("ampeg_sustain", 100), 0.01), 100)
    return Zone(
        sample=sample, keys=keys, root=root - (number("tune", 0) + number("pitch", 0)) / 100, rate=rate,
        loop=loop if is_loop else None, gain_db=number("volume", 0.0), pan=number("pan", 0.0) / 100, cutoff=None,
        envelope=(
            number("ampeg_attack", 0), number("ampeg_hold", 0), number("ampeg_decay", 0),
            float(-20 * np.log10(sustain / 100)), max(number("ampeg_release", 0.1), LEAST_RELEASE),
        ),
        velocities=(max(round(number("lovel", 1)), 1), round(number("hivel", 127))),
    )  # fmt: skip


def rate_of(file: Path) -> int:
    """The sample rate of a sound file, Hz. Raises InputError."""
    try:
        with av.open(str(file)) as container:
            return int(container.streams.audio[0].rate)
    except (FFmpegError, IndexError, OSError) as error:
        raise InputError(f"{file} is no sound that can be read; give another one.") from error


def decode(file: Any, name: str) -> np.ndarray:
    """A sound [C, L] at its own rate. file: a path or an open one; name: for messages. Raises InputError."""
    try:
        with av.open(str(file) if isinstance(file, Path) else file, "r") as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
            frames = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
            frames += [part.to_ndarray() for part in resampler.resample(None)]
        return np.concatenate(frames, axis=1).astype(np.float32)
    except (FFmpegError, IndexError, ValueError, OSError) as error:
        raise InputError(f"{name} is no sound that can be read; give another one.") from error


@dataclass(frozen=True)
class _Wish:
    """One value of --soundfont: for one part or, "", for all; preset: number or name, "" for the usual one."""

    part: str
    path: Path
    preset: str


class UserFonts:
    """Instruments that the values of --soundfont put in place of ours."""

    def __init__(self, values: Sequence[str]) -> None:
        """Read what is named. Raises InputError with the remedy."""
        self._wishes = [_read_wish(value) for value in values]
        self._banks: dict[Path, FontBank | SfzBank] = {}
        for wish in self._wishes:
            if wish.path not in self._banks:
                is_sfz = wish.path.suffix.lower() == ".sfz"
                self._banks[wish.path] = SfzBank(wish.path) if is_sfz else FontBank(wish.path)
            bank = self._banks[wish.path]
            if wish.preset and isinstance(bank, FontBank):
                _chosen(bank, wish)

    def find(self, part: Part, program: int) -> tuple[Bank, str] | None:
        """The bank and the name in it of what plays a part, or None where ours stays: what is said for the part goes
        before what is said for all, which is for sampled instruments only."""
        role = part.name.split()[0]
        for wish in sorted(self._wishes, key=lambda wish: not wish.part):
            if wish.part not in ("", role) or (not wish.part and is_synth(part.instrument)):
                continue
            bank = self._banks[wish.path]
            if isinstance(bank, SfzBank):
                return bank, "own kit" if part.is_kit else "own"
            place = _chosen(bank, wish) if wish.preset else _usual(bank, part, program, bool(wish.part))
            if place is not None:
                return bank, bank.instrument(*place)
        return None


def _read_wish(value: str) -> _Wish:
    part, equals, rest = value.partition("=")
    if not equals or "/" in part or "\\" in part:
        part, rest = "", value
    name, _, preset = rest.partition("#")
    if Path(rest).suffix.lower() in KINDS:
        name, preset = rest, ""
    path = Path(name)
    if part and part not in PARTS:
        raise InputError(f"--soundfont {value}: there is no part {part}; the parts are {', '.join(PARTS)}.")
    if path.suffix.lower() not in KINDS:
        raise InputError(f"--soundfont {value}: {name} is not .sf2, .sf3 or .sfz; {HOW}.")
    if not path.is_file():
        raise InputError(f"--soundfont {value}: {name} does not exist; {HOW}.")
    if path.suffix.lower() == ".sfz" and not part:
        raise InputError(f"--soundfont {value}: an .sfz file is one instrument; say for which part: lead={name}.")
    return _Wish(part, path, preset.strip())


def _chosen(bank: FontBank, wish: _Wish) -> tuple[int, int]:
    """The preset that a wish names by number (of a kit in the drum bank) or by name."""
    presets = bank.presets
    if wish.preset.isdigit():
        place = (DRUM_BANK if wish.part in ("drums", "low") else 0, int(wish.preset))
        found = [place] if place in presets else []
    else:
        found = [place for place, name in presets.items() if name.lower() == wish.preset.lower()]
    if not found:
        known = ", ".join(f"{number} {name}" for (_, number), name in sorted(presets.items())[:6])
        raise InputError(f"{wish.path} has no preset {wish.preset}; it has {known}{' …' if len(presets) > 6 else ''}.")
    return found[0]


def _usual(bank: FontBank, part: Part, program: int, is_asked: bool) -> tuple[int, int] | None:
    """The preset nearest to a part's instrument; where the part was named and the font has but one, that one."""
    drums = [place for place in sorted(bank.presets) if place[0] == DRUM_BANK]
    if part.is_kit:
        same = [place for place in drums if place[1] == program]
        return (same or drums or (sorted(bank.presets) if is_asked else [None]))[0]
    if (0, program) in bank.presets:
        return 0, program
    if not is_asked:
        return None
    tuned = [place for place in sorted(bank.presets) if place[0] != DRUM_BANK]
    if len(tuned) == 1:
        return tuned[0]
    names = ", ".join(f"{number} {bank.presets[_, number]}" for _, number in tuned[:6])
    role = part.name.split()[0]
    raise InputError(f"{bank.path} has no preset {program} for {role}; name one, as {role}=FILE#PRESET: {names}.")
