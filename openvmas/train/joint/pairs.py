"""Clips of music with what a picture shows at the same time, from several sources, and batches mixed from them.

`Music` has no picture: its own imperfect curves stand in for one. `MontagePairs` plans a music video for a span of a
track (`data.montage.editor`) and takes curves and features from the plan: nothing is rendered. `PooledPairs` reads such
pairs from a `PairPool` that was drawn once: 50 ms each are saved. `WeakPairs` is music with pictures that only fit its
tags. Videos with their own music are in `curated_pairs`. A recipe mixes them by their shares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from openvmas.condition import Condition
from openvmas.data.montage.bank import Bank
from openvmas.data.montage.curves import analyze_montage
from openvmas.data.montage.editor import Montage, Montages
from openvmas.data.montage.music_clips import MusicClip, match
from openvmas.errors import InputError
from openvmas.generate.pattern import delay
from openvmas.model.decoder import DecoderConfig
from openvmas.music.analysis import MusicAnalysis
from openvmas.planning.conditioning import LEAST_ACCENT
from openvmas.settings import CONTROL_RATE, option
from openvmas.timeline import Events
from openvmas.train.decoder.decoder_trainer import Batch
from openvmas.train.decoder.examples import CURVE_NAMES, Example, Examples, condition_of, read_packed

RATE = float(CONTROL_RATE)
ROOM = 0.1  # s that a montage is longer than its clip: its length is rounded down to a whole frame
SHARPNESS = 0.2  # temperature of the choice of pictures by tags
WEAK_SHOT = 4.0  # s, on average, that a picture of a weak pair stays
TEST_ROUND = 64  # test pairs among which a picture must find its own music


@dataclass(frozen=True)
class TrainingClip:
    """A training example of S steps of a piece. codes: [K, T], T <= S.

    condition: the condition of the decoder, S steps. onsets: [S] the music's accents as they are. curves: [S, 4] of the
    picture (model.video_encoder.PICTURE_CURVES), or what stands in for it. features: [F, W] of frames, or None.
    piece: clips of the same piece have the same number. chance: seed of what is drawn for it later, such as dropout.
    """

    codes: np.ndarray
    condition: Condition
    onsets: np.ndarray
    curves: np.ndarray
    features: np.ndarray | None
    piece: int
    chance: int = 0


@dataclass(frozen=True)
class PictureSpan:
    """The picture for a span of an example. index: of the example; start: of the span, steps; curves [S, 4]
    (model.video_encoder.PICTURE_CURVES) and features [F, W], float32."""

    index: int
    start: int
    curves: np.ndarray
    features: np.ndarray


class ClipSource(Protocol):
    """A source of clips without end. is_music: its clips have no picture."""

    is_music: ClassVar[bool]

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        """A clip of n_steps with n_codes steps of codes, decided by the generator alone."""
        ...


class Music:
    """Crops of tracks without a picture."""

    is_music: ClassVar[bool] = True

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        index, start = self.examples.choose(generator, n_codes)
        example = self.examples.examples[index]
        condition = condition_of(example, start, n_steps, generator)
        piece = index % self.examples.n_pieces
        return clip_of(example, piece, start, n_codes, condition, curves_of(condition.events), None)


class MontagePairs:
    """Spans of tracks with the music videos that an editor would make for them.

    n_steps: of a clip. fps: features per second. picture_events: in this share of the clips the condition has the
    picture's accents, energy and novelty, else the music's own. Raises InputError if no track is long enough.
    """

    is_music: ClassVar[bool] = False

    def __init__(
        self, examples: Examples, bank: Bank, n_steps: int, fps: float = 2.0, seed: int = 0,
        picture_events: float = 0.5,
    ) -> None:  # fmt: skip
        self.examples, self.bank, self.fps, self.picture_events = examples, bank, fps, picture_events
        length = n_steps / RATE + ROOM
        songs = [song_of(example, str(i)) for i, example in enumerate(examples.examples)]
        if all(float(song.analysis.duration) < length for song in songs):
            raise InputError(f"no track lasts {length:.1f} s; give longer music or smaller --steps-per-crop.")
        self.montages = Montages(songs, bank, seed, (length, length))

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        return self.clip(self.draw_picture(generator, n_steps), generator, n_codes)

    def draw_picture(self, generator: np.random.Generator, n_steps: int) -> PictureSpan:
        """Curves and features of a music video of n_steps: the slow half of drawing a clip."""
        montage = self.montages.make(int(generator.integers(2**31)))
        analysis = analyze_montage(montage, self.bank)
        events = Events(CONTROL_RATE, *(getattr(analysis.events, name)[:n_steps] for name in CURVE_NAMES))
        features = montage_features(montage, self.bank, self.fps, frame_count(n_steps, self.fps))
        curves = curves_of(events, analysis.motion[:n_steps])
        return PictureSpan(int(montage.music), round(montage.start * RATE), curves, features)

    def clip(self, picture: PictureSpan, generator: np.random.Generator, n_codes: int) -> TrainingClip:
        """The clip of a picture, with an imperfect condition; decided by the generator."""
        example, piece = self.examples.examples[picture.index], picture.index % self.examples.n_pieces
        return clip_of_pair(example, picture, piece, generator, n_codes, self.picture_events)


def clip_of_pair(
    example: Example, picture: PictureSpan, piece: int, generator: np.random.Generator, n_codes: int,
    picture_events: float,
) -> TrainingClip:  # fmt: skip
    """The clip of an example and its picture. picture_events: as for `MontagePairs`."""
    condition = condition_of(example, picture.start, len(picture.curves), generator)
    if generator.random() < picture_events:
        condition = replace(condition, events=events_as_planned(picture.curves))
    return clip_of(example, piece, picture.start, n_codes, condition, picture.curves, picture.features)


def events_as_planned(curves: np.ndarray) -> Events:
    """Events of a picture's curves [S, 4] as planning gives them to the decoder: with raised accents."""
    accents, energy, novelty, _ = curves.T
    raised = np.where(accents > 0, LEAST_ACCENT + (1 - LEAST_ACCENT) * accents, 0)
    return Events(CONTROL_RATE, raised.astype(np.float32), energy, novelty)


