"""A part written again: nothing else changes, the borders are read from both sides, and a bad join would be seen."""

import itertools

import numpy as np
import pytest

from openvmas.errors import ModelError, OptionError
from openvmas.generate.batch_decoder import FREE, BatchDecoder, delay_template, log_likelihood
from openvmas.generate.composer import ModelComposer
from openvmas.generate.inpainting import SLACK, TAIL
from openvmas.generate.piece import Piece
from openvmas.music.seams import find_seams
from openvmas.pretrained import find_weights
from openvmas.settings import GenerateOptions
from tests.generate.made import export_debug, make_condition

PIECE = 330
PLAIN = GenerateOptions(candidates=1, guidance=1, event_guidance=1)


@pytest.fixture(scope="module")
def composer(tmp_path_factory) -> ModelComposer:
    return ModelComposer(find_weights(export_debug(tmp_path_factory.mktemp("debug"))))


@pytest.fixture(scope="module")
def codes(composer) -> np.ndarray:
    return np.concatenate([segment.codes for segment in composer.write(make_condition(PIECE), PLAIN)], axis=1)


@pytest.mark.parametrize(("start", "end"), [(100, 180), (0, 60), (290, PIECE), (200, 201), (0, PIECE)])
def test_only_the_part_changes(composer, codes, start, end):
    shares = []
    options = GenerateOptions(candidates=2, guidance=1, event_guidance=1, seed=7)
    piece = composer.inpaint(codes, start, end, make_condition(PIECE), None, options, shares.append)
    new, report = piece.codes, piece.report
    assert new.dtype == np.uint16 and new.shape == codes.shape
    assert np.array_equal(new[:, :start], codes[:, :start]) and np.array_equal(new[:, end:], codes[:, end:])
    if end - start > 1:
        assert np.mean(new[:, start:end] != codes[:, start:end]) > 0.3
    assert shares[-1] == 1 and all(a < b for a, b in itertools.pairwise(shares))
    borders = [step / 50 for step in (start, end) if 0 < step < PIECE]
    assert [seam["time"] for seam in report["seams"]] == borders
    again = composer.inpaint(codes, start, end, make_condition(PIECE), None, options).codes
    assert np.array_equal(new, again)


@pytest.mark.parametrize(("start", "end"), [(100, 180), (0, 60), (290, PIECE), (0, PIECE)])
def test_the_sound_of_a_part_is_that_of_the_whole(composer, codes, start, end):
    """Laid into the old sound it is what playing all codes gives, so that nothing else needs to be played again."""
    condition, changed = make_condition(PIECE), codes.copy()
    changed[:, start:end] = (changed[:, start:end] + 7) % 64
    old, new = (np.concatenate([*composer.render(one, condition)], axis=1) for one in (codes, changed))
    first, sound = composer.render_part(Piece(codes=changed), condition, start, end)
    laid = old.copy()
    laid[:, first : first + sound.shape[1]] = sound
    assert np.abs(new - old).max() > 0.01
    np.testing.assert_allclose(laid, new, atol=1e-5)


