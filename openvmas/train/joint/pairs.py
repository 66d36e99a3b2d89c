"""Clips of music with what a picture shows at the same time, from several sources, and batches mixed from them.

`Music` has no picture: its own imperfect curves stand in for one. `MontagePairs` plans a music video for a span of a
track (`data.montage.editor`) and takes curves and features from the plan: nothing is rendered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from openvmas.condition import Condition
from openvmas.data.montage.bank import Bank
from openvmas.data.montage.curves import analyze_montage
from openvmas.data.montage.editor import Montage, Montages
from openvmas.data.montage.music_clips import MusicClip
from openvmas.errors import InputError
from openvmas.generate.pattern import delay
from openvmas.model.decoder import DecoderConfig
from openvmas.music.analysis import MusicAnalysis
from openvmas.planning.conditioning import LEAST_ACCENT
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.train.decoder.examples import Example, Examples, condition_of

RATE = float(CONTROL_RATE)
ROOM = 0.1  # s that a montage is longer than its clip: its length is rounded down to a whole frame


@dataclass(frozen=True)
class Clip:
    """S steps of a piece. codes: [K, T], T <= S.

    condition: what the decoder is told, S steps. onsets: [S] the music's accents as they are. curves: [S, 4] of the
    picture (model.video_encoder.PICTURE_CURVES), or what stands in for it. features: [F, W] of frames, or None.
    piece: clips of the same piece have the same number.
    """

    codes: np.ndarray
    condition: Condition
    onsets: np.ndarray
    curves: np.ndarray
    features: np.ndarray | None
    piece: int


@dataclass(frozen=True)
class Seen:
    """What the picture to a span of an example shows. index: of the example; start: of the span, steps; curves [S, 4]
    (model.video_encoder.PICTURE_CURVES) and features [F, W], float32."""

    index: int
    start: int
    curves: np.ndarray
    features: np.ndarray


class Source(Protocol):
    """Gives clips without end."""

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> Clip:
        """A clip of n_steps with n_codes steps of codes, decided by the generator alone."""
        ...


class Music:
    """Crops of tracks without a picture.

    n_pieces: how many pieces there are if the examples hold several copies of them, one set after the other.
    """

    def __init__(self, examples: Examples, n_pieces: int | None = None) -> None:
        self.examples, self.n_pieces = examples, n_pieces or len(examples.examples)

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> Clip:
        index, start = self.examples.choose(generator, n_codes)
        example = self.examples.examples[index]
        condition = condition_of(example, start, n_steps, generator)
        piece = index % self.n_pieces
        return clip_of(example, piece, start, n_codes, condition, curves_of(condition.events), None)


class MontagePairs:
    """Spans of tracks with the music videos that an editor would make for them.

    n_steps: of a clip. fps: features per second. picture_events: in this share of the clips the decoder is told the
    picture's accents, energy and novelty, else the music's own. n_pieces: as for `Music`. Raises InputError if no
    track is long enough.
    """

    def __init__(
        self, examples: Examples, bank: Bank, n_steps: int, fps: float = 2.0, seed: int = 0,
        picture_events: float = 0.5, n_pieces: int | None = None,
    ) -> None:  # fmt: skip
        self.n_pieces = n_pieces or len(examples.examples)
        self.examples, self.bank, self.fps, self.picture_events = examples, bank, fps, picture_events
        length = n_steps / RATE + ROOM
        songs = [song_of(example, str(i)) for i, example in enumerate(examples.examples)]
        if all(float(song.analysis.duration) < length for song in songs):
            raise InputError(f"no track lasts {length:.1f} s; give longer music or smaller --steps-per-crop.")
        self.montages = Montages(songs, bank, seed, (length, length))

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> Clip:
        return self.clip(self.look(generator, n_steps), generator, n_codes)

    def look(self, generator: np.random.Generator, n_steps: int) -> Seen:
        """A music video of n_steps, looked at: the slow half of drawing a clip."""
        montage = self.montages.make(int(generator.integers(2**31)))
        analysis = analyze_montage(montage, self.bank)
        names = ("accents", "energy", "novelty")
        events = Events(CONTROL_RATE, *(getattr(analysis.events, name)[:n_steps] for name in names))
        features = see(montage, self.bank, self.fps, frame_count(n_steps, self.fps))
        curves = curves_of(events, analysis.motion[:n_steps])
        return Seen(int(montage.music), round(montage.start * RATE), curves, features)

    def clip(self, seen: Seen, generator: np.random.Generator, n_codes: int) -> Clip:
        """The clip of what was seen, told imperfectly; decided by the generator."""
        example, piece = self.examples.examples[seen.index], seen.index % self.n_pieces
        return pair_clip(example, seen, piece, generator, n_codes, self.picture_events)


def pair_clip(
    example: Example, seen: Seen, piece: int, generator: np.random.Generator, n_codes: int, picture_events: float
) -> Clip:
    """The clip of an example and what its picture shows. picture_events: as for `MontagePairs`."""
    condition = condition_of(example, seen.start, len(seen.curves), generator)
    if generator.random() < picture_events:
        condition = replace(condition, events=told_events(seen.curves))
    return clip_of(example, piece, seen.start, n_codes, condition, seen.curves, seen.features)


def told_events(curves: np.ndarray) -> Events:
    """A picture's curves [S, 4] as the decoder is told them: accents raised as a plan raises them (conduct)."""
    accents, energy, novelty, _ = curves.T
    raised = np.where(accents > 0, LEAST_ACCENT + (1 - LEAST_ACCENT) * accents, 0)
    return Events(CONTROL_RATE, raised.astype(np.float32), energy, novelty)


