"""The console behind a real nginx with TLS, set up as docs/console.md says, and a real OpenID provider."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, ConsoleMessage, Page

from codewell.access import tokens
from services.console.oidc.settings import Grant
from services.standalone.ports import free_port
from tests.support.nginx import nginx, proxying
from tests.support.oidc import NEEDED, oidc_server
from tests.support.serving import serving
from tests.support.site import Site

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(nginx() is None, reason="this machine has no nginx"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason="needs Node.js and npm"),
]


class Proxied(NamedTuple):
    """A console by its public URL and by its own, and a browser profile."""

    site: Site
    url: str
    inner_url: str
    context: BrowserContext


@pytest_asyncio.fixture(loop_scope="module")
async def proxied(
    site: Site, shared_chromium: Chromium, tmp_path: Path, servers_directory: str
) -> AsyncIterator[Proxied]:
    # The console has to know its URL before the proxy begins.
    port = free_port()
    url = f"https://localhost:{port}"
    with oidc_server(Path(servers_directory)) as oidc:
        client = oidc.register(f"{url}/sign-in/oidc/return")
        given = {
            "public_url": url, "oidc_issuer": oidc.issuer, "oidc_client_id": client.client_id,
            "oidc_client_secret": client.client_secret, "oidc_groups": {"boss": Grant(scopes=("admin",))},
        }  # fmt: skip
        async with (
            serving(site, **given) as inner_url,
            proxying(inner_url, port, tmp_path),
        ):
            context = await shared_chromium.new_context(base_url=url, ignore_https_errors=True)
            context.set_default_timeout(20_000)
            yield Proxied(site, url, inner_url, context)
            await context.close()


async def sign_in_at_provider(page: Page, login: str) -> None:
    await page.locator("input[name=login]").fill(login)
    await page.locator("input[name=password]").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()


async def test_people_sign_in_through_the_proxy(proxied: Proxied) -> None:
    page = await proxied.context.new_page()
    faults: list[str] = []

    def logged(message: ConsoleMessage) -> None:
        # The provider's own pages ask for a font from elsewhere.
        if message.type == "error" and message.location["url"].startswith(proxied.url):
            faults.append(message.text)

    page.on("console", logged)
    await page.goto("/tokens")
    await page.get_by_role("link", name="Sign in with").click()
    await sign_in_at_provider(page, "anna+boss")
    await page.wait_for_url(f"{proxied.url}/tokens")
    assert await page.get_by_role("heading", level=1).inner_text() == "Tokens and sessions"
    [cookie] = [one for one in await proxied.context.cookies() if one["name"].endswith("codewell")]
    assert cookie["name"] == "__Host-codewell"
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    # A form goes through: the console knows its own origin behind the proxy.
    await page.get_by_role("link", name="Create token").first.click()
    await page.get_by_label("Name").fill("shop")
    await page.get_by_role("button", name="Create token").click()
    secret = await page.locator("#secret").inner_text()
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        answer = await client.get(f"{proxied.url}/api/v1/programs", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    assert [one["name"] for one in await proxied.context.cookies(proxied.url)] == []
    assert faults == []


async def test_the_origin_of_forms_is_the_public_url_whatever_headers_say(proxied: Proxied) -> None:
    _, secret = await tokens.create(proxied.site.database, "anna", ["read"])
    form = {"token": secret}
    port = proxied.url.rpartition(":")[2]
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        for url, origin, status in (
            (proxied.url, proxied.url, 303),
            (proxied.url, "https://localhost", 403),
            (proxied.url, f"http://localhost:{port}", 403),
            (proxied.inner_url, proxied.inner_url, 403),
            (proxied.inner_url, "https://evil.example", 403),
        ):
            headers = {"Origin": origin, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
            answer = await client.post(f"{url}/sign-in", data=form, headers=headers)
            assert answer.status_code == status, (url, origin)
            if status == 303:
                assert answer.headers["set-cookie"].startswith("__Host-codewell=")
                assert "; Secure" in answer.headers["set-cookie"]


async def test_without_a_public_url_no_header_makes_the_cookie_another(site: Site) -> None:
    _, secret = await tokens.create(site.database, "anna", ["read"])
    async with serving(site) as url, httpx.AsyncClient(trust_env=False) as client:
        headers = {"Sec-Fetch-Site": "same-origin", "X-Forwarded-Proto": "https", "Forwarded": "proto=https"}
        answer = await client.post(f"{url}/sign-in", data={"token": secret}, headers=headers)
    assert answer.headers["set-cookie"].startswith("codewell=")
    assert "Secure" not in answer.headers["set-cookie"]
