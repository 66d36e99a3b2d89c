"""What `study create` makes: measured on the files that listeners get."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.errors import InputError, OptionError, OutputError
from openvmas.media.audio import read_audio
from openvmas.media.loudness import integrated_loudness, true_peak
from openvmas.media.probe import probe
from openvmas.study.session import Study
from openvmas.study.stimuli import headphone_triplet, low_anchor, pink_noise, shifted
from openvmas.study.study_builder import FIT_ANCHOR, LOW_ANCHOR, REFERENCE, create
from openvmas.study.study_settings import StudyPlan, StudySettings, read_study_plan
from tests.clips import write_clip
from tests.study.made import RATE, quick_study, tune, with_sound, write_systems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with picture: two systems and the reference, two clips, one system's second clip shorter."""
    folder = tmp_path_factory.mktemp("made")
    systems = write_systems(folder, ("ours", "rival", "true"), duration=2.8)
    with_sound(systems["rival"] / "clip1.mov", tune(99, 2.4))
    plan = StudyPlan(
        {name: systems[name] for name in ("ours", "rival")},
        systems["true"],
        StudySettings.of(loudness=-20.0, seconds=2.6),
    )
    create(plan, folder / "study")
    return folder / "study"


def facts_of(folder: Path) -> tuple[dict, dict]:
    return tuple(json.loads((folder / name).read_text()) for name in ("study.json", "key.json"))


def test_every_condition_is_there_with_picture_and_without(made: Path) -> None:
    public, key = facts_of(made)
    assert key["conditions"] == ["ours", "rival", REFERENCE, LOW_ANCHOR, FIT_ANCHOR]
    for mode in ("picture", "sound"):
        for clip, row in zip(key["clips"], public[mode], strict=True):
            assert [key["stimuli"][name]["condition"] for name in row] == key["conditions"]
            assert {key["stimuli"][name]["clip"] for name in row} == {clip}
            assert {key["stimuli"][name]["mode"] for name in row} == {mode}
    assert sorted(path.name for path in (made / "media").iterdir()) == sorted(public["files"].values())
    assert {path.name for path in made.iterdir()} == {"study.json", "key.json", "media"}


def test_stimuli_are_matched_in_loudness_and_length_and_do_not_clip(made: Path) -> None:
    public, key = facts_of(made)
    lengths: dict[str, set[int]] = {}
    for mode in ("picture", "sound"):
        for name in (name for row in public[mode] for name in row):
            audio = read_audio(made / "media" / public["files"][name], RATE)
            assert integrated_loudness(audio.wave, RATE) == pytest.approx(key["loudness_lufs"], abs=0.3)
            assert true_peak(audio.wave) < -0.5
            lengths.setdefault(key["stimuli"][name]["clip"], set()).add(audio.wave.shape[1] // 1100)
    assert lengths["clip1"] != lengths["clip0"]
    assert all(max(found) - min(found) <= 1 for found in lengths.values())  # but for the last frame of the codec
    assert key["stimuli"][public["sound"][1][0]]["seconds"] == pytest.approx(2.4, abs=0.01)
    assert key["stimuli"][public["sound"][0][0]]["seconds"] == pytest.approx(2.6, abs=0.01)


def test_the_picture_is_copied_and_the_same_for_all(made: Path) -> None:
    public, _ = facts_of(made)
    digests = set()
    for name in public["picture"][0]:
        with av.open(str(made / "media" / public["files"][name])) as container:
            stream = container.streams.video[0]
            packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        digests.add(hashlib.sha256(b"".join(packets)).hexdigest())
    assert len(digests) == 1
    with av.open(str(made.parent / "true" / "clip0.mov")) as container:
        original = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    assert packets == original[: len(packets)] and len(packets) >= 2.6 * 25


def test_listeners_files_name_no_system(made: Path) -> None:
    """Neither the public manifest nor any byte of a stimulus says who made it."""
    public_text = (made / "study.json").read_text()
    for word in ("ours", "rival", "anchor", "clip0", "true/"):
        assert word not in public_text
    for path in (made / "media").iterdir():
        data = path.read_bytes().lower()
        assert not any(word in data for word in (b"rival", b"made by", b"openvmas", b"lavf", b"clip0")), path


def test_the_same_seed_gives_the_same_study_and_another_other_names(made: Path, tmp_path: Path) -> None:
    first, second, third = (
        quick_study(tmp_path / str(i), ("a", "b"), 1, seed=seed).facts for i, seed in enumerate((5, 5, 6))
    )
    assert first == second
    assert not set(first["files"]) & set(third["files"])


def test_low_anchor_is_a_filter_at_3500_hz() -> None:
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    found = low_anchor(noise)
    gain = np.abs(np.fft.rfft(found[0])) / np.maximum(np.abs(np.fft.rfft(noise[0])), 1e-9)
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    assert np.median(gain[(hertz > 100) & (hertz < 3400)]) == pytest.approx(1, abs=0.01)
    above = np.fft.rfft(found[0])[hertz > 4000], np.fft.rfft(noise[0])[hertz > 4000]
    assert 10 * np.log10(np.sum(np.abs(above[0]) ** 2) / np.sum(np.abs(above[1]) ** 2)) < -50
    click = np.zeros((2, 4000), dtype=np.float32)
    click[:, 2000] = 1
    assert np.argmax(low_anchor(click)[0]) == 2000  # nothing moves in time


def test_shifted_music_is_the_same_music_elsewhere() -> None:
    wave = tune(3, 2.0)
    found = shifted(wave)
    assert found.shape == wave.shape
    assert np.array_equal(found[:, 2000:40_000], wave[:, 50_000:88_000])
    assert np.abs(np.diff(found[0, 47_900:48_100])).max() < 0.1  # no click at the seam


@pytest.mark.parametrize(("quiet", "antiphase"), [(0, 1), (2, 0)])
def test_headphone_tones_cancel_over_loudspeakers_only(quiet: int, antiphase: int) -> None:
    wave = headphone_triplet(quiet, antiphase)
    tones = [wave[:, i * 72_000 : i * 72_000 + 48_000] for i in range(3)]
    each = [np.sqrt(np.mean(tone**2)) for tone in tones]  # what each ear hears
    summed = [np.sqrt(np.mean(tone.mean(axis=0) ** 2)) for tone in tones]  # what a loudspeaker's listener hears
    assert int(np.argmin(each)) == quiet and int(np.argmin(summed)) == antiphase
    other = 3 - quiet - antiphase
    assert 20 * np.log10(each[quiet] / each[other]) == pytest.approx(-6, abs=0.01)
    assert each[antiphase] == pytest.approx(each[other]) and summed[antiphase] < 1e-6


def test_noise_is_pink() -> None:
    power = np.abs(np.fft.rfft(pink_noise(4 * RATE, 0)[0])) ** 2
    hertz = np.fft.rfftfreq(4 * RATE, 1 / RATE)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (100, 400, 1600, 6400)]
    assert np.ptp(10 * np.log10(octaves)) < 1.0


