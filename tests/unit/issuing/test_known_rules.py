"""Rules are kept only where a program's row alone says what they are, and in one session."""

from types import SimpleNamespace
from typing import Any

import pytest

from codewell.issuing.known_rules import KnownRules
from tests.support.factories import rules


def session(pid: int) -> Any:
    return SimpleNamespace(get_server_pid=lambda: pid)


def known(*programs: Any) -> KnownRules:
    found = KnownRules()
    found.versions(session(1), [])
    for program in programs:
        found.remember(7, program)
    return found


def test_rules_are_known_with_the_level_that_the_pool_has_now() -> None:
    spring = rules("SPRING", id=3, pooled=10, version=5)
    found = known(spring)

    assert found.versions(session(1), ["AUTUMN", "SPRING"]) == [None, 7]
    assert found.with_pooled("SPRING", 4) == spring._replace(pooled=4)


@pytest.mark.parametrize("changed", [{"shared": True}, {"has_reservations": True}])
def test_rules_that_other_tables_decide_too_are_read_anew(changed: dict[str, bool]) -> None:
    found = known(rules("SPRING"), rules("SPRING", **changed))

    assert found.versions(session(1), ["SPRING"]) == [None]


def test_another_session_reads_all_anew() -> None:
    found = known(rules("SPRING"))

    assert found.versions(session(2), ["SPRING"]) == [None]
    assert found.versions(session(1), ["SPRING"]) == [None]


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codewell.issuing.known_rules._PROGRAMS_MAX", 2)
    found = known(*(rules(f"P{number}") for number in range(3)))

    assert found.versions(session(1), ["P0", "P1", "P2"]) == [None] * 3