def test_raising_from_progress_ends_the_work(composer, codes):
    def cancel(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        composer.inpaint(codes, 100, 200, make_condition(PIECE), None, PLAIN, progress=cancel)


def test_the_part_is_what_the_decoder_would_have_gone_on_with(composer, codes):
    """Reading the kept music gives the state that writing it had left: the next tokens have the same likelihoods."""
    condition, given = make_condition(PIECE), delay_template(codes, 64)
    whole = BatchDecoder(composer.engine, condition, PLAIN, 1)
    whole.advance(given[:, :PIECE])
    expected = whole.log_likelihood[0]
    # Two of four layers see 24 steps, two 8: after 60 steps nothing before counts any more.
    late = BatchDecoder(composer.engine, condition, PLAIN, 1, 100, given[:, 99])
    late.advance(given[:, 100:PIECE])
    assert np.allclose(late.log_likelihood[0, :, 60:], expected[:, 160:], atol=2e-2)


def test_a_new_beginning_knows_the_music_after_it(composer, codes):
    condition = make_condition(PIECE)

    def beginning(of: np.ndarray) -> np.ndarray:
        return composer.inpaint(of, 0, 20, condition, None, GenerateOptions(candidates=1, seed=4)).codes[:, :12]

    other = codes.copy()
    other[:, 200:] = (other[:, 200:] + 1) % 64  # farther away than what candidates read of the kept music
    assert np.array_equal(beginning(codes), beginning(codes))
    assert not np.array_equal(beginning(codes), beginning(other))


def test_candidates_return_to_the_kept_music_within_the_slack(composer, codes):
    options = GenerateOptions(candidates=2, guidance=1, seed=3)
    new = composer.inpaint(codes, 60, 200, make_condition(PIECE), None, options).codes
    is_new = np.flatnonzero((new != codes).any(axis=0))
    assert is_new.min() <= 62 and 200 - SLACK - 4 <= is_new.max() < 200
    assert TAIL >= 50  # what comes after counts for at least a second


def test_spans_and_codes_that_make_no_sense_are_refused(composer, codes):
    condition = make_condition(PIECE)
    for start, end in ((10, 10), (20, 10), (-1, 10), (0, PIECE + 1)):
        with pytest.raises(OptionError, match="no part of a piece"):
            composer.inpaint(codes, start, end, condition, None, PLAIN)
    for wrong in (codes[:, :-1], codes[:2], codes + 64, codes.astype(np.float32)):
        with pytest.raises(ModelError, match="codes are not this model's"):
            composer.inpaint(wrong, 0, 10, condition, None, PLAIN)
        with pytest.raises(ModelError, match="codes are not this model's"):
            list(composer.render(wrong, condition))


@pytest.mark.parametrize("candidates", [1, 2])
def test_rendering_codes_gives_the_blocks_of_the_stream(composer, candidates):
    condition = make_condition(400)
    piece = composer.compose(condition, None, GenerateOptions(candidates=candidates))
    blocks, codes = list(piece), piece.codes
    assert codes.dtype == np.uint16 and codes.shape == (4, 400)
    rendered = list(composer.render(codes, condition))
    assert [b.shape for b in rendered] == [b.shape for b in blocks]
    assert all(np.array_equal(a, b) for a, b in zip(blocks, rendered, strict=True))


def test_given_cells_follow_the_delay_and_count_only_as_codes():
    codes = np.array([[1, FREE, 3], [4, FREE, 6]])
    assert delay_template(codes, 9).tolist() == [[1, FREE, 3, 9], [9, 4, FREE, 6]]
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    assert np.allclose(np.exp(log_likelihood(logits, np.array([[0, 2]]))), [[0.5, 0.8]])
    assert log_likelihood(logits, np.array([[FREE, 3]])).tolist() == [[0, 0]]


def make_music(seconds: float, seed: int, rate: int = 24_000) -> np.ndarray:
    """Notes of a pentatonic scale, one in a quarter of a second, each dying away, over a low tone."""
    rng, n = np.random.default_rng(seed), round(seconds * rate)
    wave, time = 0.1 * np.sin(2 * np.pi * 110 * np.arange(n) / rate), np.arange(rate) / rate
    for start in range(0, n - rate, rate // 4):
        pitch = 220 * 2 ** (rng.choice([0, 2, 4, 7, 9, 12, 14]) / 12)
        note = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in (1, 2, 3)) * np.exp(-6 * time)
        wave[start : start + rate] += 0.2 * rng.uniform(0.5, 1) * note
    return wave


def test_a_seam_of_the_piece_itself_is_no_outlier_and_a_planted_one_is():
    rate, piece = 24_000, make_music(12, 1)
    usual = [find_seams(piece, rate, [time])[0] for time in np.arange(2.05, 10, 0.37)]
    assert 0.3 < np.mean([seam.spectrum for seam in usual]) < 0.7
    assert np.mean([seam.worst > 0.97 for seam in usual]) < 0.3
    loud, rng = piece.copy(), np.random.default_rng(3)
    loud[6 * rate :] *= 4
    assert find_seams(loud, rate, [6.1])[0].time == 6.1
    assert find_seams(loud, rate, [6.0])[0].level > 0.97
    other = piece.copy()
    other[6 * rate :] = 0.1 * rng.standard_normal(len(piece) - 6 * rate)  # other music altogether
    seam = find_seams(other, rate, [6.0])[0]
    assert seam.timbre > 0.97 and seam.worst > 0.97
