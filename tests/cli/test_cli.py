"""The command line and the scorer behind it, with sines in place of the model: what is written, said, left behind."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import openvmas
from openvmas import __version__
from openvmas.cli import terminal
from openvmas.cli.main import main
from openvmas.errors import ModelError, OptionError, OutputError
from openvmas.generate import scorer
from openvmas.generate.deliver import Outputs
from openvmas.media.audio import read_audio
from openvmas.media.mux import read_provenance
from openvmas.settings import GenerateOptions, Options
from openvmas.timeline import Clock
from tests import run_cli
from tests.clips import SineComposer, write_clip
from tests.generate.made import export_debug

resource = pytest.importorskip("resource", reason="this system has no such limits")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "silent.mp4", 3.0)
    write_clip(folder / "noisy.mp4", 3.0, sound="noise")
    return folder


@pytest.fixture
def folder(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in clips.glob("*.mp4"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorer, "load", run_cli.load)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def picture_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base or 1)
        return [(bytes(packet), packet.pts * base) for packet in container.demux(stream) if packet.pts is not None]


def start_cli(arguments: list[str], cwd: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.run_cli", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- one video ---


def test_score_writes_video_and_sidecar_and_says_so_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(folder)
    assert main(["score", "silent.mp4", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.out.startswith("silent.scored.mp4: 3.0 s of music at ")
    assert captured.err == ""
    assert names(folder) - before == {"silent.scored.mp4", "silent.scored.json"}


def test_the_picture_is_copied_bit_for_bit(folder: Path) -> None:
    assert main(["score", "noisy.mp4", "--quiet"]) == 0
    assert picture_packets(folder / "noisy.scored.mp4") == picture_packets(folder / "noisy.mp4")


def test_the_sidecar_tells_how_it_was_made(folder: Path) -> None:
    assert main(["score", "noisy.mp4", "--quiet", "--seed", "7", "--tempo", "100", "--hit", "1.5"]) == 0
    report = json.loads((folder / "noisy.scored.json").read_text())
    assert report["generated_by"] == f"OpenVMAS {__version__}"
    assert report["model"] == run_cli.WEIGHTS.describe()
    assert report["options"] == {**Options.of().flat(), "seed": 7, "tempo": 100.0, "hit": [1.5]}
    assert report["duration"] == 3.0
    assert report["tempo"] == pytest.approx(100, rel=0.02)
    assert set(report["seconds"]) == {"analyze", "listen", "plan", "compose", "mix", "mux"}
    assert report["composer"] == {"chosen": 0}
    assert report["mix"]["has_original"] is True
    assert "sections" in report["plan"]


def test_the_container_tells_it_too(folder: Path) -> None:
    assert main(["score", "silent.mp4", "--quiet", "--seed", "7", "--audio-out", "secret-folder-name.wav"]) == 0
    said = read_provenance(folder / "silent.scored.mp4")
    assert said is not None
    assert said["generated_by"] == f"OpenVMAS {__version__}"
    assert said["model"] == run_cli.WEIGHTS.describe()
    assert said["options"]["seed"] == 7
    assert "secret" not in json.dumps(said)


def test_music_alone_as_a_file_is_as_long_as_the_picture(folder: Path) -> None:
    assert main(["score", "noisy.mp4", "--quiet", "--audio-out", "music.wav"]) == 0
    audio = read_audio(folder / "music.wav")
    assert (audio.sample_rate, audio.wave.shape) == (48_000, (2, 144_000))
    assert np.abs(audio.wave).max() > 0.01


def test_a_plan_is_written_edited_and_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "silent.mp4", "--tempo", "90", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("silent.plan.yaml: ")
    assert main(["score", "silent.mp4", "--plan", "silent.plan.yaml", "--quiet"]) == 0
    report = json.loads((folder / "silent.scored.json").read_text())
    assert report["plan"] == (folder / "silent.plan.yaml").read_text()
    assert report["tempo"] == pytest.approx(90, rel=0.02)


def test_analysis_as_json_and_as_npz(folder: Path) -> None:
    assert main(["analyze", "silent.mp4", "--quiet"]) == 0
    summary = json.loads((folder / "silent.analysis.json").read_text())
    assert summary["duration"] == 3.0
    assert (summary["shots"][0]["start"], summary["shots"][-1]["end"]) == (0.0, 3.0)
    assert all(": " in shot["mood"] for shot in summary["shots"])  # what is seen, and what it asks for
    assert main(["analyze", "silent.mp4", "--quiet", "--output", "curves.npz"]) == 0
    from openvmas.vision.analysis import VideoAnalysis

    assert VideoAnalysis.load(folder / "curves.npz").cuts.tolist() == summary["cuts"]


def test_variations_have_names_seeds_and_music_of_their_own(folder: Path) -> None:
    before = names(folder)
    assert main(["score", "silent.mp4", "--quiet", "--seed", "5", "--variations", "2"]) == 0
    made = {f"silent.scored.{i}.{suffix}" for i in (1, 2) for suffix in ("mp4", "json")}
    assert names(folder) - before == made
    seeds = [json.loads((folder / f"silent.scored.{i}.json").read_text())["options"]["seed"] for i in (1, 2)]
    assert seeds == [5, 6]
    waves = [read_audio(folder / f"silent.scored.{i}.mp4").wave for i in (1, 2)]
    assert not np.allclose(waves[0][:, :48_000], waves[1][:, :48_000], atol=0.01)


def test_overwrite_replaces(folder: Path) -> None:
    (folder / "silent.scored.mp4").write_bytes(b"old")
    assert main(["score", "silent.mp4", "--quiet", "--overwrite"]) == 0
    assert (folder / "silent.scored.mp4").stat().st_size > 1000


# --- several videos ---


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_failure_does_not_stop_the_rest(folder: Path, workers: str) -> None:
    (folder / "bad.mp4").write_text("not a video")
    command = ["score", "silent.mp4", "bad.mp4", "noisy.mp4", "--workers", workers, "--quiet"]
    process = start_cli(command, folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert (folder / "silent.scored.mp4").exists() and (folder / "noisy.scored.mp4").exists()
    *each, last = out.splitlines()
    assert last.startswith("2 of 3 videos scored, 1 failed (bad.mp4); ")
    assert {line.partition(": ")[0] for line in each} == {"silent.scored.mp4", "noisy.scored.mp4"}
    assert len(err.strip().splitlines()) == 1 and err.startswith("error: bad.mp4 ")


def test_one_output_name_for_several_videos_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "silent.mp4", "noisy.mp4", "--output", "out.mp4"]) == 2
    assert "--output is for one video, but 2 were given" in capsys.readouterr().err


# --- interrupts and faults ---


def test_an_interrupt_of_several_keeps_what_is_finished_and_goes_on_with_it(folder: Path) -> None:
    write_clip(folder / "long.mp4", 30.0, size=(64, 64))
    command = ["score", "silent.mp4", "long.mp4", "--quiet"]
    process = start_cli(command, folder)
    deadline = time.monotonic() + 100
    while not (folder / "silent.scored.mp4").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    while not any(name.startswith(".openvmas") for name in names(folder)) and time.monotonic() < deadline:
        time.sleep(0.01)  # until the second is being worked on
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == (
        "error: interrupted; finished work stays, and the same command goes on with it.\n"
    )
    assert not [name for name in names(folder) if name.startswith((".openvmas", "long.scored"))]
    out, _ = start_cli(["score", "silent.mp4", "noisy.mp4", "--quiet"], folder).communicate(timeout=60)
    assert out.splitlines()[0] == "silent.scored.mp4: finished before" and "1 of 2 videos scored, 1 were" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    write_clip(folder / "long.mp4", 30.0, size=(64, 64))
    before = names(folder)
    process = start_cli(["score", "long.mp4"], folder)
    deadline = time.monotonic() + 60
    while names(folder) == before and time.monotonic() < deadline:
        time.sleep(0.01)  # until the hidden files show that work has begun
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted; nothing was left behind."
    assert names(folder) == before


def test_an_interrupt_ends_all_workers(folder: Path) -> None:
    for name in ("a", "b", "c"):
        write_clip(folder / f"{name}.mp4", 20.0, size=(64, 64))
    before = names(folder)
    process = start_cli(["score", "a.mp4", "b.mp4", "c.mp4", "--workers", "2"], folder)
    deadline = time.monotonic() + 60
    while names(folder) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    # What was finished by then is kept, whole; nothing else is there.
    new = names(folder) - before
    finished = {name.split(".")[0] for name in new}
    assert finished != {"a", "b", "c"} and new == {f"{x}.scored.{end}" for x in finished for end in ("mp4", "json")}


class Faulty(SineComposer):
    def blocks(self, condition: object, options: object) -> Iterator[np.ndarray]:
        raise ZeroDivisionError("an example")


def test_a_fault_of_ours_is_short_and_asks_for_a_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(folder)
    monkeypatch.setattr(scorer, "load", lambda name: scorer.Scorer(Faulty()))
    assert main(["score", "silent.mp4", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: ZeroDivisionError: an example; this is a fault of openvmas: .*--debug.*\n", err)
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "score", "silent.mp4", "--quiet"])
    assert names(folder) == before


# --- help, version, start-up ---


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"openvmas {__version__}\n"


def test_help_starts_quickly() -> None:
    def once() -> float:
        """Processor time, s: what it costs on an idle machine, however busy this one is."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "openvmas", "--help"], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.3


