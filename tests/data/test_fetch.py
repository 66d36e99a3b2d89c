"""Addresses are fetched politely from a web server on this machine, resumed, and counted where they have rotted."""

from __future__ import annotations

import itertools
import json
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from openvmas.cli.main import main
from openvmas.data.curation.recipe import FetchOptions, LicenceOptions
from openvmas.data.curation.record import Drop, Origin, Record, make_id
from openvmas.data.sources.fetch import Fetcher
from openvmas.errors import InputError

FILE = bytes(range(256)) * 400
FREE = LicenceOptions()


@dataclass
class Seen:
    """What the server was asked for: path, Range header, when it began and ended."""

    asked: list[tuple[str, str | None]] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[tuple[str, Seen]]:
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            began = time.monotonic()
            seen.asked.append((self.path, self.headers.get("Range")))
            self.answer()
            seen.times.append((began, time.monotonic()))

        def answer(self) -> None:
            name = self.path.lstrip("/")
            n_asked = sum(path == self.path for path, _ in seen.asked)
            if name == "robots.txt":
                return self.send(200, b"User-agent: *\nDisallow: /private/\n")
            if name.startswith("gone"):
                return self.send(404, b"")
            if name.startswith("busy") and n_asked < 3:
                return self.send(503, b"")
            if name.startswith("away"):
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                return self.end_headers()
            if name.startswith("cut") and n_asked == 1:
                self.send_response(200)
                self.send_header("Content-Length", str(len(FILE)))
                self.end_headers()
                self.wfile.write(FILE[:40_000])
                return None
            if name.startswith("endless"):
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(FILE)
                except OSError:
                    return None
            first = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
            return self.send(206 if first else 200, FILE[first:])

        def send(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}", seen
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def record(address: str, licence: str = "CC-BY-4.0") -> Record:
    return Record(make_id("list", address), "video", Origin("list", address, licence=licence))


def fetched(folder: Path, addresses: list[Record], **options: Any) -> dict[str, tuple[Record, Path] | Drop]:
    settings = FetchOptions(**{"pause": 0.0, "private_hosts": True, **options})
    fetcher = Fetcher(folder, settings, FREE)
    fetcher.fetch_all(addresses)
    return {r.origin.uri.rpartition("/")[2]: fetcher.result(r) for r in addresses}


def test_files_come_whole_and_failures_are_named(tmp_path: Path, server: tuple[str, Seen]) -> None:
    host, seen = server
    names = ("ok.mp4", "gone.mp4", "busy.mp4", "cut.mp4", "away.mp4", "endless.mp4", "private/secret.mp4")
    found = fetched(tmp_path, [record(f"{host}/{name}") for name in names], max_megabytes=2.0)
    for name in ("ok.mp4", "busy.mp4", "cut.mp4"):
        result = found[name]
        assert not isinstance(result, Drop) and result[1].read_bytes() == FILE and result[1].suffix == ".mp4"
    assert ("/cut.mp4", "bytes=40000-") in seen.asked, "what had come is not fetched again"
    drops = {n: (r.reason, r.detail) for n, r in found.items() if isinstance(r, Drop)}
    assert drops == {
        "gone.mp4": ("gone", "HTTP 404"),
        "away.mp4": ("refused", "HTTP 302"),
        "endless.mp4": ("too large", "more than 2 MB"),
        "secret.mp4": ("not asked", "the host's robots.txt forbids it"),
    }
    assert ("/private/secret.mp4", None) not in seen.asked
    n_asked = len(seen.asked)
    fetched(tmp_path, [record(f"{host}/{name}") for name in names[:4]], max_megabytes=2.0)
    new = [path for path, _ in seen.asked[n_asked:]]
    assert new in ([], ["/robots.txt"]), "a second build asks for nothing that is settled"


def test_one_request_at_a_time_and_a_pause_between(tmp_path: Path, server: tuple[str, Seen]) -> None:
    host, seen = server
    fetched(tmp_path, [record(f"{host}/{i}.mp4") for i in range(4)], pause=0.15)
    spans = sorted(seen.times)[1:]  # without robots.txt
    gaps = [b[0] - a[1] for a, b in itertools.pairwise(spans)]
    assert len(gaps) == 3 and min(gaps) > 0.1


def test_a_list_cannot_reach_into_the_users_network(tmp_path: Path, server: tuple[str, Seen]) -> None:
    host, seen = server
    for address in (f"{host}/ok.mp4", "http://169.254.169.254/a.mp4", "http://[::1]/a.mp4"):
        result = fetched(tmp_path, [record(address)], private_hosts=False)
        (drop,) = result.values()
        assert isinstance(drop, Drop) and "private network" in drop.detail
    assert seen.asked == []