def clip_of(
    example: Example, piece: int, start: int, n_codes: int, condition: Condition, curves: np.ndarray,
    features: np.ndarray | None,
) -> TrainingClip:  # fmt: skip
    """The clip of an example from step `start`."""
    onsets = example.events.accents[start : start + condition.n_steps]
    onsets = np.pad(onsets, (0, condition.n_steps - len(onsets)))
    codes = example.codes[:, start : start + n_codes].astype(np.int64)
    return TrainingClip(codes, condition, onsets, curves, features, piece)


def curves_of(events: Events, motion: np.ndarray | None = None) -> np.ndarray:
    """[S, 4] float32: accents, energy, novelty and motion; where there is no picture, energy stands for motion."""
    columns = (events.accents, events.energy, events.novelty, events.energy if motion is None else motion)
    return np.stack(columns, axis=1).astype(np.float32)


def song_of(example: Example, name: str) -> MusicClip:
    """An example in the form that `data.montage` takes."""
    n_steps = example.codes.shape[1]
    curves = (getattr(example.events, n)[:n_steps] for n in CURVE_NAMES)
    has_grid = len(example.beats) > 1
    tempo = 60 / float(np.median(np.diff(example.beats))) if has_grid else 0.0
    analysis = MusicAnalysis(
        duration=Fraction(n_steps) / CONTROL_RATE, events=Events(CONTROL_RATE, *curves), onsets=np.zeros(0),
        onset_strengths=np.zeros(0), beats=example.beats, downbeats=example.downbeats, tempo=tempo, beats_per_bar=4,
        confidence=float(has_grid), loudness_lufs=-math.inf,
    )  # fmt: skip
    return MusicClip(name, analysis, example.axis_times, example.axes)


def frame_count(n_steps: int, fps: float) -> int:
    """Number of frames at fps in a span of n_steps."""
    return max(math.ceil(n_steps / RATE * fps - 1e-9), 1)


