"""Which loops count as stuck: those with work that don't come round, and nobody because a server is away."""

import time

import pytest

from codewell.infra.telemetry.health import STUCK_AFTER_S, Health


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
