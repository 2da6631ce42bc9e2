"""`codewell console open` prints a link of the stack in CODEWELL_HOME."""

from pathlib import Path

import httpx
import pytest

from codewell.access import tokens
from services.standalone.admin_token import ADMIN
from services.standalone.home import Endpoints, Home
from tests.support.commands import environment
from tests.support.consoles import Consoles
from tests.support.in_process import codewell


async def test_the_link_signs_in_as_the_administrator_of_the_stack(
    consoles: Consoles, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _: pytest.fail("there is no terminal, so no browser is opened"))
    async with consoles.owners.acquire() as connection:
        await tokens.create(connection, ADMIN, ["admin"])
    home = await Home.open(tmp_path / "stack", 0)
    home.write_endpoints(Endpoints(postgres_url=database_url, kafka_bootstrap="127.0.0.1:1", api_url="http://console"))
    env = environment(CODEWELL_HOME=str(home.path))
    said = (await codewell("console", "open", env=env, cwd=tmp_path)).is_done()
    [made] = (await codewell("console", "open", "--json", env=env, cwd=tmp_path)).is_done().objects
    home.close()
    for url in (said.out.splitlines()[-1], made["url"]):
        browser = await consoles.anonymous_browser()
        assert (await browser.get(url)).status_code == 200
        secret = httpx.URL(url).params["secret"]
        assert (await browser.post("/sign-in/link", data={"secret": secret})).status_code == 303
        page = await browser.get("/programs")
        assert (page.status_code, ADMIN in page.text) == (200, True)
    refused = await codewell("console", "open", env=env, cwd=tmp_path)
    refused.is_refused("There is no running stack", "codewell standalone")
