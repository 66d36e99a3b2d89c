"""Notes to sound: every part is played, sits somewhere, has a share of room and echo, and passes the bus.

A stream of blocks; what rings beyond a block waits in the part's own buffer, so memory does not grow with the length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT
from openvmas.symbolic.desk.amps import Amp
from openvmas.symbolic.desk.bus import Bus
from openvmas.symbolic.desk.mixes import Mix
from openvmas.symbolic.desk.rooms import BLOCK, ZONES, Convolver, Echo, room_response, seat_response, zone_shares
from openvmas.symbolic.notes import Composition, Part
from openvmas.symbolic.synth.sampler import Sounds
from openvmas.timeline import Clock

MASTER_DB = -14.0  # so that no style comes near full scale
USUAL_BEAT = 0.5  # s, of the echo where there is no beat
KICKS = (35, 36)
# Role → share of the side-chain's dip, in dB.
PUMPED = {"pad": 1.0, "keys": 0.8, "arp": 0.8, "counter": 0.7, "texture": 1.0, "bass": 0.55, "lead": 0.3}


class _Strip:
    """One part while it sounds: its notes in time and what is still ringing."""

    def __init__(self, part: Part, piece: Composition, sounds: Sounds, start: int = 0) -> None:
        self.part = part
        self.role = part.name.split()[0]
        self._player = sounds.player(part)
        self._notes, self._renumbered = sorted(part.notes), part.renumbered[::-1]
        self._next = sum(round(note.start * SAMPLE_RATE_OUT) < start for note in self._notes) if start else 0
        self._before = self._notes[self._next - 1] if self._next else None
        self._sound = np.zeros((2, 2 * BLOCK), np.float32)
        self._amp = Amp(part.amp) if part.amp else None
        self._pump_db = piece.mix.pump_db * PUMPED.get(self.role, 0.0)
        self._pump_seconds = piece.mix.pump_seconds
        depth = part.depth if part.depth is not None else piece.mix.depth(self.role)
        self.zones = zone_shares(depth)

    def push(self, start: int, n: int, kicks: np.ndarray) -> np.ndarray:
        """The part's dry sound [2, n] from sample `start` on; kicks: times (s) that push it down."""
        while self._next < len(self._notes):
            note = self._notes[self._next]
            first = round(note.start * SAMPLE_RATE_OUT)
            if first >= start + n:
                break
            number = self._next + next((by for time, by in self._renumbered if time <= note.start), 0)
            sound, lead = self._player.play(note, number, self._before)
            self._add(sound, max(first - lead - start, 0))
            self._before = note
            self._next += 1
        block = self._sound[:, :n].copy()
        left = self._sound.shape[1] - n
        self._sound[:, :left] = self._sound[:, n:].copy()
        self._sound[:, left:] = 0
        if self._amp is not None:
            block = self._amp.push(block)
        if self._pump_db and len(kicks):
            block *= pump(kicks, start, n, self._pump_db, self._pump_seconds)
        return block

    def _add(self, sound: np.ndarray, at: int) -> None:
        missing = at + sound.shape[1] - self._sound.shape[1]
        if missing > 0:
            self._sound = np.concatenate([self._sound, np.zeros((2, missing + BLOCK), np.float32)], axis=1)
        self._sound[:, at : at + sound.shape[1]] += sound


def pump(kicks: np.ndarray, start: int, n: int, depth_db: float, seconds: float) -> np.ndarray:
    """Gains [n] of a part that every kick pushes down by depth_db, and that comes back within `seconds`."""
    time = (start + np.arange(n)) / SAMPLE_RATE_OUT
    last = np.searchsorted(kicks, time, side="right") - 1
    since = np.where(last >= 0, time - kicks[np.maximum(last, 0)], 9.0)
    dip = np.clip(since / 0.004, 0, 1) * (0.5 + 0.5 * np.cos(np.pi * np.clip(since / (2.2 * seconds), 0, 1)))
    return (10 ** (-depth_db * dip / 20)).astype(np.float32)


class _Desk:
    """Seats, room and echo, and what they still answer."""

    def __init__(self, mix: Mix, beat: float) -> None:
        self._seats = [Convolver(seat_response(zone)) for zone in range(len(ZONES))]
        self._room = None if mix.room == "none" else Convolver(room_response(mix.room))
        self._room_gain = np.float32(10 ** (mix.room_db / 20))
        self._echo = Echo(mix.echo_beats * beat, mix.echo_feedback)

    def push(self, zones: np.ndarray, sent: np.ndarray, echoed: np.ndarray) -> np.ndarray:
        """The mix [2, n] of what sits in each zone [Z, 2, n] and what is sent to room and echo [2, n]."""
        out = sum(seat.push(zone) for seat, zone in zip(self._seats, zones, strict=True))
        repeats = self._echo.push(echoed)
        if self._room is not None:
            out = out + self._room_gain * self._room.push(sent + np.float32(0.3) * repeats)
        return out + repeats


def render(
    composition: Composition, sounds: Sounds, only: Part | None = None, span: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """The music in blocks [2, n] float32 at 48 kHz of a second, together exactly as long as the composition.

    only: one part alone with its share of the room, before the bus; all parts so sum to what the bus is given.
    span: the first and last block [first, last) that are wanted, of which the first begins with nothing that rings.
    """
    first, last = span or (0, None)
    parts = composition.parts if only is None else (only,)
    strips = [_Strip(part, composition, sounds, first * BLOCK) for part in parts]
    beats = composition.beats
    desk = _Desk(composition.mix, float(np.median(np.diff(beats))) if len(beats) > 1 else USUAL_BEAT)
    kicks = kick_times(composition)
    bus = Bus(composition.mix, start=first * BLOCK) if only is None else None
    for start, n in itertools.islice(_blocks(composition), first, last):
        level, ending = _shape(composition, start, n)
        zones, sent, echoed = (np.zeros(shape, np.float32) for shape in ((len(ZONES), 2, n), (2, n), (2, n)))
        for strip in strips:
            sound = strip.push(start, n, kicks)
            for zone in np.flatnonzero(strip.zones):
                zones[zone] += strip.zones[zone] * sound
            sent += sound * np.float32(strip.part.reverb)
            if strip.part.delay:
                echoed += sound * np.float32(strip.part.delay)
        block = desk.push(zones * level, sent * level, echoed * level)
        yield (block if bus is None else bus.push(block)) * ending


def kick_times(composition: Composition) -> np.ndarray:
    """When kicks of all kits begin, s, increasing."""
    return np.sort([n.start for part in composition.parts if part.is_kit for n in part.notes if n.pitch in KICKS])


def _blocks(composition: Composition) -> Iterator[tuple[int, int]]:
    total = Clock(Fraction(SAMPLE_RATE_OUT)).count(composition.duration)
    for start in range(0, total, BLOCK):
        yield start, min(BLOCK, total - start)


def _shape(composition: Composition, start: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains [n] of the samples from `start` on: the players' expression, and the fade that ends with the picture."""
    total = float(composition.duration) * SAMPLE_RATE_OUT
    at = start + np.arange(n)
    steps = at * (float(CONTROL_RATE) / SAMPLE_RATE_OUT)
    level = np.interp(steps, np.arange(len(composition.level)), composition.level) if len(composition.level) else 0.0
    fade = min(0.9 * SAMPLE_RATE_OUT, total / 3)
    ending = np.sin(0.5 * math.pi * np.clip((total - 1 - at) / max(fade, 1), 0, 1)) ** 2
    return (10 ** ((level + MASTER_DB) / 20) * np.ones(n)).astype(np.float32), ending.astype(np.float32)
