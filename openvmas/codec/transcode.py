"""Sound files → .ovc files → sound files, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from openvmas.codec.ovc import MAGIC, CodesFile
from openvmas.codec.runtime import CodecRunner
from openvmas.errors import InputError, ModelError, OptionError
from openvmas.media.audio import audio_stream, read_audio_blocks, resample_pieces
from openvmas.media.probe import open_media
from openvmas.pretrained import Weights, find_weights, list_presets
from openvmas.timeline import Clock

BLOCK = 65_536  # samples
MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz, of files written
Progress = Callable[[float], None]  # how much is done, 0 to 1


class MonoSource:
    """The main sound of a file as one channel at another rate, in blocks; NaN and infinities become silence.

    original_length counts the samples read so far at original_sample_rate: all of them when `blocks` has ended.
    Raises InputError.
    """

    def __init__(self, path: str | Path, sample_rate: int) -> None:
        self.path, self.sample_rate = Path(path), sample_rate
        refuse_codes(self.path)
        with open_media(path) as container:
            stream = audio_stream(container, str(path))
            self.original_sample_rate = int(stream.rate or 0)
            ticks = stream.duration * stream.time_base if stream.duration and stream.time_base else None
            self._expected = float(ticks) if ticks else (container.duration or 0) / 1_000_000  # s
        if self.original_sample_rate <= 0:
            raise InputError(f"{path} does not say its sample rate; convert its sound to WAV or FLAC.")
        self.original_length = 0

    @property
    def length(self) -> int:
        """Samples at `sample_rate` that cover what was read so far."""
        return Clock(Fraction(self.sample_rate)).count(Fraction(self.original_length, self.original_sample_rate))

    def blocks(self, progress: Progress | None = None) -> Iterator[np.ndarray]:
        """[n] float32, together `length` samples."""
        given = 0
        for wave in resample_blocks(self._read(progress), self.original_sample_rate, self.sample_rate):
            wave = wave[: self.length - given]  # the resampler may round the length up by a sample
            given += len(wave)
            yield wave
        if given < self.length:
            yield np.zeros(self.length - given, np.float32)

    def _read(self, progress: Progress | None) -> Iterator[np.ndarray]:
        for block in read_audio_blocks(self.path, self.original_sample_rate, 1, BLOCK):
            self.original_length += block.shape[1]
            if progress is not None and self._expected:
                progress(min(1.0, self.original_length / self.original_sample_rate / self._expected))
            yield np.nan_to_num(block[0], nan=0.0, posinf=0.0, neginf=0.0)


def refuse_codes(path: Path) -> None:
    """Raises InputError for an .ovc file where sound is wanted."""
    if path.is_file():
        try:
            with path.open("rb") as file:
                head = file.read(len(MAGIC))
        except OSError:
            return  # whoever opens it next says why
        if head == MAGIC:
            raise InputError(f"{path} is encoded already; give a sound or video file, or use `openvmas codec decode`.")


def resample_blocks(blocks: Iterable[np.ndarray], source_rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks [n] at one rate → blocks [m] at another (soxr, high quality)."""
    pieces = ((source_rate, block[None]) for block in blocks)
    return (wave[0] for wave in resample_pieces(pieces, sample_rate, 1))


def encode_file(
    source: MonoSource, runner: CodecRunner, n_codebooks: int, progress: Progress | None = None
) -> CodesFile:
    """Encode a file's sound with some of the codebooks (`check_codebooks`). Raises InputError."""
    codes = np.concatenate(list(runner.encode_blocks(source.blocks(progress), n_codebooks)), axis=1)
    return describe_codes(codes, source, runner)


def describe_codes(codes: np.ndarray, source: MonoSource, runner: CodecRunner) -> CodesFile:
    """Codes [K, T] of a source that was read to its end, with what it takes to decode them."""
    return CodesFile(
        codes, runner.weights.name, runner.codebooks_sha256, runner.sample_rate, runner.hop_length,
        runner.codebook_size, source.length, source.original_sample_rate, source.original_length,
    )  # fmt: skip


def check_codebooks(runner: CodecRunner, n_codebooks: int | None) -> int:
    """Number of codebooks to use; all if None. Raises OptionError."""
    if n_codebooks is None:
        return runner.n_codebooks
    if not 1 <= n_codebooks <= runner.n_codebooks:
        raise OptionError(f"codebooks cannot be {n_codebooks}; give a number from 1 to {runner.n_codebooks}.")
    return n_codebooks


def decode_blocks(
    file: CodesFile, runner: CodecRunner, sample_rate: int | None = None, progress: Progress | None = None
) -> Iterator[np.ndarray]:
    """The sound of an .ovc file in blocks [1, n] float32, exactly as long as the source.

    sample_rate: Hz; the codec's if None. Raises ModelError if the codes are of another model, and OptionError.
    """
    check_model(file, runner)
    rate = file.sample_rate if sample_rate is None else sample_rate
    if not MIN_RATE <= rate <= MAX_RATE:
        raise OptionError(f"sample-rate cannot be {rate}; give a number from {MIN_RATE} to {MAX_RATE}.")
    n_left = file.length if rate == file.sample_rate else Clock(Fraction(rate)).count(file.duration)
    yield np.zeros((1, 0), np.float32)
    for wave in resample_blocks(_trimmed(file, runner, progress), file.sample_rate, rate):
        wave = wave[:n_left]
        n_left -= len(wave)
        yield wave[None]
    if n_left:
        yield np.zeros((1, n_left), np.float32)  # the resampler may round the length down by a sample


def _trimmed(file: CodesFile, runner: CodecRunner, progress: Progress | None) -> Iterator[np.ndarray]:
    """Blocks [n] at the codec's rate without what fills the last hop."""
    given = 0
    for wave in runner.decode_blocks(file.codes):
        wave = wave[: file.length - given]
        given += len(wave)
        if progress is not None and file.length:
            progress(given / file.length)
        yield wave


def check_model(file: CodesFile, runner: CodecRunner) -> None:
    """Raises ModelError where the codes were written with other codebooks than the model's."""
    sizes = (file.sample_rate, file.hop_length, file.codebook_size)
    is_same = file.codebooks_sha256 == runner.codebooks_sha256 and file.n_codebooks <= runner.n_codebooks
    if not is_same or sizes != (runner.sample_rate, runner.hop_length, runner.codebook_size):
        raise ModelError(
            f"the codes were written by another model, called {file.model} (codebooks {file.codebooks_sha256[:12]}), "
            f"than {runner.weights.name} {runner.weights.version} ({runner.codebooks_sha256[:12]}); give the folder "
            "of that model with --model."
        )


def weights_for(file: CodesFile, model: str | None) -> Weights:
    """The weights that were asked for, or the preset that the file names. Raises ModelError."""
    if model is None and file.model not in list_presets():
        raise ModelError(
            f"the codes were written by the model {file.model}, which is none of the presets; give its folder with "
            "--model."
        )
    return find_weights(model or file.model)
