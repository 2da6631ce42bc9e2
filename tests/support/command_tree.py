"""The commands of a group."""

import click


def commands_of(group: click.Group) -> dict[str, click.Command]:
    """All commands of a group by their names, whichever module they are in."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}
