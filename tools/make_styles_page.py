"""The page of styles: 15 s of each style as the composer writes it, its plan, and who hears it as what.

    python tools/make_styles_page.py [--styles NAME ...] [--seeds 3] [--no-tags]

Writes docs/styles/NAME.opus (60 kB at most), docs/styles/NAME.plan.yaml and docs/styles.md. For styles that musicnn has
a tag for (tools/fetch_eval_weights.py fetches it) the page says how much of the tag it hears in `--seeds` pieces of the
style, beside its mean over all other styles and its largest over them.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path

import numpy as np

import openvmas
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.symbolic.styles import Style, read_styles
from openvmas.train.codec.pack import encode_opus

ROOT = Path(__file__).resolve().parent.parent
FOLDER, PAGE = ROOT / "docs" / "styles", ROOT / "docs" / "styles.md"
SECONDS, KBPS, MAX_BYTES = 15.0, 30, 60_000
ENERGIES = (0.62, 0.85)
TAGS = {  # style → tags of musicnn that mean it
    "ambient": ("ambient",), "blues": ("blues",), "boom bap": ("Hip-Hop",), "country": ("country",),
    "funk": ("funk",),
    "hard rock": ("hard rock", "classic rock"), "house": ("House", "dance"), "indie rock": ("rock", "indie rock"),
    "metal": ("metal", "heavy metal"), "pop": ("pop",), "punk": ("punk",), "singer-songwriter": ("acoustic", "folk"),
    "soul": ("soul", "rnb"), "swing": ("jazz",), "synthwave": ("80s",),
    "techno": ("electronic", "electronica", "electro"),
    "lo-fi": ("chillout", "chill"), "downtempo": ("electronica", "chillout"), "documentary piano": ("instrumental",),
}  # fmt: skip
HEAD = """# Styles of the symbolic composer

