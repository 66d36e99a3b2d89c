"""The cells of the written notebook run, and notebook, page and script say the same."""

from __future__ import annotations

import json
from pathlib import Path

import make_tutorial  # pyright: ignore[reportMissingImports]
import pytest

from openvmas.generate import scorer
from tests import run_cli
from tests.clips import write_clip

DOCS = Path(__file__).resolve().parents[2] / "docs"
CELLS = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_that_of_the_script_and_was_run() -> None:
    assert ["".join(cell["source"]) for cell in CELLS] == list(make_tutorial.CELLS)
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = ["".join(part for shown in cell["outputs"] for part in shown["text"]) for cell in code]
    assert all(outputs) and make_tutorial.page(outputs) == (DOCS / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", 4.0, sound="noise")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorer, "load", run_cli.load)
    import openvmas

    monkeypatch.setitem(vars(openvmas), "load", run_cli.load)
    printed = make_tutorial.run(["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"], {})
    assert printed[0].startswith("clip.scored.mp4 at ") and "(2, 192000)" in printed[4]
    assert "missing.mp4" in printed[-1]
