"""A page of clips by several voices, with players: `python tools/make_gallery.py FOLDER [--clips 6] [--voices …]`.

The clips are parts of the example videos, so whoever has the repository can make the page again. Each is scored by
every voice, without a word, made small (320 pixels wide), and named with the licence of what is heard. A voice
that is a recording of the starter library is credited as its licence asks.
"""

from __future__ import annotations

import argparse
import html
import json
import shutil
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

import openvmas
from openvmas.media.probe import probe

ROOT = Path(__file__).resolve().parent.parent
SECONDS, WIDTH = 10.0, 320
VOICES = {
    "mini": ("mini, the model", {"model": "mini"}),
    "symbolic": ("symbolic, notes by rule", {"model": "symbolic"}),
    "free": ("a free recording, fitted", {"music": "free"}),
    "sweetened": ("mini with accents", {"model": "mini", "sweeten": True}),
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
    "@media(prefers-color-scheme:dark){body{background:#181a1f;color:#ddd}a{color:#9bf}}"
    "section{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:1rem}"
    "figure{margin:0}video{width:100%;border-radius:4px;background:#000}figcaption{font-size:.85rem}"
)


def cut_small(source: Path, target: Path, start: float, seconds: float) -> None:
    """A part of a video with its sound, WIDTH pixels wide."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        picture, sound = reader.streams.video[0], next(iter(reader.streams.audio), None)
        rate = Fraction(picture.average_rate or 25)
        small: Any = writer.add_stream("libx264", rate=rate, options={"crf": "27", "preset": "slow"})
        small.width, small.pix_fmt = WIDTH, "yuv420p"
        small.height = round(picture.height * WIDTH / picture.width / 2) * 2
        heard: Any = writer.add_stream("aac", rate=sound.rate) if sound is not None else None
        fit, n_frames = VideoReformatter(), 0
        for frame in reader.decode(*(stream for stream in (picture, sound) if stream is not None)):
            time = frame.time or 0.0
            if not start <= time < start + seconds:
                continue
            if isinstance(frame, av.VideoFrame):
                shown = fit.reformat(frame, small.width, small.height, "yuv420p")
                shown.pts, shown.time_base, n_frames = n_frames, 1 / rate, n_frames + 1
                writer.mux(small.encode(shown))
            else:
                frame.pts = None
                writer.mux(heard.encode(frame))
        for stream in (small, heard):
            if stream is not None:
                writer.mux(stream.encode(None))


def parts(n: int, seconds: float) -> list[tuple[Path, float]]:
    """(video, start s) of n clips: alternately of each example, from its beginning on. Raises ValueError."""
    videos = sorted((ROOT / "examples").glob("*.mp4"))
    videos = [video for video in videos if not video.stem.endswith(".scored")]
    steps = [(video, seconds * step) for step in range(n) for video in videos]
    found = [(video, start) for video, start in steps if start + seconds <= float(probe(video).duration)]
    if len(found) < n:
        raise ValueError(f"the examples have {len(found)} clips of {seconds:g} s; give fewer --clips or --seconds.")
    return found[:n]


def figure(path: Path, voice: str, report: dict[str, Any]) -> str:
    """One player with its words."""
    track = report["composer"].get("track", {})
    credit = track.get("attribution") or f"weights: {report['model']['licence']}"
    tempo = "" if track else f", {report['tempo']:.0f} BPM"  # of a recording the plan's tempo says nothing
    said = f"<b>{html.escape(VOICES[voice][0])}</b>{tempo}. {html.escape(credit)}"
    return f'<figure><video controls preload="none" src="{path.name}"></video><figcaption>{said}</figcaption></figure>'


def main() -> int:
    parser = argparse.ArgumentParser(description="Score clips by several voices and show them on one page.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each clip")
    parser.add_argument("--voices", nargs="+", choices=VOICES, default=["mini", "symbolic", "free"])
    asked = parser.parse_args()
    if asked.folder.exists():
        print(f"error: {asked.folder} is there already; give another folder or remove it.", file=sys.stderr)
        return 2
    try:
        chosen = parts(asked.clips, asked.seconds)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    asked.folder.mkdir(parents=True)
    rows = []
    for number, (video, start) in enumerate(chosen, start=1):
        with tempfile.TemporaryDirectory() as scratch:
            clip = Path(scratch, f"clip-{number}.mp4")
            cut_small(video, clip, start, asked.seconds)
            figures = []
            for voice in asked.voices:
                target = asked.folder / f"clip-{number}-{voice}.mp4"
                result = openvmas.score(clip, output=str(target), seed=number, **VOICES[voice][1])
                shutil.move(result.sidecar, target.with_suffix(".json"))
                figures.append(figure(target, voice, json.loads(target.with_suffix(".json").read_text("utf-8"))))
        rows.append(f"<h2>{video.stem}, from {start:.0f} s</h2>\n<section>{''.join(figures)}</section>")
        print(f"{number} of {asked.clips} clips", flush=True)
    notes = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    whose = "<summary>Whose pictures these are (CC BY-SA 4.0)</summary>"
    credit = f"<details>{whose}<pre>{html.escape(notes)}</pre></details>"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>OpenVMAS gallery</title><style>{STYLE}</style>'
    intro = f"<h1>OpenVMAS {openvmas.__version__}: one clip, several voices</h1>"
    intro += "<p>No word was given: what is heard is what the picture asked for.</p>"
    (asked.folder / "index.html").write_text("\n".join([head, intro, *rows, credit]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
