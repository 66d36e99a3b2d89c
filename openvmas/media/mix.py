"""The soundtrack: music and original sound together, exactly as long as the picture, at the asked loudness and peak."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from openvmas.errors import InputError, OutputError
from openvmas.files import hidden_name
from openvmas.media.audio import WavReader, to_channels, write_wav
from openvmas.media.loudness import (
    HOP,
    SILENCE,
    Duck,
    LimiterGain,
    LoudnessMeter,
    PeakMeter,
    integrated_loudness,
    speech_spans,
)
from openvmas.processes.threads import ThreadPool, count_threads, read_ahead
from openvmas.settings import SAMPLE_RATE_OUT, MixOptions
from openvmas.timeline import Clock

if TYPE_CHECKING:
    from openvmas.media.envelope import Envelope

ENCODERS = {"aac": ("aac", 256_000), "opus": ("libopus", 192_000)}  # FFmpeg's name, bit/s in stereo
_FRAME = 1024


def sound_frames(blocks: Iterable[np.ndarray], sample_format: str, start: int = 0) -> Iterator[av.AudioFrame]:
    """Blocks [2, n] as frames for an encoder, stamped in samples from `start`."""
    for block in blocks:
        for i in range(0, block.shape[1], _FRAME):
            piece = np.ascontiguousarray(block[:, i : i + _FRAME], dtype=np.float32)
            if sample_format == "flt":
                piece = np.ascontiguousarray(piece.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format=sample_format, layout="stereo")
            frame.sample_rate = SAMPLE_RATE_OUT
            frame.time_base = Fraction(1, SAMPLE_RATE_OUT)
            frame.pts = start
            start += frame.samples
            yield frame


def encoded_peak(blocks: Iterable[np.ndarray], codec: str, packets: list[av.Packet] | None = None) -> float:
    """True peak, dBTP, of blocks [2, n] at 48 kHz after "aac" or "opus" as finished files have it.

    packets: is filled with the encoded packets, if given.
    """
    name, bit_rate = ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.bit_rate = SAMPLE_RATE_OUT, "stereo", bit_rate  # type: ignore[assignment]
    encoder.format = sample_format(codec)  # type: ignore[assignment]
    encoder.time_base = Fraction(1, SAMPLE_RATE_OUT)
    encoder.open()
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.extradata = encoder.extradata
    meter = PeakMeter(2)

    def decoded() -> Iterator[np.ndarray]:
        heard: list[np.ndarray] = []
        for frame in itertools.chain(sound_frames(blocks, sample_format(codec)), [None]):
            for packet in encoder.encode(frame):
                if packets is not None:
                    packets.append(packet)
                heard.extend(to_channels(part, 2) for part in decoder.decode(packet))
            if len(heard) >= 64:
                yield np.concatenate(heard, axis=1)
                heard = []
        heard.extend(to_channels(part, 2) for part in decoder.decode(None))
        yield np.concatenate([np.zeros((2, 0), dtype=np.float32), *heard], axis=1)

    for wave in read_ahead(decoded(), depth=4):
        meter.add(wave)
    meter.finish()
    return meter.true_peak


def sample_format(codec: str) -> str:
    """Sample format that the encoder takes without conversion: planar or interleaved floats."""
    return "fltp" if codec == "aac" else "flt"


BLOCK = 1 << 17  # samples that are in memory at once
_SILENT_LUFS = -60.0  # an original below this is room noise; it is left out rather than lifted
_QUIETEST_REFERENCE = -30.0  # LUFS; music is not set below a quiet original by more than this allows
_MAX_GAIN_DB = 40.0
_MAX_LIMITING_DB = 24.0  # beyond this a limiter is heard; then the sound stays quieter than asked
_EDGE = 240  # samples (5 ms) of fade at both ends: a guard against clicks, not a musical fade
_LOUDNESS_TOLERANCE = 0.1  # LU
PEAK_TOLERANCE = 0.02  # dB
CODEC_HEADROOM = 0.5  # dB that the limiter leaves at first, as lossy codecs raise peaks; more if they raised them more
_ROUNDS = 6
KEPT_SECONDS = 900  # of encoded sound that may be in memory, 32 kB each

Source = np.ndarray | str | Path | Iterable[np.ndarray]


@dataclass(frozen=True)
class MixReport:
    """Levels and gains of a finished mix: loudness in LUFS, peaks in dBTP, gains in dB.

    ducked: spans of speech (start, end), s. encoded_true_peak: after the codec of the finished file, None if there is
    none. music_gain_db: gain of the music before the sum (without duck); master_gain_db: the one static gain behind it;
    max_limiting_db: deepest reduction. is_loud_enough: the asked loudness was reached within 0.5 LU.
    """

    sample_rate: int
    n_samples: int
    loudness_lufs: float
    true_peak: float
    encoded_true_peak: float | None
    has_original: bool
    original_lufs: float | None
    music_lufs: float
    music_gain_db: float
    master_gain_db: float
    max_limiting_db: float
    ducked: tuple[tuple[float, float], ...]
    is_loud_enough: bool


def mix(
    music: Source,
    original: Source | None,
    duration: Fraction,
    options: MixOptions,
    speech: np.ndarray | None = None,
    *,
    output: str | Path,
    codec: str | None = None,
    packets: list[av.Packet] | None = None,
    progress: Callable[[float], None] | None = None,
) -> MixReport:
    """Mix to a 48 kHz stereo float WAV file of exactly `Clock(48000).count(duration)` samples: the smallest number
    that covers the picture.

    music, original: wave [C, L], blocks [C, n], or the path of a WAV file of `write_wav`, all at 48 kHz, C 1 or 2, on
    the picture's clock; shorter ones are followed by silence, longer ones cut. speech: probability of speech in the
    original [T] at 50 Hz. codec: "aac" or "opus" if the finished file will have it: peaks are then held after it, too.
    packets: is filled with the mix in that codec, so that it need not be encoded again; stays empty for more than
    KEPT_SECONDS. Without it memory grows by 8 kB per second of sound only. Raises InputError (not 48 kHz), OutputError.
    """
    n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(duration)
    output = Path(output)
    try:
        return _mix(
            music, original, n_samples, options, speech, output, codec, packets, progress or (lambda done: None)
        )
    except OSError as error:
        folder = output.parent.absolute()
        raise OutputError(
            f"{folder} cannot be written to ({error.strerror}); free some space or choose another folder."
        ) from error


def _mix(
    music: Source,
    original: Source | None,
    n_samples: int,
    options: MixOptions,
    speech: np.ndarray | None,
    output: Path,
    codec: str | None,
    packets: list[av.Packet] | None,
    tell: Callable[[float], None],
) -> MixReport:
    sources = [music] if original is None or options.replace_audio else [music, original]
    with tempfile.TemporaryDirectory(prefix=hidden_name("-"), dir=output.parent) as folder:
        laid = [Path(folder) / name for name in ("music", "original")]
        (tune, music_lufs), *others = ThreadPool(min(2, count_threads())).map(
            lambda i: _measure(sources[i], n_samples, laid[i]), range(len(sources))
        )
        kept, original_lufs = others[0] if others else (None, None)
        if original_lufs is not None and original_lufs < _SILENT_LUFS:
            kept = None
        tell(0.4)
        spans = speech_spans(speech) if kept is not None and speech is not None else ()
        music_gain_db = 0.0
        if kept is not None and original_lufs is not None and music_lufs > SILENCE:
            music_gain_db = max(original_lufs, _QUIETEST_REFERENCE) + options.music_gain - music_lufs
        balance = Balance(music_gain_db, options.original_gain, Duck(spans, options.duck), envelope_of(options))
        summed = _sum(tune, kept, balance, n_samples)
        premix = _Premix(Path(folder) / "premix", summed, n_samples)
        tell(0.6)
        finish = _finish(premix, options, output, codec, packets)
        tell(1.0)
    return MixReport(
        sample_rate=SAMPLE_RATE_OUT,
        n_samples=n_samples,
        has_original=kept is not None,
        original_lufs=original_lufs,
        music_lufs=music_lufs,
        music_gain_db=music_gain_db,
        ducked=spans,
        is_loud_enough=abs(finish.loudness_lufs - options.loudness) <= 0.5,
        loudness_lufs=finish.loudness_lufs,
        true_peak=finish.true_peak,
        encoded_true_peak=finish.encoded_true_peak,
        master_gain_db=finish.gain_db,
        max_limiting_db=finish.max_limiting_db,
    )


class _Laid:
    """A source laid out on the picture's clock: any span of it as [2, n] float32, silence behind its end."""

    def __init__(self, read: Callable[[int, int], np.ndarray], length: int, n_samples: int) -> None:
        self._read = read
        self._length = min(length, n_samples)
        self._n_samples = n_samples

    def span(self, start: int, stop: int) -> np.ndarray:
        out = np.zeros((2, stop - start), dtype=np.float32)
        end = min(stop, self._length)
        if end > start:
            # Damaged float files hold NaN or huge values, which would spread over everything behind them.
            out[:, : end - start] = np.clip(np.nan_to_num(self._read(start, end)), -8.0, 8.0)
        return out

    def blocks(self) -> Iterator[np.ndarray]:
        return (self.span(i, min(i + BLOCK, self._n_samples)) for i in range(0, self._n_samples, BLOCK))


