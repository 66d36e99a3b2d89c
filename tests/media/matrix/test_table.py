"""docs/media.md says what the files say."""

from __future__ import annotations

import media_table
import pytest


@pytest.mark.slow
def test_the_page_is_what_the_files_keep() -> None:
    page = media_table.PAGE.read_text(encoding="utf-8")
    assert media_table.with_tables(page) == page, "run `python tools/media_table.py`"
