"""Folders of recordings: the index, what it costs to keep, and which recording is chosen."""

import shutil
import time
from fractions import Fraction

import numpy as np
import pytest

from openvmas.condition import AXES
from openvmas.errors import InputError
from openvmas.fitting import library as module
from openvmas.fitting.arrangement import arrange
from openvmas.fitting.composer import LibraryComposer
from openvmas.fitting.library import INDEX, Entry, Library, PlaceMatcher, choose, rank
from openvmas.fitting.track import hear
from openvmas.fitting.wishes import Wishes
from openvmas.music.sync import sync_z
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.settings import GenerateOptions, MusicOptions
from tests.fitting.made import make_song

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    music = tmp_path / "music"
    (music / "calm piano").mkdir(parents=True)
    make_song(8, 120, seed=1).save(music / "one.wav")
    make_song(8, 90, seed=2).save(music / "calm piano" / "two.wav")
    return music


def make_plan(text=None, seconds=8.0):
    hits = (Hit(1.0, 0.5, "picture"), Hit(3.1, 0.9, "picture"), Hit(5.0, 0.7, "picture"))
    return ScorePlan(Fraction(str(seconds)), (Section(0, seconds),), (TempoMark(0.0, 120.0),), hits=hits, text=text)


def test_the_index_is_brought_up_to_date_by_content(folder, monkeypatch):
    assert len(Library.open(folder).entries) == 2
    assert (folder / INDEX).is_file()
    heard = []
    monkeypatch.setattr(module, "describe", lambda name, *rest: heard.append(name))
    (folder / "one.wav").rename(folder / "renamed.wav")
    shutil.copy(folder / "renamed.wav", folder / "copy.wav")
    names = [entry.name for entry in Library.open(folder).entries]
    assert names == ["calm piano/two.wav", "copy.wav", "renamed.wav"] and heard == []
    (folder / "copy.wav").unlink()
    assert len(Library.open(folder).entries) == 2


def test_files_that_are_no_music_are_skipped_and_an_empty_folder_is_refused(folder, tmp_path):
    (folder / "broken.mp3").write_text("text")
    found = Library.open(folder)
    assert len(found.entries) == 2 and "broken.mp3" in found.skipped
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no music"):
        Library.open(tmp_path / "none")


def test_words_of_names_count_as_mood(folder):
    found = Library.open(folder)
    two = next(entry for entry in found.entries if entry.name.endswith("two.wav"))
    assert two.axes[AXES.index("piano")] > 0.5
    plan = make_plan("calm piano")
    best = rank(found, Wishes.of_plan(plan), plan)[0]
    assert best.entry is two and best.mood > 0.3
    assert best.reasons


def test_recordings_are_chosen_by_how_they_are_arranged(folder):
    """By the index alone the first would win, whatever its arrangement comes to."""
    plan = make_plan()
    wishes, found = Wishes.of_plan(plan), Library.open(folder)
    ranked = rank(found, wishes, plan)
    chosen = choose(found, wishes, plan)
    assert {choice.entry.name for choice in chosen} == {choice.entry.name for choice in ranked}
    for choice in chosen:
        track = hear(found.path(choice.entry))
        before = next(other for other in ranked if other.entry is choice.entry)
        strength = arrange(track, wishes).strength(track, 8.0)
        assert choice.sync == pytest.approx(sync_z(strength, wishes.hits, 8.0).z, abs=0.3)
        assert choice.sync is not None
        gained = module.SYNC_WEIGHT * min(choice.sync, module.BEST_SYNC) - module.PLACE_WEIGHT * choice.place
        assert choice.value - before.value == pytest.approx(gained)
    assert [c.value for c in chosen] == sorted((c.value for c in chosen), reverse=True)


def test_what_was_used_lately_stands_back(folder):
    found = Library.open(folder)
    plan = make_plan()
    first = rank(found, Wishes.of_plan(plan), plan)[0].entry
    found.remember(first)
    assert Library.open(folder).used == [first.sha256]
    values = {choice.entry.name: choice.value for choice in rank(found, Wishes.of_plan(plan), plan)}
    found.used = []
    fresh = {choice.entry.name: choice.value for choice in rank(found, Wishes.of_plan(plan), plan)}
    assert fresh[first.name] - values[first.name] == pytest.approx(module.USED_COST)


def test_seeds_of_one_run_give_different_recordings(folder):
    composer = LibraryComposer(Library.open(folder), MusicOptions(music=str(folder)), has_memory=False)
    plan = make_plan()
    condition = build_condition(plan)
    names = []
    for seed in (0, 1):
        piece = composer.compose(condition, plan, GenerateOptions(seed=seed))
        wave = np.concatenate(list(piece), axis=1)
        assert wave.shape == (2, 8 * 48_000)
        names.append(piece.report["track"]["file"])
        assert piece.report["choices"][0]["reasons"]
    assert len(set(names)) == 2


def test_the_matcher_finds_the_place_where_moments_are_accents(tmp_path):
    track = hear(make_song(24, 117).save(tmp_path / "song.wav"))
    hits = np.array([1.0, 3.3, 4.1, 7.7, 9.2])
    curve = np.zeros(3000, np.int8)
    curve[np.rint((20.0 + hits * 1.02) * module.CURVE_RATE).astype(int)] = 100
    wishes = Wishes(Fraction(12), hits, np.ones(5), np.zeros(5, bool))
    value, start = PlaceMatcher(wishes).best(curve)
    assert start == pytest.approx(20.0, abs=0.03) and value == pytest.approx(4 * np.sqrt(5), rel=0.01)
    assert arrange(track, wishes).value > -5


def test_five_hundred_recordings_are_ranked_in_two_seconds(tmp_path):
    rng = np.random.default_rng(0)
    entries = [
        Entry(
            f"{k}.flac", "", f"{k}", 180.0, 120.0, "C major", True,
            rng.integers(-40, 127, 9000).astype(np.int8), rng.normal(0, 4, 360).astype(np.float32),
            rng.normal(0, 1, len(AXES)).astype(np.float32),
        )
        for k in range(500)
    ]  # fmt: skip
    plan = make_plan("calm piano", 60.0)
    began = time.process_time()
    choices = rank(Library(tmp_path, entries), Wishes.of_plan(plan), plan)
    assert len(choices) == 500 and time.process_time() - began < 2
