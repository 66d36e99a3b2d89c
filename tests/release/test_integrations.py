"""What lies in integrations/, against the interfaces of the programs that it is for, without those programs."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
import torch

import openvmas
from openvmas.generate import scorer
from openvmas.planning.plan_yaml import read_plan
from tests import run_cli
from tests.clips import draw, write_clip
from tests.studio.kit import RunningStudio

ROOT = Path(__file__).resolve().parents[2]


def load_file(path: str) -> ModuleType:
    """A script or package of integrations/, loaded as its program does it."""
    place = ROOT / "integrations" / path
    home = [str(place.parent)]
    spec = importlib.util.spec_from_file_location(place.parent.name, place, submodule_search_locations=home)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The nodes as ComfyUI finds them, with sines in place of the model."""
    monkeypatch.setitem(vars(openvmas), "load", run_cli.load)
    return load_file("comfyui/__init__.py").NODE_CLASS_MAPPINGS


class Video:
    """ComfyUI's VIDEO, as far as nodes use it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save_to(self, path: str) -> None:
        Path(path).write_bytes(self.path.read_bytes())


def call(node: type, **inputs: Any) -> Any:
    """A node as ComfyUI calls it: every input by its name, widgets with their defaults, outputs counted."""
    wanted = node.INPUT_TYPES()
    defaults = {name: spec[1]["default"] for name, spec in wanted["required"].items() if len(spec) > 1}
    assert set(inputs) <= {*wanted["required"], *wanted.get("optional", {})}
    assert set(wanted["required"]) <= {*defaults, *inputs}
    found = getattr(node(), node.FUNCTION)(**defaults | inputs)
    assert len(found) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return found


def test_every_node_describes_itself(nodes: dict[str, Any]) -> None:
    names = load_file("comfyui/__init__.py").NODE_DISPLAY_NAME_MAPPINGS
    assert set(names) == set(nodes)
    for node in nodes.values():
        for name, spec in node.INPUT_TYPES()["required"].items():
            assert re.fullmatch(r"[a-z_]+", name) and (isinstance(spec[0], list) or spec[0].isupper())
            assert isinstance(spec[0], str) or spec[1]["default"] in spec[0]
        assert callable(getattr(node, node.FUNCTION)) and node.CATEGORY


def test_frames_get_sound_as_long_as_they_are(nodes: dict[str, Any]) -> None:
    frames = torch.from_numpy(np.stack([draw(i, 24, (161, 97)) for i in range(48)]).astype(np.float32) / 255)
    audio, plan = call(nodes["OpenVMASScoreFrames"], images=frames, fps=24.0, hits="1.0", tempo=90.0)
    assert audio["sample_rate"] == 48_000 and audio["waveform"].shape == (1, 2, 96_000)
    assert audio["waveform"].dtype == torch.float32 and float(audio["waveform"].abs().max()) > 0.01
    made = read_plan(plan)
    assert made.duration == 2 and [hit.time for hit in made.hits if hit.source == "user"] == [1.0]


def test_a_plan_that_was_edited_is_followed(nodes: dict[str, Any], tmp_path: Path) -> None:
    video = Video(write_clip(tmp_path / "clip.mp4", 2.0))
    (plan,) = call(nodes["OpenVMASPlan"], video=video, mood="calm")
    edited = re.sub(r"^mood: .*$", "mood: happy", plan, flags=re.M)
    assert edited != plan
    audio, followed = call(nodes["OpenVMASScoreVideo"], video=video, plan=edited)
    assert read_plan(followed).mood == "happy" and audio["waveform"].shape[-1] == 96_000
    with pytest.raises(ValueError, match="hits are seconds"):
        call(nodes["OpenVMASPlan"], video=video, hits="soon")


def test_frames_keep_their_rate(tmp_path: Path) -> None:
    load_file("comfyui/__init__.py")
    sys.modules["comfyui.nodes"].write_frames(np.zeros((30, 64, 64, 3), np.float32), 29.97, tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as made:
        assert made.streams.video[0].average_rate == Fraction(30000, 1001) and made.streams.video[0].frames == 30


class Recorder:
    """Resolve's scripting interface as a stand-in: answers by name, and keeps what it was asked to do."""

    def __init__(self, answers: dict[str, Any], done: list[tuple[str, tuple[Any, ...]]]) -> None:
        self._answers, self._done = answers, done

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any) -> Any:
            self._done.append((name, arguments))
            return self._answers.get(name, self)

        return ask


def test_resolve_gets_music_at_the_clip_and_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_file("resolve/score_timeline.py")
    clip = write_clip(tmp_path / "clip.mp4", 3.0)
    plan = scorer.plan(clip, hit=[1.5])
    from openvmas.planning.plan_yaml import write_plan

    sidecar = {"plan": write_plan(plan), "tempo": 90.0, "model": {"licence": "MIT"}}
    monkeypatch.setattr(script, "score", lambda file: (file.with_suffix(".wav"), sidecar))
    done: list[tuple[str, tuple[Any, ...]]] = []
    answers = {
        "GetClipProperty": str(clip), "ImportMedia": ["imported"], "GetSetting": "25", "GetLeftOffset": 25,
        "GetDuration": 50, "GetStart": 90_100, "GetStartFrame": 90_000, "GetTrackCount": 2,
    }  # fmt: skip
    said = script.place(Recorder(answers, done))
    assert said.startswith("OpenVMAS: clip.wav, 90 BPM")
    (placed,) = next(arguments for name, arguments in done if name == "AppendToTimeline")[0]
    assert (placed["startFrame"], placed["endFrame"], placed["recordFrame"]) == (25, 74, 90_100)
    marks = [arguments for name, arguments in done if name == "AddMarker"]
    # 1.5 s is frame 37 or 38 of the file, 12 or 13 of the clip, which begins at frame 100 of the timeline.
    assert {frame for frame, colour, *_ in marks if colour == "Red"} in ({112}, {113})
    assert all(100 <= frame < 150 for frame, *_ in marks)


@pytest.mark.slow
def test_one_call_gives_a_finished_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2.0)
    studio = RunningStudio(tmp_path / "studio")
    studio.start()
    try:
        command = [sys.executable, str(ROOT / "integrations/http/score_once.py"), studio.url, str(clip), "--seed", "3"]
        done = subprocess.run(command, capture_output=True, text=True)
        answer = json.loads(done.stdout)
        assert done.returncode == 0, answer
        assert answer["licence"] == run_cli.WEIGHTS.licence and answer["duration"] == 2.0
        assert Path(answer["path"]).stat().st_size > 1000
        late = subprocess.run([*command, "--seconds", "0.01"], capture_output=True, text=True)
        assert late.returncode == 3 and "cancelled" in json.loads(late.stdout)["error"]
        with studio.client() as client:
            assert client.get("/projects").json()["projects"] == []
    finally:
        studio.stop()
