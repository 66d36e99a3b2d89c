"""How well the filters of `openvmas data build` find planted defects: precision and recall of each.

    python tools/make_planted_set.py --media PICTURES --music MUSIC --out DIR --seed 2
    python bench/filters.py DIR [--json VERDICTS.jsonl] [--all]

Every file goes through the stages as in a build: the filters that need no decoding of the whole picture are all asked,
so that one does not hide another; `moving` and `fit` see what the others let through. A file counts for a filter if
the truth says that it must (or must not) refuse it; where the truth says "either" it does not count. Prints also what
became of each kind of file, and the processor time of each stage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import av

from openvmas.data.curation.record import Drop, Origin, Record, make_id
from openvmas.data.curation.record_media import Media
from openvmas.data.stages import STAGES
from openvmas.errors import InputError
from openvmas.vision.analysis import VideoAnalysis

CHEAP = ("probe", "size", "decode", "quality", "glance", "music", "speech")
DEAR = ("shots", "moving", "fit")
SIDES = ("probe", "size", "decode", "quality", "glance", "music", "speech", "moving", "fit")


def picture_key(path: Path) -> str:
    """Hash of the packets of a file's picture: files with equal ones show exactly the same."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            digest.update(bytes(packet))
    return digest.hexdigest()


def judge(
    folder: Path, path: str, times: dict[str, float], seen: dict[str, VideoAnalysis], names: tuple[str, ...]
) -> dict[str, str]:
    """Which filters refuse a file, and why: filter → reason, "" where it passes; filters not reached are missing.

    seen: analyses by picture_key, so that the same pictures under another sound are not analysed again.
    """
    record = Record(make_id("planted", path), "video", Origin("planted", path, licence="test"))
    verdict: dict[str, str] = {}
    key = ""
    with Media(record, folder / path) as media:
        for name in names:
            if name in DEAR and any(verdict.values()):
                break
            if name == DEAR[0]:
                key = picture_key(folder / path)
                if key in seen:
                    media._kept["video"] = (seen[key], None)
            began = time.process_time()
            try:
                result = STAGES[name](**({"is_refused": True} if name == "fit" else {}))(record, media)
            except InputError as error:
                result = Drop(record, name, "unreadable", str(error))
            times[name] += time.process_time() - began
            verdict[name] = result.reason if isinstance(result, Drop) else ""
            if isinstance(result, Record):
                record = result
            if name == "probe" and verdict[name]:
                break
        if DEAR[0] in verdict and verdict[DEAR[0]] != "unreadable":
            seen[key] = media.video()
    return verdict


def count(truth: dict[str, Any], verdict: dict[str, str], table: dict[str, Counter[str]], odd: list[str]) -> None:
    """Add a file to the table of true and false positives and negatives."""
    for name in SIDES:
        if name not in verdict or name in truth["either"]:
            continue
        is_refused, must = bool(verdict[name]), name in truth["drops"]
        table[name][("tn", "fn", "fp", "tp")[2 * is_refused + must]] += 1
        if is_refused != must:
            what = f"refused as {verdict[name]}" if is_refused else "let through"
            odd.append(f"{truth['path']} ({truth['made']} {truth['change']}): {what} by {name}")
    must, is_refused = bool(truth["drops"]), any(verdict.values())
    table["the whole"][("tn", "fn", "fp", "tp")[2 * is_refused + must]] += 1


def scores(row: Counter[str]) -> tuple[float, float]:
    """Precision and recall; 1 where nothing was to be found."""
    precision = row["tp"] / max(row["tp"] + row["fp"], 1) if row["tp"] + row["fp"] else 1.0
    recall = row["tp"] / (row["tp"] + row["fn"]) if row["tp"] + row["fn"] else 1.0
    return precision, recall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="Also write all verdicts here, one line a file.")
    parser.add_argument("--all", action="store_true", help="Watch the changed copies of good files, too.")
    options = parser.parse_args()
    truths = [json.loads(line) for line in (options.folder / "truth.jsonl").read_text().splitlines()]
    table: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    times: dict[str, float] = defaultdict(float)
    odd: list[str] = []
    seen: dict[str, VideoAnalysis] = {}
    # First what needs no analysis of pictures: a run that is stopped has said something by then.
    for truth in sorted(truths, key=lambda truth: not set(truth["drops"]) & set(CHEAP)):
        is_copy = truth["made"] == "duplicate" and not options.all
        names = CHEAP if is_copy else (*CHEAP, *DEAR)
        verdict = judge(options.folder, truth["path"], times, seen, names)
        if options.json:  # kept as it grows: a full run takes a while
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"path": truth["path"], "verdict": verdict}) + "\n")
        count(truth, verdict, table, odd)
        first = next((f"{name}: {reason}" for name, reason in verdict.items() if reason), "kept")
        kinds[truth["made"]][first] += 1
    print(f"{len(truths)} files\n\nfilter      must  refused  precision  recall")
    for name in (*SIDES, "the whole"):
        row = table[name]
        precision, recall = scores(row)
        print(f"{name:10} {row['tp'] + row['fn']:5} {row['tp'] + row['fp']:8}  {precision:9.3f}  {recall:6.3f}")
    print("\nwhat was made: what became of it")
    for made, row in kinds.items():
        print(f"{made:14}", ", ".join(f"{n} {what}" for what, n in row.most_common()))
    print("\nprocessor seconds:", ", ".join(f"{name} {times[name]:.1f}" for name in (*CHEAP, *DEAR)))
    print(*odd, sep="\n")


if __name__ == "__main__":
    main()
