"""The notebook docs/eval/evaluation.ipynb has its script's cells and results, and its script runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import run_notebook

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "eval" / "evaluation.py"


def test_cells_are_read_and_run(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(
        "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 3\nprint('said')\nf'{x} apples'\n\n# %%\nx = 4\n"
    )
    found = run_notebook.run(script)["cells"]
    assert [cell["cell_type"] for cell in found] == ["markdown", "code", "code"]
    assert "".join(found[0]["source"]) == "# Title\n\nText."
    assert found[1]["outputs"][0]["text"] == ["said\n"]
    assert found[1]["outputs"][1]["data"]["text/plain"] == ["'3 apples'"] and not found[2]["outputs"]
    assert not run_notebook.is_current(script)
    script.write_text("# %%\n1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        run_notebook.run(script)


def test_the_notebook_is_its_script_with_results() -> None:
    assert run_notebook.is_current(SCRIPT), "run: python tools/run_notebook.py docs/eval/evaluation.py"
    cells = json.loads(SCRIPT.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    assert sum(bool(cell.get("outputs")) for cell in cells) >= 4


def test_the_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    cells = run_notebook.run(SCRIPT)["cells"]
    said = "".join(line for cell in cells for output in cell.get("outputs", []) for line in output.get("text", []))
    z = {
        name: float(value)
        for name, value in re.findall(r"^(symbolic|folder|click|reference) +(-?[\d.]+) \(", said, re.M)
    }
    assert len(z) == 4
    # Four clips of a few seconds: chance is within 1.5 of 0, and what follows the picture lies clearly above it.
    others = [z[name] for name in ("click", "folder", "reference")]
    assert z["symbolic"] > max(others) + 1 and max(map(abs, others)) < 1.5
    assert "listeners" in said
