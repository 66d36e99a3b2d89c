"""Sound codecs of finished files, and the true peak that is heard after them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from openvmas.media.audio import to_channels
from openvmas.media.loudness import PeakMeter
from openvmas.settings import SAMPLE_RATE_OUT

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


def encoded_peak(blocks: Iterable[np.ndarray], codec: str) -> float:
    """True peak, dBTP, of blocks [2, n] at 48 kHz after "aac" or "opus" as finished files have it."""
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
    heard: list[np.ndarray] = []
    for frame in itertools.chain(sound_frames(blocks, sample_format(codec)), [None]):
        for packet in encoder.encode(frame):
            heard.extend(to_channels(decoded, 2) for decoded in decoder.decode(packet))
        if len(heard) >= 64:
            meter.add(np.concatenate(heard, axis=1))
            heard = []
    heard.extend(to_channels(decoded, 2) for decoded in decoder.decode(None))
    meter.add(np.concatenate([np.zeros((2, 0), dtype=np.float32), *heard], axis=1))
    meter.finish()
    return meter.true_peak


def sample_format(codec: str) -> str:
    """Sample format that the encoder takes without conversion: planar or interleaved floats."""
    return "fltp" if codec == "aac" else "flt"