def clip_of(
    example: Example, piece: int, start: int, n_codes: int, condition: Condition, curves: np.ndarray,
    features: np.ndarray | None,
) -> Clip:  # fmt: skip
    """The clip of an example from step `start`."""
    onsets = example.events.accents[start : start + condition.n_steps]
    onsets = np.pad(onsets, (0, condition.n_steps - len(onsets)))
    codes = example.codes[:, start : start + n_codes].astype(np.int64)
    return Clip(codes, condition, onsets, curves, features, piece)


def curves_of(events: Events, motion: np.ndarray | None = None) -> np.ndarray:
    """[S, 4] float32: accents, energy, novelty and motion; where there is no picture, energy stands for motion."""
    columns = (events.accents, events.energy, events.novelty, events.energy if motion is None else motion)
    return np.stack(columns, axis=1).astype(np.float32)


def song_of(example: Example, name: str) -> MusicClip:
    """An example as editors of montages know it."""
    n_steps = example.codes.shape[1]
    curves = (getattr(example.events, n)[:n_steps] for n in ("accents", "energy", "novelty"))
    has_grid = len(example.beats) > 1
    tempo = 60 / float(np.median(np.diff(example.beats))) if has_grid else 0.0
    heard = MusicAnalysis(
        duration=Fraction(n_steps) / CONTROL_RATE, events=Events(CONTROL_RATE, *curves), onsets=np.zeros(0),
        onset_strengths=np.zeros(0), beats=example.beats, downbeats=example.downbeats, tempo=tempo, beats_per_bar=4,
        confidence=float(has_grid), loudness_lufs=-math.inf,
    )  # fmt: skip
    return MusicClip(name, heard, example.axis_times, example.axes)


def frame_count(n_steps: int, fps: float) -> int:
    """Frames at fps that a span of n_steps has."""
    return max(math.ceil(n_steps / RATE * fps - 1e-9), 1)


def see(montage: Montage, bank: Bank, fps: float, n_frames: int) -> np.ndarray:
    """Features of a montage's first frames at fps, from the bank's nearest views: [n_frames, 1280] float32.

    At 2 fps they are those of `data.montage.curves.watch`.
    """
    lengths = [round(take.duration * montage.fps) / float(montage.fps) for take in montage.takes]
    starts = np.concatenate([[0.0], np.cumsum(lengths)])[:-1]
    times = np.arange(n_frames) / fps
    rows = np.zeros((n_frames, bank.features.shape[1]), np.float32)
    for i, time in enumerate(times):
        k = int(np.searchsorted(starts, time + 1e-9, side="right")) - 1
        take, since = montage.takes[k], float(time - starts[k])
        rows[i] = bank.features[bank.nearest(montage.files[k], take, since)]
        if k and take.dissolve and since < take.dissolve:
            last, share = montage.takes[k - 1], since / take.dissolve
            before = bank.features[bank.nearest(montage.files[k - 1], last, last.duration + since)]
            rows[i] = share * rows[i] + (1 - share) * before
    return rows