def _measure(source: Source, n_samples: int, scratch: Path) -> tuple[_Laid, float]:
    """A source laid out, and its loudness in LUFS."""
    laid = _laid(source, n_samples, scratch)
    return laid, integrated_loudness(laid.blocks(), SAMPLE_RATE_OUT)


def _laid(source: Source, n_samples: int, scratch: Path) -> _Laid:
    if isinstance(source, np.ndarray):
        wave = np.atleast_2d(source)
        return _Laid(lambda start, stop: wave[:, start:stop], wave.shape[1], n_samples)
    if not isinstance(source, (str, Path)):
        write_wav(scratch, _first(source, n_samples), SAMPLE_RATE_OUT)
        source = scratch
    reader = WavReader(source)
    if reader.sample_rate != SAMPLE_RATE_OUT:
        raise InputError(f"{source} has {reader.sample_rate} Hz; resample it to {SAMPLE_RATE_OUT} Hz first.")
    return _Laid(reader.read, reader.n_samples, n_samples)


def _first(blocks: Iterable[np.ndarray], n_samples: int) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block[:, :n_samples]
        n_samples -= block.shape[1]
        if n_samples <= 0:
            return


@dataclass(frozen=True)
class Balance:
    """Gains of music and original before they are added: dB of each, and over time under speech and by the user."""

    music_gain_db: float
    original_gain_db: float
    duck: Duck
    envelope: Envelope | None

    def add(self, music: np.ndarray, original: np.ndarray | None, start: int) -> np.ndarray:
        """The sum [2, n] of music and original, both [2, n] from sample `start` on."""
        times = np.arange(start, start + music.shape[1]) / SAMPLE_RATE_OUT
        if self.envelope is not None:
            music = music * self.envelope.gain(times).astype(np.float32)
        if original is None:
            return music
        music = music * (10 ** ((self.music_gain_db + self.duck.gain_db(times)) / 20)).astype(np.float32)
        return music + original * np.float32(10 ** (self.original_gain_db / 20))


