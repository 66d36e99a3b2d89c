"""The command `openvmas mcp`: a server that assistants start and talk to over standard input and output."""

from __future__ import annotations

from pathlib import Path

import click

from openvmas.cli.options import extra_needed
from openvmas.errors import OptionError


@click.command()
@click.argument("folder", type=click.Path(readable=False), metavar="FOLDER")
def mcp(folder: str) -> int:
    """Let assistants analyze, plan, score and report videos of FOLDER, over the Model Context Protocol (stdio).

    Nothing outside FOLDER is read or written.
    """
    place = Path(folder)
    if not place.is_dir():
        raise OptionError(f"{folder} is not a folder; give the folder of the videos.")
    with extra_needed("the server needs", "mcp"):
        from openvmas.mcp.server import make_server
    make_server(place.resolve()).run("stdio")
    return 0