def montage_features(montage: Montage, bank: Bank, fps: float, n_frames: int) -> np.ndarray:
    """Features of a montage's first frames at fps, from the bank's nearest views: [n_frames, 1280] float32.

    At 2 fps they are those of `data.montage.curves.analyze_montage`.
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


@dataclass(frozen=True)
class PairPool:
    """N pairs. index [N] of examples, start [N] in steps, curves [N, S, 4] and features [N, F, W] float16 at fps."""

    index: np.ndarray
    start: np.ndarray
    curves: np.ndarray
    features: np.ndarray
    fps: float

    def __len__(self) -> int:
        return len(self.index)

    def picture(self, row: int, fps: float) -> PictureSpan:
        """One pair with features at a lower or equal fps, the nearest frames."""
        n_frames = frame_count(self.curves.shape[1], fps)
        frames = np.minimum(np.round(np.arange(n_frames) * self.fps / fps).astype(int), self.features.shape[1] - 1)
        curves, features = self.curves[row].astype(np.float32), self.features[row, frames].astype(np.float32)
        return PictureSpan(int(self.index[row]), int(self.start[row]), curves, features)

    def save(self, path: Path) -> None:
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> PairPool:
        """Read a file of `save`. Raises InputError if it is not there."""
        if not path.is_file():
            raise InputError(f"{path} is not there; make it with openvmas train pairs.")
        with np.load(path) as data:
            arrays = {name: data[name] for name in data.files}
        return cls(**{**arrays, "fps": float(arrays["fps"])})

    @classmethod
    def build(cls, source: MontagePairs, n: int, n_steps: int, seed: int, distinct: int = 0) -> PairPool:
        """Draw n pairs. distinct: in every round of so many rows each is of another piece.

        Raises InputError where there are not enough pieces for that.
        """
        generator = np.random.default_rng(seed)
        rows: list[PictureSpan] = []
        taken: set[int] = set()
        for _ in range(60 * n):
            if len(rows) == n:
                break
            if distinct and len(rows) % distinct == 0 and len(taken) == distinct:
                taken.clear()
            picture = source.draw_picture(generator, n_steps)
            piece = picture.index % source.examples.n_pieces
            if distinct and piece in taken:
                continue
            taken.add(piece)
            rows.append(picture)
        if len(rows) < n:
            raise InputError(f"only {len(rows)} of {n} pairs could be drawn; give more music or ask for fewer pairs.")
        return cls(
            np.array([row.index for row in rows]), np.array([row.start for row in rows]),
            np.array([row.curves for row in rows], np.float16), np.array([row.features for row in rows], np.float16),
            source.fps,
        )  # fmt: skip


def coarsen(curves: np.ndarray, fps: float) -> np.ndarray:
    """Curves [S, 4] as fps pictures a second would show them: [S, 4].

    What happens between two pictures is only known to lie between them: each frame's span has its strongest accent in
    its middle and its mean energy, novelty and motion.
    """
    frame = (np.arange(len(curves)) * fps / RATE + 1e-9).astype(int)
    coarse = np.zeros_like(curves)
    for k in range(int(frame[-1]) + 1):
        inside = np.flatnonzero(frame == k)
        if len(inside):
            coarse[inside[len(inside) // 2], 0] = curves[inside, 0].max()
            coarse[inside, 1:] = curves[inside, 1:].mean(0)
    return coarse


class PooledPairs(MontagePairs):
    """`MontagePairs` from a pool. fps: of features; events_fps: of the curves (0: as analysed)."""

    def __init__(
        self, examples: Examples, pool: PairPool, fps: float, events_fps: float = 0.0, picture_events: float = 0.5
    ) -> None:
        self.examples, self.pool, self.fps, self.events_fps = examples, pool, fps, events_fps
        self.picture_events = picture_events

    def row(self, row: int) -> PictureSpan:
        """One pair of the pool, at the frame rates of this source."""
        picture = self.pool.picture(row, self.fps)
        return replace(picture, curves=coarsen(picture.curves, self.events_fps)) if self.events_fps else picture

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        return self.clip(self.row(int(generator.integers(len(self.pool)))), generator, n_codes)

    def clip_of_row(self, row: int, n_codebooks: int) -> TrainingClip:
        """The clip of a pair, decided by its row alone."""
        n_codes = self.pool.curves.shape[1] - n_codebooks + 1
        return self.clip(self.row(row), np.random.default_rng(row), n_codes)


@dataclass(frozen=True)
class PoolOptions:
    """Sizes of the pools that `write_pools` makes."""

    pairs: int = option(2000, "Pairs to train on.", min=1)
    test_pairs: int = option(3 * TEST_ROUND, "Pairs to measure on.", min=1)
    steps_per_crop: int = option(320, "Steps of a training pair, 50 a second.", min=16)
    test_steps: int = option(768, "Steps of a test pair, 50 a second.", min=16)
    fps: float = option(10.0, "Pictures a second that are kept; training may use fewer.", min=0.1, max=60)


def write_pools(packed: Path, bank: Path, folder: Path, options: PoolOptions) -> Iterator[str]:
    """Draw FOLDER/train.npz from the music and four fifths of the pictures, FOLDER/test.npz from what is held out.

    In a round of TEST_ROUND test pairs each is of another piece. Yields a line about each pool.
    """
    (music, held_out), banks = read_packed(packed), split_bank(Bank.load(bank))
    folder.mkdir(parents=True, exist_ok=True)
    sets = (
        ("train", music, banks[0], options.pairs, options.steps_per_crop, 0),
        ("test", held_out, banks[1], options.test_pairs, options.test_steps, TEST_ROUND),
    )
    for name, examples, pictures, n, n_steps, distinct in sets:
        source = MontagePairs(examples, pictures, n_steps, options.fps, 99)
        pool = PairPool.build(source, n, n_steps, 99, distinct)
        pool.save(folder / f"{name}.npz")
        yield f"{name}: {len(pool)} pairs of {n_steps / RATE:.1f} s"


class WeakPairs:
    """Music with pictures that are chosen by its tags alone: meaning without timing, as in a tagged library.

    Pictures of the bank whose mood fits stay for some seconds each; what they do and when is unknown, so the curves of
    the picture are empty. Raises InputError if no example has tags.
    """

    is_music: ClassVar[bool] = False

    def __init__(self, examples: Examples, bank: Bank, fps: float = 2.0) -> None:
        self.examples, self.bank, self.fps = examples, bank, fps
        if not any(len(example.axes) for example in examples.examples):
            raise InputError("no track has tags; tag the music with tools/tag_music.py or leave out weak pairs.")
        self.tags = bank.tags()

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        while True:
            index, start = self.examples.choose(generator, n_codes)
            example = self.examples.examples[index]
            if len(example.axes):
                break
        window = int(np.abs(example.axis_times - (start + n_steps / 2) / RATE).argmin())
        fit = match(self.tags, example.axes[window]) / SHARPNESS
        share = np.exp(fit - fit.max())
        n_frames = frame_count(n_steps, self.fps)
        is_new = generator.random(n_frames) < 1 / (WEAK_SHOT * self.fps)
        shots = np.cumsum(is_new)
        files = generator.choice(len(share), int(shots[-1]) + 1, p=share / share.sum())[shots]
        views = [int(generator.integers(self.bank.first[f], self.bank.first[f + 1])) for f in range(len(share))]
        features = self.bank.features[[views[f] for f in files]].astype(np.float32)
        condition = condition_of(example, start, n_steps, generator)
        curves = np.zeros((n_steps, 4), np.float32)
        return clip_of(example, index % self.examples.n_pieces, start, n_codes, condition, curves, features)


def select_pictures(bank: Bank, files: Sequence[int]) -> Bank:
    """A bank of some of the files only: held-out pictures must not appear in training."""
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
    return select_pictures(bank, [i for i in range(len(bank)) if i not in held]), select_pictures(bank, sorted(held))


@dataclass(frozen=True)
class PairBatch(Batch):
    """Tensors of clips, those with a picture first.

    onsets [B, S] of the music; picture [B, S, 4]; features [B, F, W], zeros without a picture; has_features [B] of 0 or
    1; pieces [B]; chance [B]: seeds of what is drawn for each clip.
    """

    onsets: Tensor
    picture: Tensor
    features: Tensor
    has_features: Tensor
    pieces: Tensor
    chance: Tensor

    @property
    def n_pairs(self) -> int:
        return int(self.has_features.sum())


def collate(clips: Sequence[TrainingClip], config: DecoderConfig, fps: float, feature_width: int) -> PairBatch:
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
        "chance": [np.int64(clip.chance) for clip in clips],
    }
    return PairBatch(**{name: torch.from_numpy(np.stack(values)) for name, values in rows.items()})


def counts_of(shares: Sequence[float], n: int) -> list[int]:
    """Numbers of clips, n in all, from each source: nearest to the shares (largest remainders).

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


def draw_distinct(source: ClipSource, n: int, n_steps: int, config: DecoderConfig, seed: int) -> list[TrainingClip]:
    """At most n clips, each of another piece, so that only one of them is the right answer to a question."""
    generator = np.random.default_rng(seed)
    found: dict[int, TrainingClip] = {}
    for _ in range(50 * n):
        if len(found) == n:
            break
        clip = source.draw(generator, n_steps, n_steps - config.n_codebooks + 1)
        found.setdefault(clip.piece, clip)
    return list(found.values())
