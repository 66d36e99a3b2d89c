"""Stimuli of a study: the anchors and test sounds that it makes itself, and files that browsers play.

Sounds are at 48 kHz, stereo. Files hold the picture's packets and the encoded sound, and no tags or names.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import Flags, OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.stream import VideoStream

from openvmas.errors import OutputError
from openvmas.media.loudness import BlockFilter
from openvmas.media.mix import ENCODERS, sample_format, sound_frames
from openvmas.media.packets import packets
from openvmas.media.probe import VideoInfo, open_media, probe
from openvmas.media.video import FrameRequest, has_coded_order, read_frames
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.timeline import Clock

ANCHOR_HZ = 3500.0  # the low anchor of ITU-R BS.1534-3
_TAPS = 1023
_FADE = 0.02  # s
_MP4, _WEBM = {"h264"}, {"vp8", "vp9", "av1"}  # what Chromium, Firefox and Safari play, and in which container
_MAX_SIDE = 1280  # px, of pictures that are encoded anew


def low_anchor(wave: np.ndarray) -> np.ndarray:
    """wave [2, L] through a low-pass at 3.5 kHz, 4 kHz already 50 dB down (ITU-R BS.1534-3, 5.1): [2, L] float32."""
    half = _TAPS // 2
    places = np.arange(-half, half + 1)
    cutoff = (ANCHOR_HZ + 250) / SAMPLE_RATE_OUT
    taps = 2 * cutoff * np.sinc(2 * cutoff * places) * np.kaiser(_TAPS, 6)
    delayed = BlockFilter(taps[None] / taps.sum(), 2)(np.pad(wave, ((0, 0), (0, half))))
    return delayed[0][:, half:]


def shifted(wave: np.ndarray) -> np.ndarray:
    """Fit anchor: wave [2, L] rotated by half its length, with a soft seam, so that it no longer fits the picture."""
    half, n = wave.shape[1] // 2, round(_FADE * SAMPLE_RATE_OUT)
    late, early = wave[:, half:].copy(), wave[:, :half].copy()
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    late[:, -n:] *= ramp[::-1]
    early[:, :n] *= ramp
    return np.concatenate([late, early], axis=1)


def pink_noise(n_samples: int, seed: int) -> np.ndarray:
    """Noise of 1/f power, equal on both sides, 40 Hz to 16 kHz: [2, n_samples] float32, peak 0.5."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n_samples))
    frequencies = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE_OUT)
    spectrum *= np.where((frequencies >= 40) & (frequencies <= 16_000), 1 / np.sqrt(np.maximum(frequencies, 1)), 0)
    wave = np.fft.irfft(spectrum, n_samples)
    return np.repeat((0.5 * wave / np.abs(wave).max())[None], 2, axis=0).astype(np.float32)


