"""Few files and few clips: what cannot be said is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.eval.benchmark.folder_measures import MeasuredFile, MeasuredFolder, Pairing
from openvmas.eval.benchmark.set_measures import MAX_PATCHES
from openvmas.eval.benchmark.small_samples import (
    about_patches,
    about_reference,
    about_tests,
    count_patches,
    halves,
    least_p,
)
from openvmas.eval.metrics.statistics import Interval, paired_permutation_test
from openvmas.eval.suites.cache import Sound
from openvmas.media.audio import write_wav


def folder(n_files: int, n_patches: int = 20, spread: float = 1.0) -> MeasuredFolder:
    """Files of patches around a centre of their own."""
    files = []
    for i in range(n_files):
        rng = np.random.default_rng(i)
        patches = spread * rng.normal(size=(1, 8)) + rng.normal(size=(n_patches, 8))
        files.append(MeasuredFile(f"{i}.wav", {}, Sound(patches, np.zeros((n_patches, 0)))))
    return MeasuredFolder(Path("reference"), tuple(files), {})


def test_halves_of_a_small_reference_lie_far_apart_and_of_a_large_one_near() -> None:
    few, many, alike = (halves(f) for f in (folder(8), folder(120), folder(8, spread=0.0)))
    assert few and many and alike
    assert few.value > 3 * many.value > 0 and few.low <= few.value <= few.high
    assert alike.value < few.value / 3  # it is the files that differ, not the number of patches
    assert halves(folder(3)) is None and halves(folder(4, n_patches=2)) is None
    assert repr(halves(folder(8))) == repr(few)


def test_a_small_reference_is_said() -> None:
    text = about_reference(8, {"yamnet": Interval(9.5, 8.1, 11.2)})
    assert "8 files" in text and "9.5 (8.1 to 11.2) by yamnet" in text and "Fewer than 50 files" in text
    assert "Fewer" not in about_reference(50, {"yamnet": Interval(2.0, 1.0, 3.0)})


def test_the_cap_the_level_and_the_silence_stand_beside_the_figures() -> None:
    text = about_patches({"ours": (1500, 3200), "theirs": (90, 90)})
    assert "-20 dB" in text and "-50 dB" in text and "1,500 patches" in text and "ours 1,500 of 3,200" in text
    assert "theirs" not in text and "(" not in about_patches({}).replace("(RMS)", "")
    assert count_patches(folder(100)) == (MAX_PATCHES, 2000)


@pytest.mark.parametrize("n", [2, 6, 9])
def test_the_least_p_is_that_of_the_largest_difference(n: int) -> None:
    assert paired_permutation_test(np.zeros(n), 1 + np.arange(n)) == pytest.approx(least_p(n))


def test_a_page_on_which_nothing_can_be_significant_says_so() -> None:
    """Six clips and 106 tests: p is at least 1/32, and Holm's correction makes 3.3 of it."""

    def pairings(n_tests: int, n_pairs: int) -> list[Pairing]:
        return [Pairing(0, 1, Interval(1, 0.5, 1.5), 0.5, 1, 1, n_pairs)] * n_tests

    text = about_tests(pairings(106, 6))
    assert "over 6 clips the smallest p is 0.0312" in text and "106 tests" in text and "makes that 1;" in text
    assert "13 clips could be" in text and 106 * least_p(13) <= 0.05 < 106 * least_p(12)
    assert about_tests(pairings(106, 13)) == "" == about_tests([])
    assert "compare fewer systems" in about_tests(pairings(600, 59))  # random signs have a least p of their own


def test_a_reference_of_one_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("made", "real"):
        (tmp_path / name).mkdir()
        write_wav(tmp_path / name / "a.wav", np.zeros((1, 8000), np.float32), 8000)
    assert main(["eval", "folder", str(tmp_path / "made"), "--reference", str(tmp_path / "real")]) == 2
    assert "holds one file" in capsys.readouterr().err
