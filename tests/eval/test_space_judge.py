"""Embedders that know pictures too judge whether music fits: tiny ImageBind weights, every figure worked out again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch

from openvmas.cli.main import main
from openvmas.eval.benchmark import run
from openvmas.eval.benchmark.folder_measures import measure_folder, summarise
from openvmas.eval.benchmark.run import RunResult
from openvmas.eval.embedders import registry
from openvmas.eval.embedders.cross_modal_similarity import LONG_SIDE, EmbeddingSimilarity, sample_pictures
from openvmas.eval.metrics.measure_table import in_order
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.reports.benchmark_page import JUDGED, as_json, first_table, group_tables, page
from openvmas.eval.reports.folder_tables import page as folder_page
from openvmas.eval.reports.folder_tables import title
from openvmas.eval.reports.report_values import plain
from openvmas.eval.suites.cache import Cache, Sound
from openvmas.eval.suites.excerpt import prepare
from openvmas.eval.suites.suite import Suite, read_suite
from openvmas.eval.systems.system import Setting
from openvmas.hub import imagebind
from openvmas.hub.taggers import Embedder
from openvmas.media.audio import read_audio
from openvmas.media.video import FrameRequest, read_frames
from tests.clips import write_clip
from tests.eval.test_run import Here
from tests.hub.test_embedders_of_others import TINY, shaken

pytestmark = pytest.mark.slow

SPECS = ["noise", "reference", "silence"]
RANKS = ("own_similarity", "retrieval_r1", "retrieval_rank")


@dataclass(frozen=True)
class Judged:
    """A run by `openvmas eval run` with a tiny ImageBind. judge: its name; shown: pictures, a number for each video."""

    judge: str
    suite: Suite
    data: dict[str, Any]
    page: str
    shown: list[int]

    def again(self, *embedders: str) -> RunResult:
        return run.run(self.suite, SPECS, Path("results"), Setting(), embedders=embedders)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """Three clips, their suite, a cache of its own, and all the work done in this process."""
    place, shown, embed = tmp_path_factory.mktemp("judged"), [], imagebind.ImageBind.embed_pictures

    def count(self: imagebind.ImageBind, pictures: np.ndarray) -> np.ndarray:
        shown.append(len(pictures))
        return embed(self, pictures)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENVMAS_CACHE", str(place / "cache"))
        patch.chdir(place)
        patch.setattr(imagebind, "ImageBindSizes", lambda: TINY)
        patch.setattr(imagebind.ImageBind, "embed_pictures", count)
        patch.setattr(run, "open_pool", Here)
        (place / "clips").mkdir()
        for name, seconds, sound in (("a", 1.0, "sine"), ("b", 2.2, "noise"), ("c", 1.4, "sine")):
            write_clip(place / "clips" / f"{name}.mp4", seconds, sound=sound)
        (place / "suite.toml").write_text("[suite]\nname = 'three'\n[[sources]]\nname = 's'\nmedia = 'clips'\n")
        torch.save(shaken(imagebind.ImageBindNetwork(TINY), 0.2).state_dict(), place / "huge.pth")
        judge = f"imagebind:{place / 'huge.pth'}"
        arguments = ["suite.toml", "--systems", ",".join(SPECS), "--embedders", judge, "--results", "results"]
        assert main(["eval", "run", *arguments, "--json", "p.json", "--markdown", "p.md", "--quiet"]) == 0
        data, text = json.loads(Path("p.json").read_text()), Path("p.md").read_text()
        yield Judged(judge, read_suite("suite.toml"), data, text, shown)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def seen_and_heard(embedder: Any, video: Path, sound: Path) -> tuple[np.ndarray, np.ndarray]:
    """What a video and a sound are, from all frames of the one and the whole of the other."""
    chunks = list(read_frames(video, [FrameRequest(None, 160)]))
    frames, times = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("frames", "times"))
    length = len(frames) / 25
    middles = [length * (2 * i + 1) / 10 for i in range(5)]
    chosen = [int(np.argmin(np.abs(times - middle) + 1e-6 * times)) for middle in middles]  # the earlier one at a tie
    audio = read_audio(sound, mono=True)
    wave = soxr.resample(audio.wave[0], audio.sample_rate, 16_000)
    wave = wave * 0.1 / np.sqrt(np.mean(np.square(wave, dtype=np.float64)))
    heard = embedder.embed(wave.astype(np.float32), 16_000).embeddings
    return unit(unit(embedder.embed_pictures(frames[chosen])).mean(0)), unit(unit(heard).mean(0))


def test_a_run_has_columns_by_imagebind(judged: Judged) -> None:
    judge, data, text, clips = judged.judge, judged.data, judged.page, judged.suite.clips
    rows = {row["system"]: row for row in data["systems"]}
    embedder = registry.open_embedder(judge)
    for spec in ("noise", "reference"):
        pairs = [
            seen_and_heard(embedder, prepare(clip, Cache()).video, Path("results") / spec / f"{clip.name}.flac")
            for clip in clips
        ]
        table = np.array([[seen @ heard for _, heard in pairs] for seen, _ in pairs])
        assert table.std() > 1e-3  # the tiny network tells them apart
        for i, clip in enumerate(clips):
            found = rows[spec]["clips"][clip.name]["values"]
            place = 1 + (table[i] > table[i, i]).sum()
            assert found[f"similarity:{judge}"] == pytest.approx(table[i, i], abs=2e-5)
            assert [found[f"{name}:{judge}"] for name in RANKS] == [(3 - place) / 2, place == 1, place]
            assert f"retrieval_r5:{judge}" not in found  # of three clips all are among the first five
            assert found["similarity"] != pytest.approx(found[f"similarity:{judge}"], abs=1e-3)
    places = [one["values"][f"retrieval_rank:{judge}"] for one in rows["noise"]["clips"].values()]
    assert rows["noise"]["summary"][f"retrieval_rank:{judge}"]["value"] == np.median(places)
    silent = [one["values"] for one in rows["silence"]["clips"].values()]
    assert silent and all("similarity" in one and f"similarity:{judge}" not in one for one in silent)
    tested = {test["measure"] for test in data["tests"] if test["system"] == "reference"}
    assert {name for name in tested if name.endswith(judge)} == {f"similarity:{judge}", f"own_similarity:{judge}"}
    assert data["other_judges"] == [judge]
    assert "similarity, imagebind:huge.pth ↑" in text and "rank of own music, median, imagebind:huge.pth ↓" in text
    assert "other music that fits less ↑ | other music that fits less, imagebind:huge.pth ↑" in text
    assert "are by its own comparison" in text and str(Path.cwd()) not in text


def test_what_our_judge_chose_is_not_marked_where_imagebind_judges(judged: Judged) -> None:
    result = judged.again(judged.judge)
    assert result.others == (judged.judge,)
    noise, chosen = result.systems[0], replace(result.systems[1], selects_by_similarity=True)
    marked = replace(result, systems=(noise, chosen))
    head, _, _, row = (line.split("|") for line in first_table(marked).splitlines())
    cells = {name.strip(): text.strip() for name, text in zip(head, row, strict=True)}
    assert "†" in cells["other music that fits less ↑"]
    other = cells["other music that fits less, imagebind:huge.pth ↑"]
    assert other and "†" not in other
    meaning = next(part for part in group_tables(marked) if part.startswith("### Meaning: picture and music"))
    assert meaning.count("†") == len([name for name in chosen.summary if name in JUDGED]) == 6
    assert len([name for name in chosen.summary if name.endswith(judged.judge)]) == 4
    assert page(marked, "x").count("chooses by the very similarity that judges here") == 1


def test_pictures_are_shown_once_and_to_those_that_see_alone(judged: Judged) -> None:
    assert judged.shown[:3] == [5, 5, 5]
    before, result = len(judged.shown), judged.again(judged.judge)
    assert len(judged.shown) == before
    assert plain(result.systems[0].summary) == plain({
        name: (Interval(*(part[key] for key in ("value", "low", "high"))), part["clips"])
        for name, part in judged.data["systems"][0]["summary"].items()
    })  # fmt: skip
    without = judged.again()
    assert without.others == () and as_json(without, "x")["other_judges"] == []
    assert not [name for system in without.systems for name in system.summary if ":" in name]
    assert "are by its own comparison" not in page(without, "x")
    kept = [{n: x for n, x in s.summary.items() if ":" not in n} for s in result.systems]
    assert repr(kept) == repr([s.summary for s in without.systems])  # NaN is NaN


def test_videos_of_a_folder_are_judged_too(judged: Judged) -> None:
    path = Path("mixed") / "a.mp4"
    path.parent.mkdir()
    shutil.copy(Path("clips") / path.name, path)
    shutil.copy(Path("results") / "noise" / "s-a.flac", path.parent)  # has no picture to fit
    measured = measure_folder(path.parent, judged.judge, cache=Cache())
    seen, heard = seen_and_heard(registry.open_embedder(judged.judge), path, path)
    video, sound = measured.files
    assert video.values[f"similarity:{judged.judge}"] == pytest.approx(seen @ heard, abs=2e-5)
    assert not [name for name in sound.values if ":" in name]
    assert "are by its own comparison" in folder_page(measured, summarise(measured), {}, embedder=judged.judge)


class Wheel(Embedder):
    """One space of directions: of a picture by its mean red, of a sound by its mean level. No weights."""

    def embed_pictures(self, pictures: np.ndarray) -> np.ndarray:
        turns = pictures[..., 0].mean(axis=(1, 2)) / 255
        return np.stack([np.cos(turns), np.sin(turns)], axis=1) * 7


def test_any_embedder_that_knows_pictures_judges(tmp_path: Path) -> None:
    red = write_clip(tmp_path / "red.mp4", 2.0)
    judge = EmbeddingSimilarity("yamnet", Cache(tmp_path / "kept"), lambda: Wheel.__new__(Wheel))
    seen = judge.embed_picture("red", lambda: red)
    turns = sample_pictures(red)[..., 0].mean(axis=(1, 2)) / 255
    total = np.exp(1j * turns).mean()
    np.testing.assert_allclose(seen, [total.real / abs(total), total.imag / abs(total)], atol=1e-6)
    away = np.array([[seen[1], -seen[0]]], np.float32)
    sounds = {"same": seen[None] * 3, "away": away, "back": -seen[None], "none": np.zeros((0, 2), np.float32)}
    pairs = {name: (seen, Sound(rows.astype(np.float32), rows[:, :0])) for name, rows in sounds.items()}
    found = judge.measure(pairs)
    assert set(found) == {"same", "away", "back"}
    for name, similarity, rank in (("same", 1, 1), ("away", 0, 2), ("back", -1, 3)):
        assert found[name]["similarity:yamnet"] == pytest.approx(similarity, abs=1e-6)
        assert found[name]["retrieval_rank:yamnet"] == rank
    assert judge.measure({"same": pairs["same"]})["same"].keys() == {"similarity:yamnet"}
    assert judge.measure({"none": pairs["none"]}) == {}
    seven = judge.measure({f"{i}": pairs["same"] for i in range(7)})
    assert len(seven) == 7 and all(one["retrieval_r5:yamnet"] == pytest.approx(5 / 7) for one in seven.values())


def test_the_pictures_shown_are_the_middles_of_fifths(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 2.0)  # 50 frames: middles at 0.2, 0.6, 1, 1.4, 1.8 s
    frames = np.concatenate([chunk.frames for chunk in read_frames(path, [FrameRequest(Fraction(25), 160)])])
    np.testing.assert_array_equal(sample_pictures(path), frames[[5, 15, 25, 35, 45]])
    large = write_clip(tmp_path / "large.mp4", 0.4, size=(1280, 720))
    assert sample_pictures(large).shape == (5, 360, LONG_SIDE, 3)


def test_who_is_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").write_bytes(b"")
    both = [name for name in registry.ADAPTERS if registry.sees_pictures(f"{name}:{tmp_path / 'w'}")]
    assert both == ["imagebind"] and not registry.sees_pictures("yamnet") and not registry.sees_pictures("musicnn")
    monkeypatch.setitem(registry.EMBEDDERS, "wheel", Wheel)
    assert registry.sees_pictures("wheel")
    figures = {"similarity:wheel", "similarity", "own_similarity:b:/c/d", "similarity:a"}
    assert in_order(figures) == ["similarity", "similarity:a", "similarity:wheel", "own_similarity:b:/c/d"]
    assert title("own_similarity:b:/c/d") == "other music that fits less, b:d"
