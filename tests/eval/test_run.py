"""`openvmas eval run`: failures cost their cell, a killed run goes on, nothing is made twice, the page is honest."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.errors import InputError, OpenVMASError, OptionError
from openvmas.eval.benchmark import folder_measures, run, worker
from openvmas.eval.benchmark.run import RunResult, SystemResult, compare_pairs, evenly_spaced
from openvmas.eval.benchmark.worker import Compare, Made, Make, Worker, WorkerSettings
from openvmas.eval.embedders import registry
from openvmas.eval.embedders.cross_modal_similarity import LearnedSimilarity
from openvmas.eval.metrics.measure_table import MEASURES
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.reports.benchmark_page import BEGIN, END, as_json, disadvantages, first_table, in_short, insert, page
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import prepare
from openvmas.eval.suites.suite import read_suite
from openvmas.eval.systems.system import Setting
from openvmas.generate.similarity import similarity
from openvmas.hub.taggers import Embedder, Embeddings, at_16k, log_mel
from openvmas.media.audio import Audio, read_audio
from openvmas.processes.limited import Failure, LimitedProcess, Limits, WorkerPool
from tests.clips import write_clip

pytestmark = pytest.mark.slow

PROGRAM = """
import os, sys, time, wave
video, output, seconds, log = sys.argv[1:]
with open(log, "a") as file:
    file.write(seconds + "\\n")
{}
with wave.open(output, "wb") as file:
    file.setnchannels(1); file.setsampwidth(1); file.setframerate(8000)
    file.writeframes(bytes(range(64, 192)) * round(float(seconds) * 8000 / 128))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips of 1.0 and 1.2 s with sound, their suite, and a cache of its own."""
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for name, seconds in (("a", 1.0), ("b", 1.2)):
        write_clip(tmp_path / "clips" / f"{name}.mp4", seconds, sound="sine")
    (tmp_path / "suite.toml").write_text("[suite]\nname = 'two'\n[[sources]]\nname = 's'\nmedia = 'clips'\n")
    return tmp_path


def add_system(place: Path, name: str, code: str) -> None:
    (place / "systems").mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-c",
        PROGRAM.format(code),
        "{input}",
        "{output}",
        "{seconds}",
        str(place / f"{name}.log"),
    ]
    (place / "systems" / f"{name}.toml").write_text(f"command = {json.dumps(command)}\n")


def calls(place: Path, name: str) -> list[str]:
    log = place / f"{name}.log"
    return log.read_text().split() if log.exists() else []


ARGUMENTS = ["eval", "run", "suite.toml", "--embedders", "", "--results", "results"]


def test_failures_cost_their_cell_and_all_else_is_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_system(place, "rival", "")
    add_system(place, "weak", "if seconds != '1.000': sys.exit('too long for me')")
    add_system(place, "killer", "if seconds == '1.000': os.kill(os.getppid(), 9)")  # the worker dies, as in a crash
    systems = ["--systems", "click,rival,weak,killer,reference", "--workers", "1"]
    outputs = ["--markdown", "page.md", "--json", "page.json", "--overwrite"]
    assert main([*ARGUMENTS, *systems, *outputs]) == 0
    text, data = (place / "page.md").read_text(), json.loads((place / "page.json").read_text())
    assert capsys.readouterr().out == text
    assert "- weak, s-b: weak ended with code 1 (too long for me)" in text
    assert "- killer, s-a: its process died (signal 9 ended it)." in text
    rows = {row["system"]: row for row in data["systems"]}
    assert {name: sorted(row["clips"]) for name, row in rows.items()} == {
        "click": ["s-a", "s-b"], "rival": ["s-a", "s-b"], "weak": ["s-a"], "killer": ["s-b"],
        "reference": ["s-a", "s-b"],
    }  # fmt: skip
    assert set(rows["rival"]["clips"]["s-a"]["values"]) <= set(MEASURES)
    assert (
        rows["reference"]["summary"]["beat_f1"]["value"] == 1
        and rows["click"]["summary"]["loudness_lufs"]["clips"] == 2
    )
    assert rows["rival"]["clips"]["s-a"]["values"]["length_error"] == pytest.approx(0, abs=0.02)
    made = calls(place, "rival")
    assert main([*ARGUMENTS, *systems, *outputs]) == 0
    assert calls(place, "rival") == made == ["1.000", "1.200"]  # nothing that is on record is made again
    again = json.loads((place / "page.json").read_text())
    assert [row["clips"] for row in again["systems"]] == [row["clips"] for row in data["systems"]]
    assert "8 results were kept from before" in capsys.readouterr().err  # of ten, two fail again
    add_system(place, "rival", "pass  # another version")
    assert main([*ARGUMENTS, "--systems", "rival", "--workers", "1", "--quiet"]) == 0
    assert len(calls(place, "rival")) == 4
    assert capsys.readouterr().err == ""


def test_a_killed_run_goes_on(place: Path) -> None:
    add_system(place, "slow", "time.sleep(20 if seconds == '1.200' and len(open(log).readlines()) < 3 else 0)")
    command = [sys.executable, "-m", "openvmas", *ARGUMENTS, "--systems", "slow", "--workers", "1"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 300
        while len(calls(place, "slow")) < 2 and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert calls(place, "slow") == ["1.000", "1.200"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert calls(place, "slow") == ["1.000", "1.200", "1.200"]  # the first clip is on record
    assert not list((place / "results").rglob(".making-*"))


def double(setting: int, send: Callable[[Any], None]) -> Callable[[int], int]:
    """The worker of `test_jobs_that_hang_or_die`."""

    def work(job: int) -> int:
        if job == 3:
            os._exit(7)
        if job == 4:
            time.sleep(60)
        if job == 5:
            raise ValueError("five")
        if job == 6:
            raise OpenVMASError("six is not allowed; give another.")
        return setting * job

    return work


def test_jobs_that_hang_or_die() -> None:
    def make() -> LimitedProcess:
        return LimitedProcess(double, 2, Limits(seconds=8.0), is_trusted=True, remedy="raise --timeout")

    with WorkerPool(2, make) as pool:
        found = dict(pool.run(range(8)))
    assert {job: answer for job, answer in found.items() if job not in (3, 4, 5, 6)} == {0: 0, 1: 2, 2: 4, 7: 14}
    assert found[3].sentence == "its process died (it ended with code 7)."
    assert found[4].sentence == "it took longer than 8 s and was stopped; raise --timeout."
    assert (found[5].sentence, found[6].sentence) == ("ValueError: five", "six is not allowed; give another.")
    assert all(isinstance(found[job], Failure) for job in (3, 4, 5, 6))


class Here:
    """A work pool in this process."""

    def __init__(self, n: int, make: functools.partial[Any], address: str | None = None) -> None:
        self._work = Worker(make.args[0]).do

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def run(self, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        return ((job, self._work(job)) for job in jobs)


class MelEmbedder(Embedder):
    """Mean and deviation of mel bands instead of a network's numbers: needs no weights."""

    def __init__(self) -> None:
        self.classes = ()

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        frames = log_mel(at_16k(wave, sample_rate, 16_000))
        parts = frames[: len(frames) // 24 * 24].reshape(-1, 24, 64)
        found = np.concatenate([parts.mean(axis=1), parts.std(axis=1)], axis=1)
        return Embeddings(found, parts.mean(axis=1), (np.arange(len(parts)) + 0.5) * 0.24, 0.24)


def test_sets_are_compared_with_the_true_music(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.EMBEDDERS, "yamnet", MelEmbedder)
    suite = read_suite(place / "suite.toml")
    work = Worker(WorkerSettings(place / "results", Setting(cache=place / "kept"), ("yamnet",)))
    made = {
        spec: tuple((clip.name, work.do(Make(spec, clip)).sound) for clip in suite.clips)
        for spec in ("reference", "codec", "noise")
    }
    sets = {spec: work.do(Compare(spec, "yamnet", made[spec], made["reference"])).sets for spec in made}
    far, near, same = (sets[spec]["frechet"].value for spec in ("noise", "codec", "reference"))
    assert far > 2 * near > 0 and same == pytest.approx(0, abs=1e-6)
    again = work.do(Compare("noise", "yamnet", made["noise"], made["reference"]))  # from the cache
    assert repr(again.sets) == repr(sets["noise"])  # NaN is NaN
    alone = work.do(Compare("reference", "yamnet", made["reference"], ())).sets
    assert "vendi" in alone and "frechet" not in alone
    monkeypatch.setattr(folder_measures, "measure_sound", lambda *given: {"vendi": 4.2})
    monkeypatch.setattr(worker, "VERSION", -1)
    new = Worker(WorkerSettings(place / "results", Setting(cache=place / "kept"), ())).do(Make("noise", suite.clips[0]))
    assert new.values["vendi"] == 4.2 and not new.is_new  # measured again, not made again


def test_other_seeds_are_of_systems_that_draw_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.EMBEDDERS, "yamnet", MelEmbedder)
    add_system(place, "drawn", "print('{seed}')")
    command = json.loads((place / "systems" / "drawn.toml").read_text().removeprefix("command = "))
    (place / "systems" / "drawn.toml").write_text(
        f"command = {json.dumps([*command, '{seed}'])}".replace(
            "video, output, seconds, log = sys.argv[1:]", "video, output, seconds, log, seed = sys.argv[1:]"
        )
    )
    add_system(place, "sure", "")
    monkeypatch.setattr(run, "open_pool", Here)
    suite, setting = read_suite(place / "suite.toml"), Setting(systems=place / "systems", cache=place / "kept")
    specs = ["noise", "drawn", "sure", "silence", "reference"]

    def go(**more: Any) -> RunResult:
        return run.run(suite, specs, place / "results", setting, embedders=["yamnet"], **more)

    result = go(seeds=3)
    assert (result.seeds, len(calls(place, "drawn")), len(calls(place, "sure"))) == ((3, 2), 6, 2)
    rows = {row.spec: row for row in result.systems}
    assert {spec for spec, row in rows.items() if "seeds_vendi" in row.sets["yamnet"]} == {"noise", "drawn"}
    # The program writes the same whatever its seed is: three takes are one piece, noise is nearly one texture.
    drawn = rows["drawn"].sets["yamnet"]
    assert drawn["seeds_vendi"].value == pytest.approx(1) and drawn["seeds_distance"].value == pytest.approx(
        0, abs=1e-6
    )
    noise = [read_audio(path).wave for path in sorted((place / "results" / "noise").glob("s-a*.flac"))]
    assert len(noise) == 3 and len({float(wave[0, 5]) for wave in noise}) == 3
    assert len(rows["noise"].made) == 2  # only the first seed is measured, tested and counted
    again = go(seeds=3)
    assert len(calls(place, "drawn")) == 6 and repr(again.systems[1].sets) == repr(result.systems[1].sets)
    assert go().seeds == (1, 0)  # the suite asks for one seed
    assert "seeds_vendi" not in go().systems[1].sets["yamnet"]


