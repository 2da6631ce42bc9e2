import click


@click.command()
def send() -> None:
    """todo"""
