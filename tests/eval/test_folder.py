"""`openvmas eval folder`: what it prints and writes, its cache, broken files, missing weights, pairs and distances."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_pieces import synthesise, write_piece

from openvmas.cli.main import main
from openvmas.errors import InputError, OptionError
from openvmas.eval.benchmark import folder_measures
from openvmas.eval.benchmark.folder_measures import (
    MeasuredFile,
    MeasuredFolder,
    measure_folder,
    pair,
    summarise,
)
from openvmas.eval.benchmark.set_measures import compare, variety
from openvmas.eval.embedders import registry
from openvmas.eval.metrics.measure_table import MEASURES
from openvmas.eval.reports.report_values import number, plain, table
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.media_files import clip_name
from openvmas.generate.similarity import Aligner, similarity
from openvmas.hub.taggers import Embedder, Embeddings, at_16k, log_mel
from openvmas.media.audio import write_wav
from tests.clips import write_clip

pytestmark = pytest.mark.slow

RATE = 24_000


class MelEmbedder(Embedder):
    """Mean and deviation of mel bands instead of a network's numbers: needs no weights."""

    def __init__(self) -> None:
        self.classes = ()

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        frames = log_mel(at_16k(wave, sample_rate, 16_000))
        parts = frames[: len(frames) // 96 * 96].reshape(-1, 96, 64)
        found = np.concatenate([parts.mean(axis=1), parts.std(axis=1)], axis=1)
        return Embeddings(found, parts.mean(axis=1), (np.arange(len(parts)) + 0.5) * 0.96)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """real: four short pieces; made: the same pieces cut in band and clipped, a video, a broken file."""
    top = tmp_path_factory.mktemp("sounds")
    (top / "real").mkdir()
    (top / "made").mkdir()
    for i, style in enumerate(("rock", "waltz", "ballad", "bossa")):
        wave = synthesise(write_piece(style, 110, 4, seed=i), RATE)
        write_wav(top / "real" / f"{style}.wav", np.stack([wave, wave]), RATE)
        spectrum = np.fft.rfft(wave)
        spectrum[round(2000 * len(wave) / RATE) :] = 0
        dull = np.clip(np.fft.irfft(spectrum, len(wave)), -0.15, 0.15).astype(np.float32)
        write_wav(top / "made" / f"{style}.scored.wav", np.stack([dull, dull]), RATE)
    write_clip(top / "made" / "clip.mp4", 3.0, sound="noise")
    (top / "made" / "broken.mp4").write_text("no video")
    (top / "made" / "notes.txt").write_text("not looked at")
    return top


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, sounds: Path) -> Path:
    """A cache in which both folders are measured already, with MelEmbedder."""
    place = tmp_path_factory.mktemp("kept")
    patch = pytest.MonkeyPatch()
    patch.setitem(registry.EMBEDDERS, "yamnet", MelEmbedder)
    for name in ("real", "made"):
        measure_folder(sounds / name, cache=Cache(place / "measured"))
    patch.undo()
    return place


def run(*arguments: object) -> int:
    return main(["eval", "folder", *map(str, arguments)])


def test_without_weights_all_else_is_printed(sounds: Path, kept: Path, cache: Path, capsys) -> None:
    shutil.copytree(kept, cache)
    for path in (cache / "measured").glob("*.npz"):
        path.unlink()
    assert run(sounds / "made", "--reference", sounds / "real") == 0
    said = capsys.readouterr()
    assert "fetch_eval_weights.py" in said.err and "no distances" in said.err
    assert said.err.count("left out:") == 1
    assert "| loudness (LUFS)" in said.out and "| 95 % roll-off (Hz)" in said.out and "p (Holm)" in said.out
    assert "Fréchet" not in said.out and "Vendi" not in said.out
    assert "broken.mp4 holds text, not video" in said.out


