"""The stream of one open page: server-sent events with the parts of the page that changed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from services.console.pages.live.sampler import Sample, Sampler, Wanted

log = structlog.get_logger()

STREAMS_MAX: Final = 100
HEARTBEAT_S: Final = 15.0
# A browser connects again by itself. So a page that stays open finds another console, and a proxy's limit does no harm.
STREAM_MAX_S: Final = 600.0
# How soon browsers come again (ms): after the end of a stream, and while there are too many streams.
_AGAIN_MS: Final = 1_000
_POLL_MS: Final = 5_000

Parts = Mapping[str, str]
Render = Callable[[Sample], Parts]
"""The HTML of each part of a page, by the id of the element that holds it."""


class LiveStream(Response):
    """Sends what changed until the page is left, the session or `stop` ends it, or STREAM_MAX_S (s) have passed.

    Beyond STREAMS_MAX streams it sends one message and ends: the browser comes again, which is polling.
    """

    media_type = "text/event-stream"

    def __init__(self, sampler: Sampler, wanted: Wanted, session_id: int, render: Render, stop: asyncio.Event) -> None:
        # A proxy that buffers would hold the events back.
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._sampler = sampler
        self._wanted = wanted
        self._session_id = session_id
        self._render = render
        self._stop = stop

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to one browser."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        tasks = [
            asyncio.ensure_future(self._send(send)),
            asyncio.ensure_future(self._stop.wait()),
            asyncio.ensure_future(_left(receive)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        sending = tasks[0]
        if not sending.cancelled() and sending.exception() is not None:
            log.error("live_stream_broke", error=sending.exception())
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        async def put(text: str) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        is_one_too_many = self._sampler.watchers >= STREAMS_MAX
        await put(f"retry: {_POLL_MS if is_one_too_many else _AGAIN_MS}\n\n")
        ends_at = time.monotonic() + STREAM_MAX_S
        sent: dict[str, str] = {}
        sent_at = time.monotonic()
        with self._sampler.watch(self._wanted, self._session_id) as watcher:
            while time.monotonic() < ends_at:
                sample = await watcher.next()
                if not watcher.is_signed_in:
                    await put("event: signed-out\ndata:\n\n")
                    return
                changed = {id_: html for id_, html in self._render(sample).items() if sent.get(id_) != html}
                if changed:
                    await put(message(changed))
                elif time.monotonic() - sent_at >= HEARTBEAT_S:
                    await put(": still here\n\n")
                else:
                    continue
                sent |= changed
                sent_at = time.monotonic()
                if is_one_too_many:
                    return


def message(parts: Parts) -> str:
    """A server-sent event that puts each part into the element of its id."""
    html = "".join(
        f'<template hx type="partial" hx-target="#{id_}" hx-swap="innerHTML">{text}</template>'
        for id_, text in parts.items()
    )
    return "".join(f"data: {line}\n" for line in html.splitlines() if line.strip()) + "\n"


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
