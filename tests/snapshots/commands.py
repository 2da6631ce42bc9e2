"""The help of every command, one file for each of those directly under `codewell`."""

from collections.abc import Iterator
from typing import Final

import click

from services.cli import codewell
from tests.support.command_tree import commands_of

_COLUMNS: Final = 100


def files() -> dict[str, str]:
    """The help of `codewell` itself and of each command with all that are under it."""
    root = _context(codewell, "codewell", None)
    found = {"commands/codewell.txt": _help(root)}
    for name, command in commands_of(codewell).items():
        found[f"commands/{name}.txt"] = "\n".join(_walk(_context(command, name, root)))
    return found


def _walk(context: click.Context) -> Iterator[str]:
    yield _help(context)
    if isinstance(context.command, click.Group):
        for name, command in commands_of(context.command).items():
            yield from _walk(_context(command, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    given = {**command.context_settings, "terminal_width": _COLUMNS, "max_content_width": _COLUMNS}
    return click.Context(command, parent=parent, info_name=name, **given)


def _help(context: click.Context) -> str:
    hidden = " (hidden)" if context.command.hidden else ""
    return f"$ {context.command_path} --help{hidden}\n{context.get_help()}\n"