def test_tables_and_files(sounds: Path, kept: Path, cache: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(kept, cache)
    data, page = tmp_path / "a.json", tmp_path / "a.md"
    arguments = (sounds / "made", "--reference", sounds / "real", "--json", data, "--markdown", page, "--quiet")
    assert run(*arguments) == 0
    said = capsys.readouterr()
    assert page.read_text(encoding="utf-8") == said.out
    assert said.err.strip().startswith("left out:") and said.err.count("\n") == 1
    found = json.loads(data.read_text(encoding="utf-8"))
    assert set(found["files"]) == {"clip.mp4", *(f"{s}.scored.wav" for s in ("rock", "waltz", "ballad", "bossa"))}
    assert list(found["broken"]) == ["broken.mp4"]
    assert found["pairs"]["bandwidth"]["n_pairs"] == 4
    assert found["pairs"]["bandwidth"]["difference"]["value"] < -500
    assert found["pairs"]["clipped_share"]["delta"] == 1
    assert found["distances"]["frechet"]["value"] > 1 and found["distances"]["coverage"]["value"] < 1
    assert found["distances"]["frechet"]["low"] < found["distances"]["frechet"]["high"]
    assert found["summary"]["sync_z"]["files"] == 1 and found["summary"]["loudness_lufs"]["files"] == 5
    assert "### Variety" in said.out and "Fréchet distance" in said.out
    assert run(*arguments) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert run(*arguments, "--overwrite") == 0
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_videos_are_compared_with_each_others_music(tmp_path: Path, cache: Path, monkeypatch, capsys) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, sound, seconds in (("a", "sine", 3.0), ("b", "noise", 3.4), ("c", "sine", 2.2)):
        write_clip(clips / f"{name}.mp4", seconds, sound=sound)
    found = measure_folder(clips, embedder=None)
    for file in found.files:
        asked = similarity(clips / file.name, clips / file.name)
        assert file.values["similarity"] == pytest.approx(asked.combined, abs=0.02)  # the sound may be a frame longer
        assert 0 <= file.values["own_similarity"] <= 1 and 1 <= file.values["retrieval_rank"] <= 3
        assert "retrieval_r5" not in file.values  # all of three are among the first five
    monkeypatch.setattr(Aligner, "encode", lambda *given: pytest.fail("heard again"))
    monkeypatch.setattr(folder_measures, "measure_file", lambda *given: pytest.fail("measured again"))
    assert plain(measure_folder(clips, embedder=None)) == plain(found)
    for name in ("b", "c"):
        (clips / f"{name}.mp4").unlink()
    (alone,) = measure_folder(clips, embedder=None).files
    assert "similarity" in alone.values and "own_similarity" not in alone.values
    assert run(clips, "--embedder", "musicnn", "--quiet") == 0  # without weights all else is printed
    said = capsys.readouterr().out
    assert "| similarity " in said and "Similarity is that of `openvmas.similarity`" in said


def test_a_second_run_measures_nothing(sounds: Path, kept: Path, tmp_path: Path, monkeypatch) -> None:
    def fail(*arguments: object) -> dict[str, float]:
        raise AssertionError("measured again")

    before = measure_folder(sounds / "real", cache=Cache(kept / "measured"))
    monkeypatch.setattr(folder_measures, "measure_file", fail)
    monkeypatch.setattr(folder_measures, "embed_file", fail)
    (tmp_path / "moved").mkdir()
    shutil.copy(sounds / "real" / "rock.wav", tmp_path / "moved" / "other name.wav")
    after = measure_folder(tmp_path / "moved", cache=Cache(kept / "measured"))
    rock = next(file for file in before.files if file.name == "rock.wav")
    assert after.files[0].values == rock.values and after.files[0].name == "other name.wav"
    with pytest.raises(AssertionError, match="measured again"):
        measure_folder(tmp_path / "moved", seam_interval=2.0, cache=Cache(kept / "measured"))


def test_a_damaged_cache_is_measured_again(sounds: Path, kept: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(sounds / "real" / "rock.wav", tmp_path / "one")
    (whole,) = measure_folder(tmp_path / "one", embedder=None).files
    (path,) = (cache / "measured").glob("*.json")
    path.write_text("{half", encoding="utf-8")
    (again,) = measure_folder(tmp_path / "one", embedder=None).files
    assert plain(again.values) == plain(whole.values) and json.loads(path.read_text(encoding="utf-8"))


def test_a_folder_against_itself_is_perfect(sounds: Path, kept: Path) -> None:
    real = measure_folder(sounds / "real", cache=Cache(kept / "measured"))
    same = compare(real, real)
    assert same["frechet"].value == pytest.approx(0, abs=1e-6)
    assert same["precision"].value == same["recall"].value == same["coverage"].value == 1
    assert same["tag_divergence"].value == 0 and same["tag_divergence_paired"].value == 0
    assert same["kernel_distance"].value <= 0
    for item in pair(real, real).values():
        assert (item.difference.value, item.p, item.d, item.delta) == (0, 1, 0, 0)


def file_of(name: str, **values: float) -> MeasuredFile:
    return MeasuredFile(name, values, None)


def test_pairs_have_one_clip_each_and_holm() -> None:
    names = [f"{i}" for i in range(8)]
    reference = MeasuredFolder(
        Path("a"), tuple(file_of(f"{n}.mp4", sync_z=int(n), silent_share=0.0) for n in names), {}
    )
    made = tuple(file_of(f"{n}.scored.mp4", sync_z=int(n) + 1 + 0.1 * int(n), silent_share=0.0) for n in names)
    found = pair(reference, MeasuredFolder(Path("b"), (*made, file_of("9.mp4", sync_z=9.0)), {}))
    assert found["sync_z"].n_pairs == 8 and found["sync_z"].difference.value == pytest.approx(1.35)
    assert found["sync_z"].p == 2 / 2**8 and found["silent_share"].p == 1  # what never differs is no further test
    two = pair(
        reference,
        MeasuredFolder(Path("b"), tuple(file_of(f"{n}.mp4", sync_z=9.0, loop_seconds=1.0) for n in names), {}),
    )
    assert set(two) == {"sync_z"}
    assert pair(reference, MeasuredFolder(Path("b"), (file_of("x.mp4", sync_z=1.0),), {})) == {}


def test_means_leave_out_what_has_no_value() -> None:
    files = tuple(file_of(f"{i}.wav", sync_z=v) for i, v in enumerate((1.0, math.nan, 3.0, -math.inf)))
    found = summarise(MeasuredFolder(Path("a"), files, {}))
    interval, n = found["sync_z"]
    assert n == 2 and interval.value == 2


def test_names_of_one_clip() -> None:
    assert {clip_name(n) for n in ("city.mp4", "city.wav", "city.scored.mp4")} == {"city"}


def test_what_cannot_be_measured_is_said(tmp_path: Path, sounds: Path, capsys) -> None:
    assert run(tmp_path / "nowhere") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert run(tmp_path) == 2
    assert "holds no videos or sounds" in capsys.readouterr().err
    (tmp_path / "bad.mp4").write_bytes(b"")
    assert run(tmp_path) == 2
    assert "is empty (0 bytes)" in capsys.readouterr().err
    write_clip(tmp_path / "bad.mp4", 1.0)
    with pytest.raises(InputError, match="has no sound"):
        measure_folder(tmp_path)
    with pytest.raises(OptionError, match="no embedder ears; choose from yamnet, musicnn"):
        measure_folder(tmp_path, embedder="ears")
    assert run(sounds / "real", "--seam-interval", "0") == 2
    assert "give seconds from 0.1" in capsys.readouterr().err
    assert run(sounds / "real", "--json", tmp_path / "missing" / "a.json") == 2
    assert "does not exist" in capsys.readouterr().err


def test_every_measure_has_a_row(sounds: Path, kept: Path) -> None:
    made = measure_folder(sounds / "made", cache=Cache(kept / "measured"))
    assert {name for file in made.files for name in file.values} | {"seam_z"} <= set(MEASURES)
    assert set(compare(made, made)) | set(variety(made)) <= set(MEASURES)


def test_tables_are_markdown() -> None:
    text = table(("a", "long head"), [["x|y", "1"], ["z", "22"]])
    assert text.splitlines() == [
        "| a    | long head |",
        "|------|----------:|",
        "| x\\|y |         1 |",
        "| z    |        22 |",
    ]
    assert [number(v, 2) for v in (1.234, -0.001, math.nan, math.inf, -2.5)] == ["1.23", "0.00", "", "", "-2.50"]
    assert plain({"a": [1.23456789, math.nan, 3]}) == {"a": [1.23457, None, 3]}