def test_the_reference_is_its_own_music_and_every_picture_meets_every_piece(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "open_pool", Here)
    suite, setting = read_suite(place / "suite.toml"), Setting(cache=place / "kept")
    result = run.run(suite, ["reference", "silence"], place / "results", setting, embedders=[])
    values = {row.spec: [made.values for made in row.made.values()] for row in result.systems}
    clip = suite.clips[0]
    excerpt, audio = prepare(clip, Cache(place / "kept")), read_audio(place / "results" / "reference" / "s-a.flac")
    asked = similarity(excerpt.picture, audio)
    found = values["reference"][0]
    assert found["similarity"] == pytest.approx(asked.combined, abs=1e-5)
    assert found["similarity_timing"] == pytest.approx(asked.timing, abs=1e-5)
    assert found["similarity_meaning"] == pytest.approx(asked.meaning, abs=1e-5)
    assert len(values["silence"]) == 2
    assert all("retrieval_r5" not in one and 1 <= one["retrieval_rank"] <= 2 for one in values["silence"])
    tested = {name for _, name in result.pairs}
    assert {"similarity", "own_similarity"} <= tested and not tested & run.RESTATED


def test_the_same_music_for_all_pictures_is_found_by_chance(place: Path) -> None:
    judge, clips = LearnedSimilarity(Cache(place / "kept")), read_suite(place / "suite.toml").clips
    excerpts = [prepare(clip, Cache(place / "kept")) for clip in clips]
    music = judge.embed_music("sine", lambda: read_audio(clips[0].video), 60)
    pairs = {excerpt.clip.name: (judge.embed_picture(excerpt.picture), music) for excerpt in excerpts}
    found = judge.measure(pairs)
    assert {(one["own_similarity"], one["retrieval_rank"], one["retrieval_r1"]) for one in found.values()} == {
        (0.5, 1.5, 0.5)
    }
    nothing = judge.embed_music("short", lambda: Audio(np.zeros((1, 100), np.float32), 8000), 60)
    assert judge.measure({"s-a": pairs["s-a"], "s-b": (pairs["s-b"][0], nothing)}).keys() == {"s-a"}


