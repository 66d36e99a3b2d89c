"""MIDI in, sound and truth out; pieces written by rule; terms of packages; truth as a stage."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile
from midi_scores import DRUMS, Note, Score, read_midi
from rendered_scores import find_chords, find_sections, orchestrate, play, truth_of, with_form, write
from rule_scores import compose

from openvmas.data.curation.recipe import read_recipe
from openvmas.data.curation.record import Drop, Origin, Record
from openvmas.data.curation.record_media import Media
from openvmas.data.sources import free_music
from openvmas.data.stages.labels import Labels
from openvmas.errors import InputError, OutputError

ROOT = Path(__file__).resolve().parents[2]


def midi_file(path: Path, events: list[tuple[int, bytes]], division: int = 96) -> Path:
    """A one-track MIDI file from events (tick, bytes), in order."""
    body, last = b"", 0
    for tick, data in events:
        delta, digits = tick - last, []
        while True:
            digits.append(delta & 127)
            delta >>= 7
            if not delta:
                break
        body += bytes(d | 128 for d in reversed(digits[1:])) + bytes([digits[0]]) + data
        last = tick
    body += b"\0\xff\x2f\0"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, division)
    path.write_bytes(head + b"MTrk" + struct.pack(">I", len(body)) + body)
    return path


def waltz(path: Path) -> Path:
    """Four bars of 3/4 at 120 BPM, then two of 6/8 at 60 dotted quarters: C major below, a drum on each bar."""
    events = [(0, b"\xff\x58\x04\x03\x02\x18\x08"), (0, b"\xff\x51\x03" + (500_000).to_bytes(3, "big"))]
    events += [(0, b"\xff\x06\x05verse"), (0, b"\xc0\x30")]
    for bar in range(4):
        at = bar * 3 * 96
        events += [(at, bytes([0x90, pitch, 90])) for pitch in (48, 64, 67)] + [(at, bytes([0x99, 36, 100]))]
        events += [(at + 280, bytes([0x80, pitch, 0])) for pitch in (48, 64, 67)] + [(at + 280, bytes([0x89, 36, 0]))]
    start = 4 * 3 * 96
    events += [(start, b"\xff\x58\x04\x06\x03\x18\x08"), (start, b"\xff\x51\x03" + (666_667).to_bytes(3, "big"))]
    events += [(start, b"\xff\x06\x06chorus"), (start, bytes([0x90, 45, 90])), (start + 576, bytes([0x80, 45, 0]))]
    return midi_file(path, events)


def test_midi_gives_beats_bars_sections_and_notes(tmp_path: Path) -> None:
    score = read_midi(waltz(tmp_path / "a.mid"))
    assert score.beats[:4] == pytest.approx([0, 0.5, 1.0, 1.5])
    assert score.downbeats[:5] == pytest.approx([0, 1.5, 3.0, 4.5, 6.0])
    assert np.diff(score.beats[12:15]) == pytest.approx([1.0, 1.0], abs=1e-3)  # dotted quarters
    assert score.beats_per_bar == 3
    assert [s.label for s in score.sections] == ["verse", "chorus"]
    assert score.sections[1].start == pytest.approx(6.0)
    assert {n.program for n in score.notes} == {48, DRUMS}
    assert find_chords(score)[0][2] == "C"


def test_broken_midi_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(b"RIFF of something else")
    with pytest.raises(InputError, match="not a MIDI file"):
        read_midi(path)
    whole = waltz(tmp_path / "b.mid").read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(InputError, match=r"middle of a track|no notes"):
        read_midi(path)
    path.write_bytes(whole[:12] + b"\xe7\x28" + whole[14:])
    with pytest.raises(InputError, match="film frames"):
        read_midi(path)


def test_written_pieces_know_their_form() -> None:
    score = compose(11)
    assert (score.licence, score.has_written_bars) == ("CC0-1.0", True) and len(score.notes) > 200
    assert [n.start for n in compose(11).notes] == [n.start for n in score.notes]
    assert np.array_equal(score.downbeats, score.beats[:: score.beats_per_bar])
    assert score.sections[0].start == 0 and score.sections[-1].end == pytest.approx(score.chords[-1][1])
    for before, after in zip(score.sections, score.sections[1:], strict=False):
        assert before.end == pytest.approx(after.start)
    borders = {round(s.start, 6) for s in score.sections}
    assert borders <= {round(float(t), 6) for t in score.downbeats}


def test_chords_worked_out_from_notes_are_those_that_were_written() -> None:
    agreement = []
    for seed in range(6):
        score = compose(seed)
        names = []
        for chords in (score.chords, find_chords(score)):
            names.append([next((n for a, b, n in chords if a <= t + 0.1 < b), "N") for t in score.beats])
        pairs = [(a, b) for a, b in zip(*names, strict=True) if ":dim" not in a]
        agreement.append(np.mean([a == b for a, b in pairs]))
    assert np.mean(agreement) > 0.9


def test_sections_are_found_where_voices_change() -> None:
    notes = [Note(k * 0.5, k * 0.5 + 0.4, 60, 90, 0) for k in range(32)]
    notes += [Note(k * 0.5, k * 0.5 + 0.4, 66, 90, 48) for k in range(32, 64)]
    beats = np.arange(64) * 0.5
    found = find_sections(Score("x", tuple(notes), beats, beats[::4], 4))
    assert [s.label for s in found] == ["A", "B"]
    assert found[1].start == pytest.approx(16.0)


def test_orchestrations_change_sounds_and_nothing_else() -> None:
    score = compose(3)
    winds = orchestrate(score, "winds")
    assert all(n.program != DRUMS for n in winds.notes)
    assert {n.program for n in winds.notes} != {n.program for n in score.notes}
    assert np.array_equal(winds.beats, score.beats) and winds.chords == score.chords
    assert orchestrate(score, "written") is score
    with pytest.raises(KeyError):
        orchestrate(score, "kazoo")


def test_playing_needs_a_soundfont(tmp_path: Path) -> None:
    pytest.importorskip("tinysoundfont")
    (tmp_path / "a.sf2").write_bytes(b"no soundfont")
    with pytest.raises(InputError, match="no soundfont that can be read"):
        play(compose(0), tmp_path / "a.sf2", 1.0)


def test_truth_goes_beside_the_sound_and_into_the_record(tmp_path: Path) -> None:
    score = with_form(read_midi(waltz(tmp_path / "a.mid")))
    path = tmp_path / "a.ogg"
    wave = np.random.default_rng(0).normal(0, 0.1, (2, 44_100 * 3)).astype(np.float32)
    write(wave, truth_of(score, "written", 5.0), path)
    assert soundfile.info(path).frames == 44_100 * 3
    with pytest.raises(OutputError, match="exists already"):
        write(wave, {}, path)
    record = Record("a", "audio", Origin("test", "a.ogg"))
    with Media(record, path) as media:
        kept = Labels()(record, media)
        assert isinstance(kept, Record)
        assert media.arrays["truth_downbeats"] == pytest.approx([0, 1.5, 3.0, 4.5])
        assert media.arrays["truth_chords"].shape[1] == 2
    assert kept.facts["truth.sections"] == ["verse"] and kept.facts["truth.beats_per_bar"] == 3
    assert Record.from_json(kept.to_json()) == kept
    path.with_suffix(".truth.json").write_text("[1, 2")
    with Media(record, path) as media:
        assert isinstance(Labels()(record, media), Drop)
    path.with_suffix(".truth.json").unlink()
    with Media(record, path) as media:
        dropped = Labels()(record, media)
        assert isinstance(dropped, Drop) and dropped.reason == "no truth"
        assert Labels(needed=False)(record, media) is record


COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2010, The Team
License: GPL-2+

Files: data/music/*.ogg
       data/music/old/*
Copyright: 2011, Ann Composer
           2012, Ben Player
License: CC-BY-SA-3.0

Files: data/music/theme.ogg
Copyright: Cleo
License: CC0-1.0

License: GPL-2+
 Some words: here.
"""


