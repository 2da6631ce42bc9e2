"""Commands of the console: run one, and sign in to the one of a stack."""

import asyncio
import os
import sys
import webbrowser

import click

from services.cli.extras import require
from services.cli.output import json_option, print_json, say


@click.group(invoke_without_command=True)
@click.pass_context
def console(context: click.Context) -> None:
    """Run a console, which serves the HTTP API and the web console."""
    if context.invoked_subcommand is not None:
        return
    require("console")
    from services.console.main import main

    main()


@console.command("open")
@json_option
def open_(as_json: bool) -> None:
    """Print a link that signs in to the web console, and open it.

    The link is of the stack in CODEWELL_HOME, has its administrator's rights, and works once within 60 seconds.
    """
    from codewell.errors import StackUnavailable
    from codewell.infra.config.settings import home
    from services.standalone.home import read_endpoints
    from services.standalone.sign_in_link import sign_in_url

    endpoints = read_endpoints(home())
    if endpoints is None:
        raise StackUnavailable(
            f"There is no running stack in {home()}: start one with codewell standalone, or open your console's URL "
            "and paste a token."
        )
    url = asyncio.run(sign_in_url(endpoints))
    if as_json:
        print_json({"url": url})
        return
    say(f"Sign in with this link, once and within 60 seconds:\n{url}")
    if sys.stdout.isatty() and _has_screen():
        webbrowser.open(url)


def _has_screen() -> bool:
    """Whether a browser would open in a window, and not in this terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
