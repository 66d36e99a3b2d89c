"""The composer behind the scorer's door: presets, candidates, reports, and the files that users get."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from midi_scores import read_midi

import openvmas
from openvmas.errors import OptionError, OutputError
from openvmas.generate.scorer import Scorer
from openvmas.media.audio import read_audio
from openvmas.music.analysis import analyze_music
from openvmas.music.sync import energy_correlation, hit_rate, sync_of_wave
from openvmas.planning.conditioning import build_condition
from openvmas.pretrained import find_weights
from openvmas.settings import GenerateOptions
from openvmas.symbolic.composer import SymbolicComposer
from tests.clips import SineComposer, write_clip
from tests.symbolic.made import make_plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return openvmas.load("symbolic")


@pytest.fixture
def small_clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", 4.0)


def test_the_preset_opens_without_the_model_and_with_its_licence(scorer: Scorer) -> None:
    assert isinstance(scorer.composer, SymbolicComposer)
    assert scorer.composer.writes_notes
    assert scorer.weights.licence == "MIT, CC-BY-3.0 and CC0"
    text = (find_weights("symbolic").folder / "LICENSE.txt").read_text()
    assert all(
        name in text for name in ("Frank Wen", "Permission is hereby granted", "Alexander Holm", "freesound.org")
    )


def test_the_bank_is_small() -> None:
    assert find_weights("symbolic").file("instruments").stat().st_size < 12_000_000


def test_what_is_heard_follows_the_plan(scorer: Scorer) -> None:
    plan = make_plan("happy pop", tempo=100.0)
    piece = scorer.compose(plan, seed=2)
    wave = np.concatenate(list(piece), axis=1)
    report = piece.report
    assert wave.shape == (2, round(38.4 * 48_000))
    heard = analyze_music(wave, 48_000)
    assert min(abs(heard.tempo * factor / 100.0 - 1) for factor in (0.5, 1, 2)) < 0.02
    condition = build_condition(plan)
    assert energy_correlation(condition.events.energy, heard.events.energy) > 0.6
    hits = np.array([hit.time for hit in plan.hits])
    assert hit_rate(hits, heard.onsets, 0.05) == 1.0
    assert sync_of_wave(wave, 48_000, hits).z > 1
    assert report["key"] and report["hits_answered"] == 6
    assert report["sections"][0]["letter"] == "A"
    assert all(section["chords"] and section["parts"] for section in report["sections"])
    assert json.loads(json.dumps(report, default=float))["tempo"] == 100.0


def test_more_candidates_are_never_worse_and_the_stream_is_the_piece(scorer: Scorer) -> None:
    plan = make_plan("folk", seconds=12.0)
    condition = build_condition(plan)
    composer = scorer.composer
    pieces = [composer.compose(condition, plan, GenerateOptions(candidates=n)) for n in (1, 6)]
    one, many = ([next(piece), piece.report][1] for piece in pieces)
    assert many["music"]["value"] >= one["music"]["value"]
    assert len(many["values"]) == 6 and many["values"][many["chosen"]] == max(many["values"])
    again = [np.concatenate(list(composer.compose(condition, plan, GenerateOptions())), axis=1) for _ in range(2)]
    assert np.array_equal(*again)


def test_notes_are_refused_by_a_model_of_sound(tmp_path: Path) -> None:
    model = Scorer(SineComposer())
    with pytest.raises(OptionError, match="give --model symbolic"):
        model.score(tmp_path / "clip.mp4", midi_out=str(tmp_path / "a.mid"))


def test_midi_and_stems_are_written_beside_the_video(scorer: Scorer, small_clip: Path) -> None:
    folder = small_clip.parent
    results = scorer.score_variations(
        small_clip, text="rock", variations=2, midi_out=str(folder / "a.mid"), stems_out=str(folder / "stems"),
        audio_out=str(folder / "a.wav"),
    )  # fmt: skip
    assert [result.report["options"]["seed"] for result in results] == [0, 1]
    pitches = []
    for number, result in enumerate(results, 1):
        score = read_midi(folder / f"a.{number}.mid")
        pitches.append([(note.start, note.pitch) for note in score.notes])
        assert len(score.notes) == result.report["composer"]["notes"]
        stems = sorted((folder / f"stems.{number}").iterdir())
        assert len(stems) == len(result.report["composer"]["parts"])
        total = np.sum([read_audio(path).wave for path in stems], axis=0)
        music = read_audio(folder / f"a.{number}.wav").wave
        assert total.shape == music.shape
        # The music alone is at the asked loudness, and has passed the bus: its equaliser, compressor and saturation.
        assert np.corrcoef(total[0], music[0])[0, 1] > 0.84
    assert pitches[0] != pitches[1]
    assert not list(folder.glob(".*"))


def test_a_folder_of_stems_that_is_not_empty_is_kept(scorer: Scorer, small_clip: Path) -> None:
    stems = small_clip.parent / "kept"
    stems.mkdir()
    (stems / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"kept is not empty; give --overwrite"):
        scorer.score(small_clip, stems_out=str(stems))
    assert [path.name for path in stems.iterdir()] == ["mine.txt"]
    with pytest.raises(OptionError, match=r"give --midi-out a name in \.mid"):
        scorer.score(small_clip, midi_out=str(stems / "a.txt"))