def test_the_most_telling_paragraph_speaks_of_a_file() -> None:
    terms = free_music.read_copyright(COPYRIGHT)
    assert len(terms) == 3

    def licence(path: str) -> str:
        found = free_music.terms_of(path, terms)
        return found.licence if found else ""

    assert licence("usr/share/games/x/data/music/theme.ogg") == "CC0-1.0"
    assert licence("usr/share/games/x/music/battle.ogg") == "CC-BY-SA-3.0"  # installed without data/
    assert licence("usr/share/games/x/sounds/click.wav") == "GPL-2+"
    found = free_music.terms_of("usr/share/games/x/music/a.ogg", terms)
    assert found and found.holders == "2011, Ann Composer, 2012, Ben Player"


def deb_file(path: Path, members: dict[str, bytes]) -> None:
    """A Debian package as an ar archive, by hand."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("./usr/share/games/out")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    parts = [("debian-binary", b"2.0\n"), ("data.tar.xz", packed.getvalue())]
    out = b"!<arch>\n"
    for name, data in parts:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(out)


def test_packages_come_from_a_mirror_and_are_listed(tmp_path: Path) -> None:
    sound, silence = io.BytesIO(), io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 22 * 8000)
    soundfile.write(sound, noise, 8000, format="OGG")
    soundfile.write(silence, noise * 0, 8000, format="OGG")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("music/theme.ogg", sound.getvalue())
        archive.writestr("../escape.ogg", sound.getvalue())
        archive.writestr("readme.txt", "no sound")
    mirror = tmp_path / "mirror"
    (mirror / "pool").mkdir(parents=True)
    members = {
        "./usr/share/games/x/data.pk3": inner.getvalue(),
        "./usr/share/games/x/music/battle.ogg": sound.getvalue(),
        "./usr/share/games/x/music/silence.ogg": silence.getvalue(),
        "./usr/share/games/x/music/broken.ogg": b"OggS broken",
        "./usr/share/doc/x-music/copyright": COPYRIGHT.encode(),
    }
    deb = mirror / "pool/x-music_1_all.deb"
    deb_file(deb, members)
    listing = mirror / f"dists/{free_music.RELEASE}/main/binary-amd64/Packages.xz"
    listing.parent.mkdir(parents=True)
    digest = sha256(deb.read_bytes()).hexdigest()
    text = f"Package: other\nFilename: no\n\nPackage: x-music\nFilename: pool/{deb.name}\nSHA256: {digest}\n"
    listing.write_bytes(lzma.compress(text.encode()))
    packages = tmp_path / "packages"
    free_music.fetch_package("x-music", packages, mirror.as_uri())
    assert not (packages / "escape.ogg").exists() and not (packages / "x-music/usr/share/games/out").exists()
    tracks = {Path(t.path).name: t for t in free_music.list_tracks(packages, ("x-music",))}
    assert set(tracks) == {"theme.ogg", "battle.ogg", "silence.ogg", "broken.ogg"}
    assert (tracks["theme.ogg"].licence, tracks["theme.ogg"].author) == ("CC0-1.0", "Cleo")
    assert tracks["battle.ogg"].problem == "" and tracks["battle.ogg"].seconds == pytest.approx(22, abs=0.1)
    assert "silent" in tracks["silence.ogg"].problem and "cannot be read" in tracks["broken.ogg"].problem
    with pytest.raises(InputError, match="no package"):
        free_music.fetch_package("y-music", packages, mirror.as_uri())
    listing.write_bytes(lzma.compress(text.replace(digest, "0" * 64).encode()))
    with pytest.raises(InputError, match="damaged"):
        free_music.fetch_package("x-music", tmp_path / "again", mirror.as_uri())
    assert not any((tmp_path / "again").iterdir())


@pytest.mark.parametrize("name", ["free-music", "rendered", "montage", "play"])
def test_recipes_are_understood(name: str) -> None:
    recipe = read_recipe(ROOT / "recipes" / f"{name}.toml")
    assert recipe.sources and recipe.stages
    assert (ROOT / "docs/data" / f"{name}.md").is_file()
