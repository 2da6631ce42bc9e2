"""HTTP limits of connections: size and time of a request's head, time to take a response, and their number.

uvicorn's httptools parser accepts a head of any size and waits for it without a timeout. Its own connection limit
answers in plain text, and refuses the health probes too.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from codewell.infra.http.joined_writes import JoinedWrites
from codewell.reasons import PROBLEMS, ProblemReason, problem_document

# ASGI's types, without the framework, which not every process installs.
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEAD_BYTES_MAX: Final = 64 * 1024
# The request line besides the URL; counted only until the head is complete.
_REQUEST_LINE_BYTES: Final = 1024
_HEADER_OVERHEAD_BYTES: Final = len(": \r\n")
HEAD_TIMEOUT_S: Final = 10.0
# A client that takes none of a response for this long is disconnected.
SEND_TIMEOUT_S: Final = 60.0
CONNECTIONS_MAX_DEFAULT: Final = 500
# Headers of every response: a browser must not take a file or a problem for something else than its type says.
HEADERS: Final = (("x-content-type-options", "nosniff"),)
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
HAS_BODY: Final = "has_body"
"""In the state of a request whose body had come whole when the request was passed on."""
_RETRY_AFTER_S: Final = 2
_MEDIA_TYPE: Final = "application/problem+json"


async def respond(send: Send, status: int, media_type: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
    """Send a complete response."""
    headers = {**(more or {}), "content-length": str(len(body)), "content-type": media_type}
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def _problem_body(reason: ProblemReason, detail: str) -> bytes:
    return json.dumps(problem_document(reason, detail)).encode()


class LimitedProtocol(HttpToolsProtocol):
    """One connection. A connection above `limit_concurrency` gets 503 with Retry-After, and probes still work."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # Checked in connection_made instead of by uvicorn.
        self._connections_max, self.limit_concurrency = self.limit_concurrency, None
        self._refusal: tuple[ProblemReason, str] | None = None
        self._writes: JoinedWrites
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        self._writes = JoinedWrites(transport, self.loop)
        super().connection_made(cast("Any", self._writes))
        if self._connections_max is not None and len(self.connections) > self._connections_max:
            self.app = cast("Any", _OverloadedApp(cast("Application", self.app)))
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._cancel_head_timer()
        self._cancel_send_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client some time to take what is waiting."""
        super().pause_writing()
        self._start_send_timer()

    def resume_writing(self) -> None:
        """Stop the timer: the client has taken most of it."""
        self._cancel_send_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Give the client some time to take the rest, which would keep a closed connection too."""
        self._writes.flush()
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > 0:
            self._start_send_timer()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, limit the size of an incomplete head, and start its timer if the connection is idle."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        # A body may be followed by trailers without end, so they count too.
        if self._head_bytes > HEAD_BYTES_MAX + _REQUEST_LINE_BYTES:
            self._refuse(*_TOO_LARGE)
        elif self._head_timer is None and self._is_idle:
            self._start_head_timer()

    def on_body(self, body: bytes) -> None:
        """Reset the head's size: the application limits the body's."""
        self._head_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Pass the request on, unless its head is too large; then raise ValueError, which stops the parser."""
        self._cancel_head_timer()
        lines = sum(len(name) + len(value) + _HEADER_OVERHEAD_BYTES for name, value in self.headers)
        if len(self.url) + lines > HEAD_BYTES_MAX:
            self._refusal = _TOO_LARGE
            raise ValueError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Reset the head's size: the next bytes belong to the next head."""
        self._head_bytes = 0
        self.scope["state"][HAS_BODY] = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  the parser's words are not ours
        """Refuse a request that the parser rejected."""
        self._refuse(*(self._refusal or ("head_malformed", PROBLEMS["head_malformed"].example)))

    @property
    def _is_idle(self) -> bool:
        """Whether no response is pending and uvicorn's keep-alive timer is not running, as before the first request."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and self.timeout_keep_alive_task is None

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)

    def _on_head_timeout(self) -> None:
        # With reading paused no head can arrive; reading resumes once the previous request is answered.
        if self.flow.read_paused:
            self._start_head_timer()
        else:
            self._refuse(*_TOO_SLOW)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_send_timer(self) -> None:
        self._cancel_send_timer()
        self._send_timer = self.loop.call_later(SEND_TIMEOUT_S, self._on_send_timeout)

    def _on_send_timeout(self) -> None:
        self._send_timer = None
        # Anything else is a later response on this connection, which has its own time.
        if self.flow.write_paused or (self.transport.is_closing() and self.transport.get_write_buffer_size() > 0):
            self.transport.abort()

    def _cancel_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _refuse(self, reason: ProblemReason, detail: str) -> None:
        """Respond without the application, and close the connection."""
        self._cancel_head_timer()
        if self.transport.is_closing():
            return
        # A response that has begun can't be replaced by another.
        if self.cycle is None or self.cycle.response_complete:
            body = _problem_body(reason, detail)
            status = HTTPStatus(PROBLEMS[reason].status)
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {_MEDIA_TYPE}\r\n{_HEADER_LINES}"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


_HEADER_LINES: Final = "".join(f"{name}: {value}\r\n" for name, value in HEADERS)
_TOO_LARGE: Final[tuple[ProblemReason, str]] = (
    "head_too_large",
    f"The URL and the headers of a request may have {HEAD_BYTES_MAX:,} bytes: send shorter ones.",
)
_TOO_SLOW: Final[tuple[ProblemReason, str]] = (
    "head_too_slow",
    f"No complete request arrived within {HEAD_TIMEOUT_S:.0f} s: send it without pauses, or connect later.",
)


class _OverloadedApp:
    """Serves a connection above the limit."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer probes, and all other requests with 503."""
        if scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        reason: ProblemReason = "connections_exhausted"
        headers = {"retry-after": str(_RETRY_AFTER_S), "connection": "close"}
        body = _problem_body(reason, PROBLEMS[reason].example)
        await respond(send, PROBLEMS[reason].status, _MEDIA_TYPE, body, headers)
