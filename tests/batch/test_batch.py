"""Many videos: what is finished is known by content, what is not is made, and every video has its row."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from openvmas.batch import clip as clips
from openvmas.batch import places, run
from openvmas.batch.clip import BatchSettings, ClipResult, ClipWork
from openvmas.batch.manifest import Clip, Manifest, check, check_columns
from openvmas.batch.stage import ScoreVideos
from openvmas.cli.main import main
from openvmas.errors import InputError, OptionError, OutputError
from openvmas.generate import scorer
from openvmas.media.containers import FORMATS
from openvmas.processes.limited import CRASH, FAULT, Failure
from tests.clips import SineComposer, write_clip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", 1.0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("other") / "other.mp4", 1.2, sound="sine")


@pytest.fixture()
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that are loaded; sines in place of each."""
    found: list[str] = []

    def load(name: str = "mini") -> scorer.Scorer:
        found.append(str(name))
        return scorer.Scorer(SineComposer())

    monkeypatch.setattr(scorer, "load", load)
    return found


@pytest.fixture()
def video(film: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(film, tmp_path / "a.mp4"))


def test_models_are_loaded_once_and_what_is_finished_is_known_by_its_content(
    loads: list[str], video: Path, other: Path
) -> None:
    work = ClipWork(BatchSettings({"seed": 3}))
    first = work(Clip(0, str(video)))
    assert (first.status, first.licence, first.duration) == ("scored", "none needed", 1.0)
    assert first.output == str(video.with_name("a.scored.mp4")) and Path(first.output).stat().st_size
    os.utime(video, (1, 1))  # another date is no other video
    moved = video.rename(video.with_name("b.mp4"))
    moved.rename(video)
    assert work(Clip(0, str(video))).status == "kept"
    assert work(Clip(1, str(video), str(video.with_name("again")))).status == "scored"
    assert loads == ["auto"]
    assert not [path for path in video.parent.iterdir() if path.name.startswith(".")]

    shutil.copy(other, video)  # another picture under the old name
    with pytest.raises(OutputError, match="made of this video"):
        work(Clip(0, str(video)))
    again = ClipWork(BatchSettings({"seed": 3}, overwrite=True))(Clip(0, str(video)))
    assert again.status == "scored" and again.duration != first.duration and again.sha256 != first.sha256


def test_other_settings_or_a_broken_result_are_no_finished_result(loads: list[str], video: Path) -> None:
    made = ClipWork(BatchSettings({"seed": 3}))(Clip(0, str(video)))
    with pytest.raises(OutputError, match="give --overwrite"):
        ClipWork(BatchSettings({"seed": 4}))(Clip(0, str(video)))
    with pytest.raises(OutputError, match="give --overwrite"):
        ClipWork(BatchSettings({"seed": 3}))(Clip(0, str(video), options={"loudness": -20.0}))
    whole = Path(made.output).read_bytes()
    Path(made.output).write_bytes(whole[:-1])
    again = ClipWork(BatchSettings({"seed": 3}))(Clip(0, str(video)))
    assert again.status == "scored" and len(Path(made.output).read_bytes()) == len(whole)
    Path(made.output).unlink()  # as if it had been killed between the sidecar and the video
    assert ClipWork(BatchSettings({"seed": 3}))(Clip(0, str(video))).status == "scored"


def test_variations_are_finished_when_all_of_them_are(loads: list[str], video: Path) -> None:
    told: list[tuple[str, float]] = []
    work = ClipWork(BatchSettings({"seed": 3, "variations": 2}), told.append)
    assert work(Clip(0, str(video))).output == str(video.with_name("a.scored.1.mp4"))
    assert {stage for stage, _ in told} and all(0 <= share <= 1 for _, share in told)
    second = json.loads(video.with_name("a.scored.2.json").read_text())
    assert second["options"]["seed"] == 4 and second["options"]["output"].endswith("a.scored.2.mp4")
    assert work(Clip(0, str(video))).status == "kept"
    video.with_name("a.scored.2.mp4").unlink()
    assert work(Clip(0, str(video))).status == "scored" and video.with_name("a.scored.2.mp4").exists()
    assert work(Clip(0, str(video), options={"variations": 3})).status == "scored"
    assert len(list(video.parent.glob("a.scored.*.mp4"))) == 3


def test_a_result_of_another_command_is_never_replaced_unasked(loads: list[str], video: Path) -> None:
    target = video.with_name("a.scored.json")
    target.write_text("{}")
    with pytest.raises(OutputError, match=r"a\.scored\.json exists already"):
        ClipWork(BatchSettings())(Clip(0, str(video)))
    assert target.read_text() == "{}"


