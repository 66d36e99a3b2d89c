"""Training examples of the decoder: codes of a track and everything a condition is made of, all from the music itself.

    openvmas train examples listen WAVES EXAMPLES          # curves, beats (needs no codec)
    openvmas train examples encode WAVES EXAMPLES CODEC    # codes, by codec.pt, a preset or EnCodec
    openvmas train examples pack WAVES EXAMPLES TAGS OUT   # all that training reads, in two files

The first two skip what is there already, so several processes share the work. `Examples` then draws crops of codes with
their conditions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import AXES, Condition
from openvmas.errors import InputError, ModelError
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.pretrained import find_weights
from openvmas.settings import CONTROL_RATE, option
from openvmas.timeline import Events
from openvmas.train.codec.corpus import EXCLUDED_ALBUMS, SAMPLE_RATE, Track, read_index
from openvmas.train.codec.identity import CodecIdentity, has_encodec, keep_identity, read_identity

MAX_SINGING, MAX_SPEECH = 0.35, 0.15  # shares of a track; the model is to write instrumental music
GRID_CONFIDENCE = 0.35  # below it a beat grid is a guess, and the condition says that there is none
CURVE_NAMES = ("accents", "energy", "novelty")
_RAGGED = ("beats", "downbeats", "axis_times", "axes")
ENDING_DB = -20.0  # a track ends by itself if its last quarter second is this much softer than the whole


@dataclass(frozen=True)
class EncodeOptions:
    """Settings of encoding tracks."""

    semitones: float = option(0.0, "Transpose the music by so much first; training tracks only.", min=-12, max=12)


@dataclass(frozen=True)
class PackedOptions(EncodeOptions):
    """Settings of packing examples; semitones: of the codes that are packed."""

    codebooks: int = option(4, "Codebooks that the decoder is to predict.", min=1)


def key_of(track: Track) -> str:
    """Name of a track's files: a hash, as track names contain slashes."""
    return hashlib.sha256(track.name.encode()).hexdigest()[:16]


def is_usable(track: Track) -> bool:
    """Whether the decoder may learn from a track: instrumental, and of a licence that is known."""
    is_instrumental = track.singing_share <= MAX_SINGING and track.speech_share <= MAX_SPEECH
    return is_instrumental and track.album not in EXCLUDED_ALBUMS and track.length > SAMPLE_RATE


def read_wave(folder: Path, track: Track) -> np.ndarray:
    """Samples [L] float32 of a track."""
    waves = np.memmap(folder / "waves.s16", dtype="<i2", mode="r")
    return waves[track.start : track.start + track.length].astype(np.float32) / 32768


def change_speed(analysis: MusicAnalysis, speed: float) -> MusicAnalysis:
    """The analysis of a piece as if it were played faster (and higher) by a factor."""
    events = analysis.events
    n_steps = round(events.n_steps / speed)
    places = (np.arange(n_steps) * speed).clip(0, max(0, events.n_steps - 1))
    accents = np.zeros(n_steps, dtype=np.float32)
    where = np.flatnonzero(events.accents)
    np.maximum.at(accents, np.round(where / speed).astype(int).clip(0, n_steps - 1), events.accents[where])
    energy, novelty = (
        np.interp(places, np.arange(events.n_steps), curve).astype(np.float32)
        for curve in (events.energy, events.novelty)
    )
    return replace(
        analysis, duration=analysis.duration / Fraction(speed), events=Events(events.rate, accents, energy, novelty),
        onsets=analysis.onsets / speed, beats=analysis.beats / speed, downbeats=analysis.downbeats / speed,
        tempo=analysis.tempo * speed,
    )  # fmt: skip


def codes_folder(examples: Path, semitones: float) -> Path:
    """Folder of the codes of all tracks, as recorded or transposed."""
    return examples / (f"codes{semitones:+g}" if semitones else "codes")


def listen_all(waves: Path, examples: Path) -> None:
    """Analyse every usable track of waves that has no analysis yet."""
    (examples / "heard").mkdir(parents=True, exist_ok=True)
    for track in read_index(waves):
        path = examples / "heard" / f"{key_of(track)}.npz"
        if not path.exists() and is_usable(track):
            analyze_music(read_wave(waves, track), SAMPLE_RATE).save(path)


