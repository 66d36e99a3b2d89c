"""What a system is given, and what each system makes of it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_pieces import synthesise, write_piece

import openvmas
from openvmas.condition import AXES
from openvmas.errors import InputError, ModelError, OpenVMASError, OptionError
from openvmas.eval.benchmark.worker import write_flac
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import Excerpt, fade_out, prepare
from openvmas.eval.suites.suite import Clip
from openvmas.eval.systems import library
from openvmas.eval.systems.captions import WORDS, caption
from openvmas.eval.systems.composers import Ours, PartiallyConditioned, blind_condition
from openvmas.eval.systems.system import KINDS, Setting, System, Task, file_name, open_system
from openvmas.generate.similarity import Aligner, Vectors
from openvmas.media.audio import Audio, read_audio, write_wav
from openvmas.media.probe import probe
from openvmas.planning.lexicon import parse_text
from openvmas.vision.analysis import VideoAnalysis
from tests.clips import write_clip

pytestmark = pytest.mark.slow

RATE = 24_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 4 s with sound, music of its own beside it, and a library of three pieces."""
    top = tmp_path_factory.mktemp("systems")
    write_clip(top / "clip.mp4", 4.0, sound="sine")
    for i, style in enumerate(("rock", "waltz", "ballad")):
        wave = synthesise(write_piece(style, 110, 12, seed=i), RATE)
        (top / "library" / "pack").mkdir(parents=True, exist_ok=True)
        write_wav(top / "library" / "pack" / f"{style}.wav", wave[None], RATE)
        if style == "rock":
            write_wav(top / "music.wav", np.stack([wave, wave]), RATE)
    return top


@pytest.fixture(scope="module")
def excerpt(folder: Path) -> Excerpt:
    """The first 2 s of the clip."""
    cache = Cache(folder / "cache")
    return prepare(Clip("s-clip", "s", folder / "clip.mp4", folder / "music.wav", 0.0, 2.0, "a caption"), cache)


@pytest.fixture
def task(excerpt: Excerpt, tmp_path: Path) -> Task:
    return Task(excerpt, 7, tmp_path)


@pytest.fixture
def setting(folder: Path, tmp_path: Path) -> Setting:
    return Setting(library=folder / "library", systems=tmp_path, cache=folder / "cache")


def make(spec: str, setting: Setting, task: Task) -> np.ndarray:
    audio = open_system(spec, setting).make(task)
    assert audio.wave.dtype == np.float32 and np.isfinite(audio.wave).all()
    assert abs(audio.duration - task.excerpt.duration) < 1e-3
    return audio.wave


