"""Which loops count as stuck: those with work that don't come round, not those whose server is away. The probes."""

import socket
import time
from pathlib import Path

import httpx
import pytest

from codewell.infra.telemetry.health import STUCK_AFTER_S, Health, Probes, serve_app


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_loop_with_work_that_does_not_come_round_is_stuck(clock: Clock) -> None:
    health = Health()
    health.heartbeat("issue")
    clock.now_s += STUCK_AFTER_S
    assert health.stuck == []
    clock.now_s += 1
    assert health.stuck == ["issue"]
    health.heartbeat("issue")
    assert health.stuck == []


def test_a_loop_that_rests_is_not_stuck_however_long(clock: Clock) -> None:
    health = Health()
    health.heartbeat("sweep")
    health.set_idle("sweep")
    clock.now_s += 100 * STUCK_AFTER_S
    assert health.stuck == []
    health.heartbeat("sweep")
    clock.now_s += STUCK_AFTER_S + 1
    assert health.stuck == ["sweep"]


def test_a_server_that_is_away_makes_no_loop_stuck_that_comes_round(clock: Clock) -> None:
    health = Health("postgres")
    for _ in range(10):
        health.heartbeat("issue")
        health.set_waiting("postgres", "ConnectionRefusedError")
        clock.now_s += STUCK_AFTER_S / 2
    assert health.waiting_for == {"postgres": "ConnectionRefusedError"}
    assert health.stuck == []


@pytest.mark.parametrize(("host", "asked"), [("::1", "[::1]"), ("::", "[::1]"), ("::", "127.0.0.1")])
async def test_an_address_of_ipv6(host: str, asked: str) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    async with serve_app(Probes(Health()), host, 0) as port, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{asked}:{port}/healthz")).status_code == 200


async def test_the_probes_say_it_by_http(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health("postgres")
    async with serve_app(Probes(health), "127.0.0.1", 0) as port, httpx.AsyncClient(trust_env=False) as client:

        async def ask(path: str, method: str = "GET") -> httpx.Response:
            return await client.request(method, f"http://127.0.0.1:{port}{path}")

        well, waiting = await ask("/healthz"), await ask("/readyz")
        assert (well.status_code, well.text) == (200, '{"healthy":true,"stuck":[]}')
        assert (waiting.status_code, waiting.json()["waiting_for"]) == (503, {"postgres": "not yet there"})
        assert well.headers["content-type"] == waiting.headers["content-type"] == "application/json"
        health.set_ready("postgres")
        monkeypatch.setattr("codewell.infra.telemetry.health.STUCK_AFTER_S", -1.0)
        health.heartbeat("issue")
        stuck, ready = await ask("/healthz"), await ask("/readyz")
        assert (stuck.status_code, stuck.json()) == (503, {"healthy": False, "stuck": ["issue"]})
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "waiting_for": {}})

        metrics, head = await ask("/metrics"), await ask("/metrics", "HEAD")
        assert 'codewell_waiting_for{what="postgres"} 0.0' in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert (head.status_code, head.content) == (200, b"")
        assert (await ask("/metric")).status_code == 404
        refused = await ask("/metrics", "POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