def part_of(bank: Bank, files: Sequence[int]) -> Bank:
    """A bank of some of the files only: held-out pictures must not be seen in training."""
    spans = [range(int(bank.first[i]), int(bank.first[i + 1])) for i in files]
    moves = [range(int(bank.motion_first[i]), int(bank.motion_first[i + 1])) for i in files]
    views, motion = (np.array([row for span in rows for row in span], int) for rows in (spans, moves))
    picked = {name: getattr(bank, name)[list(files)] for name in ("paths", "sizes")}
    picked |= {name: getattr(bank, name)[views] for name in ("views", "features", "classes", "looks", "thumbs")}
    first, motion_first = (np.cumsum([0, *map(len, rows)]) for rows in (spans, moves))
    return Bank(**picked, first=first, motion=bank.motion[motion], motion_first=motion_first)


def split_bank(bank: Bank, every: int = 5) -> tuple[Bank, Bank]:
    """Pictures to train on, and every fifth still and every fifth piece of footage, held out."""
    held: list[int] = []
    for is_footage in (False, True):
        held += [i for i in range(len(bank)) if bank.is_footage(i) == is_footage][every - 1 :: every]
    return part_of(bank, [i for i in range(len(bank)) if i not in held]), part_of(bank, sorted(held))


@dataclass(frozen=True)
class PairBatch:
    """Tensors of clips, those with a picture first.

    tokens [B, K, S] after the delay pattern, the empty token V where there is nothing; curves [B, S, C] and semantics
    [B, S, 2A] of the decoder's condition; onsets [B, S] of the music; picture [B, S, 4]; features [B, F, W], zeros
    without a picture; has_features [B] of 0 or 1; pieces [B].
    """

    tokens: Tensor
    curves: Tensor
    semantics: Tensor
    onsets: Tensor
    picture: Tensor
    features: Tensor
    has_features: Tensor
    pieces: Tensor

    @property
    def n_pairs(self) -> int:
        return int(self.has_features.sum())

    def to(self, device: str) -> PairBatch:
        return PairBatch(**{name: value.to(device) for name, value in vars(self).items()})


def collate(clips: Sequence[Clip], config: DecoderConfig, fps: float, feature_width: int) -> PairBatch:
    """One batch of clips of the same length."""
    clips = sorted(clips, key=lambda clip: clip.features is None)
    n_frames = frame_count(clips[0].condition.n_steps, fps)
    nothing = np.zeros((n_frames, feature_width), np.float32)
    rows = {
        "tokens": [delay(clip.codes[: config.n_codebooks], config.codebook_size) for clip in clips],
        "curves": [clip.condition.encode_curves() for clip in clips],
        "semantics": [clip.condition.encode_semantics() for clip in clips],
        "onsets": [clip.onsets.astype(np.float32) for clip in clips],
        "picture": [clip.curves for clip in clips],
        "features": [nothing if clip.features is None else clip.features for clip in clips],
        "has_features": [np.float32(clip.features is not None) for clip in clips],
        "pieces": [np.int64(clip.piece) for clip in clips],
    }
    return PairBatch(**{name: torch.from_numpy(np.stack(values)) for name, values in rows.items()})


def counts_of(shares: Sequence[float], n: int) -> list[int]:
    """How many of n clips come from each source: whole numbers nearest to the shares (largest remainders).

    Raises InputError if no share is above zero.
    """
    total = sum(shares)
    if total <= 0 or min(shares) < 0:
        raise InputError("the shares of the sources must not be negative, and one must be above zero.")
    exact = [n * share / total for share in shares]
    counts = [int(x) for x in exact]
    for i in sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])[: n - sum(counts)]:
        counts[i] += 1
    return counts


def draw_mixed(
    sources: Sequence[tuple[Source, int]], generator: np.random.Generator, n_steps: int, config: DecoderConfig,
    fps: float, feature_width: int,
) -> PairBatch:  # fmt: skip
    """A batch with so many clips of each source, n_steps long after the delay pattern."""
    n_codes = n_steps - config.n_codebooks + 1
    clips = [source.draw(generator, n_steps, n_codes) for source, count in sources for _ in range(count)]
    return collate(clips, config, fps, feature_width)


def draw_distinct(source: Source, n: int, n_steps: int, config: DecoderConfig, seed: int) -> list[Clip]:
    """At most n clips, each of another piece, so that only one of them is the right answer to a question."""
    generator = np.random.default_rng(seed)
    found: dict[int, Clip] = {}
    for _ in range(50 * n):
        if len(found) == n:
            break
        clip = source.draw(generator, n_steps, n_steps - config.n_codebooks + 1)
        found.setdefault(clip.piece, clip)
    return list(found.values())
