"""Analysis of a montage from its plan alone: nothing is rendered, encoded or decoded.

Shots, flashes and camera moves are known from the takes; looks, features and footage's own motion come from the bank.
They go through the same code as a real video's (`vision.analysis.assemble`), so beats and curves mean the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from openvmas.data.montage.bank import VIEW, Bank, Take, view_window
from openvmas.data.montage.editor import Montage
from openvmas.vision.analysis import FEATURE_FPS, MOTION_FPS, VideoAnalysis, assemble
from openvmas.vision.motion import NOISE_PIXELS, Motion
from openvmas.vision.shots import ShotChanges, Transition

MOTION_WIDTH = 160  # pixels, of the frames that motion is measured in
SHOOTING_WIDTH = 640  # pixels, that a take's shake is given in
UNSEEN_CUT = 6.0  # grey levels of mean change below which a cut cannot be seen


@dataclass(frozen=True)
class _Shot:
    """One take on the montage's clock: file is its number in the bank, start and end in s."""

    take: Take
    file: int
    start: float
    end: float


def analyze_montage(montage: Montage, bank: Bank) -> VideoAnalysis:
    """The analysis of a montage as if it had been rendered and watched."""
    starts = np.concatenate([[0], np.cumsum([round(t.duration * montage.fps) for t in montage.takes])])
    times = starts / float(montage.fps)
    rows = zip(montage.takes, montage.files, times[:-1], times[1:], strict=True)
    shots = [_Shot(take, file, float(a), float(b)) for take, file, a, b in rows]
    duration = Fraction(int(starts[-1])) / montage.fps
    rng = np.random.default_rng(len(shots))
    changes = _changes(shots, bank, montage.fps, int(starts[-1]))
    return assemble(duration, montage.fps, changes, _moves(shots, bank, rng), cast(Any, _see(shots, bank)))


def _changes(shots: Sequence[_Shot], bank: Bank, fps: Fraction, n_frames: int) -> ShotChanges:
    """Changes of shot that can be seen, flashes, and the light of every frame."""
    transitions: list[Transition] = []
    for before, after in itertools.pairwise(shots):
        left = bank.thumbs[bank.nearest(before.file, before.take, before.take.duration)]
        right = bank.thumbs[bank.nearest(after.file, after.take, 0.0)]
        change = float(np.abs(left.astype(np.float32) - right).mean())
        if change < UNSEEN_CUT:
            continue
        at, dissolve = after.start, after.take.dissolve
        if dissolve:
            strength = float(np.clip(0.75 - 0.2 * dissolve, 0.2, 0.6))
            fade = after.take.is_fade
            transitions.append(Transition(at + dissolve / 2, at, at + dissolve, strength, fade, fade))
        else:
            transitions.append(Transition(at, at, at, 0.67 + 0.3 * min(change / 90, 1.0)))
    times = np.arange(n_frames) / float(fps)
    light = np.zeros(n_frames)
    flashes: list[tuple[float, float]] = []
    for shot in shots:
        inside = (times >= shot.start - 1e-9) & (times < shot.end - 1e-9)
        since = times[inside] - shot.start
        ends = [bank.looks[bank.nearest(shot.file, shot.take, t), 0] for t in (0.0, shot.take.duration)]
        gain = np.clip(1 + shot.take.exposure * since, 0.1, None) * float(np.mean(shot.take.tint))
        level = np.clip(np.interp(since, [0, shot.take.duration], ends) * gain, 0, 1)
        for flash in shot.take.flashes:
            first = round(flash * fps) / float(fps)
            glow = _glow(since - first)
            height = float(0.9 * 255 * (1 - np.interp(first, [0, shot.take.duration], ends)))
            if height >= 7:
                flashes.append((shot.start + first, float(np.clip(height / 80, 0.1, 1))))
            level = 1 - (1 - level) * (1 - glow)
        light[inside] = level
    found = np.array(flashes).reshape(-1, 2)
    return ShotChanges(tuple(transitions), found[:, 0], found[:, 1], times, light.astype(np.float32))


def _glow(since: np.ndarray) -> np.ndarray:
    """Share of white that a flash adds to the picture, s after its first frame, as it is rendered: in [0, 0.9]."""
    return np.where((since >= -1e-9) & (since <= 0.2), 0.9 * np.exp(-np.maximum(since, 0) / 0.05), 0.0)