def first_colour(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frame = next(iter(container.decode(video=0)))
        return frame.to_ndarray(format="rgb24")[-8:, -8:].reshape(-1, 3).mean(axis=0)


def test_a_clip_is_cut_to_the_frame_and_silent(folder: Path, excerpt: Excerpt) -> None:
    assert excerpt.duration == 2 and not probe(excerpt.video).has_audio
    later = prepare(Clip("s-b", "s", folder / "clip.mp4", None, 1.0, 1.5), excerpt.cache)
    assert float(later.duration) == pytest.approx(1.5, abs=0.041)  # a frame
    blue, red = first_colour(excerpt.video), first_colour(later.video)
    assert blue[2] > 100 > blue[0] and red[0] > 100 > red[2]  # the second second of the clip is red
    assert later.reference is None and later.reference_music is None
    whole = prepare(Clip("s-c", "s", folder / "clip.mp4", None, 30.0, None), excerpt.cache)
    assert whole.duration == 4  # it is too short to begin at 30 s: it is the excerpt itself


def test_the_true_music_lies_under_the_clip_and_fades(folder: Path, excerpt: Excerpt) -> None:
    audio, whole = excerpt.reference, read_audio(folder / "music.wav")
    assert audio is not None and audio.wave.shape == (2, 2 * RATE)
    assert np.array_equal(audio.wave[:, :RATE], whole.wave[:, :RATE]) and abs(audio.wave[:, -1]).max() < 1e-6
    own = prepare(Clip("s-d", "s", folder / "clip.mp4", folder / "clip.mp4", 1.0, None), excerpt.cache)
    assert own.reference is not None and float(own.reference.duration) == pytest.approx(3, abs=0.03)
    assert abs(own.reference.wave[:, -100:]).max() > 0.01  # it ends with its file: nothing is faded


def test_fade_out_by_hand() -> None:
    wave = fade_out(np.ones((2, 100), np.float32), 100, 0.5)
    assert wave[0, 49] == 1 and wave[0, 74] == pytest.approx(0.5, abs=0.02) and wave[1, 99] == pytest.approx(0)


@pytest.mark.parametrize("spec", ["click", "noise", "random", "silence"])
def test_the_same_seed_gives_the_same_sound(spec: str, setting: Setting, task: Task, tmp_path: Path) -> None:
    first = make(spec, setting, task)
    assert np.array_equal(first, make(spec, setting, task))
    other = Task(task.excerpt, 8, tmp_path)
    assert spec == "silence" or not np.array_equal(first, make(spec, setting, other))
    system = open_system(spec, setting)
    assert system.key(task) == open_system(spec, setting).key(task) != system.key(other)


def test_what_is_no_music_is_what_it_says(setting: Setting, task: Task) -> None:
    assert not make("silence", setting, task).any()
    assert np.sqrt(np.mean(np.square(make("noise", setting, task)))) == pytest.approx(0.1, rel=0.02)
    click = np.abs(make("click", setting, task)[0])
    starts = np.flatnonzero((click[1:] > 0) & (click[:-1] == 0))
    assert len(starts) == 16 and set(np.diff(starts)) == {6000}  # eight a second


def test_reference_and_its_codec_copy(setting: Setting, task: Task) -> None:
    reference = make("reference", setting, task)
    copy = open_system("codec:codebooks=8", setting).make(task)
    assert copy.wave.shape == (1, 2 * copy.sample_rate)
    spectra = [np.abs(np.fft.rfft(w[0, :n], 2 * RATE))[50:4000] for w, n in ((reference, 48_000), (copy.wave, 64_000))]
    x, y = (np.log(np.convolve(s, np.ones(50))[::50] + 1e-3) for s in spectra)
    assert np.corrcoef(x, y)[0, 1] > 0.6
    with pytest.raises(OptionError, match="codebooks cannot be 99"):
        open_system("codec:codebooks=99", setting)
    bare = Task(prepare(Clip("s-e", "s", task.excerpt.clip.video, None, 0, 2), task.excerpt.cache), 0, task.scratch)
    with pytest.raises(InputError, match="no reference music"):
        open_system("reference", setting).make(bare)


def test_ours_is_what_score_writes(setting: Setting, task: Task, tmp_path: Path) -> None:
    made = make("ours:candidates=1", setting, task)
    openvmas.score(
        task.excerpt.video, output=str(tmp_path / "s.mkv"), audio_out=str(tmp_path / "s.wav"), candidates=1, seed=7
    )
    # The finished file's codec may need more headroom, so its peaks are limited a little more; all else is the same.
    scored = read_audio(tmp_path / "s.wav").wave
    assert np.corrcoef(made[0], scored[0])[0, 1] > 0.99


def test_options_are_checked_at_the_door(setting: Setting) -> None:
    for spec, word in (
        ("ours:candidates=many", "candidates cannot be"),
        ("ours:candidates=99", "give a number from 1 to 16"),
        ("ours:colour=red", "no option called colour"),
        ("silence:loud=1", "there is no option loud; it has none"),
        ("ours:candidates", "is no option"),
        ("theirs", "there is no system theirs"),
    ):
        with pytest.raises(OptionError, match=word):
            open_system(spec, setting)
    with pytest.raises(OptionError, match="--library"):
        open_system("random", Setting())
    with pytest.raises(ModelError, match=r"holds no config\.json of MusicGen"):
        open_system("musicgen:folder=nowhere", setting)
    assert all(
        issubclass(type(open_system(kind, setting)), System) for kind in KINDS if kind not in ("musicgen", "folder")
    )
    assert file_name("ours") == "ours" and file_name("folder:/a") != file_name("folder:-a")


def test_what_the_decoder_is_told(setting: Setting, task: Task) -> None:
    def told(spec: str) -> object:
        system = open_system(spec, setting)
        assert isinstance(system, PartiallyConditioned)
        return system.condition(task)

    blind, waveform, text = told("waveform-blind"), told("waveform"), told("text")
    for condition in (blind, waveform, text):
        assert not condition.events.accents.any() and len(condition.beats) > 1  # type: ignore[attr-defined]
    assert np.isnan(blind.semantics).all() and np.isnan(waveform.semantics).all()  # type: ignore[attr-defined]
    same = blind_condition(task.excerpt.duration, task.seed)
    assert np.array_equal(same.beats, blind.beats)  # type: ignore[attr-defined]
    said = parse_text(caption(task.excerpt.picture).music).axes
    axes = {axis: float(text.semantics[20, i]) for i, axis in enumerate(AXES)}  # type: ignore[attr-defined]
    assert {axis for axis, value in axes.items() if np.isfinite(value)} == set(said)
    ours = open_system("ours", setting)
    assert isinstance(ours, Ours) and "candidates" not in ours.describe()


def test_captions_speak_the_language_of_words() -> None:
    for axis in AXES:
        if axis not in ("valence", "arousal", "danceability", "acousticness", "brightness", "density"):
            meaning = parse_text(WORDS.get(axis, axis))
            assert meaning.axes.get(axis, 0) > 0.5 and not meaning.unknown, axis


def test_a_caption_says_what_is_seen(excerpt: Excerpt) -> None:
    found = caption(excerpt.picture)
    assert not parse_text(found.music).unknown and str(found).startswith(found.music + " music")
    classes = np.zeros((4, 1000), np.float16)
    classes[:, 978] = 0.9
    seen = caption(VideoAnalysis(**{**vars(excerpt.picture), "classes": classes, "feature_times": np.arange(4) / 2}))
    assert seen.seen == "seashore" and "for a video of seashore" in str(seen)


def planted(seen: Vectors, start: int, n_places: int = 12, seed: int = 0) -> Vectors:
    """A track of noise in which what the picture is lies from step `start` on."""
    rng = np.random.default_rng(seed)
    places = [(library.HOP * i, library.HOP * i + 2 * library.HOP) for i in range(n_places)]
    embeddings = rng.normal(size=(n_places, len(seen.embeddings[0])))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    moments = rng.normal(size=(n_places, *seen.moments[0].shape))
    for (begin, _), embedding, timed in zip(seen.places, seen.embeddings, seen.moments, strict=True):
        at = (start + begin) // library.HOP
        embeddings[at], moments[at, : len(timed)] = embedding, timed
    return Vectors(places, list(embeddings), list(moments))


def test_retrieval_finds_the_planted_track_and_its_place(folder: Path, setting: Setting, task: Task) -> None:
    found = open_system("retrieval", setting)
    assert isinstance(found, library.RetrievedTrack)
    seen = found._judge.embed_picture(task.excerpt.picture)
    start = 3 * library.HOP
    fit, place = library.best_place(found._judge.aligner, seen, planted(seen, start))
    assert place == start and fit == pytest.approx(1, abs=0.01)
    assert library.best_place(found._judge.aligner, seen, planted(seen, start, 1 + start // library.HOP))[1] == start
    names = [path.name for path, _ in found._tracks]
    assert names == ["ballad.wav", "rock.wav", "waltz.wav"]
    noise = Vectors([(0, 320)], [np.zeros_like(seen.embeddings[0])], [np.zeros_like(seen.moments[0])])
    for path in found._files:
        found._tracks = [(p, planted(seen, start) if p == path else noise) for p in found._files]
        wanted = library.cut(read_audio(path), start / 50, task).wave
        assert np.array_equal(found.make(task).wave, wanted)
    assert make("retrieval", setting, task).shape[0] == 2


def test_retrieval_is_kept_by_content_and_marked(setting: Setting, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_system("retrieval", setting)
    assert isinstance(first, library.RetrievedTrack) and len(first._tracks) == 3
    assert first.selects_by_similarity and not first.is_random and open_system("random", setting).is_random
    monkeypatch.setattr(Aligner, "encode", lambda *given: pytest.fail("heard again"))
    again = open_system("retrieval", setting)
    assert isinstance(again, library.RetrievedTrack)
    for (_, x), (_, y) in zip(first._tracks, again._tracks, strict=True):
        assert x.places == y.places and np.array_equal(np.concatenate(x.moments), np.concatenate(y.moments))


def command_file(folder: Path, code: str, **more: object) -> str:
    """A system whose program is Python code with the arguments input, output, seconds, seed, caption."""
    arguments = ["{input}", "{output}", "{seconds}", "{seed}", "{caption}"]
    lines = [f"command = {json.dumps([sys.executable, '-c', code, *arguments])}"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in more.items() if key != "environment"]
    if "environment" in more:
        lines += ["[environment]", *(f"{k} = {json.dumps(v)}" for k, v in dict(more["environment"]).items())]  # type: ignore[call-overload]
    (folder / "rival.toml").write_text("\n".join(lines) + "\n")
    return "rival"


WRITES = """
import os, sys, wave
video, output, seconds, seed, caption = sys.argv[1:]
assert os.path.exists(video) and caption == "a caption" and os.environ["LEVEL"] == "64"
with wave.open(output, "wb") as file:
    file.setnchannels(1); file.setsampwidth(1); file.setframerate(8000)
    file.writeframes(bytes([128 + int(os.environ["LEVEL"])]) * round(float(seconds) * 8000))
"""


def test_another_program_is_a_system(setting: Setting, task: Task, tmp_path: Path) -> None:
    spec = command_file(tmp_path, WRITES, environment={"LEVEL": "64"}, says="a rival")
    system = open_system(spec, setting)
    audio = system.make(task)
    assert audio.sample_rate == 8000 and audio.duration == 2 and np.allclose(audio.wave, 0.5)
    assert system.describe() == "a rival"
    before = system.key(task)
    command_file(tmp_path, WRITES, environment={"LEVEL": "64"}, version="2")
    assert open_system(spec, setting).key(task) != before
    assert open_system(str(tmp_path / "rival.toml"), setting).describe() == "the program of rival.toml"


@pytest.mark.parametrize(
    ("code", "more", "word"),
    [
        ("import sys; sys.exit('out of memory')", {}, "ended with code 1 .out of memory"),
        ("pass", {}, "ended without writing its output"),
        ("import sys; open(sys.argv[2], 'w').write('no sound')", {}, "answer.wav"),
        ("import time; time.sleep(60)", {"timeout": 0.5}, "took longer than 0.5 s"),
    ],
)
def test_programs_that_fail_say_how(
    setting: Setting, task: Task, tmp_path: Path, code: str, more: dict[str, object], word: str
) -> None:
    system = open_system(command_file(tmp_path, code, **more), setting)
    with pytest.raises(OpenVMASError, match=word):
        system.make(task)


def test_a_program_that_hangs_leaves_no_child(setting: Setting, task: Task, tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = (
        f"import time, pathlib\\nwhile True: time.sleep(.05); pathlib.Path({str(mark)!r}).write_text(str(time.time()))"
    )
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', \"{child}\"]); time.sleep(60)"
    with pytest.raises(OpenVMASError, match="took longer than"):
        open_system(command_file(tmp_path, code, timeout=3), setting).make(task)
    assert mark.exists()
    last = mark.read_text()
    time.sleep(0.3)
    assert mark.read_text() == last


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("command = ['x']", "of which one has"),
        ("command = ['x', '{output}']\ntimeout = 0", "timeout cannot be 0"),
        ("command = ['x', '{output}']\noutput = '.exe'", "output cannot be"),
        ("command = ['x', '{output}']\nspeed = 1", "the key speed"),
    ],
)
def test_what_is_wrong_with_a_command_file_is_said(setting: Setting, tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(OptionError, match=word):
        open_system("bad", setting)


def test_finished_files_of_others(setting: Setting, task: Task, tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    wave = np.linspace(-0.5, 0.5, 2 * RATE, dtype=np.float32)[None]
    write_wav(published / "clip.scored.wav", wave, RATE)
    system = open_system(f"folder:{published}", setting)
    assert np.allclose(system.make(task).wave, wave) and system.describe().startswith(
        "finished files of published, cut"
    )
    before = system.key(task)
    write_wav(published / "clip.scored.wav", -wave, RATE)
    assert open_system(f"folder:{published}", setting).key(task) != before
    (published / "clip.scored.wav").rename(published / "other.wav")
    with pytest.raises(InputError, match="holds nothing called s-clip"):
        open_system(f"folder:{published}", setting).make(task)


def test_flac_keeps_16_bits(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 9001)).astype(np.float32)
    write_flac(tmp_path / "x.flac", Audio(wave, 44_100))
    found = read_audio(tmp_path / "x.flac")
    assert found.sample_rate == 44_100 and found.wave.shape == wave.shape
    assert np.abs(found.wave - np.clip(wave, -1, 1)).max() <= 2**-15 * 1.001  # one step, above full scale too
