"""The study as a web page for listeners on this computer or in this network. Nothing is fetched from elsewhere.

Three roles. Anybody with the link (and, outside this computer, the invitation in it) may begin. A listener holds a
random session id, which opens the own trials and nothing else. Results need the token. No role sees a system's name:
the server never opens key.json.
"""

import base64
import hashlib
import hmac
import re
import secrets
import socket
from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from openvmas.errors import OptionError
from openvmas.study.session import Step, Study, accepts, headphones_passed, pending
from openvmas.study.store import Answer, ListenerSession, Store
from openvmas.study.web_guard import WebGuard, is_loopback

EVERYWHERE = ("0.0.0.0", "::", "")  # hosts that stand for all of this computer's addresses: nobody can open them
MIN_TOKEN = 12  # characters
MAX_BODY = 4096  # bytes of a request
_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".m4a": "audio/mp4", ".wav": "audio/wav"}
_UNKNOWN = "there is no such session; open the link that you were given."


class ConsentBody(BaseModel):
    """Consent, and the invitation of a study that is open to other computers."""

    model_config = ConfigDict(extra="forbid", strict=True)
    consent: Literal[True]
    invitation: str = Field(default="", max_length=100)


class AnswerBody(BaseModel):
    """An answer to a step; the fields that it must have depend on the step (`session.accepts`)."""

    model_config = ConfigDict(extra="forbid", strict=True)
    step: int = Field(ge=0, le=10_000)
    choice: str | None = Field(default=None, max_length=8)
    quality: int | None = Field(default=None, ge=1, le=5)
    fit: int | None = Field(default=None, ge=1, le=5)
    seconds: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    heard: float = Field(ge=0, le=1e6, allow_inf_nan=False)


class StudyGuard(WebGuard):
    """The guard of a study's server, whose replies are never kept by browsers without asking again."""

    error_field = "detail"  # as FastAPI names it

    def __init__(self, app: ASGIApp, policy: str) -> None:
        headers = {"permissions-policy": "camera=(), geolocation=(), microphone=()", "x-robots-tag": "noindex"}
        super().__init__(app, headers | {"content-security-policy": policy}, MAX_BODY)