def _moves(shots: Sequence[_Shot], bank: Bank, rng: np.random.Generator) -> Motion:
    """Motion between frames at MOTION_FPS: the camera's from the takes' geometry, objects' from the footage."""
    step = 1 / float(MOTION_FPS)
    n = int(np.ceil(shots[-1].end / step - 1e-9))
    frames = np.arange(n) * step
    owner = np.clip(np.searchsorted([s.start for s in shots], frames + 1e-9, side="right") - 1, 0, len(shots) - 1)
    camera = np.zeros((max(n - 1, 0), 3))  # pan x, pan y in widths per second, growth per second
    own = np.zeros((max(n - 1, 0), 7))
    for k in range(n - 1):
        shot = shots[owner[k]]
        t = frames[k] - shot.start
        width, height = (int(x) for x in bank.sizes[shot.file])
        (x0, y0), s0 = view_window(shot.take, t, (width, height), VIEW)
        (x1, y1), s1 = view_window(shot.take, t + step, (width, height), VIEW)
        unit = s0 * VIEW[0] * step
        camera[k] = (x0 - x1) / unit, (y0 - y1) / unit, np.log(s0 / s1) / step
        if bank.is_footage(shot.file):
            zoom = min(width / VIEW[0], height / VIEW[1]) / s0
            own[k] = bank.own_motion(shot.file, shot.take, t) * shot.take.speed * zoom
        if shot.take.shake:
            camera[k, :2] += rng.normal(0, shot.take.shake * 2**0.5 / SHOOTING_WIDTH / step, 2)
    grid = np.stack(np.meshgrid(np.linspace(-0.475, 0.475, 10), np.linspace(-0.26, 0.26, 6)), axis=-1).reshape(-1, 2)
    flow = (camera[:, None, :2] + own[:, None, 3:5]) + (camera[:, 2] + own[:, 5])[:, None, None] * grid
    noise = NOISE_PIXELS / MOTION_WIDTH / step
    moved = np.maximum(np.hypot(flow[..., 0], flow[..., 1]) - noise, 0).mean(axis=1)
    # What footage moves beyond its own camera stays when ours moves too.
    rest = np.maximum(own[:, 0] - own[:, 1], 0)
    middles = (frames[:-1] + frames[1:]) / 2
    mismatch = np.where(owner[:-1] == owner[1:], 0.2, 0.9) if n > 1 else np.zeros(0)
    pan = camera[:, :2] + own[:, 3:5]
    return Motion(middles, np.hypot(moved, rest), moved, own[:, 2], pan, camera[:, 2] + own[:, 5], mismatch)


def _see(shots: Sequence[_Shot], bank: Bank) -> SimpleNamespace:
    """Features and looks of the pictures at FEATURE_FPS, as vision.analysis gathers them."""
    times = np.arange(max(int(np.ceil(shots[-1].end * float(FEATURE_FPS) - 1e-9)), 1)) / float(FEATURE_FPS)
    owner = np.clip(np.searchsorted([s.start for s in shots], times + 1e-9, side="right") - 1, 0, len(shots) - 1)
    features, classes, looks = [], [], []
    for time, k in zip(times, owner, strict=True):
        shot = shots[k]
        since = float(time) - shot.start
        rows, shares = [bank.nearest(shot.file, shot.take, since)], [1.0]
        if k and shot.take.dissolve and since < shot.take.dissolve:
            last = shots[k - 1]
            share = since / shot.take.dissolve
            rows.append(bank.nearest(last.file, last.take, last.take.duration + since))
            shares = [share, 1 - share]
        weight = np.array(shares)[:, None]
        features.append((bank.features[rows] * weight).sum(axis=0))
        classes.append((bank.classes[rows] * weight).sum(axis=0))
        looks.append((bank.looks[rows] * weight).sum(axis=0))
        red, green, blue = shot.take.tint
        level = looks[-1][0]
        looks[-1] = looks[-1] + [level * ((red + green + blue) / 3 - 1), 0.0, level * (red - blue) / 2, 0.0]
        white = float(max(_glow(since - np.array(shot.take.flashes)), default=0.0))
        looks[-1] = looks[-1] * (1 - white) + np.array([white, 0.0, 0.0, 0.0])
    return SimpleNamespace(
        times=[times],
        features=[np.array(features, np.float16)],
        classes=[np.array(classes, np.float16)],
        looks=[np.array(looks, np.float32)],
    )
