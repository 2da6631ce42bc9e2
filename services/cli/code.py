import click


@click.command()
def code() -> None:
    """todo"""
