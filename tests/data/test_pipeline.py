"""A build resumes, gives the same bytes however often it was cut off, and says what became of every record."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.data.curation.pipeline import Built, Journal, build
from openvmas.data.curation.recipe import read_recipe
from openvmas.data.curation.record import Drop, Record
from openvmas.errors import InputError, OutputError
from tests.clips import write_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
[build]
workers = 2
shard = 4
[[sources]]
name = "pile"
kind = "folder"
path = "media"
licence = "CC0-1.0"
[stages]
use = ["tests.data.stage_kit:Bytes", "tests.data.stage_kit:Halves"]
[stages."tests.data.stage_kit:Bytes"]
seconds = {seconds}
[sets]
use = ["split"]
[sets.split]
valid = 0.2
"""


def lay_out(folder: Path, n: int = 10, seconds: float = 0.0) -> Path:
    """A recipe and files of random bytes, of which every fifth is to be refused."""
    (folder / "media").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for index in range(n):
        start = b"BAD" if index % 5 == 0 else b"fine"
        (folder / "media" / f"{index:03d}.mp4").write_bytes(start + rng.bytes(100))
    path = folder / "pile.toml"
    path.write_text(RECIPE.format(seconds=seconds))
    return path


def make(recipe: Path, output: Path, **options: int) -> Built:
    return build(read_recipe(recipe), output, **options)


def content(output: Path) -> dict[str, bytes]:
    """Everything of a finished set but its work folder."""
    paths = [p for p in output.rglob("*") if p.is_file() and "work" not in p.relative_to(output).parts]
    return {str(p.relative_to(output)): p.read_bytes() for p in paths}


def test_a_build_accounts_for_every_record_and_a_second_one_does_nothing(tmp_path: Path) -> None:
    recipe = lay_out(tmp_path)
    made = make(recipe, tmp_path / "set")
    assert (made.n_pieces, made.n_made) == (3, 3)
    assert (made.funnel.n_listed, made.funnel.n_kept) == (10, 16)
    steps = {step.name: (step.came, step.reasons) for step in made.funnel.steps}
    assert steps["bytes"] == (10, {"says so": 2}) and steps["halves"] == (8, {})
    assert made.funnel.steps[0].examples == {"says so": [["000.mp4", "103 bytes"], ["005.mp4", "103 bytes"]]}
    table = made.funnel.table()
    assert "  says so" in table and table.splitlines()[-1].split() == ["kept", "16"]
    records = [Record.from_json(line) for line in (tmp_path / "set" / "set.jsonl").read_text().splitlines()]
    assert len({r.id for r in records}) == 16 and all(r.sha256 and r.arrays == ("histogram",) for r in records)
    with np.load(tmp_path / "set" / "work" / "records-00000.npz") as arrays:
        assert arrays[f"{records[0].id}/histogram"].sum() == 104
    before = content(tmp_path / "set")
    assert {"index.parquet", "manifest.json", "datasheet.html", "funnel.json"} <= set(before)
    assert make(recipe, tmp_path / "set").n_made == 0
    assert content(tmp_path / "set") == before


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    recipe = lay_out(tmp_path)
    make(recipe, tmp_path / "set")
    (tmp_path / "media" / "009.mp4").write_bytes(b"another")
    assert make(recipe, tmp_path / "set").n_made == 1, "the piece whose file has changed"
    recipe.write_text(recipe.read_text() + "# a word\n")
    assert make(recipe, tmp_path / "set").n_made == 0
    recipe.write_text(recipe.read_text().replace("seconds = 0.0", "seconds = 0.0\nrefuse = 'fine'"))
    made = make(recipe, tmp_path / "set")
    assert made.n_made == 3 and made.funnel.n_kept == 6
    (tmp_path / "media" / "009.mp4").unlink()
    (tmp_path / "media" / "008.mp4").unlink()
    assert make(recipe, tmp_path / "set").n_pieces == 2
    assert not (tmp_path / "set" / "work" / "records-00002.jsonl").exists()


def test_a_folder_has_one_build_at_a_time_and_an_empty_one_is_named(tmp_path: Path) -> None:
    recipe = lay_out(tmp_path)
    from openvmas.data.curation.pipeline import locked

    (tmp_path / "set" / "work").mkdir(parents=True)
    with locked(tmp_path / "set" / "work"), pytest.raises(OutputError, match="another build is at work"):
        make(recipe, tmp_path / "set")
    for path in (tmp_path / "media").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="hold no media file"):
        make(recipe, tmp_path / "set")