def encode_all(
    waves: Path, examples: Path, codec: str | Path, options: EncodeOptions | None = None, seconds: int = 60
) -> None:
    """Codes [K, T] of every track as uint16, as if each had gone through the codec in one piece.

    codec: a checkpoint (.pt), or a preset or folder of exported weights, which needs no PyTorch, or a folder that holds
    EnCodec (of MusicGen too). Raises InputError if codes of another codec are there.
    """
    import soxr

    encode, semitones = encoder_of(str(codec), seconds), (options or EncodeOptions()).semitones
    folder = codes_folder(examples, semitones)
    folder.mkdir(parents=True, exist_ok=True)
    keep_identity(folder, codec)
    for track in read_index(waves):
        path = folder / f"{key_of(track)}.npy"
        if path.exists() or not is_usable(track) or (semitones and track.is_held_out):
            continue
        path.touch()  # another process takes the next track
        wave = read_wave(waves, track)
        if semitones:
            wave = soxr.resample(wave, SAMPLE_RATE * 2 ** (semitones / 12), SAMPLE_RATE, quality="MQ")
        np.save(path.with_suffix(".tmp.npy"), encode(wave).astype(np.uint16))
        path.with_suffix(".tmp.npy").replace(path)


def encoder_of(codec: str, seconds: int = 60) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a wave [L] to codes [K, L // hop_length]. seconds: pieces that a checkpoint takes."""
    if not codec.endswith(".pt") and not has_encodec(codec):
        runner = CodecRunner(find_weights(codec), threads=1)
        return lambda wave: runner.encode(wave[: len(wave) // runner.hop_length * runner.hop_length])
    import torch

    encode_piece, hop = open_network(codec)
    margin = 50
    piece = seconds * SAMPLE_RATE // hop

    def encode(wave: np.ndarray) -> np.ndarray:
        n_steps = len(wave) // hop
        parts = []
        for start in range(0, n_steps, piece):  # overlapping, so that no piece has an edge inside a track
            first, last = max(0, start - margin), min(n_steps, start + piece + margin)
            codes = encode_piece(torch.from_numpy(wave[None, first * hop : last * hop]))
            parts.append(codes[0, :, start - first : start - first + min(piece, n_steps - start)].numpy())
        return np.concatenate(parts, axis=1)

    return encode


def open_network(codec: str) -> tuple[Callable[[Any], Any], int]:
    """A function from a wave [1, L] to codes [1, K, T], as tensors, and the samples per step; of a codec.pt or EnCodec.

    Raises ModelError for a codec of another rate than training has.
    """
    import torch

    if has_encodec(codec):
        from openvmas.hub.encodec import load_encodec

        foreign = load_encodec(codec)
        if foreign.config.sample_rate != SAMPLE_RATE or foreign.config.frame_rate != CONTROL_RATE:
            raise ModelError(
                f"the EnCodec in {codec} has {foreign.config.sample_rate} Hz and {float(foreign.config.frame_rate):g} "
                f"steps a second, and training has {SAMPLE_RATE} Hz and {float(CONTROL_RATE):g}; give encodec_32khz."
            )
        return foreign.encode, foreign.config.hop_length
    from openvmas.codec.autoencoder import load_codec

    network = load_codec(codec)

    def encode(wave: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            latent = network.encode_latent(wave).float()
        return network.quantizer.encode(latent)

    return encode, network.config.hop_length


@dataclass(frozen=True)
class Example:
    """One track: codes [K, T], curves at CONTROL_RATE, beats and downbeats in s (none where the grid is a guess), and
    semantic axes [N, A] at times [N] s (none if never tagged)."""

    codes: np.ndarray
    events: Events
    beats: np.ndarray
    downbeats: np.ndarray
    axis_times: np.ndarray
    axes: np.ndarray
    has_ending: bool


class Examples:
    """Random crops of codes [K, T] with their Condition.

    n_pieces: how many pieces there are if the examples hold several copies of them, one set after the other. codec:
    that of the codes, None where it is not recorded (packed before 0.6).
    """

    def __init__(
        self, examples: list[Example], n_pieces: int | None = None, codec: CodecIdentity | None = None
    ) -> None:
        self.examples, self.n_pieces, self.codec = examples, n_pieces or len(examples), codec
        self.has_endings = any(example.has_ending for example in examples)
        self.ends = np.cumsum([example.codes.shape[1] for example in examples])

    @classmethod
    def collect(cls, waves: Path, examples: Path, tags: Path, held_out: bool = False, semitones: float = 0) -> Examples:
        """Examples from waves, the folder of `listen` and `encode`, and the NPZ of tools/tag_music.py."""
        speed = 2 ** (semitones / 12)
        with np.load(tags) as data:
            spans = dict(
                zip(data["tracks"].tolist(), zip(data["start"][:-1], data["start"][1:], strict=True), strict=True)
            )
            times, axes = data["times"], data["axes"].astype(np.float32)
        found: list[Example] = []
        for track in read_index(waves):
            codes_path = codes_folder(examples, semitones) / f"{key_of(track)}.npy"
            analysis_path = examples / "heard" / f"{key_of(track)}.npz"
            is_there = codes_path.exists() and codes_path.stat().st_size and analysis_path.exists()
            if track.is_held_out != held_out or not is_usable(track) or not is_there:
                continue
            first, last = spans.get(track.name, (0, 0))
            analysis, wave = MusicAnalysis.load(analysis_path), read_wave(waves, track)
            tail, whole = (float(np.sqrt(np.mean(x**2)) + 1e-6) for x in (wave[-SAMPLE_RATE // 4 :], wave))
            if semitones:
                analysis = change_speed(analysis, speed)
            beats, downbeats = analysis.beats, analysis.downbeats
            if analysis.confidence < GRID_CONFIDENCE:
                beats, downbeats = np.zeros(0), np.zeros(0)
            found.append(
                Example(
                    np.load(codes_path), analysis.events, beats, downbeats, times[first:last] / speed, axes[first:last],
                    20 * np.log10(tail / whole) < ENDING_DB,
                )
            )  # fmt: skip
        return cls(found, codec=read_identity(codes_folder(examples, semitones)))

    def save(self, path: Path, n_codebooks: int) -> None:
        """One NPZ file with everything; curves are rounded to 1 / 255."""
        lists = {name: [getattr(x, name) for x in self.examples] for name in _RAGGED}
        lists["axes"] = [axes.astype(np.float16) for axes in lists["axes"]]
        lists["codes"] = [x.codes[:n_codebooks].T.astype(np.uint16) for x in self.examples]
        for name in CURVE_NAMES:
            curves = [getattr(x.events, name)[: x.codes.shape[1]] for x in self.examples]
            lists[name] = [np.round(255 * np.clip(curve, 0, 1)).astype(np.uint8) for curve in curves]
        arrays = {name: np.concatenate(rows) for name, rows in lists.items()}
        counts = {f"n_{name}": np.array([len(row) for row in rows]) for name, rows in lists.items()}
        everything: dict[str, Any] = {**arrays, **counts, "has_ending": np.array([x.has_ending for x in self.examples])}
        if self.codec:
            everything["codec"] = np.array(json.dumps(self.codec.as_dict()))
        np.savez_compressed(path, **everything)

    @classmethod
    def load(cls, path: Path) -> Examples:
        """Read a file of `save`. Raises InputError if it is not there."""
        if not path.is_file():
            raise InputError(f"{path} is not there; make it with openvmas train examples pack.")
        with np.load(path) as data:
            rows = {name: np.split(data[name], np.cumsum(data[f"n_{name}"])[:-1]) for name in (*_RAGGED, *CURVE_NAMES)}
            codes = np.split(data["codes"], np.cumsum(data["n_codes"])[:-1])
            endings = data["has_ending"].tolist()
            codec = CodecIdentity.read(json.loads(str(data["codec"]))) if "codec" in data.files else None
        examples = []
        for i, (steps, has_ending) in enumerate(zip(codes, endings, strict=True)):
            curves = (rows[name][i].astype(np.float32) / 255 for name in CURVE_NAMES)
            events = Events(CONTROL_RATE, *curves)
            examples.append(
                Example(
                    np.ascontiguousarray(steps.T), events, rows["beats"][i], rows["downbeats"][i],
                    rows["axis_times"][i], rows["axes"][i].astype(np.float32), has_ending,
                )
            )  # fmt: skip
        return cls(examples, codec=codec)

    def check_codes(self, n_codebooks: int, codebook_size: int) -> None:
        """Raises InputError where a decoder of these sizes cannot read the codes."""
        held = min((len(example.codes) for example in self.examples), default=n_codebooks)
        largest = max((int(example.codes.max()) for example in self.examples if example.codes.size), default=0)
        if held < n_codebooks or largest >= codebook_size:
            raise InputError(
                f"the music is packed with {held} codebooks and entries up to {largest}, but the decoder reads "
                f"{n_codebooks} codebooks of {codebook_size} entries; pack codes of the codec that it is for."
            )

    def choose(self, generator: np.random.Generator, n_steps: int) -> tuple[int, int]:
        """An example and a first step, at random; beginnings and endings come more often than by chance."""
        place = generator.random()
        if not self.has_endings:
            place = max(place, 0.1)
        while True:
            index = int(np.searchsorted(self.ends, int(generator.integers(self.ends[-1])), side="right"))
            example = self.examples[index]
            room = example.codes.shape[1] - n_steps
            if room >= 0 and (place >= 0.1 or example.has_ending):
                break
        start = int(generator.integers(room + 1))
        return index, room if place < 0.1 else 0 if place < 0.16 else start

    def draw(self, generator: np.random.Generator, n_steps: int) -> tuple[np.ndarray, Condition]:
        """Codes [K, n_steps] and condition of a crop."""
        index, start = self.choose(generator, n_steps)
        example = self.examples[index]
        codes = example.codes[:, start : start + n_steps].astype(np.int64)
        return codes, condition_of(example, start, n_steps, generator)


def read_packed(folder: Path) -> tuple[Examples, Examples]:
    """Training and held-out music in a folder of `pack_all`. Raises InputError if one of them is not there."""
    if (folder / "set.jsonl").is_file():
        raise InputError(
            f"{folder} is a set of `openvmas data build`; give it to `openvmas train joint`, or here a folder of "
            "`openvmas train examples pack`."
        )
    paths = sorted(folder.glob("music*.npz")) or [folder / "music.npz"]
    found = [Examples.load(path) for path in paths]
    # Packs of one corpus at other pitches hold the same tracks in the same order.
    n_pieces = len(found[0].examples) if len({len(part.examples) for part in found}) == 1 else None
    held_out = Examples.load(folder / "held-out.npz")
    for path, part in zip([*paths[1:], folder / "held-out.npz"], [*found[1:], held_out], strict=True):
        if found[0].codec:
            found[0].codec.require(part.codec, str(path), "pack all of them again from the same codes.")
    music = Examples([example for part in found for example in part.examples], n_pieces, found[0].codec)
    return music, held_out


def condition_of(example: Example, start: int, n_steps: int, generator: np.random.Generator | None = None) -> Condition:
    """The condition of a crop, from the music itself; with a generator, imperfect as a picture's would be.

    Imperfection: accents are missed (a fifth), shift by a step, vary in strength; each semantic axis is known with
    probability 0.5, all of them or none in a tenth of the crops each; energy is smoothed by chance.
    """
    events, rate = example.events, float(CONTROL_RATE)
    accents, energy, novelty = (
        np.pad(getattr(events, name)[start : start + n_steps], (0, max(0, start + n_steps - events.n_steps)))
        for name in CURVE_NAMES
    )
    if generator is not None:
        accents = blur_accents(accents, generator)
    beats, downbeats = (marks - start / rate for marks in (example.beats, example.downbeats))
    times = (start + np.arange(n_steps)) / rate
    semantics = np.full((n_steps, len(AXES)), np.nan, dtype=np.float32)
    if len(example.axes):
        semantics = np.stack([np.interp(times, example.axis_times, a) for a in example.axes.T], axis=1).astype(
            np.float32
        )
        if generator is not None:
            share = generator.choice([0.0, 0.15, 0.5, 1.0], p=[0.05, 0.4, 0.45, 0.1])
            semantics[:, generator.random(len(AXES)) >= share] = np.nan
    left = example.codes.shape[1] / rate - times if example.has_ending else np.full(n_steps, np.inf)
    return Condition(Events(CONTROL_RATE, accents, energy, novelty), beats, downbeats, semantics, left, times)


def blur_accents(accents: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Miss a fifth of the accents, move some by one step, vary their strength."""
    blurred = np.zeros_like(accents)
    where = np.flatnonzero(accents > 0)
    where = where[generator.random(len(where)) >= 0.2]
    moved = np.clip(where + generator.choice([-1, 0, 1], len(where), p=[0.15, 0.7, 0.15]), 0, len(accents) - 1)
    blurred[moved] = np.clip(accents[where] * generator.uniform(0.7, 1.3, len(where)), 0, 1)
    return blurred


def pack_all(waves: Path, examples: Path, tags: Path, folder: Path, options: PackedOptions) -> Iterator[str]:
    """Write music.npz and held-out.npz, or of transposed codes one file; yields a line about each."""
    folder.mkdir(parents=True, exist_ok=True)
    semitones = options.semitones
    sets = {f"music{semitones:+g}": False} if semitones else {"music": False, "held-out": True}
    for name, held_out in sets.items():
        found = Examples.collect(waves, examples, tags, held_out, semitones)
        found.save(folder / f"{name}.npz", options.codebooks)
        yield f"{name}: {len(found.examples)} tracks"