def envelope_of(options: MixOptions) -> Envelope | None:
    """The music's volume over time, None where it stays as it is. Raises OptionError."""
    if not options.envelope:
        return None
    from openvmas.media.envelope import Envelope  # whoever sets none does not load it

    return Envelope(options.envelope)


def _sum(tune: _Laid, kept: _Laid | None, balance: Balance, n_samples: int) -> Iterator[np.ndarray]:
    for start in range(0, n_samples, BLOCK):
        stop = min(start + BLOCK, n_samples)
        wave = balance.add(tune.span(start, stop), None if kept is None else kept.span(start, stop), start)
        yield wave * edge_fade(start, stop, n_samples)


def edge_fade(start: int, stop: int, n_samples: int) -> np.ndarray | np.float32:
    """The guard against clicks at both ends of n_samples, for samples start .. stop-1."""
    places = np.arange(start, stop)
    distance = np.minimum(places, n_samples - 1 - places)
    if distance.min() >= _EDGE:
        return np.float32(1)
    return (np.sin(np.pi / 2 * np.clip(distance / _EDGE, 0, 1)) ** 2).astype(np.float32)


class Levels:
    """Loudness and true peak of a stereo stream, measured side by side."""

    def __init__(self) -> None:
        self._loudness, self._peak = LoudnessMeter(SAMPLE_RATE_OUT, 2), PeakMeter(2)
        self._threads = ThreadPool(min(2, count_threads()))

    def add(self, block: np.ndarray) -> np.ndarray:
        """The next block [2, n]; returns the envelope of its peaks (see `PeakMeter.add`)."""
        return self._threads.map(lambda add: add(block), [self._peak.add, self._loudness.add])[0]

    def finish(self) -> np.ndarray:
        """The envelope of the last samples."""
        return self._peak.finish()

    @property
    def loudness_lufs(self) -> float:
        return self._loudness.integrated()

    @property
    def true_peak(self) -> float:
        return self._peak.true_peak


