"""Music packed into parts and read back by random access: sizes, resuming, quality, place, split, and bad folders."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from openvmas.errors import InputError, OptionError, OutputError
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, FileCrops, PackedCrops, build, open_crops, read_pieces
from openvmas.train.codec.pack import PackOptions, UnpackOptions, encode_opus, pack, unpack
from openvmas.train.loop import draw_ahead

pytestmark = pytest.mark.slow

TRACKS = {  # name: (seconds, sample rate)
    "first/music/e.wav": (23.0, 44_100),
    "first/music/b.flac": (11.3, 48_000),
    "second/music/c.ogg": (17.7, 44_100),
    "third/music/d.wav": (9.2, 22_050),
    "xmoto-data/held.wav": (8.0, 44_100),  # held out by name
    "cube2-data/never.wav": (8.0, 44_100),  # never used
}
OPTIONS = PackOptions(kbps=64, part_megabytes=0.3)


def make_track(seed: int, seconds: float, sample_rate: int) -> np.ndarray:
    """Chords that move, with noise below 6 kHz, so that every place sounds like no other: [L, 2]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    pitches = 110 * 2 ** (rng.integers(0, 36, (3, int(seconds * 4) + 1)) / 12)
    phases = 2 * np.pi * np.cumsum(pitches[:, (time_s * 4).astype(int)], axis=1) / sample_rate
    chords = 0.12 * np.sin(phases) * np.exp(-4 * (time_s % 0.25))
    noise = soxr.resample(rng.standard_normal(round(seconds * 12_000) + 200), 12_000, sample_rate)
    tune = chords.sum(axis=0) + 0.01 * noise[: len(time_s)]
    return np.stack([tune, 0.5 * tune + chords[0]], axis=1)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Folder with listing.csv and deb/."""
    folder = tmp_path_factory.mktemp("music")
    rows = ["track,singing_share,speech_share"]
    for i, (name, (seconds, sample_rate)) in enumerate(TRACKS.items()):
        path = folder / "deb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, make_track(i, seconds, sample_rate), sample_rate)
        rows.append(f"{name},{0.9 if 'c.ogg' in name else 0.0},")
    (folder / "listing.csv").write_text("\n".join([*rows, "first/music/missing.wav,0,0"]))
    return folder


@pytest.fixture(scope="module")
def parts(music) -> Path:
    pack(music / "listing.csv", music / "deb", music / "parts", OPTIONS)
    return music / "parts"


def original(music: Path, name: str) -> np.ndarray:
    """[L, 2] at 32 kHz."""
    wave, rate = soundfile.read(music / "deb" / name, dtype="float32")
    return soxr.resample(wave, rate, SAMPLE_RATE, quality="HQ")


def snr_db(reference: np.ndarray, estimated: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - estimated) ** 2)))


def digest(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_parts_keep_their_limit_and_carry_their_index(parts):
    paths = sorted(parts.iterdir())
    assert [p.name for p in paths] == [f"part-{i:03d}.tar" for i in range(len(paths))] and len(paths) >= 2
    pieces = {}
    for path in paths:
        assert path.stat().st_size <= OPTIONS.part_bytes
        data = path.read_bytes()
        with tarfile.open(path) as tar:
            for piece in read_pieces(path):
                member = tar.extractfile(piece.file).read()
                assert member == data[piece.offset : piece.offset + piece.size] and member[:4] == b"OggS"
                pieces.setdefault(piece.name, []).append(piece)
    assert sorted(pieces) == sorted(n for n in TRACKS if n.split("/")[0] not in ("xmoto-data", "cube2-data"))
    for name, found in pieces.items():
        assert sum(p.length for p in found) == pytest.approx(TRACKS[name][0] * 48_000, abs=2)
    assert len(pieces["first/music/e.wav"]) == 3  # cut after a quarter of a part: 9 s


def test_the_rate_is_what_was_asked_for(music):
    wave = make_track(0, 30, 48_000).T.astype(np.float32)
    for channels, kbps in ((1, 64), (1, 96), (2, 128)):
        size = len(encode_opus(wave[:channels], kbps))
        assert size * 8e-3 / 30 == pytest.approx(kbps, rel=0.05)


def test_crops_lie_where_the_original_has_them(music, parts):
    crops = PackedCrops(parts)
    for track in crops.tracks:
        assert track.length == pytest.approx(TRACKS[track.name][0] * SAMPLE_RATE, abs=2)
        reference = original(music, track.name).mean(axis=1)
        starts = [0, 31_111, 9 * SAMPLE_RATE - 20_001, track.length - 40_000]  # the third across a cut
        for start in (s for s in starts if s + 40_000 <= track.length):
            wave = crops.read(track, start, 40_000)
            wanted = reference[start : start + 40_000]
            assert wave.shape == (40_000,) and wave.dtype == np.float32
            assert snr_db(wanted[:39_990], wave[:39_990]) > 15, (track.name, start)
            lags = [np.dot(wanted[100:-100], wave[100 + k : len(wave) - 100 + k]) for k in range(-50, 51)]
            assert abs(int(np.argmax(lags)) - 50) <= 1
    end = crops.read(crops.tracks[0], crops.tracks[0].length - 100, 500)
    assert np.abs(end[:100]).max() > 0 and not end[110:].any()


def test_a_crop_is_the_same_wherever_the_seek_lands(parts):
    crops = PackedCrops(parts)
    track = max(crops.tracks, key=lambda t: t.length)
    whole = crops.read(track, 0, track.length)
    for start in np.random.default_rng(3).integers(0, track.length - 20_000, 20):
        assert np.abs(crops.read(track, int(start), 20_000) - whole[start : start + 20_000]).max() < 1e-4


def test_files_are_read_in_place_and_stereo_is_kept(music):
    crops = FileCrops(music / "listing.csv", music / "deb", channels=2)
    assert len(crops.tracks) == 4
    for track in crops.tracks:
        wave = crops.read(track, 50_000, 30_000)
        assert wave.shape == (2, 30_000)
        wanted = original(music, track.name)[50_000:80_000].T
        assert snr_db(wanted, wave) > 50
    mono = FileCrops(music / "listing.csv", music / "deb").read(crops.tracks[0], 50_000, 30_000)
    np.testing.assert_allclose(mono, crops.read(crops.tracks[0], 50_000, 30_000).mean(axis=0), atol=1e-5)


def test_stereo_parts_give_two_channels_or_one(music, parts, tmp_path):
    options = PackOptions(kbps=128, stereo=True)
    pack(music / "listing.csv", music / "deb", tmp_path, options)
    stereo = PackedCrops(tmp_path, channels=2)
    track = next(t for t in stereo.tracks if t.name == "first/music/e.wav")
    wave = stereo.read(track, 100_000, 50_000)
    wanted = original(music, track.name)[100_000:150_000].T
    assert wave.shape == (2, 50_000) and snr_db(wanted, wave) > 12
    assert snr_db(wanted[::-1], wave) < 6  # left is left
    assert PackedCrops(tmp_path).crop(np.random.default_rng(0), 1000).shape == (1000,)
    with pytest.raises(InputError, match="has one channel; pack the music again with --stereo"):
        PackedCrops(parts, channels=2)


def test_the_generator_alone_decides(music, parts):
    for source, root in ((parts, None), (music / "listing.csv", music / "deb")):
        crops, again = open_crops(source, root=root), open_crops(source, root=root)
        crops.crop(np.random.default_rng(1), 50_000)  # what was drawn before does not matter
        a = [crops.crop(np.random.default_rng((7, i)), 20_000) for i in range(6)]
        ahead = draw_ahead(lambda i, c=again: c.crop(np.random.default_rng((7, i)), 20_000), 0)
        assert all(np.array_equal(x, next(ahead)) for x in a)
        ahead.close()
        assert not np.array_equal(a[0], a[1])


def test_a_missing_part_is_not_missed(parts, tmp_path):
    names = sorted(p.name for p in parts.iterdir())
    whole = sum(t.length for t in PackedCrops(parts).tracks)
    for name in names[1:]:
        (tmp_path / name).write_bytes((parts / name).read_bytes())
    crops = PackedCrops(tmp_path)
    assert 0 < sum(t.length for t in crops.tracks) < whole
    assert np.abs(crops.crop(np.random.default_rng(0), 20_000)).max() > 0.01
    (tmp_path / names[0]).write_bytes((parts / names[0]).read_bytes())
    crops.refresh()
    assert sum(t.length for t in crops.tracks) == whole


def test_the_split_and_the_choice_are_respected(music, parts, tmp_path):
    for path in parts.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="no held-out track"):
        PackedCrops(tmp_path, held_out=True).crop(np.random.default_rng(0), 100)
    pack(music / "listing.csv", music / "deb", tmp_path, PackOptions(64, 0.3, held_out=True))
    assert [p.name for p in tmp_path.glob("held-out-*.tar")] == ["held-out-000.tar"]
    assert [t.name for t in PackedCrops(tmp_path, held_out=True).tracks] == ["xmoto-data/held.wav"]
    assert {t.album for t in PackedCrops(tmp_path).tracks} == {"first", "second", "third"}
    assert {t.album for t in PackedCrops(tmp_path, max_singing=0.5).tracks} == {"first", "third"}


def test_packing_goes_on_after_kill_9_and_ends_with_the_same_bytes(music, parts, tmp_path):
    command = [sys.executable, "-m", "openvmas", "train", "pack", str(music / "listing.csv"), str(music / "deb")]
    command += [str(tmp_path), "--kbps", "64", "--part-megabytes", "0.3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and "part-000.tar" in process.stdout.readline()
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    (tmp_path / "part-001.tar.tmp").write_bytes(b"rubbish of an earlier stop")
    first = (tmp_path / "part-000.tar").stat()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert digest(tmp_path) == digest(parts)
    assert (tmp_path / "part-000.tar").stat().st_mtime_ns == first.st_mtime_ns
    assert " MB, " in done.stdout.splitlines()[-1] and done.stdout.splitlines()[-1].split()[1] == "h,"
    subprocess.run(command, capture_output=True, check=True)  # nothing left to do
    assert digest(tmp_path) == digest(parts)


def test_settings_that_do_not_fit_are_refused(music, parts, tmp_path):
    with pytest.raises(OutputError, match="holds parts of 64 kbps in 1 channel"):
        pack(music / "listing.csv", music / "deb", parts, PackOptions(kbps=96, part_megabytes=0.3))
    with pytest.raises(OptionError, match="too small for a piece"):
        PackOptions(part_megabytes=0.01)
    with pytest.raises(OptionError, match="no rate for music"):
        PackOptions(kbps=2000)
    with pytest.raises(InputError, match="No track of"):
        pack(music / "listing.csv", tmp_path, tmp_path / "out", OPTIONS)
    written = pack(music / "listing.csv", music / "deb", tmp_path / "one", PackOptions(64, 0.3, parts=1))
    assert written.n_parts == 1
    assert digest(tmp_path / "one") == {"part-000.tar": (parts / "part-000.tar").read_bytes()}


def test_the_source_decides_the_reader(music, parts, tmp_path):
    build(music / "listing.csv", music / "deb", tmp_path / "waves")
    assert isinstance(open_crops(parts), PackedCrops)
    assert isinstance(open_crops(tmp_path / "waves"), Crops)
    assert isinstance(open_crops(music / "listing.csv", root=music / "deb"), FileCrops)
    crops = open_crops(tmp_path / "waves")
    packed = {t.name: t for t in open_crops(parts).tracks}
    for track in crops.tracks:
        wave = open_crops(parts).read(packed[track.name], 64_000, 32_000)
        assert snr_db(crops.read(track, 64_000, 32_000), wave) > 15
    with pytest.raises(InputError, match="holds mono waves"):
        open_crops(tmp_path / "waves", channels=2)


@pytest.mark.parametrize("opener", [open_crops, PackedCrops, Crops, lambda p: FileCrops(p, p)])
def test_a_bad_folder_gives_one_sentence(opener, tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError) as caught:
            opener(folder)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_part_that_was_cut_short_is_named(parts, tmp_path):
    data = (parts / "part-000.tar").read_bytes()
    for size in (100, len(data) // 2, 0):
        (tmp_path / "part-000.tar").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"part-000\.tar is no whole part"):
            PackedCrops(tmp_path)


def test_reading_parts_needs_only_numpy_soundfile_and_soxr(parts):
    code = """
