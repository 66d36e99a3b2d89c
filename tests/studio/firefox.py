"""Firefox on the studio's page, over WebDriver BiDi (W3C): no driver is needed beside the browser itself.

Playwright brings a Firefox of its own and cannot use one that is installed; BiDi is JSON over one WebSocket, so the
little of RFC 6455 that a client needs is here.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 240.0  # s; on a busy machine everything may take long, but never that long
SETTINGS = {
    "browser.download.folderList": 2,
    "browser.download.useDownloadDir": True,
    "browser.download.always_ask_before_handling_new_types": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "browser.aboutwelcome.enabled": False,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    # Test machines have no sound device, and without one no sound begins: Firefox has one of its own for its tests.
    "media.cubeb.force_mock_context": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
TEXT, CONTINUATION, CLOSE, PING, PONG = 1, 0, 8, 9, 10  # opcodes


class Line:
    """The client's end of a WebSocket with text messages."""

    def __init__(self, url: str) -> None:
        match = re.fullmatch(r"ws://([^:/]+):(\d+)(/.*)", url)
        assert match, url
        host, port, path = match[1], int(match[2]), match[3]
        self._socket = socket.create_connection((host, port), PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        status = self._file.readline()
        assert b" 101 " in status, status
        while self._file.readline().strip():
            pass

    def send(self, text: str) -> None:
        self._write(TEXT, text.encode())

    def _write(self, opcode: int, data: bytes) -> None:
        n, mask = len(data), secrets.token_bytes(4)
        length = struct.pack("!B", 128 | n) if n < 126 else struct.pack("!BH", 128 | 126, n)
        if n >= 1 << 16:
            length = struct.pack("!BQ", 128 | 127, n)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self._socket.sendall(bytes([128 | opcode]) + length + mask + masked)

    def receive(self) -> str:
        """The next message. Raises TimeoutError, ConnectionError."""
        whole = b""
        while True:
            first, second = self._read(2)
            n = second & 127
            if n >= 126:
                n = int.from_bytes(self._read(2 if n == 126 else 8), "big")
            data, opcode = self._read(n), first & 15
            if opcode == PING:
                self._write(PONG, data)
            elif opcode == CLOSE:
                raise ConnectionError("Firefox hung up")
            elif opcode in (TEXT, CONTINUATION):
                whole += data
                if first & 128:
                    return whole.decode()

    def _read(self, n: int) -> bytes:
        data = self._file.read(n)
        if len(data) < n:
            raise ConnectionError("Firefox hung up")
        return data

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Firefox:
    """One page. faults: errors that it raised or logged."""

    def __init__(self, line: Line) -> None:
        self._line, self._numbers = line, itertools.count(1)
        self.faults: list[str] = []
        self.ask("session.new", capabilities={})
        self.ask("session.subscribe", events=["log.entryAdded"])
        self._context = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method: str, **parameters: Any) -> Any:
        """A command of BiDi and its result."""
        number = next(self._numbers)
        self._line.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._line.receive())
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.faults.append(message["params"]["text"] or "")
            if message.get("id") == number:
                assert message["type"] == "success", f"{method}: {message['message']}"
                return message["result"]

    def open(self, url: str) -> None:
        self.ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """What an expression of the page gives, by way of JSON."""
        code = f"Promise.resolve({expression}).then((found) => JSON.stringify(found ?? null))"
        target = {"context": self._context}
        found = self.ask("script.evaluate", expression=code, target=target, awaitPromise=True)
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return json.loads(found["result"]["value"])

    def wait_until(self, expression: str) -> Any:
        """What it gives as soon as that is true."""
        until = time.monotonic() + PATIENCE
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < until, f"waited in vain for: {expression}; {self.faults}"
            time.sleep(0.05)
        return found

    def wait_player(self, condition: str) -> dict[str, str]:
        """Until a condition on `data`, what the player tells of itself (player.js), holds; returns that."""
        reading = "const data = {...document.getElementById('player').dataset}"
        return self.wait_until(f"(() => {{ {reading}; return {condition} && data }})()")

    def find(self, selector: str) -> dict[str, str]:
        """The first element, as soon as it is there and can be seen."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})?.checkVisibility() ?? false")
        return self._node(selector)

    def click(self, selector: str) -> None:
        """As with a mouse: browsers let a page play sound only after that."""
        element = self.find(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        moves: list[dict[str, Any]] = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": {"type": "element", "element": element}},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": moves}
        self.ask("input.performActions", context=self._context, actions=[mouse])

    def press(self, *keys: str) -> None:
        """Keys that are held together."""
        downs = [{"type": "keyDown", "value": key} for key in keys]
        ups = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        board = {"type": "key", "id": "keys", "actions": downs + ups}
        self.ask("input.performActions", context=self._context, actions=[board])

    def give_file(self, selector: str, path: Path) -> None:
        """To an input that need not be seen, as soon as it is there."""
        self.wait_until(f"document.querySelector({json.dumps(selector)}) !== null")
        self.ask("input.setFiles", context=self._context, element=self._node(selector), files=[str(path)])

    def _node(self, selector: str) -> dict[str, str]:
        locator = {"type": "css", "value": selector}
        found = self.ask("browsingContext.locateNodes", context=self._context, locator=locator, maxNodeCount=1)
        return {"sharedId": found["nodes"][0]["sharedId"]}


def find_firefox() -> str | None:
    return shutil.which("firefox") or shutil.which("firefox-esr")


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Firefox without a window, with a profile of its own; what it downloads lies in `folder`/downloads."""
    path, profile, downloads = find_firefox(), folder / "profile", folder / "downloads"
    assert path, "there is no Firefox here"
    profile.mkdir()
    downloads.mkdir()
    settings = {**SETTINGS, "browser.download.dir": str(downloads)}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items()]
    (profile / "user.js").write_text("".join(lines), encoding="utf-8")
    command = [path, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"]
    environment = {**os.environ, "HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"}
    said = folder / "firefox.log"
    with said.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        with contextlib.closing(Line(f"{address_in(said, process)}/session")) as line:
            yield Firefox(line)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def address_in(said: Path, process: subprocess.Popen[bytes]) -> str:
    """Where Firefox says that it listens."""
    until = time.monotonic() + PATIENCE
    while not (match := re.search(r"WebDriver BiDi listening on (ws://\S+)", said.read_text(encoding="utf-8"))):
        assert process.poll() is None and time.monotonic() < until, f"Firefox did not start: {said.read_text()}"
        time.sleep(0.1)
    return match[1]