class _Premix:
    """The sum on disk with its loudness and the true peak of every hop: [H] float32."""

    def __init__(self, path: Path, blocks: Iterable[np.ndarray], n_samples: int) -> None:
        self.path = path
        self.n_samples = n_samples
        levels = Levels()
        self.peaks = np.zeros(-(-n_samples // HOP), dtype=np.float32)
        done = 0
        with path.open("wb") as file:
            for block in blocks:
                done = self._note(levels.add(block), done)
                file.write(np.ascontiguousarray(block.T).tobytes())
        self._note(levels.finish(), done)
        self.loudness_lufs, self.true_peak = levels.loudness_lufs, levels.true_peak

    def _note(self, envelope: np.ndarray, done: int) -> int:
        """Put an envelope, `DELAY` samples late, into the hops' peaks."""
        places = np.arange(done, done + len(envelope)) - PeakMeter.DELAY
        inside = places >= 0
        if inside.any():
            hops = places[inside] // HOP
            starts = np.flatnonzero(np.diff(hops, prepend=-1))
            highest = np.maximum.reduceat(envelope[inside], starts)
            self.peaks[hops[starts]] = np.maximum(self.peaks[hops[starts]], highest)
        return done + len(envelope)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first sample, [2, n])."""
        with self.path.open("rb") as file:
            for start in range(0, self.n_samples, BLOCK):
                n = min(BLOCK, self.n_samples - start)
                yield start, np.fromfile(file, dtype=np.float32, count=2 * n).reshape(n, 2).T


@dataclass(frozen=True)
class _Finish:
    gain_db: float
    loudness_lufs: float
    true_peak: float
    encoded_true_peak: float | None
    max_limiting_db: float


def _finish(
    premix: _Premix, options: MixOptions, output: Path, codec: str | None, packets: list[av.Packet] | None
) -> _Finish:
    """One static gain and the limiter, repeated until loudness and peaks, also behind the codec, are as asked."""
    ceiling = options.true_peak - (CODEC_HEADROOM if codec else PEAK_TOLERANCE)
    gain_db = options.loudness - premix.loudness_lufs if premix.loudness_lufs > SILENCE else 0.0
    done = _settle(premix, gain_db, options, ceiling, output)
    for attempt in range(_ROUNDS if codec else 0):
        if packets is not None:
            packets.clear()
        is_kept = premix.n_samples <= KEPT_SECONDS * SAMPLE_RATE_OUT
        heard = encoded_peak(WavReader(output).blocks(BLOCK), str(codec), packets if is_kept else None)
        done = dataclasses.replace(done, encoded_true_peak=heard)
        if heard <= options.true_peak or attempt == _ROUNDS - 1:
            break
        ceiling -= heard - options.true_peak + 2 * PEAK_TOLERANCE
        done = _settle(premix, done.gain_db, options, ceiling, output)
    return done


def _settle(premix: _Premix, gain_db: float, options: MixOptions, ceiling: float, output: Path) -> _Finish:
    """Find the static gain that gives the asked loudness behind the limiter, as near as limiting may go."""
    highest = min(_MAX_GAIN_DB, _MAX_LIMITING_DB + ceiling - premix.true_peak)
    gain_db = min(gain_db, highest)
    is_silent = premix.loudness_lufs == SILENCE
    before = None
    done = _render(premix, gain_db, ceiling, output)
    for _ in range(_ROUNDS):
        lacking = options.loudness - done.loudness_lufs
        if done.true_peak > options.true_peak:
            ceiling -= done.true_peak - options.true_peak + PEAK_TOLERANCE
        elif abs(lacking) <= _LOUDNESS_TOLERANCE or (lacking > 0 and (gain_db >= highest or is_silent)):
            break
        else:
            gain_db, before = min(gain_db + lacking * _slope(before, done), highest), done
        done = _render(premix, gain_db, ceiling, output)
    return done


def _slope(before: _Finish | None, now: _Finish) -> float:
    """dB of gain for one dB of loudness: 1 without limiting, more with it (secant through the last two rounds)."""
    if before is None or abs(now.loudness_lufs - before.loudness_lufs) < 0.01:
        return 1.0
    return min(max((now.gain_db - before.gain_db) / (now.loudness_lufs - before.loudness_lufs), 1.0), 6.0)


def _render(premix: _Premix, gain_db: float, ceiling_db: float, output: Path) -> _Finish:
    gain = 10 ** (gain_db / 20)
    limiter = LimiterGain(premix.peaks, gain, 10 ** (ceiling_db / 20))
    levels = Levels()

    def blocks() -> Iterator[np.ndarray]:
        for start, wave in premix.blocks():
            out = wave * (np.float32(gain) * limiter.samples(start, start + wave.shape[1]))
            levels.add(out)
            yield out

    write_wav(output, blocks(), SAMPLE_RATE_OUT)
    levels.finish()
    return _Finish(gain_db, levels.loudness_lufs, levels.true_peak, None, limiter.max_reduction_db)
