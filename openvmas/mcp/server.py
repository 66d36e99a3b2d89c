"""Tools for assistants: analyze, plan, score and report, for the videos of one folder.

Each call is a command in a process of its own, so that a damaged file cannot end the server, nothing but the protocol
comes on standard output, and a call that the client cancels leaves nothing behind. One call works at a time.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from openvmas import __version__
from openvmas.errors import InputError, OpenVMASError

PROGRAM = (sys.executable, "-m", "openvmas")
GRACE_S = 5.0  # in which a command that is cancelled may tidy up
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
INSTRUCTIONS = (
    "OpenVMAS writes background music for videos. Paths are those of one folder; list_videos names what is there. "
    "Call analyze to learn about cuts and moods, plan to get an editable plan, score to write the finished video, and "
    "report to measure how well picture and music fit. Scoring a minute of video takes about half a minute."
)
Voice = Literal["auto", "mini", "symbolic"]
VideoPath = Annotated[str, Field(description="Video, relative to the folder")]
Replace = Annotated[bool, Field(description="Replace an existing result")]
Text = Annotated[str | None, Field(description="What the music should be like, in words")]
Mood = Annotated[str | None, Field(description="One mood word for the whole video")]
Tempo = Annotated[float | None, Field(description="Beats per minute, 40 to 220")]
Hits = Annotated[list[float] | None, Field(description="Seconds that must get an accent")]


def inside(folder: Path, name: str) -> Path:
    """The path that a client names, if it lies in the folder once links are followed. Raises InputError."""
    found = (folder / name).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise InputError(f"{name} lies outside the folder of this server; give a path in it.")
    return found


def make_server(folder: Path) -> MCPServer:
    """A server whose tools read and write in one folder only."""
    server = MCPServer("openvmas", title="OpenVMAS", instructions=INSTRUCTIONS, version=__version__)
    lock = anyio.Lock()

    async def run(context: Context, words: Sequence[str], paths: dict[str, str | None]) -> dict[str, Any]:
        """A command on files of the folder. paths: option ("" for the video) → what the client named."""
        try:
            found = {flag: inside(folder, name) for flag, name in paths.items() if name is not None}
        except OpenVMASError as error:
            raise ToolError(str(error)) from error
        places = {flag: path.relative_to(folder.resolve()).as_posix() for flag, path in found.items()}
        options = [f"{flag}={place}" for flag, place in places.items() if flag]
        async with lock:
            answer = await run_command(context, [*words, *options, "--", places[""]], folder)
        if not answer["ok"]:
            raise ToolError(answer["error"])
        return {name: value for name, value in answer.items() if name not in ("ok", "exit_code")}

    @server.tool()
    async def list_videos() -> list[str]:
        """List the videos of the folder and of the folders in it."""
        found = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS and path.is_file())
        return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.startswith("."))

    @server.tool()
    async def analyze(context: Context, video: VideoPath, overwrite: Replace = False) -> dict[str, Any]:
        """Find shots, cuts, visual beats and the mood of each shot; writes NAME.analysis.json and returns it."""
        told = await run(context, ["analyze", *["--overwrite"] * overwrite], {"": video})
        analysis = json.loads((folder / told["path"]).read_text(encoding="utf-8"))
        return {"path": told["path"], "analysis": analysis}

    @server.tool()
    async def plan(
        context: Context,
        video: VideoPath,
        text: Text = None,
        mood: Mood = None,
        tempo: Tempo = None,
        hits: Hits = None,
        overwrite: Replace = False,
    ) -> dict[str, Any]:
        """Plan sections, tempo and accents; writes NAME.plan.yaml, which may be edited, and returns its text."""
        words = ["plan", *wishes(text=text, mood=mood, tempo=tempo, hit=hits), *["--overwrite"] * overwrite]
        told = await run(context, words, {"": video})
        return {**told, "plan": (folder / told["path"]).read_text(encoding="utf-8")}

    @server.tool()
    async def score(
        context: Context,
        video: VideoPath,
        text: Text = None,
        mood: Mood = None,
        tempo: Tempo = None,
        hits: Hits = None,
        seed: Annotated[int, Field(description="Another seed gives other music")] = 0,
        model: Annotated[Voice, Field(description="auto chooses by measures; symbolic writes notes by rule")] = "auto",
        replace_audio: Annotated[bool, Field(description="Drop the original sound")] = False,
        plan_path: Annotated[str | None, Field(description="Plan to use, as the tool plan wrote it")] = None,
        music_path: Annotated[str | None, Field(description="Recording to fit to the picture instead")] = None,
        output: Annotated[str | None, Field(description="Finished video; NAME.scored.EXT if left out")] = None,
        overwrite: Replace = False,
    ) -> dict[str, Any]:
        """Write music for a video: the finished video and a sidecar that says how it was made."""
        words = ["score", *wishes(text=text, mood=mood, tempo=tempo, hit=hits, seed=seed)]
        words += (
            [f"--model={model}"] * (model != "auto") + ["--replace-audio"] * replace_audio + ["--overwrite"] * overwrite
        )
        paths = {"": video, "--plan": plan_path, "--music": music_path, "--output": output}
        return await run(context, words, paths)

    @server.tool()
    async def report(context: Context, video: VideoPath, overwrite: Replace = False) -> dict[str, Any]:
        """Measure how well picture and music of a finished video fit; writes a page, NAME.report.html."""
        return await run(context, ["report", *["--overwrite"] * overwrite], {"": video})

    return server


def wishes(**values: Any) -> list[str]:
    """Options as they would be typed; those that are None are left out."""
    words: list[str] = []
    for name, value in values.items():
        for part in value if isinstance(value, list) else [] if value is None else [value]:
            words.append(f"--{name}={part}")
    return words


async def run_command(context: Context, words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a command with its progress passed on; returns its last answer, which says whether it went well."""
    command = (*PROGRAM, words[0], "--json", "--progress=json", *words[1:])
    async with await anyio.open_process(command, stdin=subprocess.DEVNULL, cwd=folder) as process:
        assert process.stdout is not None and process.stderr is not None
        said: list[str] = []
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pass_on, context, TextReceiveStream(process.stderr, errors="replace"))
                async for text in TextReceiveStream(process.stdout, errors="replace"):
                    said.append(text)
            code = await process.wait()
        except anyio.get_cancelled_exc_class():
            await end(process)
            raise
    lines = "".join(said).splitlines()
    return json.loads(lines[-1]) if lines else {"ok": False, "error": f"the command ended with code {code}."}


async def end(process: Process) -> None:
    """Interrupt a command, so that it removes what is half made, and kill it if that takes long."""
    with anyio.CancelScope(shield=True):
        if sys.platform == "win32":
            process.kill()
            return
        process.send_signal(signal.SIGINT)
        with anyio.move_on_after(GRACE_S):
            await process.wait()
            return
        process.kill()


async def pass_on(context: Context, stream: TextReceiveStream) -> None:
    """Progress of a command as progress of the call; what else it says is dropped, for errors come with the answer."""
    rest = ""
    async for text in stream:
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            if line.startswith('{"event": "progress"'):
                event = json.loads(line)
                await context.report_progress(event["done"], 1.0, event["stage"])
