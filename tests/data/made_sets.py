"""Work folders as the build's stages leave them, made of fingerprints and records without any media."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from openvmas.data.curation.record import Origin, Record, make_id
from openvmas.data.duplicates.picture_print import CROPS

Made = tuple[Record, dict[str, np.ndarray]]


def make_record(number: int, *, collection: str = "", uri: str = "", start: float = 0.0, **facts: object) -> Record:
    """A video of 30 s; its id follows from its uri and start."""
    uri = uri or f"folder/{number:06d}.mp4"
    origin = Origin("made", uri, collection, title=f"Piece {number}", author="A. Author", licence="CC0-1.0")
    end = start + 30.0
    facts = {"probe.width": 640, "probe.height": 360, **facts}
    return Record(make_id("made", uri, start, end), "video", origin, start, end, facts=facts)


def make_peaks(seed: int, n: int = 300, seconds: float = 30.0) -> np.ndarray:
    """Peaks of a sound that nothing else sounds like: [n] uint32."""
    rng = np.random.default_rng([7, seed])
    frames = np.sort(rng.integers(0, int(seconds * 50), n)).astype(np.uint32)
    return (frames << np.uint32(10)) | rng.integers(0, 54 * 16, n).astype(np.uint32)


def copy_peaks(
    peaks: np.ndarray, seed: int, *, speed: float = 1.0, shift: float = 0.0, lost: float = 0.2
) -> np.ndarray:
    """The same sound another time: some peaks lost, the others a little off, faster by `speed`, higher by semitones."""
    rng = np.random.default_rng([8, seed])
    kept = peaks[rng.random(len(peaks)) >= lost]
    frames = np.rint((kept >> 10) / speed + rng.integers(-1, 2, len(kept)) * 0.5).clip(0).astype(np.uint32)
    pitches = np.rint((kept & 1023) + 16 * shift + rng.normal(0, 0.8, len(kept))).clip(0, 1023).astype(np.uint32)
    return np.sort((frames << np.uint32(10)) | pitches)


def make_words(seed: int, n_looks: int = 10, hold: int = 6) -> np.ndarray:
    """Words of a picture with so many looks, each shown for `hold` half seconds: [n_looks * hold, 12] uint64."""
    rng = np.random.default_rng([9, seed])
    looks = rng.integers(1, 1 << 63, (n_looks, len(CROPS)), dtype=np.uint64)
    return np.repeat(looks, hold, axis=0)


def copy_words(words: np.ndarray, seed: int, crop: int = 0, n_flips: int = 3) -> np.ndarray:
    """What a copy that was cropped shows: its plain words are the original's words of that crop, some bits changed."""
    rng = np.random.default_rng([10, seed])
    copy = np.roll(words, -crop, axis=1).copy()
    for _ in range(n_flips):
        copy ^= np.uint64(1) << rng.integers(0, 64, copy.shape, dtype=np.uint64)
    return copy


def with_prints(record: Record, peaks: np.ndarray | None, words: np.ndarray | None) -> Made:
    """A record as the stages of `fingerprints` leave it."""
    arrays = {name: a for name, a in (("sound_print", peaks), ("picture_print", words)) if a is not None}
    if peaks is not None:
        record = record.with_facts("sound_print", peaks=len(peaks))
    if words is not None:
        record = record.with_facts("picture_print", looks=len(np.unique(words[:, 0])))
    return Record(**{**vars(record), "arrays": tuple(sorted(arrays))}), arrays


def write_work(work: Path, made: Iterable[Made], shard: int = 64) -> Path:
    """Write a work folder of finished pieces."""
    work.mkdir(parents=True, exist_ok=True)
    for index, block in enumerate(_blocks(made, shard)):
        for name, data in piece_files(index, block).items():
            (work / name).write_bytes(data)
    return work


def piece_files(index: int, block: list[Made]) -> dict[str, bytes]:
    """Name → bytes of one finished piece."""
    packed = io.BytesIO()
    arrays = {f"{record.id}/{name}": values for record, own in block for name, values in own.items()}
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    return {
        f"records-{index:05d}.jsonl": "".join(record.to_json() + "\n" for record, _ in block).encode(),
        f"records-{index:05d}.npz": packed.getvalue(),
        f"drops-{index:05d}.jsonl": b"",
        f"done-{index:05d}.json": b'{"key": "made", "n": %d, "kept": %d, "dropped": 0, "seen": {}}'
        % (len(block), len(block)),
    }


def _blocks(made: Iterable[Made], size: int) -> Iterator[list[Made]]:
    block: list[Made] = []
    for item in made:
        block.append(item)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
