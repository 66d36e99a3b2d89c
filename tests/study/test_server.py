"""Roles, resuming, garbage and many listeners at once, through HTTP."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from openvmas.errors import InputError, OptionError
from openvmas.study.server import EVERYWHERE, address_in_network, invitation_of, make_app, read_page, serve
from openvmas.study.session import Study, pending
from openvmas.study.store import Answer, Store
from openvmas.study.web_guard import is_loopback
from tests.study.made import quick_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a token of tests"
BASE = "http://127.0.0.1"
SECRET_AGENT = "Mozilla/5.0 (Identifying Phone 7)"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return quick_study(tmp_path_factory.mktemp("study"), ("ours", "rival"), 2, sound_pairs=2)


@pytest.fixture
def study(made: Study, tmp_path: Path) -> Study:
    """A copy of the study without answers."""
    shutil.copy(made.folder / "study.json", tmp_path)
    (tmp_path / "media").symlink_to(made.folder / "media")
    return Study(tmp_path)


def client_of(study: Study, **options: Any) -> TestClient:
    return TestClient(make_app(study, TOKEN, **options), base_url=BASE, headers={"User-Agent": SECRET_AGENT})


def begin(client: TestClient) -> str:
    reply = client.post("/api/sessions", json={"consent": True})
    assert reply.status_code == 201
    return reply.json()["id"]


def respond(study: Study, state: dict[str, Any], block: int, headphones: bool = True) -> dict[str, Any]:
    step = study.plan(block)[state["step"]]
    answer: dict[str, Any] = {"step": state["step"], "seconds": 9.5, "heard": 4.0}
    if step.kind == "rating":
        return answer | {"quality": int(step.right or 4)}
    wrong = "1" if step.right != "1" else "2"
    return answer | {"choice": {"volume": "ok", "headphones": step.right if headphones else wrong}.get(step.kind, "a")}


def walk(client: TestClient, study: Study, name: str, block: int, headphones: bool = True) -> list[dict[str, Any]]:
    """Everything that the page was told, to the end."""
    told = [client.get(f"/api/sessions/{name}").json()]
    while not told[-1]["done"]:
        reply = client.post(f"/api/sessions/{name}/answers", json=respond(study, told[-1], block, headphones))
        assert reply.status_code == 200
        told.append(reply.json())
    return told


def test_a_listener_goes_through_and_nobody_else_can_read_it(study: Study) -> None:
    client = client_of(study)
    name = begin(client)
    told = walk(client, study, name, 0)
    assert [state["position"] for state in told] == list(range(len(told)))
    assert {state["total"] for state in told} == {len(told) - 1}  # one attempt with headphones is enough
    text = json.dumps(told)
    assert not any(word in text for word in ("ours", "rival", "anchor", "noise", "right", 'check"'))
    for path in ("/api/results", f"/api/sessions/{name}/results", "/key.json", "/study.json", "/answers.sqlite"):
        assert client.get(path).status_code in (401, 404)
    for token in ("", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {name}"):
        assert client.get("/api/results", headers={"Authorization": token}).status_code == 401
    assert client.get("/api/results", headers={"Authorization": "Bearer é".encode("latin-1")}).status_code == 401
    reply = client.get("/api/results", headers={"Authorization": f"Bearer {TOKEN}"})
    found = reply.json()["listeners"]
    assert len(found) == 1 and found[0]["finished"] and len(found[0]["answers"]) == len(told) - 1
    assert name not in reply.text and "rival" not in reply.text


def test_each_listener_hears_only_the_own_stimuli(study: Study) -> None:
    client = client_of(study)
    first = begin(client)
    media = {name for step in study.plan(0) for name in step.media}
    for name in study.facts["files"]:
        reply = client.get(f"/api/sessions/{first}/media/{name}")
        assert reply.status_code == (200 if name in media else 404)
    assert media != set(study.facts["files"])
    one = next(iter(media))
    part = client.get(f"/api/sessions/{first}/media/{one}", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and len(part.content) == 100  # Safari plays nothing without
    assert client.get(f"/api/sessions/{'x' * 22}/media/{one}").status_code == 404


def test_stopping_and_sending_twice_lose_nothing(study: Study) -> None:
    client = client_of(study)
    name = begin(client)
    state = client.get(f"/api/sessions/{name}").json()
    answer = respond(study, state, 0)
    after = client.post(f"/api/sessions/{name}/answers", json=answer).json()
    again = client.post(f"/api/sessions/{name}/answers", json=answer | {"seconds": 1.0})
    assert again.status_code == 200 and again.json() == after
    assert client_of(study).get(f"/api/sessions/{name}").json() == after  # a new server, such as after a crash
    assert client.post(f"/api/sessions/{name}/answers", json=answer | {"step": 9}).status_code == 409
    stored = Store(study.folder).answers(1)
    assert stored == [Answer(0, "ok", None, None, 9.5, 4.0)]


def test_who_fails_the_headphone_check_gets_one_more_try(study: Study) -> None:
    client = client_of(study)
    told = walk(client, study, begin(client), 0, headphones=False)
    assert sum(state.get("kind") == "headphones" for state in told) == 12
    assert "try once more" in told[7]["note"] and not told[6]["note"]
    assert told[7]["total"] == told[6]["total"] + 6
    # It is required, so nobody is kept at answers that cannot count, and everybody is told why.
    assert len(told) == 14 and told[-1]["done"] and "over headphones" in told[-1]["ended"]


def test_where_headphones_are_only_asked_for_the_study_goes_on(study: Study) -> None:
    study.facts.update(headphones_policy="asked", completion_code="C-17", return_link="https://panel.example/done")
    client = client_of(study)
    told = walk(client, study, begin(client), 0, headphones=False)
    assert len(told) > 14 and "ended" not in told[-1] and told[-1]["done"]
    assert (told[-1]["completion_code"], told[-1]["return_link"]) == ("C-17", "https://panel.example/done")
    assert all("completion_code" not in state for state in told[:-1])


def test_the_address_that_is_printed_can_be_opened() -> None:
    found = address_in_network()
    assert found not in EVERYWHERE and len(found.split(".")) == 4


def test_nothing_that_identifies_is_stored_and_answers_can_be_deleted(study: Study) -> None:
    client = client_of(study)
    first, second = begin(client), begin(client)
    walk(client, study, first, 0)
    walk(client, study, second, 1)
    assert client.delete(f"/api/sessions/{first}").status_code == 204
    assert client.get(f"/api/sessions/{first}").status_code == 404
    with sqlite3.connect(study.folder / "answers.sqlite") as base:
        assert base.execute("SELECT COUNT(*) FROM answers WHERE session = 1").fetchone() == (0,)
        assert base.execute("SELECT COUNT(*) FROM answers WHERE session = 2").fetchone()[0] > 8
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        columns = {row[1] for table in ("sessions", "answers") for row in base.execute(f"PRAGMA table_info({table})")}
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    base.close()
    assert columns == {
        "number", "id", "block", "active_hour", "finished",
        "session", "step", "choice", "quality", "fit", "seconds", "heard",
    }  # fmt: skip
    data = b"".join(path.read_bytes() for path in study.folder.glob("answers.sqlite*"))
    assert b"Mozilla" not in data and b"127.0.0.1" not in data and b"testclient" not in data
    assert first.encode() not in data


@pytest.mark.parametrize(
    "name",
    [
        "1",
        "0",
        "' OR 1=1 --",
        "..%2f..%2fkey.json",
        "%2e%2e%2fkey.json",
        "a" * 5000,
        "\x00",
        "%00",
        "éß",
        "1;DROP TABLE answers",
    ],
)
def test_guessed_and_hostile_ids_find_nothing(study: Study, name: str) -> None:
    client = client_of(study)
    mine = begin(client)
    for path in (f"/api/sessions/{name}", f"/api/sessions/{name}/media/x", f"/api/sessions/{mine}/media/{name}"):
        try:
            reply = client.get(path)
        except Exception as error:  # what no client can even send
            assert "Invalid" in type(error).__name__ or "invalid" in str(error).lower()
            continue
        assert reply.status_code in (404, 405), path
    assert client.get(f"/api/sessions/{mine}").status_code == 200


def test_garbage_is_refused_and_changes_nothing(study: Study) -> None:
    client = client_of(study)
    name = begin(client)
    path = f"/api/sessions/{name}/answers"
    good = {"step": 0, "choice": "ok", "seconds": 1.0, "heard": 1.0}
    bad: list[Any] = [
        None, [], 7, "x", {}, good | {"step": -1}, good | {"step": 2**70}, good | {"step": "0"}, good | {"step": 0.5},
        good | {"choice": "yes"}, good | {"choice": None}, good | {"choice": 3}, good | {"quality": 3},
        good | {"choice": "' OR 1"}, good | {"quality": 9}, good | {"fit": True}, good | {"seconds": -1},
        good | {"heard": 1e300}, good | {"seconds": "1"}, good | {"extra": 1}, {"choice": "ok"},
    ]  # fmt: skip
    for body in bad:
        assert client.post(path, json=body).status_code == 422, body
    for raw in (
        b"",
        b"{",
        b"\xff\xfe",
        b'{"step": NaN}',
        b'{"step": 0, "choice": "ok", "seconds": Infinity, "heard": 1}',
    ):
        reply = client.post(path, content=raw, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 422), raw
    assert client.post(path, content=b"[" * 3000, headers={"Content-Type": "application/json"}).status_code in (
        400,
        422,
    )
    assert client.post(path, content=b" " * 5000).status_code == 413

    def endless() -> Any:
        yield from (b"x" * 1000 for _ in range(9))

    assert client.post(path, content=endless()).status_code == 413
    for body in ({}, {"consent": False}, {"consent": "yes"}, {"consent": True, "name": "Ann"}):
        assert client.post("/api/sessions", json=body).status_code == 422
    assert len(Store(study.folder).sessions()) == 1 and not Store(study.folder).everything()
    assert client.put(path, json=good).status_code == 405


def test_other_computers_need_the_invitation(study: Study, tmp_path: Path) -> None:
    client = client_of(study, invitation=invitation_of(TOKEN))
    assert client.post("/api/sessions", json={"consent": True}).status_code == 403
    assert client.post("/api/sessions", json={"consent": True, "invitation": "é"}).status_code == 403
    good = {"consent": True, "invitation": invitation_of(TOKEN)}
    assert client.post("/api/sessions", json=good).status_code == 201
    assert TOKEN not in invitation_of(TOKEN) and invitation_of(TOKEN) != invitation_of(TOKEN + "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="give a token of 12"):
        serve(study, "0.0.0.0", 0, None, print)
    with pytest.raises(OptionError, match="can be guessed"):
        serve(study, "127.0.0.1", 0, "short", print)
    with pytest.raises(OptionError, match="another --port or --host"):
        serve(study, "203.0.113.7", 0, TOKEN, print)
    assert [is_loopback(host) for host in ("localhost", "127.3.2.1", "::1", "0.0.0.0", "::", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(InputError, match="openvmas study create"):
        Study(tmp_path / "empty")


def test_every_reply_carries_the_security_headers(study: Study) -> None:
    client = client_of(study, hosts=["127.0.0.1"])
    for path in ("/", "/s/abc", "/api/study", "/api/results", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in headers
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    page, policy = read_page()
    assert "unsafe" not in policy and "http" not in policy
    outside = [word for word in page.split() if "//" in word and "www.w3.org/2000/svg" not in word]
    assert outside == [] and "style=" not in page and "onclick" not in page


def test_many_listeners_at_once_get_blocks_of_their_own(study: Study) -> None:
    app = make_app(study, TOKEN)

    def one(_: int) -> str:
        client = TestClient(app, base_url=BASE)
        name = begin(client)
        state = client.get(f"/api/sessions/{name}").json()
        answer = {"step": state["step"], "choice": "ok", "seconds": 1.0, "heard": 1.0}
        assert client.post(f"/api/sessions/{name}/answers", json=answer).status_code == 200
        return name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(one, range(24)))
    store = Store(study.folder)
    assert len(set(names)) == 24
    assert sorted(session.block for session in store.sessions()) == list(range(24))
    assert all(len(answers) == 1 for answers in store.everything().values())


def test_blocks_of_those_who_left_are_dealt_again(study: Study) -> None:
    store = Store(study.folder)
    for _ in range(3):
        store.begin(hour=1000)
    store.finish(1)
    store.add(3, Answer(0, "ok", None, None, 1.0, 1.0), hour=1004)
    assert store.begin(hour=1004) is not None  # the first is finished, the third is busy, the second left
    assert store.begin(hour=1004) is not None
    assert [session.block for session in store.sessions()] == [0, 1, 2, 1, 3]


def test_plans_hold_what_was_asked(study: Study) -> None:
    for block in range(12):
        steps = study.plan(block)
        assert sum(step.kind == "pair" and not step.is_training and not step.is_check for step in steps) == 2
        assert sum(step.kind == "rating" and not step.is_training and not step.is_check for step in steps) == 3
        assert sum(step.is_check for step in steps) == 2 and sum(step.is_training for step in steps) == 2
        assert steps == study.plan(block)
        first_of_part = {step.part: step for step in reversed(steps)}
        assert all(first_of_part[part].is_training for part in ("sound_pairs", "ratings"))
        assert len(pending(steps, {})) == len(steps) - 6


def test_the_command_serves_until_it_is_interrupted(study: Study) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.run_cli",
        "study",
        "serve",
        str(study.folder),
        "--port",
        "0",
        "--token",
        TOKEN,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None and server.stderr is not None
        address = server.stdout.readline().removeprefix("listeners: ").strip()
        assert TOKEN in server.stdout.readline()
        try:
            for _ in range(200):  # the socket is open before the application is
                try:
                    reply = httpx.get(address + "api/results", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            assert reply.json() == {"listeners": []}
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert server.stderr.read() == ""  # no log of requests, no complaint
