"""What `codewell doctor` counts on."""

from services.cli.doctor import CONNECTIONS_MAX
from services.console import main as console
from services.console.pages.app import CONNECTIONS_MAX as PAGES_MAX
from services.generator import main as generator
from services.issuer import main as issuer


def test_the_connections_of_a_worker_are_those_that_it_opens_at_most() -> None:
    # One more each, for its reports; a console's pages have a pool of their own.
    assert CONNECTIONS_MAX == {
        "lifecycle": 3,
        "issuer": issuer._CONNECTIONS_MAX + 1,
        "generator": generator._CONNECTIONS_MAX + 1,
        "console": console._CONNECTIONS_MAX + PAGES_MAX + 1,
    }