{n} styles, each a file that a musician can read and edit ([the format](symbolic.md#a-style)). Ask for one by its words:
`openvmas score clip.mp4 --model symbolic --text "bossa nova"`. Below, 15 s of each as the composer writes it for a plan
of two sections with a strong moment between them (seed {seed}); nothing was chosen by ear.
Made by `python tools/make_styles_page.py`.

| style | what it is | words | beats per minute | listen | plan |
|---|---|---|---|---|---|
"""
TAGGED = """
## Heard by a tagger

musicnn, which no part of this was made with, hears {seeds} pieces of every style. `own` is the mean probability of the
style's tags in them, `others` the mean over all other styles, `rank` the place of the style among all
{n} by these tags.
{first} of {of} styles come first, {third} among the first three; area under the ROC curve over all, {area:.2f}.

| style | tags | own | others | rank | before it |
|---|---|---|---|---|---|
"""


def plan_of(style: Style, seconds: float = SECONDS, seed: int = 0) -> ScorePlan:
    """A plan in the middle of a style's tempi: a calmer and a fuller section, a strong moment between them."""
    tempo = float(round((style.tempo[0] + style.tempo[1]) / 2))
    bar = 60.0 / tempo * style.metre
    middle = round(round(seconds * 0.5 / bar) * bar, 3)
    sections = (Section(0.0, middle, ENERGIES[0]), Section(middle, seconds, ENERGIES[1]))
    marks = (TempoMark(0.0, tempo, 1),)
    hits = (Hit(middle, 0.9, "user"),)
    text = style.words[0]
    return ScorePlan(
        Fraction(seconds).limit_denominator(1000), sections, marks, style.metre, hits, (), text, None, seed
    )


def stem_of(style: Style) -> str:
    return style.name.lower().replace(" ", "-")


def compose(scorer: openvmas.Scorer, style: Style, seed: int, seconds: float = SECONDS) -> np.ndarray:
    """A piece of a style [2, L], its loudest sample at -1 dB."""
    wave = np.concatenate(list(scorer.compose(plan_of(style, seconds, seed), seed=seed, candidates=1)), axis=1)
    return wave * (0.89 / max(float(np.abs(wave).max()), 1e-9))


def row_of(style: Style) -> str:
    stem, (low, high) = stem_of(style), style.tempo
    words = ", ".join(f"`{word}`" for word in (*style.words, *style.hints, *style.moods))
    return (
        f"| **{style.name}** | {style.about} | {words} | {low:g} to {high:g} | [{stem}.opus](styles/{stem}.opus) | "
        f"[plan](styles/{stem}.plan.yaml) |\n"
    )


def tag_table(heard: dict[str, np.ndarray], classes: tuple[str, ...], seeds: int) -> str:
    """The table of tags. heard: style → probabilities [seeds, tags]."""
    names, rows, ranks, areas = list(heard), [], [], []
    for name, tags in TAGS.items():
        if name not in heard:
            continue
        columns = [classes.index(tag) for tag in tags]
        amounts = {other: float(heard[other][:, columns].mean()) for other in names}
        order = sorted(names, key=lambda other: -amounts[other])
        rank = order.index(name) + 1
        own, others = (
            heard[name][:, columns].mean(1),
            np.concatenate([heard[o][:, columns].mean(1) for o in names if o != name]),
        )
        areas.append(float((own[:, None] > others).mean()))
        ranks.append(rank)
        before = ", ".join(order[: min(rank - 1, 3)]) or "none"
        rows.append(f"| {name} | {', '.join(tags)} | {own.mean():.3f} | {others.mean():.3f} | {rank} | {before} |\n")
    head = TAGGED.format(
        seeds=seeds, n=len(names), first=sum(r == 1 for r in ranks), third=sum(r <= 3 for r in ranks), of=len(ranks),
        area=float(np.mean(areas)),
    )  # fmt: skip
    return head + "".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--styles", nargs="*", help="only these; the table of tags stays as it is")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-tags", action="store_true")
    parser.add_argument("--heard", type=Path, help="also write what the tagger heard (NPZ)")
    given = parser.parse_args()
    scorer = openvmas.load("symbolic")
    styles = [s for s in read_styles().styles if not given.styles or s.name in given.styles]
    FOLDER.mkdir(exist_ok=True)
    heard: dict[str, np.ndarray] = {}
    ear = None
    if not given.no_tags:
        from openvmas.hub.taggers import Musicnn

        ear = Musicnn()
    for style in styles:
        logits = []
        for seed in range(1 if ear is None else given.seeds):
            wave = compose(scorer, style, seed)
            if seed == 0:
                data = encode_opus(wave, KBPS)
                assert len(data) <= MAX_BYTES, f"{style.name}: {len(data)} bytes"
                (FOLDER / f"{stem_of(style)}.opus").write_bytes(data)
                (FOLDER / f"{stem_of(style)}.plan.yaml").write_text(write_plan(plan_of(style)), encoding="utf-8")
            if ear is not None:
                logits.append(ear.embed(wave.mean(0), 48_000).logits.mean(0))
        if ear is not None:
            heard[style.name] = 1 / (1 + np.exp(-np.array(logits)))
            tops = heard[style.name].mean(0).argsort()[::-1][:4]
            print(
                f"{style.name:20s}",
                ", ".join(f"{ear.classes[k]} {heard[style.name][:, k].mean():.2f}" for k in tops),
                flush=True,
            )
    if given.heard and ear is not None:
        np.savez(given.heard, classes=json.dumps(ear.classes), names=list(heard), heard=np.stack(list(heard.values())))
    ordered = sorted(read_styles().styles, key=lambda style: style.name.lower())
    text = HEAD.format(n=len(ordered), seed=0) + "".join(map(row_of, ordered))
    if given.styles:
        text += "".join(PAGE.read_text(encoding="utf-8").partition(TAGGED.partition("musicnn")[0])[1:])
    elif ear is not None:
        text += tag_table(heard, tuple(ear.classes), given.seeds)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