def read_page() -> tuple[str, str]:
    """The page, and the policy that lets exactly its own script and style run."""
    page = resources.files("openvmas.study").joinpath("page.html").read_text(encoding="utf-8")
    hashes = {
        name: base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
        for name in ("script", "style")
        if (found := re.search(rf"<{name}>(.*?)</{name}>", page, re.S))
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "connect-src 'self'; media-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page, policy


def invitation_of(token: str) -> str:
    """The invitation in the link for listeners: it follows from the token, but does not tell it."""
    return hmac.new(token.encode(), b"listener", hashlib.sha256).hexdigest()[:16]


def describe(study: Study, steps: tuple[Step, ...], answers: list[Answer], name: str) -> dict[str, Any]:
    """The next step as the page shows it. Nothing in it tells a check, a system or an anchor from anything else."""
    choices = {answer.step: answer.choice for answer in answers}
    left = pending(steps, choices)
    state: dict[str, Any] = {"title": study.facts["title"], "done": not left, "position": len(choices)}
    state["total"] = len(choices) + len(left)
    is_required = study.facts["headphones_policy"] == "required"
    if left and is_required and headphones_passed(steps, choices, 2) is False:
        # Their answers could not count: nobody is kept at it for nothing, and everybody learns why.
        return state | {"done": True, "total": len(choices), "ended": study.texts["no_headphones"]}
    if not left:
        links = {name: study.facts.get(name, "") for name in ("completion_code", "return_link")}
        return state | {name: value for name, value in links.items() if value}
    step = steps[left[0]]
    is_first = left[0] == 0 or steps[left[0] - 1].part != step.part
    note = step.note
    if step.attempt == 2 and headphones_passed(steps, choices, 1) is False:
        note = study.texts["second_try"]
    return state | {
        "step": left[0],
        "kind": step.kind,
        "part": step.part,
        "is_first": is_first,
        "is_training": step.is_training,
        "has_picture": any(study.facts["files"][media].endswith((".mp4", ".webm")) for media in step.media),
        "has_fit": step.has_fit,
        "note": note,
        "question": study.facts["questions"][step.question] if step.kind == "question" else None,
        "media": [f"/api/sessions/{name}/media/{media}" for media in step.media],
    }


def make_app(study: Study, token: str, invitation: str | None = None, hosts: list[str] | None = None) -> FastAPI:
    """The server's application.

    token: opens the results. invitation: what listeners must show to begin, None for nothing. hosts: names by which
    the server may be called, None for any; on loopback it keeps other pages' scripts out (DNS rebinding).
    """
    store, (page, policy) = Store(study.folder), read_page()
    app = FastAPI(title="OpenVMAS listening study", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/", response_class=HTMLResponse)
    @app.get("/s/{name}", response_class=HTMLResponse)
    def show(name: str = "") -> str:
        return page

    @app.exception_handler(RequestValidationError)
    def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own reply repeats the input, and fails on infinities.
        return JSONResponse({"detail": "this request is not understood; load the page again."}, 422)

    app.include_router(entrance(study, store, invitation), prefix="/api")
    app.include_router(own_session(study, store), prefix="/api/sessions/{name}")
    app.include_router(results_of(study, store, token), prefix="/api")
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(StudyGuard, policy=policy)
    return app


def entrance(study: Study, store: Store, invitation: str | None) -> APIRouter:
    """Routes for anybody: read about the study, and begin."""
    router = APIRouter()

    @router.get("/study")
    def introduce() -> dict[str, Any]:
        told = {name: study.facts[name] for name in ("id", "title", "consent", "minutes")}
        return told | {"language": study.facts.get("language", "en"), "texts": study.texts}

    @router.post("/sessions", status_code=201)
    def begin(given: ConsentBody) -> dict[str, str]:
        if invitation is not None and not secrets.compare_digest(given.invitation.encode(), invitation.encode()):
            raise HTTPException(403, "this link lacks the invitation; open the whole link that you were given.")
        name = store.begin()
        if name is None:
            raise HTTPException(503, "this study has enough listeners; thank you for coming.")
        return {"id": name}

    return router


def own_session(study: Study, store: Store) -> APIRouter:
    """Routes for the holder of a session's id."""
    router = APIRouter()

    def find(name: str) -> ListenerSession:
        session = store.session(name)
        if session is None:
            raise HTTPException(404, _UNKNOWN)
        return session

    @router.get("")
    def proceed(name: str, session: Annotated[ListenerSession, Depends(find)]) -> dict[str, Any]:
        return describe(study, study.plan(session.block), store.answers(session.number), name)

    @router.post("/answers")
    def take(name: str, given: AnswerBody, session: Annotated[ListenerSession, Depends(find)]) -> dict[str, Any]:
        steps, answers = study.plan(session.block), store.answers(session.number)
        left = pending(steps, {answer.step: answer.choice for answer in answers})
        if left and given.step == left[0]:
            if not accepts(steps[given.step], given.choice, given.quality, given.fit):
                raise HTTPException(422, "this answer does not belong to this step; load the page again.")
            answer = Answer(**given.model_dump())
            store.add(session.number, answer)
            if not pending(steps, {item.step: item.choice for item in (*answers, answer)}):
                store.finish(session.number)
            answers = store.answers(session.number)
        elif all(answer.step != given.step for answer in answers):  # else: sent twice, the first one counts
            raise HTTPException(409, "this step is not the next one; load the page again.")
        return describe(study, steps, answers, name)

    @router.delete("", status_code=204)
    def forget(session: Annotated[ListenerSession, Depends(find)]) -> None:
        store.delete(session.number)

    @router.get("/media/{media}")
    def play(media: str, session: Annotated[ListenerSession, Depends(find)]) -> FileResponse:
        if not any(media in step.media for step in study.plan(session.block)):
            raise HTTPException(404, "there is no such sound in this session.")
        path = study.media_path(media)
        return FileResponse(path, media_type=_TYPES[path.suffix])

    return router


def results_of(study: Study, store: Store, token: str) -> APIRouter:
    """Routes for the holder of the token: all answers, still without names of systems."""
    router = APIRouter()

    @router.get("/results")
    def results(authorization: Annotated[str, Header(max_length=500)] = "") -> dict[str, Any]:
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "results need the token that `openvmas study serve` was given or printed.")
        answers, listeners = store.everything(), []
        for session in store.sessions():
            steps = study.plan(session.block)
            given = [vars(answer) | {"media": steps[answer.step].media} for answer in answers.get(session.number, [])]
            listeners.append({"number": session.number, "finished": session.is_finished, "answers": given})
        return {"listeners": listeners}

    return router


def address_in_network() -> str:
    """The address of this computer that a phone in the same network can open, "127.0.0.1" without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address (RFC 5737): nothing is sent, a route is chosen
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def serve(study: Study, host: str, port: int, token: str | None, echo: Callable[[str], None]) -> None:
    """Run until interrupted. Raises OptionError for an address that cannot be used or lacks a token."""
    is_local = is_loopback(host)
    if token is None and not is_local:
        raise OptionError(f"{host} can be reached by others; give a token of {MIN_TOKEN} characters with --token.")
    if token is not None and len(token) < MIN_TOKEN:
        raise OptionError(f"a token of {len(token)} characters can be guessed; give at least {MIN_TOKEN}.")
    token = token or secrets.token_urlsafe(16)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise OptionError(f"{host}:{port} cannot be used ({error.strerror}); give another --port or --host.") from error
    reached = address_in_network() if host in EVERYWHERE else host
    shown = f"[{reached}]" if ":" in reached else reached
    place = f"http://{shown}:{listening.getsockname()[1]}"
    invitation = None if is_local else invitation_of(token)
    app = make_app(study, token, invitation, [host, "localhost", "127.0.0.1", "[::1]"] if is_local else None)
    echo(f"listeners: {place}/" + (f"?i={invitation}" if invitation else ""))
    echo(f"results:   curl -H 'Authorization: Bearer {token}' {place}/api/results")
    # No log of requests: it would hold addresses of listeners.
    settings = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
