"""Fixtures of the tests that drive Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.studio.browser import chromium  # needs Playwright, which the other tests do not

    with chromium() as found:
        yield found
