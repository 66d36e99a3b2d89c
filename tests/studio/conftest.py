"""Fixtures of the tests that drive Chromium, and of one studio for many of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.clips import write_clip
from tests.studio.kit import RunningStudio, copy_project, make_project, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.studio.browser import chromium  # needs Playwright, which the other tests do not

    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def sines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio whose workers write sines at once, with peaks of 2, as a model may write them."""
    with running(tmp_path_factory.mktemp("sines"), level=12.0) as studio:
        yield studio


@pytest.fixture(scope="session")
def watched(sines: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project of `sines` whose video of 5 s, with noise as its sound, has been watched."""
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 5.0, sound="noise")
    with sines.client() as client:
        return make_project(client, clip)


@pytest.fixture()
def fresh(sines: RunningStudio, watched: str) -> str:
    """A project of its own for each test, made in the same way."""
    return copy_project(sines.folder, watched)


@pytest.fixture(scope="session")
def watched_longer(sines: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project of `sines` whose silent video of 20 s has been watched."""
    with sines.client() as client:
        return make_project(client, write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 20.0))


@pytest.fixture()
def longer(sines: RunningStudio, watched_longer: str) -> str:
    """A project of its own for each test, made in the same way."""
    return copy_project(sines.folder, watched_longer)
