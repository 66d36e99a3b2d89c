"""Arrangements of made songs: place, joins, ending, the user's moments and limits."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest

from openvmas.fitting.anchoring import anchor
from openvmas.fitting.arrangement import Limits, arrange, find_joins
from openvmas.fitting.track import hear
from openvmas.fitting.wishes import Wishes
from tests.fitting.made import make_song

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def track(tmp_path_factory):
    return hear(make_song(32, 120).save(tmp_path_factory.mktemp("song") / "song.wav"))


def check_runs(arrangement, track, seconds):
    """Runs follow each other without gaps, inside the recording, up to about the end."""
    runs = arrangement.runs
    assert runs[0].start >= 0
    for before, after in itertools.pairwise(runs):
        assert after.start == pytest.approx(before.end, abs=1e-6)
        if not after.is_joined:
            assert after.source_start == pytest.approx(before.source_end, abs=1e-6)
    assert all(run.source_end > run.source_start >= track.start - 0.1 for run in runs)
    assert runs[-1].source_end == pytest.approx(track.end, abs=1e-6)
    assert seconds - 1.3 <= runs[-1].end <= seconds + 4


def test_long_recordings_are_cut_at_fewer_bar_lines_and_limits_hold(track, monkeypatch):
    wishes = Wishes.of_user(90.0, (11.0,))
    whole = arrange(track, wishes)
    monkeypatch.setattr("openvmas.fitting.arrangement.MOST_CELLS", len(track.marks) * 90 * 50 // 4)
    fewer = arrange(track, wishes)
    check_runs(fewer, track, 90.0)
    assert fewer.joins and fewer != whole

    def line(place):
        return int(np.abs(track.marks - place).argmin())

    def lines(arrangement):
        pairs = zip(arrangement.runs, arrangement.runs[1:], strict=False)
        return [(line(before.source_end), line(run.source_start)) for before, run in pairs if run.is_joined]

    assert all(at % 4 == 0 or at == len(track.marks) - 1 for pair in lines(fewer) for at in pair)
    forbidden = frozenset(lines(fewer))
    assert not forbidden & set(lines(arrange(track, wishes, Limits(forbidden=forbidden))))


@pytest.mark.parametrize("seconds", [5.0, 20.0, 41.7, 66.0, 150.0, 400.0])
def test_any_length_ends_with_the_recordings_own_ending(track, seconds):
    arrangement = arrange(track, Wishes.of_user(seconds, ()))
    check_runs(arrangement, track, seconds)
    last = arrangement.target_times(np.array([track.last]))
    assert len(last) and last[-1] < seconds
    assert all(abs(run.rate - 1) <= 0.0401 for run in arrangement.runs)


def test_its_own_length_changes_nothing(track):
    arrangement = arrange(track, Wishes.of_user(track.duration, ()))
    assert not arrangement.joins
    assert arrangement.runs[0].source_start == pytest.approx(track.start, abs=0.06)
    assert arrangement.runs[0].rate == 1.0


def test_a_picture_whose_cuts_are_the_musics_own_accents_is_met_without_joins(track):
    """Moments at the bar lines 10 to 20 of the song: the song is laid so that they are its bar lines again."""
    bars = track.marks[1:-1]
    hits = bars[8:20] - bars[8] + 1.3
    wishes = Wishes(
        Fraction(40), hits, np.ones(len(hits)), np.zeros(len(hits), bool), keeps_beginning=False
    )  # fmt: skip
    arrangement = arrange(track, wishes)
    met = np.abs(arrangement.target_times(bars)[:, None] - hits).min(axis=0)
    assert np.median(met) < 0.05


def test_the_users_moments_are_met_exactly(track):
    for hits in ((12.4,), (5.2, 21.7), (9.9, 19.1, 31.5)):
        wishes = Wishes.of_user(45.0, hits)
        arrangement, answers = anchor(track, arrange(track, wishes), wishes.user_hits)
        check_runs(arrangement, track, 45.0)
        assert [answer.hit for answer in answers] == list(hits)
        assert all(answer.kind in ("bar line", "beat", "onset", "half beat") for answer in answers)
        attacks = np.flatnonzero(track.strength > 1.5) / 100
        heard = arrangement.target_times(attacks)
        assert max(np.abs(heard - hit).min() for hit in hits) < 0.03
        assert any(answer.kind == "bar line" for answer in answers)


def test_nothing_is_heard_three_times_in_a_row(tmp_path):
    track = hear(make_song(16, 120).save(tmp_path / "short.wav"))
    arrangement = arrange(track, Wishes.of_user(100.0, ()))
    check_runs(arrangement, track, 100.0)
    bars = [
        round(float(t), 1) for run in arrangement.runs for t in track.marks if run.source_start <= t < run.source_end
    ]
    for length in range(1, 9):
        for i in range(len(bars) - 3 * length + 1):
            one, two, three = (bars[i + k * length : i + (k + 1) * length] for k in range(3))
            assert not one == two == three


def test_kept_spans_are_played_whole_and_dropped_ones_are_not_entered(track):
    kept = (float(track.marks[9]), float(track.marks[15]))
    arrangement = arrange(track, Wishes.of_user(150.0, ()), Limits(kept=(kept,)))
    for run in arrangement.runs:
        assert not kept[0] + 0.1 < run.source_start < kept[1] - 0.1 or not run.is_joined
        assert not kept[0] + 0.1 < run.source_end < kept[1] - 0.1
    plain = arrange(track, Wishes.of_user(30.0, ()))
    assert not any(run.is_joined for run in arrange(track, Wishes.of_user(30.0, ()), Limits(joins=False)).runs)
    pair = next((run for run in plain.runs if run.is_joined), None)
    assert pair is not None


def test_no_join_in_a_sung_phrase(track):
    sung = dataclasses.replace(track, sung=np.array([[float(track.marks[6]) - 1, float(track.marks[20]) + 1]]))
    targets, costs = find_joins(sung, Limits(), frozenset())
    allowed = costs < 1e8
    inside = sung.is_sung(sung.marks)
    assert inside.sum() == 15
    assert not allowed[inside].any()
    assert not inside[targets[allowed]].any()


def test_another_seed_gives_another_arrangement(track):
    wishes = dataclasses.replace(Wishes.of_user(25.0, ()), keeps_beginning=False)
    found = {arrange(track, wishes, Limits(seed=seed)).runs for seed in range(6)}
    assert len(found) >= 3
    assert arrange(track, wishes, Limits(seed=2)) == arrange(track, wishes, Limits(seed=2))


@pytest.mark.parametrize("seconds", [1.5, 9.0, 33.0])
def test_a_recording_of_three_bars_fills_any_length(tmp_path, seconds):
    track = hear(make_song(3, 120).save(tmp_path / "tiny.wav"))
    check_runs(arrange(track, Wishes.of_user(seconds, ())), track, seconds)
