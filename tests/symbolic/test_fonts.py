"""The user's own instruments: small soundfonts and .sfz files made here play at their pitch, and faults are told."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from openvmas.errors import InputError, OptionError
from openvmas.generate.scorer import load
from openvmas.pretrained import find_weights
from openvmas.symbolic.desk.mixes import Mix
from openvmas.symbolic.instruments import Bank
from openvmas.symbolic.notes import Composition, Note, Part
from openvmas.symbolic.render import render
from openvmas.symbolic.synth.fonts import UserFonts, read_sfz
from openvmas.symbolic.synth.sampler import Sounds

RATE = 32_000
KEY, HZ = 69, 440.0


def tone(hertz: float, seconds: float = 1.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def write_sf2(path: Path, left: np.ndarray, right: np.ndarray, presets: tuple[tuple[int, int, str], ...]) -> None:
    """A soundfont with one instrument of a stereo sample at KEY, under several presets (bank, program, name)."""
    waves = [(np.clip(wave, -1, 1) * 32767).astype("<i2") for wave in (left, right)]
    gap = np.zeros(46, "<i2")
    n = len(left)
    second = n + 46

    def head(name: str, start: int, link: int, kind: int) -> bytes:
        return struct.pack("<20sIIIIIBbHH", name.encode(), start, start + n, start, start + n, RATE, KEY, 0, link, kind)

    def name_of(text: str) -> bytes:
        return text.encode().ljust(20, b"\0")

    heads = [struct.pack("<20sHHHIII", name_of(t), p, b, i, 0, 0, 0) for i, (b, p, t) in enumerate(presets)]
    heads.append(struct.pack("<20sHHHIII", name_of("EOP"), 0, 0, len(presets), 0, 0, 0))
    bags = [struct.pack("<HH", i, 0) for i in range(len(presets) + 1)]
    generators = [struct.pack("<HH", 41, 0)] * len(presets) + [struct.pack("<HH", 0, 0)]
    zones = [(17, (-500) & 0xFFFF), (53, 0), (17, 500), (53, 1), (0, 0)]
    body = {
        b"phdr": b"".join(heads), b"pbag": b"".join(bags), b"pmod": b"\0" * 10, b"pgen": b"".join(generators),
        b"inst": struct.pack("<20sH", name_of("tone"), 0) + struct.pack("<20sH", name_of("EOI"), 2),
        b"ibag": b"".join(struct.pack("<HH", at, 0) for at in (0, 2, 4)), b"imod": b"\0" * 10,
        b"igen": b"".join(struct.pack("<HH", *pair) for pair in zones),
        b"shdr": head("l", 0, 1, 4) + head("r", second, 0, 2) + head("EOS", 0, 0, 0),
    }  # fmt: skip
    samples = b"".join(part.tobytes() for part in (waves[0], gap, waves[1], gap))
    content = b"sfbk" + chunk(b"LIST", b"INFO" + chunk(b"ifil", struct.pack("<HH", 2, 1)))
    content += chunk(b"LIST", b"sdta" + chunk(b"smpl", samples))
    content += chunk(b"LIST", b"pdta" + b"".join(chunk(name, data) for name, data in body.items()))
    path.write_bytes(chunk(b"RIFF", content))


@pytest.fixture
def font(tmp_path: Path) -> Path:
    path = tmp_path / "mine.sf2"
    write_sf2(path, tone(HZ), tone(2 * HZ), ((0, 73, "Flute"), (0, 4, "Keys"), (128, 0, "Kit")))
    return path


@pytest.fixture
def sfz(tmp_path: Path) -> Path:
    (tmp_path / "my samples").mkdir()
    soundfile.write(tmp_path / "my samples" / "a one.wav", tone(HZ), RATE)
    path = tmp_path / "mine.sfz"
    path.write_text(
        "// a flute\n<control> default_path=my samples\\\n<global> ampeg_release=0.2\n"
        "<group> lokey=c4 hikey=c6 pitch_keycenter=a4\n<region> sample=a one.wav hivel=127\n"
        "<region> sample=a one.wav trigger=release\n"
    )
    return path


def sounding(part: Part, values: list[str]) -> np.ndarray:
    """The part alone, played with --soundfont values: [2, n]."""
    sounds = Sounds(Bank(find_weights("symbolic").file("instruments")), UserFonts(values))
    piece = Composition(
        Fraction(2), np.zeros(0), np.zeros(0), 4, (part,), (), (), np.zeros(0), np.zeros(0), mix=Mix(room="none")
    )
    return np.concatenate(list(render(piece, sounds, only=part)), axis=1)


def pitch_of(wave: np.ndarray) -> float:
    """The strongest frequency, Hz."""
    part = wave[9_600:57_600] * np.hanning(48_000)
    return float(np.argmax(np.abs(np.fft.rfft(part))) * 48_000 / len(part))


def lead(key: int = KEY, instrument: str = "flute") -> Part:
    return Part("lead", instrument, reverb=0.0, depth=0.0, notes=[Note(0.0, 1.3, key, 100)])


def test_a_soundfont_plays_at_its_pitch_on_both_sides(font: Path) -> None:
    wave = sounding(lead(KEY + 12), [str(font)])
    assert pitch_of(wave[0]) == pytest.approx(2 * HZ, rel=0.004)
    assert pitch_of(wave[1]) == pytest.approx(4 * HZ, rel=0.004)


def test_an_sfz_file_plays_at_its_pitch(sfz: Path) -> None:
    assert pitch_of(sounding(lead(KEY - 5), [f"lead={sfz}"]).mean(axis=0)) == pytest.approx(
        HZ * 2 ** (-5 / 12), rel=0.004
    )


def test_who_is_not_named_keeps_our_instrument(font: Path, sfz: Path) -> None:
    fonts = UserFonts([str(font), f"pad={sfz}"])
    assert fonts.find(lead(), 73) is not None
    assert fonts.find(lead(), 40) is None  # the font has no violin
    assert fonts.find(lead(instrument="synth:saw_lead"), 73) is None
    found = fonts.find(Part("pad 2", "synth:warm_pad"), 88)
    assert found is not None and found[1] == "own"
    kit = fonts.find(Part("drums", "kit", is_kit=True), 0)
    assert kit is not None and kit[1] == "0 kit"


def test_a_preset_is_named_by_number_or_name(font: Path) -> None:
    for value in (f"lead={font}#4", f"lead={font}#keys"):
        found = UserFonts([value]).find(lead(instrument="synth:saw_lead"), 73)
        assert found is not None and found[1] == "4"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{folder}/none.sf2", "none.sf2 does not exist; give FILE, PART=FILE"),
        ("flute={font}", "there is no part flute; the parts are lead"),
        ("lead={font}#99", "has no preset 99; it has 4 Keys, 73 Flute, 0 Kit"),
        ("lead={folder}/x.txt", "is not .sf2, .sf3 or .sfz"),
        ("{sfz}", "an .sfz file is one instrument; say for which part: lead="),
        ("{broken}", "is no soundfont that can be read .*; give another one"),
        ("lead={missing}", r"wants the sample .*gone.wav, which is not there"),
        ("lead={empty}", "has no <region> with a sample"),
        ("lead={wrong}", "volume=loud is not a number; mend that line"),
    ],
)
def test_faults_are_told_with_their_remedy(tmp_path: Path, font: Path, sfz: Path, value: str, message: str) -> None:
    (tmp_path / "broken.sf2").write_bytes(font.read_bytes()[:900])
    (tmp_path / "missing.sfz").write_text("<region> sample=gone.wav")
    (tmp_path / "empty.sfz").write_text("<group> lokey=0")
    (tmp_path / "wrong.sfz").write_text("<region> sample=my samples/a one.wav volume=loud")
    names = {"folder": tmp_path, "font": font, "sfz": sfz} | {
        name: next(tmp_path.glob(f"{name}.*")) for name in ("broken", "missing", "empty", "wrong")
    }
    with pytest.raises(InputError, match=message):
        UserFonts([value.format(**names)])


def test_groups_end_where_the_next_begins() -> None:
    regions = read_sfz("<group> volume=-3\n<region> sample=a b.wav key=60\n<group>\n<region> sample=c.wav")
    assert regions == [{"volume": "-3", "sample": "a b.wav", "key": "60"}, {"sample": "c.wav"}]


def test_a_model_without_notes_refuses(tmp_path: Path, font: Path) -> None:
    with pytest.raises(OptionError, match="model mini plays no notes; give --model symbolic with --soundfont"):
        load("mini").score(tmp_path / "none.mp4", soundfont=(str(font),))
