"""The matrix: `make test` runs its fast part, `make matrix` the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from openvmas.errors import OpenVMASError
from openvmas.generate.scorer import Scorer
from tests import run_cli
from tests.media.matrix.cases import CASES
from tests.media.matrix.compare import check


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return run_cli.load()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if case.is_fast else pytest.mark.matrix) for name, case in CASES.items()]
)
def test_what_comes_out_is_what_went_in(tmp_path: Path, scorer: Scorer, name: str) -> None:
    case = CASES[name]
    clip = case.build(tmp_path)
    if case.refused:
        with pytest.raises(OpenVMASError, match=case.refused):
            scorer.score(clip)
        return
    for extension in case.outputs:
        check(case, clip, extension, scorer)
