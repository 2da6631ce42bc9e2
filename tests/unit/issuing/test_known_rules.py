"""Rules are kept only where a program's row alone says what they are, and in one session."""

from types import SimpleNamespace
from typing import Any

import pytest

from codewell.issuing.known_rules import KnownRules, ReadRules
from tests.support.factories import rules


def session(pid: int) -> Any:
    return SimpleNamespace(get_server_pid=lambda: pid)


def known(*programs: Any) -> KnownRules:
    """What session 1 has read, one after the other."""
    found = KnownRules()
    for program in programs:
        found.remember(session(1), {program.name: ReadRules(7, program)})
    return found


def test_rules_are_known_with_the_level_that_the_pool_has_now() -> None:
    spring = rules("SPRING", id=3, pooled=10, version=5)

    [(name, read)] = known(spring).of(session(1), ["AUTUMN", "SPRING"]).items()

    assert (name, read.version) == ("SPRING", 7)
    assert read.with_pooled(4) == spring._replace(pooled=4)


@pytest.mark.parametrize("changed", [{"shared": True}, {"has_reservations": True}])
def test_rules_that_other_tables_decide_too_are_read_anew(changed: dict[str, bool]) -> None:
    found = known(rules("SPRING"), rules("SPRING", **changed))

    assert found.of(session(1), ["SPRING"]) == {}


def test_each_session_reads_all_anew() -> None:
    found = known(rules("SPRING"))

    assert found.of(session(2), ["SPRING"]) == {}
    found.remember(session(2), {"AUTUMN": ReadRules(8, rules("AUTUMN"))})
    assert found.of(session(2), ["SPRING", "AUTUMN"]).keys() == {"AUTUMN"}
    assert found.of(session(1), ["SPRING", "AUTUMN"]) == {}


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codewell.issuing.known_rules._PROGRAMS_MAX", 2)
    found = known(*(rules(f"P{number}") for number in range(3)))

    assert found.of(session(1), ["P0", "P1", "P2"]).keys() == {"P2"}