# --- progress ---


def test_progress_off_a_terminal_is_plain_lines() -> None:
    stream = io.StringIO()
    with terminal.show_progress("clip.mp4", stream=stream) as tell:
        for stage in terminal.STAGES:
            tell(stage, 0.0)
            tell(stage, 1.0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "clip.mp4: listening to the recordings (0%)"  # only where there is something new to hear
    assert lines[1] == "clip.mp4: scoring the videos (0%)"  # only of a list
    assert lines[2] == "clip.mp4: looking at the picture (0%)"
    assert len(lines) == len(terminal.STAGES)
    assert "\x1b" not in stream.getvalue()


def test_progress_on_a_terminal_stays_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with terminal.show_progress("clip.mp4", stream=stream) as tell:
        for stage in terminal.STAGES:
            tell(stage, 1.0)
    assert "\n" not in stream.getvalue()
    assert "100%" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_shares_of_the_stages_make_a_whole() -> None:
    assert sum(share for _, share in terminal.STAGES.values()) == pytest.approx(1)
    assert terminal.overall("mux", 1.0) == pytest.approx(1)


@pytest.mark.parametrize(
    ("done", "elapsed", "said"), [(0.01, 9, ""), (0.5, 30, "about 30 s left"), (0.1, 60, "about 9 min left")]
)
def test_time_left(done: float, elapsed: float, said: str) -> None:
    assert terminal.time_left(done, elapsed) == said


# --- options and outputs ---


def test_options_take_names_and_values_as_written() -> None:
    options = Options.of(seed=3, tempo=90, hit=[1, 2.5])
    assert (options.generate.seed, options.plan.tempo, options.plan.hit) == (3, 90.0, (1.0, 2.5))
    assert Options.of(**options.flat()) == options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "no option called sed; did you mean seed"),
        ({"tempo": 1000}, "tempo cannot be 1000.0; give a number from 40 to 220"),
        ({"seed": 1.5}, "seed cannot be 1.5; give a whole number"),
        ({"seed": True}, "seed cannot be True"),
        ({"loudness": float("nan")}, "loudness cannot be nan"),
        ({"hit": "soon"}, "hit cannot be 'soon'"),
        ({"overwrite": 1}, "overwrite cannot be 1; give True or False"),
    ],
)
def test_options_say_what_is_wrong(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        Options.of(**values)


def test_outputs_appear_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").touch()
    with pytest.raises(RuntimeError), Outputs(tmp_path / "in.mp4", False) as outputs:
        outputs.reserve(tmp_path / "a.mp4").write_bytes(b"1")
        outputs.scratch(tmp_path / "a.mp4", ".raw").write_bytes(b"2")
        raise RuntimeError
    assert names(tmp_path) == {"in.mp4"}
    with Outputs(tmp_path / "in.mp4", False) as outputs:
        for name in ("a.mp4", "a.json"):
            outputs.reserve(tmp_path / name).write_bytes(b"1")
        assert not names(tmp_path) & {"a.mp4", "a.json"}
        outputs.commit()
    assert names(tmp_path) == {"in.mp4", "a.mp4", "a.json"}


def test_a_link_to_the_input_is_the_input(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").touch()
    (tmp_path / "other.mp4").symlink_to(tmp_path / "in.mp4")
    with Outputs(tmp_path / "in.mp4", True) as outputs, pytest.raises(OutputError, match="input itself"):
        outputs.reserve(tmp_path / "other.mp4")


# --- Python ---


@pytest.mark.parametrize("n_samples", [1, 47_999, 48_000, 100_001])
def test_music_is_made_exactly_as_long_as_asked(n_samples: int) -> None:
    blocks = [np.ones((1, 30_000), np.float32), np.ones((1, 30_000), np.float32)]
    wave = np.concatenate(list(scorer.exactly(iter(blocks), n_samples)), axis=1)
    assert wave.shape == (2, n_samples)
    assert wave[:, : min(60_000, n_samples)].min() == 1 and not wave[:, 60_000:].any()


def test_compose_follows_the_plan_in_length_and_accents(folder: Path) -> None:
    made = run_cli.load()
    analysis = made.analyze(folder / "silent.mp4")
    plan = made.plan(analysis, hit=[1.5])
    wave = np.concatenate(list(made.compose(plan, analysis)), axis=1)
    assert wave.shape[1] == Clock(Fraction(48_000)).count(plan.duration)
    around = np.abs(wave[0, 72_000 : 72_000 + 2400]).max(), np.abs(wave[0, 70_000:71_900]).max()
    assert around[0] > 2 * around[1]


def test_score_writes_one_video_only(folder: Path) -> None:
    with pytest.raises(OptionError, match="score_variations"):
        run_cli.load().score(folder / "silent.mp4", variations=2)


def test_defaults_are_written_once() -> None:
    assert GenerateOptions() == Options.of().generate


# --- a real, tiny, untrained model through the public API ---


@pytest.fixture(scope="module")
def debug_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_debug(tmp_path_factory.mktemp("model"))


def test_a_real_model_scores_and_the_same_seed_gives_the_same_music(
    clips: Path, tmp_path: Path, debug_model: Path
) -> None:
    shutil.copy(clips / "noisy.mp4", tmp_path)
    waves = []
    for take in ("a", "b"):
        result = openvmas.score(
            tmp_path / "noisy.mp4", model=str(debug_model), output=str(tmp_path / f"{take}.mp4"), seed=3, candidates=2,
            audio_out=str(tmp_path / f"{take}.wav"),
        )  # fmt: skip
        assert result.report["composer"]["candidates"] == 2 and result.report["composer"]["reason"]
        assert result.report["model"] == openvmas.load(debug_model).weights.describe()
        assert result.audio is not None
        waves.append(read_audio(result.audio).wave)
    assert np.array_equal(*waves)


def test_the_public_stages_one_by_one(clips: Path, debug_model: Path) -> None:
    analysis = openvmas.analyze(clips / "silent.mp4")
    plan = openvmas.plan(analysis, tempo=100)
    composed = list(openvmas.load(debug_model).compose(plan, analysis, seed=4, candidates=1))
    streamed = list(openvmas.stream(analysis, model=str(debug_model), tempo=100, seed=4, candidates=1))
    assert np.array_equal(np.concatenate(composed, axis=1), np.concatenate(streamed, axis=1))
    assert np.concatenate(composed, axis=1).shape == (2, 3 * 48_000)


def test_a_damaged_model_is_refused(tmp_path: Path, debug_model: Path) -> None:
    shutil.copytree(debug_model, tmp_path / "model")
    graph = next((tmp_path / "model").glob("*.onnx"))
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(ModelError, match=f"{graph.name} of model .* is damaged"):
        openvmas.load(tmp_path / "model")
    graph.unlink()
    with pytest.raises(ModelError, match=f"lacks {graph.name}"):
        openvmas.load(tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="is damaged"):
        openvmas.load(tmp_path / "model")
