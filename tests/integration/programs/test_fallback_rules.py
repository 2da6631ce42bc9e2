"""Which programs may be fallbacks: those that everybody may use who uses the program, and never in a circle."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from codewell.audit.promises import audit
from codewell.errors import CodewellError, ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.reasons import ProblemReason
from tests.support.factories import program, settings

REMOTE = {"source": {"kind": "remote", "url": "http://127.0.0.1:1/"}}


def links(*names: str) -> list[dict[str, str]]:
    return [{"program": name} for name in names]


async def change(connection: Connection, name: str, **changes: Any) -> None:
    await programs.update(connection, Minters(None), name, changes, 10)


async def refused(reason: ProblemReason, work: Any) -> str:
    with pytest.raises(CodewellError) as raised:
        await work
    assert raised.value.reason == reason
    return str(raised.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fallback": links("A", "B", "C", "D")}, "at most 3"),
        ({"fallback": links("A", "B", "A")}, "each program once"),
        ({"fallback": links("A", "SPRING")}, "other programs"),
        ({"fallback": links("not a name")}, "pattern"),
        ({"fallback": links("A"), "fallback_on": ["program_ended"]}, "pool_empty"),
        ({"fallback": links("A"), "fallback_on": []}, "at least 1"),
        ({"fallback": links("A"), "fallback_on": ["pool_empty", "pool_empty"]}, "each reason once"),
        ({"fallback_after": "PT5S"}, "needs a fallback"),
        ({"fallback": links("A"), "fallback_after": "PT0S"}, "greater than 0"),
    ],
)
def test_settings_that_contradict_themselves(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**given)


async def test_what_is_no_fallback_is_refused_and_nothing_changes(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, "A", groups=("a", "b"))
    await program(connection, minters, "OTHERS", groups=("c",))
    await program(connection, minters, "GONE", groups=("a",))
    await programs.remove(connection, "GONE")
    await program(connection, minters, groups=("a",), fallback=links("A"))
    # What the program's users may not see is unknown to them.
    for name in ("NOPE", "OTHERS"):
        said = await refused("fallback_unknown", change(connection, "SPRING", fallback=links("A", name)))
        assert said == f"There is no program {name} in all access groups of SPRING (a): name another fallback."
    assert "was removed" in await refused("fallback_unknown", change(connection, "SPRING", fallback=links("GONE")))
    await refused("fallback_unknown", program(connection, minters, "NEW", fallback=links("NOPE")))
    await refused("fallback_not_remote", change(connection, "SPRING", fallback_after="PT5S"))
    # Wider groups for the program, and fewer for its fallback.
    await refused("fallback_unknown", change(connection, "SPRING", groups=["a", "c"]))
    said = await refused("program_is_fallback", change(connection, "A", groups=["b"]))
    assert said.startswith("A is a fallback of programs in the access group a: ")
    assert [link.program for link in (await programs.get(connection, "SPRING")).fallback] == ["A"]
    await change(connection, "SPRING", groups=["b", "a"])
    await change(connection, "SPRING", fallback=None, fallback_on=None)
    await change(connection, "A", groups=["b"])
    assert await audit(connection) == []


async def test_a_remote_service_anywhere_among_them_may_be_waited_for(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, "REMOTE", **REMOTE)
    await program(connection, minters, "A", fallback=links("REMOTE"), fallback_after="PT5S")
    await program(connection, minters, "B", **REMOTE, fallback=links("A"), fallback_after="PT5S")


async def test_no_change_leads_in_a_circle(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, "C")
    await program(connection, minters, "B", fallback=links("C"))
    await program(connection, minters, "D")
    await program(connection, minters, "A", fallback=links("D", "B"))
    said = await refused("fallback_cycle", change(connection, "C", fallback=links("A")))
    assert said == "The fallbacks would lead in a circle, C to A to B to C: leave one of them out."
    await change(connection, "A", fallback=links("D"))
    await change(connection, "C", fallback=links("A"))


async def test_two_changes_together_make_no_circle(connection: Connection, connections: Pool, minters: Minters) -> None:
    for name in ("A", "B"):
        await program(connection, minters, name)

    async def link(name: str, to: str) -> str:
        async with connections.acquire() as mine:
            try:
                await programs.update(mine, minters, name, {"fallback": links(to)}, 10)
            except ProgramRefused as error:
                return error.reason
            return "done"

    assert sorted(await asyncio.gather(link("A", "B"), link("B", "A"))) == ["done", "fallback_cycle"]


async def test_a_fallback_is_not_removed(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, "FIXED", groups=("a", "b"))
    for name, group in (("SPRING", "a"), ("SUMMER", "a"), ("SECRET", "b")):
        await program(connection, minters, name, groups=(group,), fallback=links("FIXED"))
    said = await refused("program_is_fallback", programs.remove(connection, "FIXED", ["a"]))
    assert said.startswith("FIXED is a fallback of SPRING and SUMMER and 1 other program: ")
    assert "SECRET and SPRING and SUMMER" in await refused("program_is_fallback", programs.remove(connection, "FIXED"))
    # A removed program needs no fallback, and its clone may have none that is gone.
    for name in ("SPRING", "SUMMER", "SECRET"):
        await programs.remove(connection, name)
    await programs.remove(connection, "FIXED")
    await refused("fallback_unknown", programs.clone(connection, minters, "SPRING", "NEXT", 10))


async def test_a_clone_has_the_same_fallbacks(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, "FIXED")
    await program(connection, minters, fallback=links("FIXED"), fallback_on=["pool_empty"])
    cloned = await programs.clone(connection, minters, "SPRING", "NEXT", 10)
    assert (cloned.fallback[0].program, cloned.fallback_on) == ("FIXED", ("pool_empty",))
