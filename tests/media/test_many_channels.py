"""Sound of more channels than PyAV can count, and damaged frames that claim so: folded down, silent, never a crash."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openvmas.media.audio import read_audio
from openvmas.media.probe import probe
from tests.media.clips import make_clip, tone
from tests.media.odd_clips import clicks, heard, many_channels

pytestmark = pytest.mark.slow

CASES = {
    "aac 7.1": ("mp4", "aac", "7.1", 8, {}),
    "aac 16": ("mp4", "aac", "hexadecagonal", 16, {}),
    "opus 7.1": ("mkv", "libopus", "7.1", 8, {"mapping_family": "1"}),
    "opus 16": ("mkv", "libopus", "hexadecagonal", 16, {"mapping_family": "255"}),
    "pcm 16": ("mov", "pcm_s24le", "hexadecagonal", 16, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_many_channels_are_folded_down(tmp_path: Path, case: str) -> None:
    kind, codec, layout, channels, options = CASES[case]
    clip = many_channels(tmp_path / f"clip.{kind}", codec, layout, channels, options)
    with av.open(str(clip)) as container:
        assert container.streams.audio[0].channels == channels
    sound = read_audio(clip, 48_000, info=probe(clip))
    level = np.sqrt(np.mean(sound.wave[:, 9600:38_400] ** 2, axis=1))
    assert sound.wave.shape[0] == 2 and abs(sound.wave.shape[1] - 48_000) <= 1024
    assert (level > 0.1).all() and (level < 1.5).all()
    assert read_audio(clip, mono=True).wave.shape[0] == 1


def test_ambisonics_are_heard_from_everywhere(tmp_path: Path) -> None:
    clip = many_channels(tmp_path / "clip.mkv", "libopus", "ambisonic 3", 16, {"mapping_family": "2"})
    level = np.sqrt(np.mean(read_audio(clip, 48_000).wave[:, 9600:38_400] ** 2, axis=1))
    assert level == pytest.approx(0.2 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("seed", range(12))
def test_bytes_cut_out_of_the_sound_do_not_crash_and_do_not_shift(tmp_path: Path, seed: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", n_frames=100, sound=clicks(4, 0.5, 3.5) + 0.05 * tone(192_000, 330))
    with av.open(str(clip)) as container:
        spans = [(p.pos, p.size) for p in container.demux(audio=0) if p.size and 1.2 < p.pts * p.time_base < 2.8]
    draw, data = random.Random(seed), bytearray(clip.read_bytes())
    for _ in range(10):  # bytes move up inside a packet, as after bytes were cut out of it
        position, size = draw.choice(spans)
        n = draw.randint(1, size - 1)
        data[position : position + size] = data[position + n : position + size] + bytes(draw.randbytes(n))
    clip.write_bytes(bytes(data))
    found = heard(clip)
    assert found[0] == pytest.approx(0.5, abs=0.001) and found[-1] == pytest.approx(3.5, abs=0.001)


def test_short_lost_packets_become_silence_to_the_sample(tmp_path: Path) -> None:
    wave = clicks(4, 0.5, 3.5)
    whole = make_clip(tmp_path / "whole.mkv", n_frames=100, sound=wave, sound_codec="libopus")
    with av.open(str(whole)) as container:
        lost = [(p.pos, p.size) for p in container.demux(audio=0) if p.size and 1 < p.pts * p.time_base < 1.1]
    data = bytearray(whole.read_bytes())
    for position, size in lost:
        at = data.find(b"\xfc", position, position + size + 16)
        if at >= 0:
            data[at : at + 2] = b"\xff\xff"
    damaged = tmp_path / "clip.mkv"
    damaged.write_bytes(bytes(data))
    assert heard(damaged) == pytest.approx(heard(whole), abs=0.001)


def test_a_gap_of_hours_in_the_sound_costs_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", sound=tone(48_000), sound_codec="flac")
    far = tmp_path / "far.mkv"
    with av.open(str(clip)) as given, av.open(str(far), "w") as result:
        copies = {s.index: result.add_stream_from_template(s, opaque=True) for s in given.streams}
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                if packet.stream_index == 1 and packet.pts * packet.time_base > Fraction(1, 2):
                    packet.pts += 36_000_000
                    packet.dts = packet.pts
                result.mux(packet)
    assert read_audio(far, 48_000, info=probe(far)).wave.shape[1] <= 3 * 48_000
    assert read_audio(far, 48_000).wave.shape[1] <= 3 * 48_000
