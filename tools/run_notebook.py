"""Run a notebook that is written as a script, and write it with its results beside the script.

    python tools/run_notebook.py docs/eval/evaluation.py [--check]

The script is in the percent format that editors know: `# %%` begins a cell of Python, `# %% [markdown]` one of text
in comments. All cells run in one namespace, in this process; what they print, and the value of a last expression, is
kept as Jupyter does (nbformat 4). --check only says whether SCRIPT.ipynb has the same cells.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """kind: markdown or code. text: without the comment marks of markdown. line: of the script, from 1."""

    kind: str
    text: str
    line: int


def read_cells(script: str) -> list[Cell]:
    """The cells of a script in the percent format."""
    cells: list[Cell] = []
    lines: list[str] = []
    kind, start = "", 0

    def close() -> None:
        text = "\n".join(line.removeprefix("#").removeprefix(" ") if kind == "markdown" else line for line in lines)
        if kind and text.strip():
            cells.append(Cell(kind, text.strip("\n"), start))

    for number, line in enumerate(script.splitlines(), 1):
        if line.startswith("# %%"):
            close()
            kind, start, lines = "markdown" if "[markdown]" in line else "code", number + 1, []
        else:
            lines.append(line)
    close()
    return cells


def run_cell(cell: Cell, names: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The outputs of a cell. Errors are raised, with the script's own lines in the traceback."""
    tree = ast.parse("\n" * (cell.line - 1) + cell.text, path)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(tree, path, "exec"), names)
        value = eval(compile(ast.Expression(last.value), path, "eval"), names) if isinstance(last, ast.Expr) else None
    outputs: list[dict[str, Any]] = []
    if said.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": said.getvalue().splitlines(keepends=True)})
    if value is not None and not isinstance(value, int):  # exit codes of commands say nothing
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    return outputs


def run(script: Path) -> dict[str, Any]:
    """A notebook (nbformat 4) with the results of its cells, which run in the current folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells: list[dict[str, Any]] = []
    count = 0
    for number, cell in enumerate(read_cells(script.read_text(encoding="utf-8"))):
        made: dict[str, Any] = {"cell_type": cell.kind, "id": f"cell-{number}", "metadata": {}}
        made["source"] = cell.text.splitlines(keepends=True)
        if cell.kind == "code":
            count += 1
            outputs = run_cell(cell, names, str(script))
            for output in outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
            made |= {"execution_count": count, "outputs": outputs}
        cells.append(made)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def is_current(script: Path) -> bool:
    """Whether the notebook beside a script has the same cells."""
    target = script.with_suffix(".ipynb")
    if not target.exists():
        return False
    found = json.loads(target.read_text(encoding="utf-8"))["cells"]
    wanted = read_cells(script.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in found] == [(c.kind, c.text) for c in wanted]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("--check", action="store_true", help="only say whether the notebook has the script's cells")
    given = parser.parse_args()
    target = given.script.with_suffix(".ipynb")
    if given.check:
        if is_current(given.script):
            return 0
        print(f"{target} is not what {given.script} says; run: python tools/run_notebook.py {given.script}")
        return 1
    notebook = run(given.script)
    part = target.with_name(target.name + ".part")
    part.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, target)
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
