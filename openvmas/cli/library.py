"""The commands `openvmas library`: folders of recordings for --music."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import given, options_of, quiet_option
from openvmas.data.sources.free_library import LibraryOptions
from openvmas.errors import InputError
from openvmas.settings import read_table


@click.group()
def library() -> None:
    """Make a folder of free recordings for `openvmas score --music FOLDER`.

    Try: openvmas library build ~/Music/free --package vonsh
    """


@library.command()
@click.argument("folder", metavar="FOLDER")
@options_of(LibraryOptions)
@quiet_option
def build(folder: str, quiet: bool, **values: Any) -> int:
    """Fetch free recordings from Debian packages, with their licences, and hear them (all: 8 GB, about 30 hours)."""
    from openvmas.cli.terminal import show_progress
    from openvmas.data.sources.free_library import build_library
    from openvmas.fitting.library import Library

    target = Path(folder)
    options = read_table(LibraryOptions, given(values))
    built = build_library(target, options, lambda text: None if quiet else click.echo(text, err=True))
    for name, reason in built.failed.items():
        click.echo(f"left out: {name}: {reason}", err=True)
    if not built.n_tracks:
        raise InputError(f"{folder} has no recordings yet; see what was left out above, and run this again.")
    with show_progress(target.name, quiet) as progress:
        known = Library.open(target, lambda done: progress("index", done))
    kinds = ", ".join(f"{count} {name}" for name, count in built.licences.most_common())
    length = f"{built.seconds / 3600:.1f} h" if built.seconds >= 3600 else f"{built.seconds / 60:.0f} min"
    click.echo(f"{folder}: {len(known.entries)} recordings, {length} ({kinds})")
    if built.failed:
        raise InputError(f"{len(built.failed)} packages could not be fetched; run this again to go on.")
    return 0