def result_of(values: dict[str, dict[str, list[float]]], place: Path) -> RunResult:
    """A run whose figures are given: system, measure, one figure a clip."""
    systems = []
    for spec, figures in values.items():
        n = len(next(iter(figures.values())))
        made = {
            f"c{i}": Made("k", 1.0, 2.0, 10.0, "s", {name: row[i] for name, row in figures.items()}, True)
            for i in range(n)
        }
        row = SystemResult(spec, f"says {spec}", made, {}, {}, {})
        sets = {"yamnet": {"frechet": Interval(*((1.0, 0.8, 1.2) if spec == "good" else (2.0, 1.8, 2.2)))}}
        systems.append(replace(row, summary=run.summarise(row.folder), sets=sets))
    suite = read_suite(place / "suite.toml")
    pairs = compare_pairs(systems)
    return RunResult(suite, suite.clips, tuple(systems), pairs, {}, ("yamnet",), 0, 1.0, 0, "alignment 9", (3, 2))


def test_the_page_says_where_another_system_is_better(place: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [float(x) for x in rng.normal(size=24)]
    values = {
        "ours": {"sync_z": noise, "cut_error_ms": [100.0 + x for x in noise]},
        "good": {"sync_z": [x + 3 for x in noise], "cut_error_ms": [50.0 + x for x in noise]},
        "same": {"sync_z": [-x for x in noise], "cut_error_ms": [100.0 - x for x in noise]},
        "bad": {"sync_z": [x - 3 for x in noise], "cut_error_ms": [150.0 + x for x in noise]},
    }
    result = result_of(values, place)
    text = disadvantages(result)
    assert "| good   |" in text and "sync z" in text and "cut to onset" in text
    assert "| bad" not in text and "| same" not in text
    assert "Fréchet distance, yamnet" in text and text.count("| good") == 3
    assert "ours is the better one beyond chance in 2 of all 6 comparisons" in text
    # Holm's correction is over all tests of the page: 6 tests, four of them at the least possible p.
    assert result.pairs["good", "sync_z"].p == pytest.approx(6 * 1e-4, rel=0.1)
    whole = page(result, "openvmas eval run suite.toml")
    assert "- **good**: says good." in whole and "### good less ours" in whole and "0.20" in whole
    assert as_json(result, "x")["tests"][0]["against"] == "ours"
    assert "alignment 9" in whole and "2 clips with 3 seeds each" in whole and "†" not in whole


def test_what_the_judge_chose_itself_is_marked(place: Path) -> None:
    rng = np.random.default_rng(0)
    values = {"ours": rng.normal(0.1, 0.1, 24).tolist(), "chosen": rng.normal(0.9, 0.1, 24).tolist()}
    result = result_of({s: {"own_similarity": x, "tags_r:yamnet": x, "sync_z": x} for s, x in values.items()}, place)
    marked = replace(result, systems=(result.systems[0], replace(result.systems[1], selects_by_similarity=True)))
    row = next(line for line in first_table(marked).splitlines() if line.startswith("| chosen"))
    assert row.count("†") == 1 and "†" not in first_table(result)
    whole = page(marked, "x")
    assert "†: chosen chooses by the very similarity that judges here" in whole
    beaten = disadvantages(marked)
    assert "other music that fits less †" in beaten and "sync z " in beaten and "tags alike, r, yamnet " in beaten
    assert "### Meaning: tags of true and written music" in whole and "tags alike, r, yamnet ↑" in whole
    assert as_json(marked, "x")["systems"][1]["chosen_by_judge"] is True


def test_the_table_goes_between_its_marks(place: Path) -> None:
    result = result_of({"ours": {"sync_z": [1.0, 2.0]}}, place)
    target = place / "results.md"
    target.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    text = insert(target, in_short(result, "openvmas eval run x"))
    assert text.startswith(f"# Title\n\n{BEGIN}\n\n") and text.endswith(f"\n\n{END}\n\nafter\n")
    assert "old" not in text and first_table(result) in text and "`openvmas eval run x`" in text
    target.write_text("# no marks")
    with pytest.raises(InputError, match="has no place for the table"):
        insert(target, "")
    with pytest.raises(InputError, match="give --table a Markdown page"):
        insert(place / "none.md", "")
    assert main([*ARGUMENTS, "--systems", "click", "--table", str(target), "--overwrite"]) == 2
    assert not (place / "results").exists()


def test_what_cannot_be_run_is_refused_at_once(place: Path) -> None:
    suite, setting = read_suite(place / "suite.toml"), Setting()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"specs": []}, "systems must be named"),
        ({"specs": ["click", "click"]}, "each once"),
        ({"specs": ["click"], "workers": 0}, "workers cannot be 0"),
        ({"specs": ["click"], "seeds": 0}, "seeds cannot be 0"),
        ({"specs": ["click"], "embedders": ["clop"]}, "there is no embedder clop"),
        ({"specs": ["click"], "limit": 0, "embedders": []}, "limit cannot be 0"),
        ({"specs": ["clack"], "embedders": []}, "there is no system clack"),
    ]
    for changes, word in refused:
        with pytest.raises(OptionError, match=word):
            run.run(suite, results=place / "results", setting=setting, **changes)
    assert not (place / "results").exists()
    assert [clip.name for clip in evenly_spaced(suite.clips, 1)] == ["s-a"] and len(evenly_spaced(suite.clips, 9)) == 2
    jobs = [Make("click", clip, take) for clip in suite.clips for take in range(2)]
    assert (
        len({worker.seed_of(job, 0) for job in jobs}) == 4
        and worker.seed_of(jobs[0], 1) == worker.seed_of(jobs[0], 0) + 1
    )


def test_build_says_what_is_still_missing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "build", "suite.toml"]) == 0
    text = (place / "suite.toml").read_text()
    (place / "suite.toml").write_text(text + "count = 3\n")
    assert main(["eval", "build", "suite.toml"]) == 2
    assert "s: 2 of 3 found" in capsys.readouterr().out
