"""What must be refused: each line of docs/security.md has its test here."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

from openvmas.errors import InputError, OptionError
from openvmas.processes import limited
from openvmas.studio.api.app import STATIC
from openvmas.studio.api.guard import MAX_BODY, match_token
from openvmas.studio.limits import StudioOptions
from openvmas.studio.storage.folders import ProjectFolder, new_id, safe_stem, safe_suffix
from openvmas.studio.tasks.sandbox import Sandbox, make_limits
from tests.clips import write_clip
from tests.studio.kit import ROOT, UPLOAD, RunningStudio, make_project, running, upload, wait_for

pytestmark = pytest.mark.slow

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdefgh"
LIMITS = ("--max-upload", "1", "--max-minutes", "0.2", "--max-pixels", "40000")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """Two users, and narrow limits: 1 MB, 12 s, 40,000 pixels."""
    with running(tmp_path_factory.mktemp("studio") / "home", "--token", ALICE, "--token", BOB, *LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def alice(studio: RunningStudio) -> Iterator[httpx.Client]:
    with studio.client(ALICE) as client:
        yield client


@pytest.fixture(scope="module")
def bob(studio: RunningStudio) -> Iterator[httpx.Client]:
    with studio.client(BOB) as client:
        yield client


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 2.0)


# Who may ask


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong-wrong-wrong-wrong"}, {"Authorization": ALICE},
                                     {"Cookie": "openvmas_studio=wrong"}, {"Cookie": "openvmas_studio"}])  # fmt: skip
def test_without_a_token_there_is_nothing(studio: RunningStudio, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/projects"), ("POST", "/api/projects"), ("GET", f"/api/jobs/{'0' * 32}")):
        answer = httpx.request(method, studio.url + path, headers=headers)
        assert answer.status_code == 401 and "token" in answer.json()["error"]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(studio: RunningStudio) -> None:
    assert httpx.post(f"{studio.url}/api/session", json={"token": ALICE[:-1]}).status_code == 401
    signed = httpx.post(f"{studio.url}/api/session", json={"token": ALICE})
    cookie = signed.headers["set-cookie"]
    assert signed.status_code == 204
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    with httpx.Client(base_url=studio.url, cookies=signed.cookies) as client:
        assert client.get("/api/projects").status_code == 200
        assert client.get("/api/session").json()["signed_in"]
        gone = client.delete("/api/session")
        assert "Max-Age=0" in gone.headers["set-cookie"]


def test_a_token_matches_only_as_a_whole() -> None:
    assert match_token(BOB, (ALICE, BOB)) == BOB
    for wrong in (BOB[:-1], BOB + "x", "", "é" * 20, "\udc80"):
        assert match_token(wrong, (ALICE, BOB)) is None


def test_what_is_mine_is_not_yours(alice: httpx.Client, bob: httpx.Client, clip: Path) -> None:
    project = make_project(alice, clip, "secret")
    job = alice.get(f"/projects/{project}").json()["analysis_job"]
    assert project not in bob.get("/projects").text
    paths = ["", "/upload", "/video", "/filmstrip", "/analysis", "/plan", "/plan/history", "/plan.yaml"]
    for path in paths:
        mine, yours = (client.get(f"/projects/{project}{path}") for client in (alice, bob))
        assert (mine.status_code, yours.status_code) == (200, 404), path
        assert "secret" not in yours.text
    for method, path, body in (
        ("DELETE", "", None), ("PATCH", "", {"name": "x"}), ("PUT", "/plan", {}), ("POST", "/plan/suggest", {}),
        ("POST", "/jobs", {"kind": "score"}), ("POST", "/upload", {"filename": "x.mp4", "size": 1}),
    ):  # fmt: skip
        assert bob.request(method, f"/projects/{project}{path}", json=body).status_code == 404
    assert bob.get(f"/jobs/{job}").status_code == bob.get(f"/jobs/{job}/events").status_code == 404
    assert bob.post(f"/jobs/{job}/cancel").status_code == 404
    other = make_project(bob)
    assert bob.post(f"/projects/{other}/jobs", json={"kind": "score"}).status_code == 409


def test_ids_cannot_be_guessed(alice: httpx.Client) -> None:
    ids = [make_project(alice) for _ in range(3)]
    bits = np.unpackbits(np.array([list(bytes.fromhex(name)) for name in [new_id() for _ in range(200)]], np.uint8))
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in ids) and len(set(ids)) == 3
    assert abs(bits.mean() - 0.5) < 0.02
    for guess in ("0" * 32, "1", "../" + ids[0], ids[0].upper() + "x", ids[0][:-1]):
        assert alice.get(f"/projects/{guess}").status_code in (404, 422)


# From where


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_other_names_for_this_machine_are_refused(studio: RunningStudio, host: str) -> None:
    """A page whose name was pointed at 127.0.0.1 (DNS rebinding) is same-origin for the browser, but not for us."""
    for path in ("/api/session", "/", "/api/projects"):
        answer = httpx.get(studio.url + path, headers={"Host": host, "Authorization": f"Bearer {ALICE}"})
        assert answer.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_our_own_names_are_taken(studio: RunningStudio, host: str) -> None:
    assert httpx.get(f"{studio.url}/api/session", headers={"Host": f"{host}:{studio.port}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
def test_other_sites_can_neither_act_nor_read(studio: RunningStudio, headers: dict[str, str]) -> None:
    asked = {**headers, "Authorization": f"Bearer {ALICE}"}
    for method, path in (("POST", "/api/projects"), ("GET", "/api/projects"), ("POST", "/api/session")):
        answer = httpx.request(method, studio.url + path, headers=asked, json={"name": "x", "token": ALICE})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_itself_may_ask(studio: RunningStudio) -> None:
    headers = {"Origin": studio.url, "Sec-Fetch-Site": "same-origin", "Authorization": f"Bearer {ALICE}"}
    assert httpx.get(f"{studio.url}/api/projects", headers=headers).status_code == 200


def test_every_answer_tells_browsers_to_be_careful(studio: RunningStudio) -> None:
    for path in ("/api/session", "/api/projects", "/nowhere", "/api/openapi.json"):
        headers = httpx.get(studio.url + path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        if path.startswith("/api/"):
            assert headers["cache-control"] == "no-store"


# Paths


@pytest.mark.parametrize("path", [
    "/static/../serve.py", "/static/..%2fserve.py", "/static/%2e%2e/serve.py", "/static/....//serve.py",
    "//etc/passwd", "/static/%00", "/api/../../etc/passwd", "/static/studio/../../serve.py", "/static//etc/passwd",
])  # fmt: skip
def test_no_path_leads_out_of_the_page(studio: RunningStudio, path: str) -> None:
    assert "create_app" in (STATIC.parent / "serve.py").read_text(encoding="utf-8")  # what they would lead to
    with socket.create_connection(("127.0.0.1", studio.port)) as sock:  # clients would tidy the path
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.split(b" ")[1] in (b"404", b"400", b"401", b"422")
    assert b"create_app" not in answer and b"root:" not in answer


@pytest.mark.parametrize("name", [
    "../../../../tmp/evil.mp4", "/etc/passwd", "..\\..\\evil.mp4", "C:\\evil.mp4", "a/../../b.mp4", ".bashrc",
    "x.mp4/../../y.py", "x.php", "x.mp4.exe", "nul.mp4",
])  # fmt: skip
def test_file_names_of_clients_are_never_paths(studio: RunningStudio, alice: httpx.Client, name: str) -> None:
    project = make_project(alice)
    made = alice.post(f"/projects/{project}/upload", json={"filename": name, "size": 10})
    assert made.status_code == 201
    folder = studio.folder / "projects" / project
    assert [path.name for path in folder.iterdir()] in (["source"], ["source.mp4"])
    assert not set(safe_stem(name)) & set('/\\"\r\n:') and safe_suffix(name) in ("", ".mp4")


def test_only_our_own_ids_become_paths(tmp_path: Path) -> None:
    for name in ("..", "a/b", "", "0" * 31, "0" * 32 + "/..", "0" * 31 + "\n"):
        with pytest.raises(ValueError, match="id"):
            ProjectFolder(tmp_path, name)
    with pytest.raises(ValueError, match="extension"):
        ProjectFolder(tmp_path, "0" * 32).source(".mp4/../../x")


# How much


def test_oversized_uploads_are_refused_before_they_begin(alice: httpx.Client) -> None:
    project = make_project(alice)
    for size in (1_000_001, 10**15):
        answer = alice.post(f"/projects/{project}/upload", json={"filename": "x.mp4", "size": size})
        assert answer.status_code == 413 and "--max-upload" in answer.json()["error"]
    assert alice.post(f"/projects/{project}/upload", json={"filename": "x.mp4", "size": 0}).status_code == 422


def test_more_bytes_than_were_announced_are_refused(studio: RunningStudio, alice: httpx.Client) -> None:
    project = make_project(alice)
    path = f"/projects/{project}/upload"
    alice.post(path, json={"filename": "x.mp4", "size": 1000})
    headers = {**UPLOAD, "Upload-Offset": "0"}
    assert alice.patch(path, content=bytes(1001), headers=headers).status_code == 413
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield bytes(65_536)

    with contextlib.suppress(httpx.WriteError):  # the server hangs up while we are still talking
        assert alice.patch(path, content=endless(), headers=headers).status_code == 413
    assert sent < 50_000_000
    assert (studio.folder / "projects" / project / "source.mp4").stat().st_size == 0
    assert alice.get(path).json()["offset"] == 0
    wrong = alice.patch(path, content=b"x", headers={"Upload-Offset": "0", "Content-Type": "text/plain"})
    assert wrong.status_code == 415


def test_large_bodies_are_refused_whatever_their_headers_say(alice: httpx.Client) -> None:
    body = b'{"name": "' + b"x" * MAX_BODY + b'"}'
    headers = {"Content-Type": "application/json"}
    assert alice.post("/projects", content=body, headers=headers).status_code == 413

    def in_pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    assert alice.post("/projects", content=in_pieces(), headers=headers).status_code == 413
    deep = b'{"sections": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert alice.post("/projects", content=deep, headers=headers).status_code in (400, 422)


@pytest.mark.parametrize("name", ["text.mp4", "zip.mp4", "page.mp4", "playlist.mp4", "sound.mp4", "cut.mp4", "nothing"])
def test_what_is_no_video_is_refused(alice: httpx.Client, clip: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "zip.mp4":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", bytes(20_000_000))  # a bomb, if somebody opened it
    elif name == "sound.mp4":
        write_clip(path, 1.0, sound="sine", has_picture=False)
    elif name == "cut.mp4":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    else:
        texts = {
            "text.mp4": "hello " * 500, "page.mp4": "<html><script>alert(1)</script></html>" * 50,
            "playlist.mp4": "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "nothing": "\0" * 2000,
        }  # fmt: skip
        path.write_text(texts[name])
    check_refused(alice, path, "give|copy|repair|convert|record")


def check_refused(client: httpx.Client, path: Path, remedy: str) -> str:
    """The upload arrives, is refused with a sentence, its file is gone, and another may follow."""
    project = make_project(client)
    upload(client, project, path, "my film.mp4")

    def over() -> dict | None:
        found = client.get(f"/projects/{project}").json()
        return found if found["state"] in ("refused", "ready") else None

    found = wait_for(over)
    assert found["state"] == "refused" and re.search(remedy, found["error"]), found["error"]
    assert "my film.mp4" in found["error"] and str(path) not in found["error"] and "source" not in found["error"]
    assert found["upload"] is None and client.get(f"/projects/{project}/video").status_code == 404
    assert client.post(f"/projects/{project}/upload", json={"filename": "x.mp4", "size": 5}).status_code == 201
    return found["error"]


def write_still(path: Path, size: tuple[int, int], frames: int, step: Fraction) -> Path:
    """A tiny file with frames of one colour `step` s apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"  # type: ignore[attr-defined]
        picture = np.full((size[1], size[0], 3), 90, np.uint8)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(index * step * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_long_and_large_videos_are_refused(alice: httpx.Client, tmp_path: Path) -> None:
    long = write_still(tmp_path / "long.mp4", (64, 64), 300, Fraction(60))
    assert "--max-minutes" in check_refused(alice, long, "cut it")
    large = write_still(tmp_path / "large.mp4", (1024, 1024), 3, Fraction(1, 25))
    assert large.stat().st_size < 20_000
    assert "--max-pixels" in check_refused(alice, large, "scale it down")


def test_a_decompression_bomb_meets_the_limit_on_memory(tmp_path: Path) -> None:
    """Three frames of 8K in a few kB; with 400 MB of address space they cannot even be decoded."""
    bomb = write_still(tmp_path / "bomb.mp4", (7680, 4320), 3, Fraction(1, 25))
    assert bomb.stat().st_size < 200_000
    request = {"source": str(bomb), "name": "bomb.mp4", "max_minutes": 1, "max_pixels": 10**9}
    with pytest.raises(InputError, match=r"memory|decoded|read"):
        Sandbox("probe", request, make_limits(memory=400 << 20)).run(lambda message: None)
    found = Sandbox("probe", request, make_limits()).run(lambda message: None)
    assert (found["width"], found["height"]) == (7680, 4320)  # with ordinary limits it is only large


def test_the_confined_process_is_killed_when_it_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = "import sys, time; sys.stdin.readline(); time.sleep(60)"
    monkeypatch.setattr(limited, "PROGRAM", (sys.executable, "-c", sleeper))
    began = time.monotonic()
    with pytest.raises(InputError, match="longer to read"):
        Sandbox("look", {}, make_limits(seconds=0.5)).run(lambda message: None)
    assert time.monotonic() - began < 20


def test_the_confined_process_cannot_write_endlessly_and_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys; from openvmas.processes.child import limit_process; "
        "from openvmas.processes.limited import Limits; "
        "limit_process(vars(Limits(60, total_cpu_seconds=60, address_space=1 << 31, file_bytes=1000))); "
        "open(sys.argv[1], 'wb', buffering=0).write(bytes(1000)); open(sys.argv[1], 'ab', buffering=0).write(bytes(1))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "File too large" in done.stderr
    # The parent is killed while its child sleeps: nobody is left to stop it.
    parent = (
        "import os, signal, sys; from openvmas.processes.limited import LimitedProcess, Limits; "
        "from tests.studio.test_security import sleep; "
        "LimitedProcess(sleep, None, Limits(60)).run(0, lambda pid: (print(pid), sys.stdout.flush(), "
        "os.kill(os.getpid(), signal.SIGKILL)))"
    )
    killed = subprocess.run([sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wait_for(lambda: not is_alive(int(killed.stdout)))


def sleep(setting: None, send: Callable[[int], None]) -> Callable[[int], None]:
    """Work that says who does it and would go on for an hour."""

    def work(job: int) -> None:
        send(os.getpid())
        time.sleep(3600)

    return work


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False


def test_other_addresses_need_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        with pytest.raises(OptionError, match="--token"):
            StudioOptions.of(host=host)
        assert StudioOptions.of(host=host, token=(ALICE,)).host == host
    for token in ("short", "with space in it 123", "é" * 20):
        with pytest.raises(OptionError, match="token"):
            StudioOptions.of(token=(token,))
    done = subprocess.run(
        [sys.executable, "-m", "openvmas", "studio", "--host", "0.0.0.0", "--folder", str(tmp_path / "home")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "--token" in done.stderr and not (tmp_path / "home").exists()


def test_what_is_kept_is_for_its_owner_only(studio: RunningStudio, alice: httpx.Client) -> None:
    make_project(alice)
    assert studio.folder.stat().st_mode & 0o077 == 0
    database = (studio.folder / "studio.sqlite").read_bytes()
    wal = studio.folder / "studio.sqlite-wal"
    assert ALICE.encode() not in database + (wal.read_bytes() if wal.exists() else b"")


def test_every_claim_of_the_page_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    known = set(re.findall(r"^def (test_\w+)", "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")), flags=re.M))  # fmt: skip
    here = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(encoding="utf-8"), flags=re.M))
    assert named <= known
    assert here - {"test_every_claim_of_the_page_names_a_test_that_is_there"} <= named