import sys, numpy
for name in ("av", "onnxruntime", "scipy", "click", "yaml", "torch"):
    sys.modules[name] = None
from pathlib import Path
from openvmas.train.codec.corpus import open_crops
print(open_crops(Path(sys.argv[1])).crop(numpy.random.default_rng(0), 1000).shape)
"""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", code, parts], capture_output=True, text=True, env=environment)
    assert done.stdout == "(1000,)\n", done.stderr


def test_the_index_is_plain_json_lines(parts):
    with tarfile.open(parts / "part-000.tar") as tar:
        entry = json.loads(tar.extractfile("index.jsonl").readline())
    assert {"name", "album", "offset", "size", "length", "sample_rate", "channels", "is_held_out"} <= entry.keys()


def test_excerpts_are_those_places_of_their_tracks(music, tmp_path):
    options = PackOptions(kbps=64, part_megabytes=0.3, excerpt_seconds=6.0)
    pack(music / "listing.csv", music / "deb", tmp_path, options)
    found = [piece for path in sorted(tmp_path.glob("*.tar")) for piece in read_pieces(path)]
    assert sorted(piece.name for piece in found) == sorted(
        n for n in TRACKS if n.split("/")[0] in ("first", "second", "third")
    )
    assert all(piece.length == 6 * piece.sample_rate for piece in found) and any(piece.start for piece in found)
    for track in PackedCrops(tmp_path).tracks:
        start = track.pieces[0][1].start * SAMPLE_RATE // track.pieces[0][1].sample_rate
        wanted = original(music, track.name).mean(axis=1)[start : start + 5 * SAMPLE_RATE]
        assert snr_db(wanted, PackedCrops(tmp_path).read(track, 0, 5 * SAMPLE_RATE)) > 15
    before = digest(tmp_path)
    pack(music / "listing.csv", music / "deb", tmp_path, options)
    assert digest(tmp_path) == before  # nothing is packed twice
    with pytest.raises(OptionError, match="An excerpt has 5 to"):
        PackOptions(excerpt_seconds=2)


def test_unpacked_parts_are_the_same_music(parts, tmp_path):
    assert list(unpack(parts, tmp_path, UnpackOptions(2))) == [f"{len(PackedCrops(parts).tracks)} tracks"]
    packed, waves = PackedCrops(parts), Crops(tmp_path)
    for a, b in zip(packed.tracks, waves.tracks, strict=True):
        assert (a.name, a.length) == (b.name, b.length)
        assert np.abs(packed.read(a, 1000, 5000) - waves.read(b, 1000, 5000)).max() < 1e-4
    assert list(unpack(parts, tmp_path, UnpackOptions(2))) == ["0 tracks"]
