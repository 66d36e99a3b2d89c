"""The web application: all routes, one form for every error, the static page, and the guard around it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from openvmas import __version__
from openvmas.errors import OpenVMASError
from openvmas.studio.api import (
    arrangement_routes,
    job_routes,
    plan_routes,
    project_routes,
    sound_routes,
    style_routes,
    take_routes,
    upload_routes,
)  # fmt: skip
from openvmas.studio.api.context import STATUS, Studio, error_response
from openvmas.studio.api.guard import COOKIE, StudioGuard

STATIC = Path(__file__).parent.parent / "static"
PHRASES = {
    404: "there is nothing at this address; see /api/openapi.json.",
    405: "this address does not take that method; see /api/openapi.json.",
}


def create_app(studio: Studio) -> StudioGuard:
    """The server's application with its guard around it."""
    options = studio.options

    @contextlib.asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.is_closing.set()
        studio.database.close()

    app = FastAPI(
        title="OpenVMAS studio", version=__version__, lifespan=live, openapi_url="/api/openapi.json", docs_url=None,
        redoc_url=None, description="Music for a video: upload, plan, score, listen, change, download.",
        generate_unique_id_function=operation_id,
    )  # fmt: skip
    app.state.studio = studio
    for api in (
        project_routes, upload_routes, sound_routes, style_routes, plan_routes, job_routes, take_routes,
        arrangement_routes,
    ):  # fmt: skip
        app.include_router(api.router)
    app.add_exception_handler(OpenVMASError, refuse_with_sentence)
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    app.add_exception_handler(HTTPException, refuse_by_status)
    describe_tokens(app, bool(options.token))
    if (STATIC / "index.html").exists():
        app.mount("/static", StaticFiles(directory=STATIC))
        app.get("/", include_in_schema=False)(page)
    return StudioGuard(app, options.token, options.host)


def operation_id(route: APIRoute) -> str:
    """The name of a route's function as programs call it: readTake for `read_take`."""
    first, *rest = route.name.split("_")
    return first + "".join(part.title() for part in rest)


def page() -> FileResponse:
    """The studio's one page."""
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


def refuse_with_sentence(request: Request, error: Exception) -> JSONResponse:
    """Answer one of our own errors with its sentence, and 422 where its kind has no status of its own."""
    assert isinstance(error, OpenVMASError)
    status = STATUS.get(type(error), 422)
    # A body that is too large is not read to its end.
    return error_response(status, str(error), {"connection": "close"} if status == 413 else None)


def refuse_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a request that is not as described by naming the first field that is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return error_response(422, f"{place[:200]}: {first['msg'][:300]}; see /api/openapi.json.")


def refuse_by_status(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of the framework, such as an unknown path."""
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, PHRASES.get(error.status_code, str(error.detail)), error.headers)


def describe_tokens(app: FastAPI, is_needed: bool) -> None:
    """Put the two ways of showing a token into the description, where one is needed."""
    if not is_needed:
        return
    original = app.openapi

    def openapi() -> dict[str, Any]:
        description = original()
        schemes = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
        description.setdefault("components", {})["securitySchemes"] = schemes
        for path, methods in description["paths"].items():
            for operation in methods.values():
                if path != "/api/session":
                    operation["security"] = [{"bearer": []}, {"cookie": []}]
        return description

    app.openapi = openapi  # type: ignore[method-assign]
