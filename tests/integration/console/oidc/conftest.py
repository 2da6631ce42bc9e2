"""One real OpenID provider for all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oidc import NEEDED, OidcServer, oidc_server


@pytest.fixture(scope="session")
def oidc(servers_directory: str) -> Iterator[OidcServer]:
    if not all(map(shutil.which, NEEDED)):
        pytest.skip("needs Node.js and npm")
    with oidc_server(Path(servers_directory)) as server:
        yield server
