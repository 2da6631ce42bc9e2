"""What comes from outside is limited, at the limit and one past it: heads, bodies, time, connections, lists."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from codewell.infra.http import limits
from codewell.infra.http.limits import HEAD_BYTES_MAX
from codewell.minting.template import TEMPLATE_CHARACTERS_MAX
from schemas.program import FIELDS_MAX, GROUPS_MAX
from services.console.http import body_limit
from services.console.http.body_limit import BODY_BYTES_MAX
from tests.integration.console.test_api import console
from tests.support.consoles import Consoles, is_problem, settings
from tests.support.running import LIMIT_S
from tests.support.site import Site

JSON = {"Content-Type": "application/json"}


class Raw:
    """A connection on which anything may be said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, client: httpx.AsyncClient) -> "Raw":
        return cls(*await asyncio.open_connection(client.base_url.host, client.base_url.port))

    async def say(self, said: bytes) -> None:
        self._writer.write(said)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(LIMIT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body

    async def is_refused(self, status: int, *words: str) -> dict[str, str]:
        """Fail unless the answer is a problem of this status, and the connection ends behind it."""
        got, headers, body = await self.answer()
        problem = json.loads(body)
        assert (got, problem["status"], headers["content-type"]) == (status, status, "application/problem+json")
        assert all(word in problem["detail"] for word in words), problem
        assert headers["connection"].lower() == "close"
        async with asyncio.timeout(LIMIT_S):
            assert await self._reader.read() == b""
        await self.close()
        return headers

    async def close(self) -> None:
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)


def head(size: int, path: str = "/healthz") -> bytes:
    """A request whose address and headers have this size together."""
    rest = size - len(path) - len("Host: x\r\n") - len("Large: \r\n")
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nLarge: {'l' * rest}\r\n\r\n".encode()


