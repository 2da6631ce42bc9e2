"""Streams of figures: one sampler for all, limits, ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from starlette.types import Message

from codewell.access import sessions, tokens
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.postgres.connection import Connection, Pool
from schemas.usage import Lags
from services.console.background.lag_reader import LagReader
from services.console.pages.live import sampler as sampler_module
from services.console.pages.live import stream as stream_module
from services.console.pages.live.sampler import Sample, Sampler, Wanted
from services.console.pages.live.stream import LiveStream, message
from tests.support.running import soon, until


class Page:
    """A browser that reads one stream."""

    def __init__(self, stream: LiveStream) -> None:
        self.text = ""
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(stream({"type": "http"}, self._receive, self._send))

    async def _receive(self) -> Message:
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, sent: Message) -> None:
        self.text += sent.get("body", b"").decode()

    async def leave(self) -> None:
        self._leave.set()
        async with asyncio.timeout(5):
            await self.task

    async def has(self, text: str) -> None:
        async def came() -> bool:
            return text in self.text

        await until(came, f"{text} in {self.text!r}", 10)


class Streams:
    def __init__(self, pool: Pool, session_id: int) -> None:
        self.sampler = Sampler(pool, LagReader(KafkaConfig.parse("127.0.0.1:1"), ""))
        self.stop = asyncio.Event()
        self.counter = 0
        self.session_id = session_id
        self.pages: list[Page] = []

    def open(self, html: Any = None) -> Page:
        def render(_: Sample) -> dict[str, str]:
            self.counter += 1
            return {"n": str(self.counter) if html is None else html}

        page = Page(LiveStream(self.sampler, Wanted(), self.session_id, render, self.stop))
        self.pages.append(page)
        return page


@pytest.fixture
async def streams(connections: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Streams]:
    monkeypatch.setattr(sampler_module, "INTERVAL_S", 0.02)
    monkeypatch.setattr(sampler_module, "SESSIONS_INTERVAL_S", 0.0)
    token, _ = await tokens.create(connection, f"t-{uuid4()}", ("admin",), ())
    await sessions.open_session(connection, "token", token.id, "somebody")
    opened = Streams(connections, await connection.fetchval("SELECT id FROM session"))
    yield opened
    for page in opened.pages:
        await page.leave()

    async def is_idle() -> bool:
        return opened.sampler.is_idle

    await until(is_idle, "end of the sampler", 5)


async def test_only_what_changed_is_sent(streams: Streams) -> None:
    same, changing = streams.open("same"), streams.open()
    await changing.has("#n")
    first = changing.text.count("<template")

    async def changed() -> bool:
        return changing.text.count("<template") >= first + 3

    await until(changed, "more changes")
    assert same.text.count("<template") == 1
    assert same.text.startswith("retry: 1000\n\n")


async def test_one_sampler_asks_for_all_and_rests_when_no_page_is_open(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = Sampler._read

    async def counted(self: Sampler) -> None:
        nonlocal reads
        reads += 1
        await read(self)

    monkeypatch.setattr(Sampler, "_read", counted)
    monkeypatch.setattr(sampler_module, "INTERVAL_S", 0.2)
    pages = [streams.open("x") for _ in range(20)]
    for page in pages:
        await page.has("#n")
    assert reads <= 3
    for page in pages:
        await page.leave()

    async def is_idle() -> bool:
        return streams.sampler.is_idle

    await until(is_idle, "end of the sampler", 5)
    before = reads
    await asyncio.sleep(0.5)
    assert reads == before


class SlowToEnd:
    """A reader of lags that is asked, and ends when it may."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.may_end = asyncio.Event()

    async def read(self) -> Lags:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            await self.may_end.wait()
        raise AssertionError


async def test_a_page_that_opens_while_the_last_one_closes_gets_figures(
    connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler_module, "INTERVAL_S", 0.02)
    lag = SlowToEnd()
    sampler = Sampler(connections, lag)  # type: ignore[arg-type]
    with sampler.watch(Wanted(system=True), 1) as watcher:
        await watcher.next()
    await soon(lag.cancelled)
    with sampler.watch(Wanted(), 1) as watcher:
        came = asyncio.create_task(watcher.next())
        await asyncio.sleep(0)
        lag.may_end.set()
        async with asyncio.timeout(5):
            await came


async def test_a_page_too_many_polls(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "STREAMS_MAX", 1)
    first = streams.open()
    await first.has("#n")
    second = streams.open()
    async with asyncio.timeout(5):
        await second.task

    assert second.text.startswith("retry: 5000\n\n")
    assert second.text.count("<template") == 1
    assert not first.task.done()


async def test_a_stop_ends_all_streams_at_once(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "INTERVAL_S", 60.0)
    pages = [streams.open("x") for _ in range(3)]
    await pages[0].has("#n")
    streams.stop.set()
    async with asyncio.timeout(1):
        await asyncio.gather(*(page.task for page in pages))
    streams.sampler._sampling.cancel()  # type: ignore[union-attr]


async def test_a_session_that_ended_loses_its_stream(streams: Streams, connection: Connection) -> None:
    page = streams.open()
    await page.has("#n")
    await connection.execute("UPDATE token SET revoked_at = now()")
    async with asyncio.timeout(5):
        await page.task

    assert page.text.endswith("event: signed-out\ndata:\n\n")


async def test_an_open_page_does_not_keep_its_session_alive(streams: Streams, connection: Connection) -> None:
    await connection.execute("UPDATE session SET last_seen_at = now() - interval '7 hours'")
    page = streams.open()
    await page.has("#n")
    await connection.execute("UPDATE session SET last_seen_at = last_seen_at - interval '1 hour'")
    async with asyncio.timeout(5):
        await page.task

    assert "signed-out" in page.text


async def test_figures_stay_while_the_database_is_away(
    streams: Streams, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples: list[Sample] = []
    came = asyncio.Event()

    def render(sample: Sample) -> dict[str, str]:
        samples.append(sample)
        if sample.postgres_error:
            came.set()
        return {"n": str(len(samples))}

    page = Page(LiveStream(streams.sampler, Wanted(system=True), streams.session_id, render, streams.stop))
    streams.pages.append(page)
    await page.has("#n")
    await connection.execute("ALTER TABLE worker RENAME TO away")
    await soon(came)
    known = [sample.at for sample in samples if not sample.postgres_error][-1]
    assert samples[-1].at == known
    assert samples[-1].postgres_error == "UndefinedTableError"
    await connection.execute("ALTER TABLE away RENAME TO worker")

    async def is_well() -> bool:
        return not samples[-1].postgres_error and samples[-1].at > known

    await until(is_well, "new figures")


async def test_a_heartbeat_keeps_a_quiet_stream(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.1)
    await streams.open("x").has(": still here\n\n: still here")


async def test_a_stream_ends_after_a_while_and_the_browser_comes_again(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "STREAM_MAX_S", 0.1)
    page = streams.open()
    async with asyncio.timeout(5):
        await page.task
    assert page.text.startswith("retry: 1000")


def test_a_message_with_line_breaks_is_one_event() -> None:
    text = message({"a": "one\n\r\ntwo", "b": "x"})
    assert text.count("\n\n") == 1
    assert all(line.startswith("data: ") for line in text.strip().split("\n"))