@pytest.mark.parametrize("ending", sorted(FORMATS))
def test_videos_of_any_container_are_not_replaced_unasked(loads: list[str], video: Path, ending: str) -> None:
    video.with_name(f"a.scored{ending}").write_bytes(b"mine")
    with pytest.raises(OutputError, match=rf"a\.scored\{ending} exists already"):
        ClipWork(BatchSettings())(Clip(0, str(video)))


def test_a_row_that_wants_notes_has_a_composer_of_its_own(loads: list[str], tmp_path: Path) -> None:
    work = ClipWork(BatchSettings())
    work.open({})
    work.open({"stems_out": str(tmp_path / "stems")})
    assert loads == ["auto", "symbolic"]


@pytest.mark.parametrize(
    "given",
    [
        {"music": "{}"},
        {"soundfont": ["{}"]},
        {"soundfont": ["own.sf2", "lead={}"]},
        {"soundfont": ["{}#Grand Piano"]},
        {"soundfont": ["pad={}#0:4"]},
    ],
)
def test_files_that_options_name_count_by_their_content(tmp_path: Path, given: dict[str, Any]) -> None:
    sound = tmp_path / "song.wav"
    keys = set()
    for number, words in enumerate((b"one", b"two", b"one")):
        sound.write_bytes(words)
        os.utime(sound, (number, number))
        filled = {
            name: value.format(sound) if isinstance(value, str) else tuple(one.format(sound) for one in value)
            for name, value in given.items()
        }
        keys.add(clips.settings_key(clips.Options.of(**filled)))
    assert len(keys) == 2


def test_parts_that_one_file_plays_count() -> None:
    keys = {clips.settings_key(clips.Options.of(soundfont=(value,))) for value in ("a.sf2", "lead=a.sf2", "a.sf2#1")}
    assert len(keys) == 3


def test_the_place_of_results_changes_nothing() -> None:
    assert clips.settings_key(clips.Options.of(output="x.mp4", overwrite=True)) == clips.settings_key(
        clips.Options.of()
    )


def test_addresses_are_read_and_written_as_paths_are(loads: list[str], film: Path) -> None:
    memory: Any = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe("/bucket/a.mp4", film.read_bytes())
    work = ClipWork(BatchSettings())
    made = work(Clip(0, "memory://bucket/a.mp4"))
    assert (made.status, made.output) == ("scored", "memory://bucket/a.scored.mp4")
    assert sorted(memory.ls("/bucket", detail=False)) == [
        "/bucket/a.mp4",
        "/bucket/a.scored.json",
        "/bucket/a.scored.mp4",
    ]
    sidecar = json.loads(memory.cat("/bucket/a.scored.json"))
    assert sidecar["options"]["output"] == made.output and sidecar["input"]["path"] == "a.mp4"
    assert sidecar["batch"]["n_bytes"] == memory.size("/bucket/a.scored.mp4")
    assert work(Clip(0, "memory://bucket/a.mp4")).status == "kept"
    for wrong, words in (("memory://bucket/b.mp4", "is not there"), ("nosuch://x/b.mp4", "no address that can be")):
        with pytest.raises(InputError, match=words):
            work(Clip(0, wrong))


def test_what_a_store_vouches_for_is_not_fetched_again(
    loads: list[str], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "content_mark", lambda place: "ETag:1")
    work = ClipWork(BatchSettings())
    assert work(Clip(0, str(video))).status == "scored"
    monkeypatch.setattr(places, "fetch", None)
    assert work(Clip(0, str(video))).status == "kept"


