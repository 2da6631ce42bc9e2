"""What browsers can do to a console on real sockets: slow uploads, slow pages, many streams, forms of other sites."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest

from codewell.access import tokens
from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.infra.telemetry.health import serve_app
from services.console.api import create_api
from services.console.context import Context
from services.console.http import body_limit
from services.console.http.stream_limit import UPLOADS_PER_TOKEN_MAX
from services.console.pages import app
from services.console.pages.app import CONNECTIONS_MAX, add_pages
from services.console.pages.live import sampler, stream
from services.console.settings import ConsoleSettings
from tests.support.consoles import settings
from tests.support.running import until
from tests.support.servers import as_role

# A fifth of that in a process.
STATEMENT_TIMEOUT_S = 1.0
UPLOAD = "/programs/SPRING/import"
BEGUN = b'--x\r\nContent-Disposition: form-data; name="file"; filename="codes.csv"\r\n\r\n'
FILE = {"file": ("codes.csv", b"code\nA1\n")}


class Served(NamedTuple):
    """A console on a port, with connections for its pages apart, as a process has it."""

    url: str
    port: int
    owner: Connection
    stack: AsyncExitStack

    async def browser(self, *, groups: tuple[str, ...] = ()) -> httpx.AsyncClient:
        """A client of the pages that is signed in. It has a connection for each request, and no time limit."""
        _, secret = await tokens.create(self.owner, f"t-{uuid4()}", ["admin"], groups)
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(
                base_url=self.url, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False,
                limits=httpx.Limits(max_connections=None), timeout=60,
            )
        )  # fmt: skip
        assert (await client.post("/sign-in", data={"token": secret})).status_code == 303
        return client

    async def api(self) -> httpx.AsyncClient:
        """A client of the API that may do anything."""
        _, secret = await tokens.create(self.owner, f"t-{uuid4()}", ["admin"])
        headers = {"Authorization": f"Bearer {secret}"}
        return await self.stack.enter_async_context(
            httpx.AsyncClient(base_url=f"{self.url}/api/v1", headers=headers, trust_env=False)
        )


@pytest.fixture
async def served(database_url: str, connection: Connection) -> AsyncIterator[Served]:
    url = as_role(database_url, "console")
    async with (
        pool(url, "codewell-console", 9) as own,
        pool(url, "codewell-console-pages", CONNECTIONS_MAX, statement_timeout_s=STATEMENT_TIMEOUT_S) as of_pages,
        _serving(own, of_pages) as port,
        AsyncExitStack() as stack,
    ):
        console = Served(f"http://127.0.0.1:{port}", port, connection, stack)
        made = settings(groups=["ours"], source={"kind": "import"})
        assert (await (await console.api()).post("/programs", json=made)).status_code == 201
        yield console


@asynccontextmanager
async def _serving(own: Pool, of_pages: Pool) -> AsyncIterator[int]:
    given = ConsoleSettings(postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap="127.0.0.1:1")
    context, stop = Context.of(given, own), asyncio.Event()
    api = create_api(context)
    add_pages(api, context, of_pages, given, stop)
    async with serve_app(api, "127.0.0.1", 0) as port:
        yield port
        stop.set()


class Sender:
    """A browser that begins an upload and never ends it."""

    def __init__(self, console: Served, client: httpx.AsyncClient) -> None:
        self._port = console.port
        cookies = "; ".join(f"{one.name}={one.value}" for one in client.cookies.jar)
        self._head = (
            f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\nSec-Fetch-Site: same-origin\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n"
        )

    async def begin(self) -> "Sender":
        self._reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(self._head.encode() + BEGUN)
        await self.writer.drain()
        return self

    async def drip(self, pause_s: float) -> None:
        """Send a byte after each pause, until the console takes no more."""
        while not self.writer.is_closing():
            self.writer.write(b"a")
            await asyncio.sleep(pause_s)

    async def answer(self) -> bytes:
        """All that the console says until it closes the connection."""
        try:
            async with asyncio.timeout(20):
                return await self._reader.read()
        finally:
            await self.close()

    async def close(self) -> None:
        """Leave in the middle."""
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


async def test_slow_uploads_are_few_a_token_and_have_an_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, api = await served.browser(), await served.api()
    slow: list[Sender] = []
    dripping: list[asyncio.Task[None]] = []

    async def is_full() -> bool:
        # Another file of the same person does not wait for one of them, and the page says why.
        answer = await client.post(UPLOAD, files=FILE)
        if answer.status_code == 422:
            assert "uploads at a time" in answer.text
            return True
        # It was quicker than one of those that were to take all places.
        slow.append(await Sender(served, client).begin())
        dripping.append(asyncio.create_task(slow[-1].drip(0.05)))
        return False

    await until(is_full, "refused upload")
    # Neither the shop nor a colleague waits for them.
    assert (await api.get("/programs")).is_success
    other = await (await served.browser()).post(UPLOAD, files=FILE)
    assert other.status_code == 303, other.text
    # A byte now and then, and no byte at all: neither lasts.
    monkeypatch.setattr(body_limit, "UPLOAD_PAUSE_MAX_S", 0.5)
    answers = [await one.answer() for one in slow]
    assert sum(b"arrived too slowly" in one for one in answers) == UPLOADS_PER_TOKEN_MAX
    assert b"arrived too slowly" in await (await Sender(served, client).begin()).answer()
    await asyncio.gather(*dripping, return_exceptions=True)
    answer = await client.post(UPLOAD, files=FILE)
    assert answer.status_code == 303, answer.text


async def test_an_upload_that_breaks_off_leaves_its_place_to_the_next(served: Served) -> None:
    client = await served.browser()
    for _ in range(UPLOADS_PER_TOKEN_MAX + 1):
        await (await Sender(served, client).begin()).close()

    async def is_free() -> bool:
        answer = await client.post(UPLOAD, files=FILE)
        return answer.status_code == 303

    await until(is_free, "upload that is taken")


async def test_pages_that_wait_for_the_database_hold_up_no_request_of_the_shop(
    served: Served, connection: Connection
) -> None:
    client, api = await served.browser(), await served.api()
    # A console builds its pages at their first request.
    assert (await client.get("/operations")).status_code == 200
    async with connection.transaction():
        # What the operators' page alone reads.
        await connection.execute("LOCK TABLE worker IN ACCESS EXCLUSIVE MODE")
        pages = [asyncio.create_task(client.get("/operations")) for _ in range(20)]
        await asyncio.sleep(0)
        took = []
        while not all(one.done() for one in pages):
            began = time.monotonic()
            assert (await api.get("/programs")).is_success
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
    answers = [one.result() for one in pages]
    assert {one.status_code for one in answers} == {503}
    assert all("try again in a moment" in one.text for one in answers)
    # The shop did not wait as long as the pages' statements.
    assert median(took) < STATEMENT_TIMEOUT_S / 2, took
    assert (await client.get("/operations")).status_code == 200


async def test_streams_are_few_and_end_with_their_session(
    served: Served, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STREAMS_MAX", 10)
    monkeypatch.setattr(sampler, "SESSIONS_INTERVAL_S", 0.2)
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.05)
    client = await served.browser()

    texts = [""] * 12

    async def read(number: int) -> None:
        async with client.stream("GET", "/live", params={"program": ["SPRING"]}) as answer:
            async for text in answer.aiter_text():
                texts[number] += text

    reading = [asyncio.create_task(read(number)) for number in range(len(texts))]

    async def all_began() -> bool:
        return all("<template" in text for text in texts)

    await until(all_began, "figures on all pages")
    # Those above the limit have ended: their browsers ask again.
    _, open_ones = await asyncio.wait(reading, timeout=1)
    assert len(open_ones) == 10
    await connection.execute("UPDATE token SET revoked_at = now() WHERE 'admin' = ANY (scopes)")
    async with asyncio.timeout(5):
        await asyncio.gather(*reading)
    assert sum(text.endswith("event: signed-out\ndata:\n\n") for text in texts) == 10


async def test_no_form_of_another_site_is_taken_by_any_page(served: Served) -> None:
    client = await served.browser()
    opened = [one for module in app._OPEN for one in module.router.routes]
    posts = {getattr(one, "path", "") for one in [*app.routes(), *opened] if "POST" in getattr(one, "methods", ())}
    assert len(posts) > 30
    ids = dict.fromkeys(("token_id", "session_id", "webhook_id", "delivery_id"), "1") | {"name": "SPRING"}
    for path in sorted(posts):
        url = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: ids.get(found[1], str(uuid4())), path)
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}):
            answer = await client.post(url, data={"key": str(uuid4()), "token": "x"}, headers=headers)
            assert (answer.status_code, "came from another site" in answer.text) == (403, True), (url, headers)


async def test_uploads_imports_and_changes_of_another_group_are_unknown_by_their_real_ids(served: Served) -> None:
    theirs, member = await served.browser(groups=("theirs",)), await served.browser(groups=("ours",))
    made = settings("OTHER", groups=["theirs"], source={"kind": "import"})
    api = await served.api()
    assert (await api.post("/programs", json=made)).status_code == 201
    attached = await api.post("/programs/OTHER/codes:attach", json={"profile_id": "p-1", "code": "THEIRS-1"})
    assert attached.is_success
    staged, begun = [await theirs.post("/programs/OTHER/import", files=FILE) for _ in range(2)]
    answer = await theirs.post(begun.headers["location"], data={"key": str(uuid4()), "header": "yes", "column": "code"})
    ids = {"import": staged.headers["location"].split("/")[-1], "imports": answer.headers["location"].split("/")[-1]}
    assert "/imports/" in answer.headers["location"], answer.text
    changed = await theirs.post("/programs/OTHER/change-all/extend", data={"key": str(uuid4()), "forever": "on"})
    ids["changes"] = changed.headers["location"].split("/")[-1]

    async def asked(method: str, path: str) -> tuple[int, str, str]:
        sent = {"key": str(uuid4()), "header": "yes", "column": "code"} if method == "POST" else None
        found = await member.request(method, path, data=sent)
        text = re.sub(r'nonce="[^"]*"|value="[0-9a-f-]{36}"', "", found.text)
        return found.status_code, text.replace(path.split("/")[4], "ID"), found.headers.get("location", "")

    for method, kind, rest in (
        ("GET", "import", ""), ("POST", "import", ""), ("GET", "imports", ""), ("GET", "imports", "/bad-rows.csv"),
        ("POST", "imports", "/undo"), ("GET", "changes", ""), ("GET", "changes", "/codes.csv"),
        ("POST", "changes", "/stop"), ("POST", "changes", "/undo"),
    ):  # fmt: skip
        for program in ("SPRING", "OTHER"):
            real, random = [
                await asked(method, f"/programs/{program}/{kind}/{one}{rest}") for one in (ids[kind], uuid4())
            ]
            assert (real[0], real) == (404, random), (method, program, kind, rest)
