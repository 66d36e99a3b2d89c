"""`openvmas studio`: a page on the user's own machine. Heavy modules are imported by the command itself."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import click

from openvmas.errors import ModelError
from openvmas.settings import value_type
from openvmas.studio.limits import StudioOptions


def studio_options(command: Any) -> Any:
    """The fields of StudioOptions as options, in their order."""
    for item in reversed(fields(StudioOptions)):
        kind, _, is_tuple = value_type(item, StudioOptions)
        name, text = "--" + item.name.replace("_", "-"), item.metadata["help"]
        if kind is bool:
            command = click.option(name, item.name, is_flag=True, help=text)(command)
            continue
        if item.default not in (None, MISSING):
            text += f" [default: {item.default:g}]" if kind is float else f" [default: {item.default}]"
        metavar = "PATH" if item.name == "folder" else "TEXT" if kind is str else "NUMBER"
        variable = "OPENVMAS_TOKEN" if item.name == "token" else None
        command = click.option(
            name, item.name, type=kind, multiple=is_tuple, metavar=metavar, help=text, envvar=variable
        )(command)
    return command


@click.command()
@studio_options
def studio(**values: Any) -> int:
    """Open a page where a video becomes a scored one: watch, plan, score, hear, change, download.

    Tokens can also be given in the environment variable OPENVMAS_TOKEN, where other users do not see them.
    """
    options = StudioOptions.of(**{name: value for name, value in values.items() if value not in (None, ())})
    try:
        from openvmas.studio.serve import serve
    except ImportError as error:
        raise ModelError(
            f"the studio needs packages that are not installed ({error.name}); install them with: "
            "pip install 'openvmas[web]'"
        ) from error

    def say(url: str) -> None:
        click.echo(f"The studio is open at {url}  (Ctrl-C ends it)")

    serve(options, say)
    return 0