def test_a_picture_that_browsers_do_not_show_is_encoded_anew(tmp_path: Path) -> None:
    systems = write_systems(tmp_path, ("a", "b"), 1, duration=2.2)
    for name in systems:
        with_sound(systems[name] / "clip0.mov", tune(1, 2.2), codec="mpeg4", size=(162, 98))
    create(StudyPlan(systems, None, StudySettings.of(seconds=2, rounds=0, sound_pairs=0)), tmp_path / "study")
    study = Study(tmp_path / "study")
    info = probe(study.media_path(study.facts["picture"][0][0]))
    assert (info.codec, info.width, info.height) == ("h264", 162, 98)
    assert float(info.duration) == pytest.approx(2.0, abs=0.05)


def test_loud_peaks_lower_the_whole_study(tmp_path: Path) -> None:
    systems = write_systems(tmp_path, ("a", "b"), 1, duration=2.2, has_picture=False)
    from openvmas.media.audio import write_wav

    wave = 0.001 * tune(1, 2.2)
    wave[:, RATE] = 1.0
    write_wav(systems["a"] / "clip0.wav", wave, RATE)
    said: list[str] = []
    create(StudyPlan(systems, None, StudySettings.of(seconds=2, loudness=-9.0)), tmp_path / "study", log=said.append)
    public, key = facts_of(tmp_path / "study")
    assert key["loudness_lufs"] < -20 and any("no peak clips" in text for text in said)
    for name in public["sound"][0]:
        audio = read_audio(tmp_path / "study" / "media" / public["files"][name], RATE)
        assert true_peak(audio.wave) < 0


def test_what_cannot_be_made_is_said_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = write_systems(tmp_path, ("a", "b"), 1, duration=2.2, has_picture=False)
    settings = StudySettings.of(seconds=2)
    with pytest.raises(OptionError, match="give 2 to 20 with --systems"):
        create(StudyPlan({"a": systems["a"]}, None, settings), tmp_path / "x")
    with pytest.raises(OptionError, match="another name"):
        create(StudyPlan({"a": systems["a"], "anchor: x": systems["b"]}, None, settings), tmp_path / "x")
    with pytest.raises(OutputError, match="does not exist"):
        create(StudyPlan(systems, None, settings), tmp_path / "no" / "x")
    (tmp_path / "c").mkdir()
    write_clip(tmp_path / "c" / "other.mp4", sound="sine")
    with pytest.raises(InputError, match="no clip is in all of"):
        create(StudyPlan({**systems, "c": tmp_path / "c"}, None, settings), tmp_path / "x")
    from openvmas.media.audio import write_wav

    write_wav(systems["b"] / "clip0.wav", np.zeros((2, 3 * RATE), np.float32), RATE)
    with pytest.raises(InputError, match="is silent; leave this clip out"):
        create(StudyPlan(systems, None, settings), tmp_path / "x")
    write_wav(systems["b"] / "clip0.wav", tune(1, 1.0), RATE)
    with pytest.raises(InputError, match=r"only 1\.0 s to be heard"):
        create(StudyPlan(systems, None, settings), tmp_path / "x")
    assert not list(tmp_path.glob("*x*"))  # nothing half-made is left
    assert main(["study", "create", "--systems", "a", "--output", str(tmp_path / "x")]) == 2
    assert "give --systems NAME=DIR" in capsys.readouterr().err


def test_a_plan_in_toml_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('title = "Strings"\nrounds = 2\nreference = "true"\n[systems]\nours = "a"\nrival = "b/c"\n')
    plan = read_study_plan(path)
    assert plan.systems == {"ours": tmp_path / "a", "rival": tmp_path / "b" / "c"}
    assert plan.reference == tmp_path / "true" and plan.settings.title == "Strings" and plan.settings.rounds == 2
    for text, message in (
        ("rounds = 999", "from 0 to 20"),
        ("round = 1", "no study setting called round"),
        ("[systems]\na = 3", "are folders"),
        ("systems = 3", "are folders"),
        ("title = ", "is not TOML"),
        ('headphones = "maybe"', "choose from required"),
        ("rounds = 0\npicture_pairs = 0\nsound_pairs = 0", "something to ask"),
    ):
        path.write_text(text)
        with pytest.raises((OptionError, InputError), match=message):
            read_study_plan(path)
