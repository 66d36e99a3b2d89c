"""DaVinci Resolve: music for the clip under the playhead, on a new audio track, with markers for hits and sections.

Copy it into Resolve's folder of scripts and run it from Workspace, Scripts. `openvmas` must be on the PATH, or be named
by the variable OPENVMAS. The clip's file is scored as it lies on disk: trim first, or score the exported timeline.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

PROGRAM = os.environ.get("OPENVMAS", "openvmas")
COLOURS = {"section": "Green", "user": "Red", "picture": "Yellow"}


def ask(*words: str) -> dict[str, Any]:
    """Run openvmas and return its answer. Raises RuntimeError with its sentence."""
    done = subprocess.run([PROGRAM, words[0], "--json", "--quiet", *words[1:]], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    answer = json.loads(lines[-1]) if lines else {"ok": False, "error": done.stderr}
    if not answer["ok"]:
        raise RuntimeError(answer["error"])
    return answer


def score(file: Path) -> tuple[Path, dict[str, Any]]:
    """The music as a WAV file beside the clip, and the sidecar of the score."""
    music = file.with_name(f"{file.stem}.music.wav")
    answer = ask("score", str(file), f"--audio-out={music}", "--overwrite")
    return music, json.loads(Path(answer["sidecar"]).read_text(encoding="utf-8"))


def markers(sidecar: dict[str, Any]) -> list[tuple[float, str, str]]:
    """(time s, colour, name) of the plan's sections and hits, read off its YAML line by line."""
    found: list[tuple[float, str, str]] = []
    is_section = False
    for line in sidecar["plan"].splitlines():
        if line and not line.startswith((" ", "-", "#")):
            is_section = line.startswith("sections:")
        if is_section and line.startswith("- start:"):
            found.append((float(line.partition(":")[2].partition("#")[0]), COLOURS["section"], "section"))
        elif line.startswith("- {time:") and "source:" in line:
            fields = dict(part.strip().split(": ") for part in line[3:].rstrip("}").split(","))
            found.append((float(fields["time"]), COLOURS[fields["source"]], f"hit {fields['strength']}"))
    return sorted(found)


def place(resolve: Any) -> str:
    """Score the clip under the playhead; returns a sentence for the console."""
    project = resolve.GetProjectManager().GetCurrentProject()
    timeline = project.GetCurrentTimeline() if project else None
    clip = timeline.GetCurrentVideoItem() if timeline else None
    item = clip.GetMediaPoolItem() if clip else None
    file = Path(item.GetClipProperty("File Path")) if item else None
    if file is None or not file.is_file():
        return "OpenVMAS: put the playhead on a clip that lies on disk."
    music, sidecar = score(file)
    pool = project.GetMediaPool()
    (imported,) = pool.ImportMedia([str(music)])
    timeline.AddTrack("audio", "stereo")
    fps = float(timeline.GetSetting("timelineFrameRate"))
    offset = clip.GetLeftOffset()  # frames of the source before the clip's beginning
    pool.AppendToTimeline(
        [
            {
                "mediaPoolItem": imported, "mediaType": 2, "trackIndex": timeline.GetTrackCount("audio"),
                "startFrame": offset, "endFrame": offset + clip.GetDuration() - 1, "recordFrame": clip.GetStart(),
            }
        ]
    )  # fmt: skip
    first = clip.GetStart() - timeline.GetStartFrame()
    for time, colour, name in markers(sidecar):
        frame = round(time * fps) - offset
        if 0 <= frame < clip.GetDuration():
            timeline.AddMarker(first + frame, colour, name, "OpenVMAS", 1)
    return f"OpenVMAS: {music.name}, {sidecar['tempo']:.0f} BPM, licence of the weights {sidecar['model']['licence']}."


if __name__ == "__main__":
    print(place(globals()["resolve"]))  # Resolve gives its scripts this name