PROGRAM = """#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
address = arguments[-1]
assert arguments[-2] == "--" and "--no-playlist" in arguments
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
if "gone" in address:
    sys.exit("ERROR: [youtube] x: Video unavailable")
if "busy" in address:
    sys.exit("ERROR: HTTP Error 429: Too Many Requests")
licence = "Creative Commons Attribution license (reuse allowed)" if "free" in address else None
if "--dump-json" in arguments:
    print(json.dumps({{"title": "T", "uploader": "U", "license": licence, "webpage_url": address}}))
else:
    target = arguments[arguments.index("--output") + 1].replace("%(ext)s", "webm").replace("%%", "%")
    pathlib.Path(target).write_bytes(b"a film")
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "log.jsonl"
    path = folder / "yt-dlp"
    path.write_text(PROGRAM.format(python=sys.executable, log=str(log)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return log


def test_pages_are_fetched_by_the_users_program(tmp_path: Path, server: tuple[str, Seen], program: Path) -> None:
    host, _ = server
    names = ("free", "closed", "gone", "busy")
    found = fetched(tmp_path / "media %d", [record(f"{host}/{n}", "") for n in names], arguments=("--limit-rate", "1M"))
    result = found["free"]
    assert not isinstance(result, Drop) and result[1].read_bytes() == b"a film"
    assert (result[0].origin.title, result[0].origin.author, result[0].origin.licence) == ("T", "U", "CC-BY")
    drops = {n: (r.reason, r.detail) for n, r in found.items() if isinstance(r, Drop)}
    assert drops == {
        "closed": ("licence", "no licence is stated"),
        "gone": ("gone", "ERROR: [youtube] x: Video unavailable"),
        "busy": ("unreachable", "ERROR: HTTP Error 429: Too Many Requests"),
    }
    calls = [json.loads(line) for line in program.read_text().splitlines()]
    assert sum("closed" in call[-1] for call in calls) == 1, "what may not be taken is not downloaded"
    assert sum("busy" in call[-1] for call in calls) == 3 and all("1M" in call for call in calls)


def test_a_missing_program_is_named(tmp_path: Path, server: tuple[str, Seen]) -> None:
    with pytest.raises(InputError, match=r"nothing-dlp is needed .* not installed; install it"):
        fetched(tmp_path, [record(f"{server[0]}/watch")], program="nothing-dlp")


RECIPE = """
[[sources]]
name = "list"
kind = "manifest"
path = "list.csv"
[fetch]
pause = 0.0
private_hosts = true
keep = false
[stages]
use = ["tests.data.stage_kit:Bytes"]
[sets]
use = ["split"]
"""


def test_a_manifest_becomes_a_set_and_says_what_has_rotted(
    tmp_path: Path, server: tuple[str, Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    host, _ = server
    rows = ["url,license,start,end"]
    rows += [f"{host}/{name}.mp4,{licence},0,1" for name, licence in (("a", "CC0"), ("gone", "CC0"), ("b", "closed"))]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "list.toml").write_text(RECIPE)
    assert main(["data", "build", str(tmp_path / "list.toml"), "--quiet", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "link rot: 1 of 3 addresses (33.3%) gave no file" in out
    kept = [json.loads(line) for line in (tmp_path / "list" / "set.jsonl").read_text().splitlines()]
    assert [(k["origin"]["uri"], k["origin"]["licence"], k["end"]) for k in kept] == [(f"{host}/a.mp4", "CC0-1.0", 1.0)]
    assert not list((tmp_path / "list" / "work" / "media").glob("*.mp4")), "fetched files are not kept"


def test_a_row_without_a_licence_is_not_kept_by_that_of_another_row(
    tmp_path: Path, server: tuple[str, Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    host, _ = server
    (tmp_path / "list.csv").write_text(f"url,license,start,end\n{host}/a.mp4,CC0,0,1\n{host}/a.mp4,,1,2\n")
    (tmp_path / "list.toml").write_text(RECIPE)
    assert main(["data", "build", str(tmp_path / "list.toml"), "--quiet", "--workers", "1"]) == 0
    kept = [json.loads(line) for line in (tmp_path / "list" / "set.jsonl").read_text().splitlines()]
    assert [(k["origin"]["licence"], k["end"]) for k in kept] == [("CC0-1.0", 1.0)]
    assert "link rot: 0 of 2" in capsys.readouterr().out  # our own decision says nothing about the list
