"""A real OpenID provider (node-oidc-provider) for tests, and a person who signs in there without a browser."""

import fcntl
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urljoin

import httpx

HERE: Final = Path(__file__).parent / "oidc_provider"
NEEDED: Final = ("node", "npm")
_INSTALL: Final = ("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund")
_INSTALL_TIMEOUT_S: Final = 240
_REDIRECTS_MAX: Final = 20


class OidcClient(NamedTuple):
    """A console as the provider knows it."""

    client_id: str
    client_secret: str


class OidcServer(NamedTuple):
    """A running provider. Whoever signs in as NAME+GROUP+GROUP is NAME@example.com in these groups."""

    issuer: str
    process: "subprocess.Popen[str]"

    def register(self, return_url: str) -> OidcClient:
        """Make a console known to the provider."""
        answer = httpx.post(f"{self.issuer}/reg", json={"redirect_uris": [return_url]}, trust_env=False)
        assert answer.status_code == 201, answer.text
        return OidcClient(answer.json()["client_id"], answer.json()["client_secret"])


@contextmanager
def oidc_server(directory: Path) -> Iterator[OidcServer]:
    """Run a provider during the block. Its packages are installed once below `directory`."""
    process = subprocess.Popen(
        ["node", "server.mjs"], cwd=_installed(directory), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        issuer = next((line.strip() for line in process.stdout if line.startswith("http")), None)
        assert issuer is not None, "the provider did not start"
        yield OidcServer(issuer, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def sign_in_at(provider: httpx.Client, url: str, login: str) -> httpx.URL:
    """Sign in at the provider's page, as in a browser that keeps its cookies; returns where it sends the browser."""
    issuer = url.partition("/auth")[0]
    answer = provider.get(url)
    for _ in range(_REDIRECTS_MAX):
        if answer.is_redirect:
            place = urljoin(str(answer.url), answer.headers["location"])
            if not place.startswith(issuer):
                return httpx.URL(place)
            answer = provider.get(place)
            continue
        assert answer.status_code == 200, answer.text
        action = re.search(r'action="([^"]+)"', answer.text)
        assert action is not None, answer.text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text)
        filled = {**dict(hidden), "login": login, "password": "any"}
        answer = provider.post(urljoin(str(answer.url), unescape(action[1])), data=filled)
    raise AssertionError(f"no way back from {url}")


def _installed(directory: Path) -> Path:
    """The folder of the server with its packages; the first test of a run installs them."""
    folder = directory / "oidc-provider"
    with (directory / "oidc-provider.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("node_modules"))
            made = subprocess.run(
                _INSTALL, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
            )
            assert made.returncode == 0, made.stderr
    return folder
