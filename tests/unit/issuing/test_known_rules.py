"""Programs are known as the last claim left them, in one session, where their rows alone say what they are."""

from datetime import UTC, datetime
from typing import Any

import pytest

from codewell.issuing.known_rules import KnownRules
from codewell.issuing.model import LockedBlock, LockedPrograms
from tests.support.factories import rules

BLOCK = LockedBlock(5, "range", 1, 1_000, 10, 100, 88, 2, None, None, 41)


def locked(*programs: Any, blocks: int = 1) -> LockedPrograms:
    """What transaction 42 has locked."""
    by_name = {program.name: program for program in programs}
    of_each = [BLOCK._replace(id=BLOCK.id + number) for number in range(blocks)]
    return LockedPrograms(
        datetime.now(UTC), None, by_name, dict.fromkeys(by_name, of_each), dict.fromkeys(by_name, 7), 42
    )


def known(*programs: Any) -> KnownRules:
    """What session 1 has read, one after the other."""
    found = KnownRules()
    for program in programs:
        found.remember(1, locked(program), {})
    return found


def test_rules_are_known_with_the_level_that_the_pool_has_now() -> None:
    spring = rules("SPRING", id=3, pooled=10, version=5)

    [(name, read)] = known(spring).of(1, ["AUTUMN", "SPRING"]).items()

    assert (name, read.version, read.program, read.block) == ("SPRING", 7, spring, BLOCK)
    assert read.with_pooled(4) == spring._replace(pooled=4)


def test_what_a_claim_gave_is_gone_from_the_block_and_the_pool() -> None:
    found, spring = KnownRules(), rules("SPRING", pooled=88)

    found.remember(1, locked(spring), {BLOCK.id: (16, 5)})

    # Five codes up to position 15, of which one was no longer there.
    assert found.of(1, ["SPRING"])["SPRING"] == (
        7, spring._replace(pooled=83), BLOCK._replace(next=16, left=83, holes=1, row=42)
    )  # fmt: skip


@pytest.mark.parametrize("blocks", [0, 2])
def test_no_block_is_known_of_several(blocks: int) -> None:
    found = KnownRules()

    found.remember(1, locked(rules("SPRING"), blocks=blocks), {})

    assert found.of(1, ["SPRING"])["SPRING"].block is None


@pytest.mark.parametrize("changed", [{"shared": True}, {"has_reservations": True}])
def test_rules_that_other_tables_decide_too_are_read_anew(changed: dict[str, bool]) -> None:
    found = known(rules("SPRING"), rules("SPRING", **changed))

    assert found.of(1, ["SPRING"]) == {}


def test_each_session_reads_all_anew() -> None:
    found = known(rules("SPRING"))

    assert found.of(2, ["SPRING"]) == {}
    found.remember(2, locked(rules("AUTUMN")), {})
    assert found.of(2, ["SPRING", "AUTUMN"]).keys() == {"AUTUMN"}
    assert found.of(1, ["SPRING", "AUTUMN"]) == {}


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codewell.issuing.known_rules._PROGRAMS_MAX", 2)
    found = known(*(rules(f"P{number}") for number in (0, 1, 0, 1)))

    assert found.of(1, ["P0", "P1"]).keys() == {"P0", "P1"}
    found.remember(1, locked(rules("P2")), {})
    assert found.of(1, ["P0", "P1", "P2"]).keys() == {"P2"}