async def test_heads(site: Site) -> None:
    async with console(site) as client:
        raw = await Raw.to(client)
        for _ in range(2):
            await raw.say(head(HEAD_BYTES_MAX))
            assert (await raw.answer())[0] == 200
        await raw.say(head(HEAD_BYTES_MAX + 1))
        await raw.is_refused(431, "65,536")
        endless = HEAD_BYTES_MAX + limits._REQUEST_LINE_BYTES + 1
        for said in (
            head(100, "/healthz?" + "q" * HEAD_BYTES_MAX),
            b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * (HEAD_BYTES_MAX // 6) + b"\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: ".ljust(endless, b"x"),
            b"GET /".ljust(endless, b"x"),
            b"GET /healthz HTTP/1.1\r\n".ljust(endless, b"x"),
        ):
            raw = await Raw.to(client)
            await raw.say(said)
            await raw.is_refused(431, "65,536")
        raw = await Raw.to(client)
        await raw.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await raw.is_refused(400, "HTTP/1.1")


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: "])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_head_that_does_not_come(site: Site, monkeypatch: pytest.MonkeyPatch, said: bytes, before: int) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.3)
    async with console(site) as client:
        raw = await Raw.to(client)
        for _ in range(before):
            await raw.say(head(1_000))
            assert (await raw.answer())[0] == 200
        await raw.say(said)
        if said or not before:
            await raw.is_refused(408, "No complete request")
        else:
            # An idle connection is uvicorn's to end.
            await raw.close()


UNAUTHORIZED = b"POST /api/v1/programs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("line", [b"Name: value\r\n", b"x" * 1_000])
async def test_lines_behind_a_body_have_an_end(site: Site, line: bytes) -> None:
    async with console(site) as client:
        raw = await Raw.to(client)
        await raw.say(UNAUTHORIZED + b"0\r\n")
        assert (await raw.answer())[0] == 401
        for _ in range(HEAD_BYTES_MAX // len(line)):
            await raw.say(line)
        await raw.say(line * (2_000 // len(line) + 1))
        await raw.is_refused(431, "65,536")


@pytest.mark.parametrize("said", [(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"), (UNAUTHORIZED, b"5\r\nab")])
async def test_what_is_no_request_keeps_no_connection(
    site: Site, monkeypatch: pytest.MonkeyPatch, said: tuple[bytes, bytes]
) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.3)
    async with console(site) as client:
        raw = await Raw.to(client)
        await raw.say(said[0])
        assert (await raw.answer())[0] in {200, 401}
        await raw.say(said[1])
        await raw.is_refused(408, "No complete request")


async def test_a_body_that_does_not_come(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "BODY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(body_limit, "UPLOAD_PAUSE_MAX_S", 0.3)
    await site.program("SPRING", 10)
    async with console(site) as client:
        token = client.headers["authorization"]
        for path, kind, begun in (
            ("programs", "application/json", '{"name": '),
            ("programs/SPRING/codes:attach", "application/json", '{"profile_id": '),
            ("programs/SPRING/imports", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data"),
        ):
            raw = await Raw.to(client)
            await raw.say(
                f"POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: 1000\r\n\r\n{begun}".encode()
            )
            await raw.is_refused(408, "arrived too slowly")
        raw = await Raw.to(client)
        head = f"POST /api/v1/programs/SPRING/codes:attach HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        await raw.say(f"{head}Content-Type: application/json\r\nContent-Length: 18\r\n\r\n".encode())
        for piece in (b'{"profile_id"', b':"p"}'):
            await raw.say(piece)
        assert (await raw.answer())[0] == 200
        await raw.close()
        # An export waits for its reader longer than a body may take.
        answer = await client.get("/api/v1/programs/SPRING/codes.csv")
        assert answer.text.count("\n") == 11


async def test_one_connection_too_many(site: Site) -> None:
    async with console(site, connections_max=2) as client:
        first, second, third = [await Raw.to(client) for _ in range(3)]
        request = b"GET /api/v1/programs HTTP/1.1\r\nHost: x\r\n\r\n"
        for raw in (first, second):
            await raw.say(request)
            assert (await raw.answer())[0] == 401
        # It is known to be alive and ready all the same, or it would be restarted for being asked for much.
        for probe in (b"healthz", b"readyz"):
            await third.say(b"GET /" + probe + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await third.answer())[0] == 200
        await third.say(request)
        assert int((await third.is_refused(503, "All connections are in use"))["retry-after"]) > 0
        await first.close()
        async with asyncio.timeout(LIMIT_S):
            while True:
                again = await Raw.to(client)
                await again.say(request)
                status = (await again.answer())[0]
                await again.close()
                if status == 401:
                    break
        await second.close()


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    return await consoles.client("admin")


async def test_the_largest_body(client: httpx.AsyncClient) -> None:
    body = json.dumps(settings()).encode()
    padded = body + b" " * (BODY_BYTES_MAX - len(body))
    assert (await client.post("/programs", content=padded, headers=JSON)).status_code == 201
    is_problem(await client.post("/programs", content=padded + b" ", headers=JSON), 413, "1,048,576")
    step = b'{"profile_id": "p-1", "code": "A"}'.ljust(BODY_BYTES_MAX)
    assert (await client.post("/programs/SPRING/codes:attach", content=step, headers=JSON)).status_code == 200
    refused = await client.post("/programs/SPRING/codes:attach", content=step + b" ", headers=JSON)
    is_problem(refused, 413, "1,048,576")


@pytest.mark.parametrize("depth", [150, 250, 5_000])
async def test_nested_json(client: httpx.AsyncClient, depth: int) -> None:
    """No depth is of use anywhere; the deepest that is read is refused for what it is."""
    body = json.dumps(settings())[:-1] + f', "deep": {"[" * depth}{"]" * depth}}}'
    made = await client.post("/programs", content=body, headers=JSON)
    assert made.status_code in {400, 422}, made.text
    answer = await client.post("/programs/SPRING/codes:attach", content=body, headers=JSON)
    assert answer.status_code in {400, 404, 422}, answer.text


async def test_the_largest_page(client: httpx.AsyncClient) -> None:
    assert (await client.get("/programs", params={"limit": 1_000})).status_code == 200
    is_problem(await client.get("/programs", params={"limit": 1_001}), 422, "limit")
    is_problem(await client.get("/programs", params={"limit": 0}), 422, "limit")


def names(count: int) -> list[str]:
    return [f"F{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("at", "over", "word"),
    [
        ({"fields": [{"name": name} for name in names(FIELDS_MAX)]},
         {"fields": [{"name": name} for name in names(FIELDS_MAX + 1)]}, "fields"),
        ({"groups": names(GROUPS_MAX)}, {"groups": names(GROUPS_MAX + 1)}, "groups"),
        ({"title": "t" * 2_000}, {"title": "t" * 2_001}, "title"),
        ({"description": "t" * 2_000}, {"description": "t" * 2_001}, "description"),
        ({"name": "N" * 64}, {"name": "N" * 65}, "name"),
        ({"source": {"kind": "template", "template": r"\{" * (TEMPLATE_CHARACTERS_MAX // 2 - 930) + "{upstring 4}"}},
         {"source": {"kind": "template", "template": "x" * (TEMPLATE_CHARACTERS_MAX + 1)}}, "2,000"),
    ],
)  # fmt: skip
async def test_a_program_has_limits(
    client: httpx.AsyncClient, at: dict[str, Any], over: dict[str, Any], word: str
) -> None:
    is_problem(await client.post("/programs", json=settings(**over)), 422, word)
    made = await client.post("/programs", json=settings(**at))
    assert made.status_code == 201, made.text
    if "fields" in at or "groups" in at:
        is_problem(await client.patch("/programs/SPRING", json=over), 422, word)
        assert (await client.patch("/programs/SPRING", json=at)).status_code == 200


async def test_codes_are_generated_with_as_many_fields_as_a_program_has(client: httpx.AsyncClient) -> None:
    fields = [{"name": name} for name in names(FIELDS_MAX)]
    assert (await client.post("/programs", json=settings(fields=fields))).status_code == 201
    for count, longest, status in ((FIELDS_MAX, 2_000, 201), (FIELDS_MAX + 1, 1, 422), (1, 2_001, 422)):
        body = {"count": 1, "fields": dict.fromkeys(names(count), "v" * longest)}
        answer = await client.post("/programs/SPRING/codes:generate", json=body)
        assert answer.status_code == status, answer.text