def test_a_line_cut_off_by_a_crash_is_forgotten(tmp_path: Path) -> None:
    recipe = lay_out(tmp_path)
    make(recipe, tmp_path / "set")
    path = tmp_path / "journal.jsonl"
    from openvmas.data.curation.stage_runner import refuse

    outcome = refuse(0, Drop(Record.from_json((tmp_path / "set/set.jsonl").read_text().splitlines()[0]), "x", "y"))
    path.write_text(outcome.to_json() + "\n" + outcome.to_json()[:50])
    with Journal(path) as journal:
        assert journal.outcomes == {0: outcome}
        journal.add(refuse(1, Drop(outcome.drops[0].record, "x", "z")))
    with Journal(path) as journal:
        assert sorted(journal.outcomes) == [0, 1]


def start(recipe: Path, output: Path) -> subprocess.Popen[str]:
    """The real command, past its start-up: the first line has been read."""
    command = [sys.executable, "-m", "openvmas", "data", "build", str(recipe), "--output", str(output)]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stderr is not None
    assert child.stderr.readline() == "listing the sources\n"
    return child


def count_done(work: Path) -> int:
    """Records of which the outcome is known."""
    whole = [path.name[5:10] for path in work.glob("done-*.json")]
    open_ones = [path for path in work.glob("partial/*/journal.jsonl") if path.parent.name[:5] not in whole]
    return sum(json.loads((work / f"done-{name}.json").read_bytes())["n"] for name in whole) + sum(
        path.read_bytes().count(b"\n") for path in open_ones
    )


def test_killed_at_ten_random_moments_it_gives_the_same_bytes(tmp_path: Path) -> None:
    n = 30
    recipe = lay_out(tmp_path, n, 0.02)
    child = start(recipe, tmp_path / "whole")
    assert str(n) in child.communicate()[0] and child.returncode == 0
    rng = random.Random(7)
    reached = []
    for share in sorted(rng.uniform(0, 1.25) for _ in range(10)):  # beyond 1: while the set is put together
        child = start(recipe, tmp_path / "cut")
        while child.poll() is None and count_done(tmp_path / "cut" / "work") < min(share, 1.0) * n:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.2 if share > 1 else 0.03))
        reached.append(child.poll() is None)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    assert sum(reached) >= 7, "kills that hit a living build"
    child = start(recipe, tmp_path / "cut")
    child.communicate()
    assert child.returncode == 0
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert not any((tmp_path / "cut" / "work" / "partial").iterdir())
    assert not any((tmp_path / "cut" / "work" / "scratch").iterdir())


POISON = """
[[sources]]
name = "pile"
kind = "folder"
path = "media"
[limits]
cpu_seconds = 60
wall_seconds = 240
memory_megabytes = 1500
[stages]
use = ["probe", "size", "decode"]
[stages.size]
min_duration = 0.5
min_side = 32
[sets]
use = ["split"]
"""


def poison(folder: Path) -> None:
    """Files made to do harm, and one good one."""
    folder.mkdir()
    good = write_clip(folder / "good.mp4", 1.0, sound="sine").read_bytes()
    os.mkfifo(folder / "endless.mp4")
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(good[: len(good) // 2])
    rng = np.random.default_rng(1)
    (folder / "noise.avi").write_bytes(rng.bytes(50_000))
    huge = good.replace((160).to_bytes(2, "big") + b"\0\0" + (96).to_bytes(2, "big"), b"\xff\xff\0\0\xff\xff")
    at = good.index(b"avc1") + 28  # width and height of the sample entry
    huge = good[:at] + b"\xff\xff\xff\xff" + good[at + 4 :]
    (folder / "huge.mp4").write_bytes(huge)
    at = good.index(b"mvhd") + 16
    (folder / "long.mp4").write_bytes(good[:at] + b"\xff\xff\xff\xf0" + good[at + 4 :])
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    with (folder / "sparse.mkv").open("wb") as file:
        file.truncate(1 << 33)
    broken = bytearray(good)
    body = good.index(b"mdat") + 8
    for place in rng.integers(body, len(good) - 1, 400):
        broken[place] = rng.integers(256)
    (folder / "broken.mp4").write_bytes(bytes(broken))


def test_poisoned_files_cost_their_own_record_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poison(tmp_path / "media")
    (tmp_path / "poison.toml").write_text(POISON)
    assert main(["data", "build", str(tmp_path / "poison.toml"), "--workers", "1", "--quiet"]) == 0
    drops = {}
    for path in (tmp_path / "poison" / "work").glob("drops-0*.jsonl"):
        for line in path.read_text().splitlines():
            drop = json.loads(line)
            drops[drop["record"]["origin"]["uri"]] = drop["detail"]
    bad = {"endless.mp4", "empty.mkv", "cut.mp4", "noise.avi", "list.mp4", "sparse.mkv"}
    assert bad <= set(drops) <= bad | {"huge.mp4", "long.mp4", "broken.mp4"}
    assert "good.mp4" in (tmp_path / "poison" / "set.jsonl").read_text()
    assert not any(str(tmp_path) in detail for detail in drops.values())
    assert "unreadable" in capsys.readouterr().out
