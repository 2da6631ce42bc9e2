import click


@click.command()
def program() -> None:
    """todo"""