def test_a_list_holds_paths_addresses_and_options_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,output,mood,hit,seed\na.mp4,,calm,1.5;2,\ns3://b/c.webm,out/d.mp4,,,7\n")
    first, second = Manifest(str(path))
    assert first == Clip(0, str(tmp_path / "a.mp4"), None, {"mood": "calm", "hit": (1.5, 2.0)})
    assert second == Clip(1, "s3://b/c.webm", str(tmp_path / "out" / "d"), {"seed": 7})
    assert first.stem == str(tmp_path / "a.scored") and check([first, second], {}) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("film\na.mp4\n", "no column video"),
        ("video\n\"\"\n", "row 1: there is no video"),
        ("video,seed\na.mp4,x\n", "row 1: seed cannot be 'x'"),
        ("video,loudness\na.mp4,3\n", "row 1: loudness cannot be 3"),
        ("video,output\na.mp4,x.mp4\nb.mp4,x.mov\n", "rows 1 and 2 would both be written as"),
        ("video,midi_out\na.mp4,2\n", "midi_out, which has no place in a list"),
        ("video,mod\na.mp4,calm\n", "mod, which is no option; did you mean mood"),
        ("video\n", "names no video"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_done_is_refused_at_the_door(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        check_columns(Manifest(str(path)))
        check(Manifest(str(path)), {})


def test_options_for_one_video_are_refused() -> None:
    for name, value in (("output", "x.mp4"), ("midi_out", "x.mid")):
        with pytest.raises(OptionError, match=r"leave it out|for one video"):
            check([Clip(0, "a.mp4")], {name: value})


def results(n: int) -> list[ClipResult]:
    kinds = ("scored", "kept", "failed")
    return [ClipResult(i, f"{i}.mp4", kinds[i % 3], duration=None if i % 3 == 2 else 2.0) for i in range(n)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_table_has_every_row_and_only_another_of_its_kind_is_replaced(tmp_path: Path, ending: str) -> None:
    table = tmp_path / f"table.{ending}"
    for _ in range(2):
        run.check_table(table)
        found = run.score_to_table(results(9), table, lambda n, result: None)
    assert found.counts == Counter(scored=3, kept=3, failed=3) and found.duration == 12.0
    if ending == "csv":
        rows = list(csv.DictReader(table.read_text().splitlines()))
    else:
        from pyarrow import parquet

        rows = parquet.read_table(table).to_pylist()
        assert rows == [dataclasses.asdict(result) for result in results(9)]
    assert [row["video"] for row in rows] == [f"{i}.mp4" for i in range(9)] and tuple(rows[0]) == run.COLUMNS
    table.write_bytes(b"PAR1" if ending == "parquet" else b"a,b\n1,2\n")
    with pytest.raises(OutputError, match="is no table of results"):
        run.check_table(table)
    with pytest.raises(OptionError, match="CSV or Parquet"):
        run.check_table(tmp_path / "table.txt")


def test_faults_and_deaths_become_sentences() -> None:
    clip = Clip(4, "x.mp4")
    assert run.failed(clip, Failure("its process died (signal 9 ended it).", CRASH)).error.startswith(
        "its process died"
    )
    fault = run.failed(clip, Failure("ValueError: no.", FAULT, "…"))
    assert fault.is_fault and "report it" in fault.error and fault.index == 4


@pytest.mark.slow
def test_the_command_scores_a_list_goes_on_and_says_what_failed(film: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copy(film, tmp_path / f"{name}.mp4")
    (tmp_path / "list.csv").write_text("video,model\na.mp4,symbolic\nb.mp4,symbolic\nc.mp4,symbolic\n")
    said = []
    for _ in range(2):
        runner = CliRunner()
        with runner.isolation() as (out, err, _):
            assert main(["score", "--list", str(tmp_path / "list.csv"), "--json", "--quiet"]) == 2
            said.append(json.loads(out.getvalue()))
            assert b"c.mp4 is not there; correct the path." in err.getvalue()
    assert [(one["scored"], one["kept"], one["n_failed"]) for one in said] == [(2, 0, 1), (0, 2, 1)]
    rows = list(csv.DictReader((tmp_path / "list.scored.csv").read_text().splitlines()))
    assert Counter(row["status"] for row in rows) == Counter(kept=2, failed=1)
    assert {row["licence"] for row in rows if row["status"] == "kept"} == {"MIT, CC-BY-3.0 and CC0"}


@pytest.mark.slow
def test_a_stage_of_a_pipeline_gives_every_row_its_result(film: Path, tmp_path: Path) -> None:
    import numpy as np

    video = shutil.copy(film, tmp_path / "a.mp4")
    stage = ScoreVideos(model="symbolic")
    batch = {
        "video": np.array([str(video), str(tmp_path / "no.mp4")]),
        "seed": np.array([1, 2]),
        "mine": np.array([5, 6]),
    }
    found = stage(batch)
    stage.close()
    assert found["status"].tolist() == ["scored", "failed"] and found["mine"].tolist() == [5, 6]
    assert np.isnan(found["duration"][1]) and Path(found["output"][0]).exists()


def die_once(setting: Any, send: Any) -> Any:
    """Work of a process that ends itself on its first job, and does it in the next."""

    def work(clip: Clip) -> ClipResult:
        note = Path(clip.video)
        if not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return ClipResult(clip.index, clip.video, "scored")

    return work


def stumble(setting: Any, send: Any) -> Any:
    """Work of a process that ends before it comes to it, the first two times."""
    notes = Path(setting.options["notes"])
    if len(list(notes.iterdir())) < 2:
        (notes / str(os.getpid())).touch()
        os._exit(3)
    return lambda clip: ClipResult(clip.index, clip.video, "scored")


def test_a_process_that_dies_while_it_starts_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "start", stumble)
    found = list(run.score_clips([Clip(0, "a.mp4")], BatchSettings({"notes": str(tmp_path)})))
    assert [result.status for result in found] == ["scored"]


def test_a_clip_whose_process_dies_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "start", die_once)
    found = list(run.score_clips([Clip(i, str(tmp_path / f"{i}")) for i in range(2)], BatchSettings()))
    assert [result.status for result in found] == ["scored", "scored"]
