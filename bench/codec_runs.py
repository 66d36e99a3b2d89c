"""One line per short codec run: what differed from the defaults, and what came out at the end.

    openvmas train codec MUSIC RUNS/NAME --time-limit 270 --clock cpu --continuous-steps 150
    ...   # each
    python bench/codec_runs.py RUNS/*

Reads `recipe.json` and `log.jsonl` of every run; held-out clips are those of the training log (24 of 4 s).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from openvmas.train.codec.codec_trainer import CodecRecipe

COLUMNS = ("snr_db", "level", "mel", "corr_0_500", "corr_500_2000", "corr_2000_5000", "corr_5000_10000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    print("| run | options | steps | s | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 4) + "|")
    standard = asdict(CodecRecipe())
    for run in arguments.runs:
        recipe = json.loads((run / "recipe.json").read_text())
        last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
        options = " ".join(f"{key}={value}" for key, value in recipe.items() if value != standard.get(key))
        values = " | ".join(f"{last[name]:.2f}" if name != "mel" else f"{last[name]:.3f}" for name in COLUMNS)
        print(f"| {run.name} | {options} | {last['step']} | {last['seconds']} | {values} |")


if __name__ == "__main__":
    main()
