"""Request ids: each request has one, in its response and in its log lines; also answers when an endpoint fails."""

import re
import time
from functools import cache
from typing import Final

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codewell.infra.telemetry.tracing import TRACEPARENT, Attributes, Tracing
from codewell.infra.uuid7 import uuid7
from codewell.reasons import PROBLEMS
from services.console.http.problems import problem

log = structlog.get_logger()

REQUESTS: Final = Counter(
    "codewell_http_requests", "Requests served, by route and status.", ["method", "route", "status"]
)
SECONDS: Final = Histogram(
    "codewell_http_request_seconds", "Duration of a request, until its response is sent.", ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip

# Unknown methods share one label: senders could create any number of series otherwise.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADER: Final = b"x-request-id"
_NO_STORE: Final = (b"cache-control", b"no-store")
_PRIVATE: Final = "/api/"
_SANE: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


@cache
def _metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """The metrics of such a request: to find them takes longer than to count."""
    return REQUESTS.labels(method, route, status), SECONDS.labels(method, route)


class RequestIds:
    """Accepts or generates each request's id, and logs refused and failed requests."""

    def __init__(self, app: ASGIApp, tracing: Tracing | None = None) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _HEADER), b"").decode("latin-1")
        request_id = given if _SANE.fullmatch(given) else str(uuid7())
        status = 0
        began = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(_HEADER, request_id.encode())]
                if scope["path"].startswith(_PRIVATE):
                    # Answers hold customers' data, and some secrets: no browser or proxy keeps them.
                    own.append(_NO_STORE)
                names = [name for name, _ in own]
                message["headers"] = [*(one for one in message.get("headers", ()) if one[0] not in names), *own]
            await send(message)

        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request_broke")
            if status:
                raise
            await problem("internal_error", PROBLEMS["internal_error"].example)(scope, receive, send_with_id)
        finally:
            self._note(scope, status, time.monotonic() - began)
            structlog.contextvars.reset_contextvars(**bound)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        # Logs the route, as a path may hold a code. Successes are logged at the level DEBUG only.
        route = getattr(scope.get("route"), "path", None)
        labels = scope["method"] if scope["method"] in _METHODS else "other", route or "none"
        requests, seconds = _metrics(*labels, status)
        requests.inc()
        seconds.observe(took_s)
        if self._tracing is not None:
            self._trace(self._tracing, scope, *labels, status, took_s)
        write = log.debug if status < 400 else log.info
        write("answered", method=scope["method"], route=route, status=status, took_ms=round(took_s * 1000, 1))

    def _trace(self, tracing: Tracing, scope: Scope, method: str, route: str, status: int, took_s: float) -> None:
        is_sampled, parent = tracing.sample(Headers(scope=scope).get(TRACEPARENT))
        if not is_sampled:
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        about: Attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        now_ns = time.time_ns()
        span = tracing.start(f"{method} {route}", SpanKind.SERVER, about, parent, (), now_ns - int(took_s * 1e9))
        # In a failed request, the segment in place of the program may be any text.
        if status < 400 and (program := scope.get("path_params", {}).get("name")):
            span.set_attribute("codewell.program", program)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(now_ns)
