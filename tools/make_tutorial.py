"""Run the tutorial and write docs/tutorial.ipynb and docs/tutorial.md with what its cells print.

    python tools/make_tutorial.py [--video examples/city.mp4] [--seconds 12] [--output docs]

The notebook is run here, without Jupyter: cells share one namespace, and what they print is kept as their
output. A test
runs the cells of the written notebook again on a short clip (tests/release/test_tutorial.py).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

ROOT = Path(__file__).resolve().parent.parent
# Text and code by turns; the code works on clip.mp4 in the current folder.
CELLS = (
    """# Tutorial: OpenVMAS from Python

From a video to a scored one, first in one call, then stage by stage. Run it in a folder with a video called
`clip.mp4` (here: the first
seconds of `examples/city.mp4`). This page is made by `tools/make_tutorial.py`, which runs every cell; the same
as a notebook:
[tutorial.ipynb](tutorial.ipynb).

## One call""",
    """import openvmas

scorer = openvmas.load("mini")
result = scorer.score("clip.mp4", text="calm piano, hopeful", overwrite=True)
print(result.path.name, "at", round(result.report["tempo"]), "BPM")
print(round(result.report["mix"]["loudness_lufs"], 1), "LUFS; heard as:", result.report["heard"])""",
    """`result.report` is what lies beside the video as `clip.scored.json`: model with hash and licence, options, plan,
mix, times. Options are those of the command line, by the same names.

## What the picture says""",
    """analysis = openvmas.analyze("clip.mp4")
print(f"{float(analysis.duration):.2f} s, {len(analysis.shots)} shots, {len(analysis.visual_beats)} visual beats")
print("cuts at", [round(float(time), 2) for time in analysis.cuts])
strongest = analysis.visual_beats[analysis.visual_beat_strengths.argmax()]
print(f"the strongest moment is at {strongest:.2f} s")""",
    """Curves are on one clock of 50 steps a second: `analysis.events.energy` says how lively the picture is, and
`analysis.events.accents` where something happens. The music is made to follow the same curves.

## A plan

A plan says where sections begin, how full and fast they are, and which moments get an accent. It can be written
as YAML, edited
and read again.""",
    """plan = openvmas.plan(analysis, hit=[2.5], text="calm piano, hopeful")
for section in plan.sections:
    print(f"{section.start:6.2f} to {section.end:6.2f} s, energy {section.energy:.2f}")
print(", ".join(f"{hit.time:.2f} ({hit.source})" for hit in plan.hits))""",
    "Everything in a plan is frozen; a changed plan is a new one. Here the second half is to be quieter:",
    """\
from dataclasses import replace

from openvmas.planning.plan_yaml import read_plan, write_plan

half = float(plan.duration) / 2
quieter = replace(plan, energy_curve=((half, 1.0), (half + 0.5, 0.6)))
assert read_plan(write_plan(quieter)).sections == quieter.sections
print(write_plan(quieter).splitlines()[0])""",
    """## Music, block by block

A piece is an iterator over blocks of about a second, made when they are taken: it can be played while it is
written. All blocks together are as
long as the picture, to the sample.""",
    """import numpy as np

piece = scorer.compose(quieter, analysis, seed=4)
wave = np.concatenate(list(piece), axis=1)
print(wave.shape, wave.dtype, "of", float(plan.duration) * 48_000, "samples at 48 kHz")
level = [float(np.sqrt((part**2).mean())) for part in np.array_split(wave, 2, axis=1)]
print(f"second half against the first: {20 * np.log10(level[1] / level[0]):.1f} dB")""",
    """## Does it fit?

`openvmas.similarity` compares a picture with music, any music, by weights of its own: in time, and in meaning.""",
    """found = openvmas.similarity("clip.scored.mp4", "clip.scored.mp4")
print(found)""",
    """## Errors

What you can mend is an `OpenVMASError` whose message says how.""",
    """try:
    openvmas.score("missing.mp4")
except openvmas.OpenVMASError as error:
    print(error)""",
)


def run(cells: Sequence[str], namespace: dict[str, Any]) -> list[str]:
    """What each code cell printed, in order; the cells share the namespace."""
    printed = []
    for code in cells:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "<cell>", "exec"), namespace)
        printed.append(out.getvalue())
    return printed


def notebook(outputs: Sequence[str]) -> dict[str, Any]:
    """The cells and what they printed, as nbformat 4.5."""
    cells: list[dict[str, Any]] = []
    for index, source in enumerate(CELLS):
        cell: dict[str, Any] = {"id": f"cell-{index:02}", "metadata": {}, "source": source.splitlines(keepends=True)}
        if index % 2 == 0:
            cells.append({"cell_type": "markdown", **cell})
            continue
        text = outputs[index // 2].splitlines(keepends=True)
        shown = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
        cells.append({"cell_type": "code", "execution_count": index // 2 + 1, "outputs": shown, **cell})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def page(outputs: Sequence[str]) -> str:
    """The same as Markdown."""
    parts = []
    for index, source in enumerate(CELLS):
        if index % 2 == 0:
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", f"```text\n{outputs[index // 2].rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def cut(source: Path, target: Path, seconds: float) -> None:
    """The packets of the first seconds of a video, with its sound."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        for packet in reader.demux():
            if packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tutorial and write it down.")
    parser.add_argument("--video", type=Path, default=ROOT / "examples/city.mp4")
    parser.add_argument("--seconds", type=float, default=12.0, help="of it that are used")
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    asked = parser.parse_args()
    target = asked.output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        cut(asked.video.resolve(), Path(folder, "clip.mp4"), asked.seconds)
        here = os.getcwd()
        os.chdir(folder)
        try:
            outputs = run(CELLS[1::2], {})
        finally:
            os.chdir(here)
    target.mkdir(parents=True, exist_ok=True)
    (target / "tutorial.md").write_text(page(outputs), encoding="utf-8")
    text = json.dumps(notebook(outputs), indent=1, ensure_ascii=False) + "\n"
    (target / "tutorial.ipynb").write_text(text, encoding="utf-8")
    print(f"wrote {target}/tutorial.md and tutorial.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