def headphone_triplet(quiet: int, antiphase: int) -> np.ndarray:
    """Three tones of 200 Hz, 1 s with ramps of 100 ms, 0.5 s apart (Woods et al. 2017): [2, L] float32.

    Interval `quiet` (0 .. 2) is 6 dB softer, interval `antiphase` has its right side inverted: over loudspeakers it
    cancels and seems the softest, over headphones it does not.
    """
    time = np.arange(SAMPLE_RATE_OUT) / SAMPLE_RATE_OUT
    ramp = np.clip(np.minimum(time, time[::-1]) / 0.1, 0, 1)
    tone = 0.25 * np.sin(2 * np.pi * 200 * time) * np.sin(np.pi / 2 * ramp) ** 2
    gap = np.zeros((2, SAMPLE_RATE_OUT // 2))
    pieces: list[np.ndarray] = []
    for interval in range(3):
        gain = 10 ** (-6 / 20) if interval == quiet else 1.0
        sides = np.stack([tone, -tone if interval == antiphase else tone]) * gain
        pieces += [sides, gap]
    return np.concatenate(pieces[:-1], axis=1).astype(np.float32)


def suffix_for(picture: Path | None) -> str:
    """Extension of a stimulus: .m4a for sound alone, .mp4 or .webm with a picture."""
    if picture is None:
        return ".m4a"
    return ".webm" if probe(picture).codec in _WEBM else ".mp4"


def write_stimulus(path: Path, wave: np.ndarray, picture: Path | None, duration: Fraction) -> None:
    """Write sound [2, L] at 48 kHz, and under it the first `duration` s of the picture of another file.

    H.264, VP8, VP9 and AV1 are copied bit for bit; other pictures become H.264 of at most 1280 px. Raises InputError,
    OutputError.
    """
    codec = "opus" if path.suffix == ".webm" else "aac"
    options = {} if path.suffix == ".webm" else {"movflags": "+faststart"}
    kind = {".m4a": "mp4", ".mp4": "mp4", ".webm": "webm"}[path.suffix]
    try:
        with av.open(f"file:{path}", "w", format=kind, container_options=options) as result:
            result.flags |= Flags.bitexact.value  # not even the name of the program is written
            shown = iter(()) if picture is None else _picture(result, picture, duration)
            _interleave(result, shown, _sound(result, codec, wave))
    except FFmpegError as error:
        # `study_builder.create` explains with `files.explain_write_errors` what the disk refuses.
        raise OutputError(f"{path.name} cannot be written ({error.strerror}); leave this clip out.") from error


def _interleave(result: OutputContainer, picture: Iterator[av.Packet], sound: Iterator[av.Packet]) -> None:
    """Write sound half a second ahead of the picture, as players like it."""
    early = (((packet.pts or 0) * Fraction(packet.time_base), packet) for packet in sound)
    late = (((packet.dts or 0) * Fraction(packet.time_base) + Fraction(1, 2), packet) for packet in picture)
    for _, packet in heapq.merge(early, late, key=lambda timed: timed[0]):
        result.mux(packet)


def _sound(result: OutputContainer, codec: str, wave: np.ndarray) -> Iterator[av.Packet]:
    name, bit_rate = ENCODERS[codec]
    stream = result.add_stream(name, rate=SAMPLE_RATE_OUT, layout="stereo", bit_rate=bit_rate)
    assert isinstance(stream, AudioStream)
    stream.codec_context.format = sample_format(codec)  # type: ignore[assignment]
    stream.codec_context.time_base = stream.time_base = Fraction(1, SAMPLE_RATE_OUT)

    def encoded() -> Iterator[av.Packet]:
        for frame in sound_frames([wave], sample_format(codec)):
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return encoded()


def _picture(result: OutputContainer, picture: Path, duration: Fraction) -> Iterator[av.Packet]:
    """The picture's packets from 0 on. The stream is added at once, the packets come when they are asked for."""
    info = probe(picture)
    with open_media(picture) as source:
        template = source.streams[info.stream_index]
        assert isinstance(template, VideoStream)
        if is_playable(info, template):
            copy = result.add_stream_from_template(template, opaque=True)
            copy.metadata.clear()
            if template.average_rate:
                copy.codec_context.framerate = template.average_rate
            return _copied(info, duration, copy)
    fps = min(info.fps, Fraction(30)).limit_denominator(1001)
    encoder = result.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
    scale = min(1.0, _MAX_SIDE / max(info.width, info.height))
    encoder.width, encoder.height = (max(2, round(side * scale / 2) * 2) for side in (info.width, info.height))
    encoder.pix_fmt = "yuv420p"
    return _encoded(info, duration, fps, encoder)


def is_playable(info: VideoInfo, stream: VideoStream) -> bool:
    """Whether browsers show this picture as it is."""
    is_plain = stream.codec_context.pix_fmt in ("yuv420p", "yuvj420p") and not info.rotation and not info.is_hdr
    return info.codec in _MP4 | _WEBM and is_plain and not has_coded_order(info)


def _copied(info: VideoInfo, duration: Fraction, copy: Stream) -> Iterator[av.Packet]:
    """Packets up to the last that is shown before the end; those in between stay, since others may refer to them."""
    with open_media(info.path) as source:
        found = list(packets(source, info.stream_index))
        base = Fraction(source.streams[info.stream_index].time_base or 1)
        begin, end = info.start / base, (info.start + duration) / base
        last = max((i for i, packet in enumerate(found) if packet.pts is not None and packet.pts < end), default=-1)
        for packet in found[: last + 1]:
            packet.pts = None if packet.pts is None else round(packet.pts - begin)
            packet.dts = None if packet.dts is None else round(packet.dts - begin)
            packet.stream = copy
            yield packet


def _encoded(info: VideoInfo, duration: Fraction, fps: Fraction, encoder: VideoStream) -> Iterator[av.Packet]:
    request = FrameRequest(fps, (encoder.width, encoder.height))
    n_frames, done = Clock(fps).count(duration), 0
    for chunk in read_frames(info.path, [request], info):
        for pixels in chunk.frames[: n_frames - done]:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = done, 1 / fps
            done += 1
            yield from encoder.encode(frame)
        if done == n_frames:
            break
    yield from encoder.encode(None)
