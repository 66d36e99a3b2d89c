"""The server as an assistant meets it: started as a command, spoken to with the SDK's own client over stdio."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import anyio
from mcp import Client, StdioServerParameters

from openvmas.errors import InputError
from openvmas.mcp.server import inside, wishes
from tests.clips import write_clip

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a clip, one beside it that is not to be reached, and a link that leads to it."""
    home = tmp_path / "videos"
    home.mkdir()
    write_clip(home / "clip.mp4", 2.0)
    write_clip(tmp_path / "secret.mp4", 1.0)
    (home / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    return home


def talk(folder: Path, conversation: Callable[[Client], Awaitable[Any]]) -> Any:
    """Start `openvmas mcp FOLDER` and hold a conversation with it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENVMAS_THREADS": "1"}
    server = StdioServerParameters(command=sys.executable, args=["-m", "openvmas", "mcp", str(folder)], env=env)

    async def run() -> Any:
        async with Client(server) as client:
            return await conversation(client)

    return anyio.run(run)


@pytest.mark.slow
def test_an_assistant_scores_a_video(folder: Path) -> None:
    events: list[tuple[float, str | None]] = []

    async def seen(done: float, total: float | None, stage: str | None) -> None:
        events.append((done, stage))

    async def conversation(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"list_videos", "analyze", "plan", "score", "report"}
        assert "accent" in json.dumps(tools["score"].input_schema)
        planned = await client.call_tool("plan", {"video": "clip.mp4", "text": "calm piano", "hits": [1.0]})
        assert not planned.is_error and "sections" in planned.structured_content["plan"]
        wanted = {"video": "clip.mp4", "model": "symbolic", "plan_path": "clip.plan.yaml", "output": "done.mp4"}
        scored = await client.call_tool("score", wanted, progress_callback=seen)
        assert not scored.is_error, scored.content
        assert scored.structured_content["path"] == "done.mp4" and scored.structured_content["duration"] == 2.0
        again = await client.call_tool("score", wanted)
        assert again.is_error and "done.mp4 exists already" in str(again.content)
        assert str(folder) not in str(again.content)
        await refuse(client)

    talk(folder, conversation)
    assert (folder / "done.mp4").stat().st_size > 1000
    assert "compose" in {stage for _, stage in events} and events[-1][0] == 1.0
    assert sorted(path.name for path in folder.parent.iterdir()) == ["secret.mp4", "videos"]


async def refuse(client: Client) -> None:
    """Nothing outside the folder is read or written, by whatever way it is named."""
    for wanted in (
        {"video": "../secret.mp4"},
        {"video": "link.mp4"},
        {"video": "clip.mp4", "output": "../out.mp4"},
        {"video": "clip.mp4", "music_path": "/etc/passwd"},
    ):
        answer = await client.call_tool("score", wanted)
        assert answer.is_error and "outside the folder" in str(answer.content)
    missing = await client.call_tool("analyze", {"video": "--help"})
    assert missing.is_error and "--help" in str(missing.content)


def test_paths_stay_inside(folder: Path) -> None:
    assert inside(folder, "sub/../clip.mp4") == folder.resolve() / "clip.mp4"
    for name in ("..", "../videos2/clip.mp4", "link.mp4", "/etc/passwd"):
        with pytest.raises(InputError, match="outside the folder"):
            inside(folder, name)


def test_wishes_are_options() -> None:
    assert wishes(text="--calm", tempo=None, hit=[1.0, 2.5]) == ["--text=--calm", "--hit=1.0", "--hit=2.5"]
