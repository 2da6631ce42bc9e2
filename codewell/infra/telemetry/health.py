"""Liveness (`/healthz`), readiness (`/readyz`) and metrics (`/metrics`) of a process."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from codewell.errors import StackUnavailable
from codewell.infra.http.limits import (
    CONNECTIONS_MAX_DEFAULT,
    HEADERS,
    Application,
    LimitedProtocol,
    Receive,
    Scope,
    Send,
    respond,
)

log = structlog.get_logger()

WAITING_FOR: Final = Gauge(
    "codewell_waiting_for", "1 while the process waits for this dependency, as in /readyz, else 0.", ["what"]
)

# A loop that has work and sends no heartbeat for this long is stuck, whatever it reports. Every call to a server times
# out much sooner, so that an unavailable server alone never makes a loop stuck.
STUCK_AFTER_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 2


_ALLOWED_METHODS: Final = ("GET", "HEAD")
_ALLOW: Final = {"allow": ", ".join(_ALLOWED_METHODS)}
_TEXT: Final = "text/plain; charset=utf-8"


class _Answer(NamedTuple):
    status: int
    media_type: str
    body: bytes


class Health:
    """The dependencies that a process waits for, and the last heartbeat of each of its loops."""

    def __init__(self, *waiting_for: str) -> None:
        self._waiting_for = dict.fromkeys(waiting_for, "not yet there")
        self._heartbeats: dict[str, float] = {}
        self.has_changed: Final = asyncio.Event()
        """Set when the process begins or ends to wait for something; the reporter clears it."""
        for name in waiting_for:
            WAITING_FOR.labels(name).set(1)

    def set_waiting(self, name: str, why: str) -> None:
        """Report that the process waits for `name`; logged when the reason changes."""
        if self._waiting_for.get(name) != why:
            log.warning("waiting", waiting_for=name, why=why)
            WAITING_FOR.labels(name).set(1)
            self.has_changed.set()
        self._waiting_for[name] = why

    def set_ready(self, name: str) -> None:
        """Record that `name` is available."""
        if self._waiting_for.pop(name, None) is not None:
            log.info("ready", name=name)
            WAITING_FOR.labels(name).set(0)
            self.has_changed.set()

    def heartbeat(self, loop: str) -> None:
        """Record that this loop runs; another heartbeat or `set_idle` must follow before STUCK_AFTER_S."""
        self._heartbeats[loop] = time.monotonic()

    def set_idle(self, loop: str) -> None:
        """Record that this loop has no work; it needs no heartbeat until its next one."""
        self._heartbeats.pop(loop, None)

    @property
    def waiting_for(self) -> dict[str, str]:
        """The dependencies that the process waits for now, with the reasons."""
        return dict(self._waiting_for)

    @property
    def stuck(self) -> list[str]:
        """Loops that have work and sent no heartbeat for STUCK_AFTER_S."""
        now = time.monotonic()
        return [loop for loop, then in self._heartbeats.items() if now - then > STUCK_AFTER_S]


class Probes:
    """The probe endpoints that every process serves, as an ASGI application without a framework."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._answers: Final[Mapping[str, Callable[[], _Answer]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }

    @property
    def paths(self) -> Iterable[str]:
        """The paths that it serves."""
        return self._answers.keys()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request. Its body, if any, is not read."""
        answer = self._answers.get(scope["path"])
        if answer is None:
            await respond(send, HTTPStatus.NOT_FOUND, _TEXT, b"Not Found")
        elif scope["method"] not in _ALLOWED_METHODS:
            await respond(send, HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"Method Not Allowed", _ALLOW)
        else:
            await respond(send, *answer())

    def _healthz(self) -> _Answer:
        stuck = self._health.stuck
        return _json_answer({"healthy": not stuck, "stuck": stuck}, good=not stuck)

    def _readyz(self) -> _Answer:
        waiting_for = self._health.waiting_for
        return _json_answer({"ready": not waiting_for, "waiting_for": waiting_for}, good=not waiting_for)

    def _metrics(self) -> _Answer:
        return _Answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest())


def _json_answer(what: Mapping[str, object], *, good: bool) -> _Answer:
    body = json.dumps(what, ensure_ascii=False, separators=(",", ":")).encode()
    return _Answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, "application/json", body)


@asynccontextmanager
async def serve_health(health: Health, host: str, port: int) -> AsyncIterator[None]:
    """Serve the probe endpoints while the block runs; port -1 serves nothing. Raises StackUnavailable."""
    if port < 0:
        yield
        return
    async with serve_app(Probes(health), host, port) as taken:
        log.info("health_served", host=host, port=taken)
        yield


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the process handles its signals itself."""
        yield


def _listener(host: str, port: int) -> socket.socket:
    """Raises OSError. On all addresses of IPv6, it takes those of IPv4 too."""
    if ":" not in host:
        return socket.create_server((host, port))
    takes_both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=takes_both)


@asynccontextmanager
async def serve_app(
    app: Application, host: str, port: int, connections_max: int = CONNECTIONS_MAX_DEFAULT
) -> AsyncIterator[int]:
    """Serve an application while the block runs, and yield its port. Raises StackUnavailable if the port is in use."""
    try:
        listener = _listener(host, port)
    except OSError as error:
        raise StackUnavailable(
            f"Cannot listen on port {port} of {host} ({error.strerror or error}): choose another port, or stop "
            "the process that uses it."
        ) from error
    # No access log: it would contain paths, and a path may contain a code.
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        limit_concurrency=connections_max,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        access_log=False,
        server_header=False,
        headers=list(HEADERS),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()
