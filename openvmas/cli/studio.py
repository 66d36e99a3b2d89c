"""`openvmas studio`: a page on the user's own machine. Heavy modules are imported by the command itself."""

from __future__ import annotations

from typing import Any

import click

from openvmas.cli.options import given, options_of
from openvmas.errors import ModelError
from openvmas.studio.limits import StudioOptions


@click.command()
@options_of(StudioOptions)
def studio(**values: Any) -> int:
    """Open a page where a video becomes a scored one: watch, plan, score, listen, change, download.

    Tokens can also be given in the environment variable OPENVMAS_TOKEN, where other users do not see them.
    """
    options = StudioOptions.of(**given(values))
    try:
        from openvmas.studio.serve import serve
    except ImportError as error:
        raise ModelError(
            f"the studio needs packages that are not installed ({error.name}); install them with: "
            "pip install 'openvmas[web]'"
        ) from error

    def show(url: str) -> None:
        click.echo(f"The studio is open at {url}  (Ctrl-C ends it)")

    serve(options, show)
    return 0
