"""docs/own-videos.md from its first command to its last, on small videos: a set alone is trained on and judged."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from planted_media import write_video
from planted_sounds import SAMPLE_RATE
from synthetic_pieces import synthesise, write_piece

from openvmas.cli.main import main
from openvmas.pretrained import find_weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own-videos.md").read_text(encoding="utf-8")
SECONDS, FPS = 11, 10
# What makes the commands of the page small: appended to a command, in place of what it would take hours for.
SMALL = {
    "data build": "--workers 1 --quiet",
    "train joint": "--preset debug --steps 2 --steps-per-crop 160 --batch 4 --test-pairs 1 --save-every 2",
    "score": "--candidates 1 --quiet",
    "eval run": "--limit 1 --workers 1 --embedders= --quiet --json page.json",
}


def write_videos(folder: Path) -> None:
    """Four videos of squares that move before changing patterns, each with a piece of music of its own."""
    folder.mkdir()
    for i, style in enumerate(("rock", "waltz", "ballad", "rock")):
        wave = synthesise(write_piece(style, 90 + 4 * i, 12, seed=i), SAMPLE_RATE)[: SECONDS * SAMPLE_RATE]
        patterns = np.random.default_rng(i).integers(0, 255, (9, 6, 8, 3)).astype(np.uint8)
        frames = []
        for k in range(len(wave) * FPS // SAMPLE_RATE):
            frame = np.kron(patterns[k // (8 + i % 5) % len(patterns)], np.ones((20, 20, 1), np.uint8))
            x = k * (3 + i) % 130
            frame[40:80, x : x + 30] = 255 - frame[40:80, x : x + 30] // 2
            frames.append(frame)
        write_video(folder / f"clip{i}.mp4", frames, np.stack([wave, wave]).astype(np.float32))


def test_the_tutorial_from_a_folder_of_videos_to_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    write_videos(tmp_path / "videos")
    (recipe,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S)
    recipe = re.sub(r"(valid|test) = 0\.1", r"\1 = 0.25", recipe)
    (tmp_path / "my.toml").write_text(recipe + 'seed = "b"\n')
    commands = "".join(re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)).splitlines()
    assert [line.split()[1] for line in commands] == ["data", "data", "train", "train", "train", "score", "eval"]
    for line in commands:
        if line.startswith("openvmas train import"):  # the smallest decoder begins from nothing
            continue
        line = re.sub(r" --start-from \S+| --time-limit \S+", "", line)
        line = line.replace("--systems ours:model=models/mine,ours,", "--systems ours:model=models/mine:candidates=1,")
        more = next((more for name, more in SMALL.items() if line.startswith(f"openvmas {name}")), "")
        assert main(shlex.split(f"{line} {more}")[1:]) == 0, line
        out = capsys.readouterr().out
        if "data build" in line:
            sizes = [int(n) for n in re.findall(r"(?:train|valid|test) (\d+)", out)]
            assert sum(sizes) == 4 and all(sizes), out  # every file came through, and every split has some
    made, shipped = find_weights(tmp_path / "models" / "mine"), find_weights("mini")
    assert made.file("codebooks").read_bytes() == shipped.file("codebooks").read_bytes()
    assert made.sizes["n_layers"] < shipped.sizes["n_layers"]
    page = json.loads((tmp_path / "page.json").read_text())
    assert page["suite"] == "my-set-test" and len(page["clips"]) == 1
    ours, reference = page["systems"]
    assert ours["clips"].keys() == reference["clips"].keys() and not ours["failures"]
    assert abs(reference["summary"]["beat_f1"]["value"] - 1) < 1e-6  # the truth is the video's own music
    log = [json.loads(line) for line in (tmp_path / "runs" / "mine" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 2 and np.isfinite(log[-1]["picture"])
