"""The sweep looks at the programs for which it has something to do, and at no others."""

from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate, needy_programs, top_up
from codewell.pool.minter_cache import Minters
from tests.support.factories import OFF, message, program
from tests.support.stock import attach_all, delete_codes, list_block


async def changes(connection: Connection, minters: Minters, program_id: int) -> bool:
    """Whether a look at the pool does anything."""
    blocks = "SELECT id, size, open FROM block WHERE program_id = $1 ORDER BY id"
    before = await connection.fetch(blocks, program_id)
    await top_up(connection, minters, program_id)
    after = await connection.fetch(blocks, program_id)
    return [tuple(row) for row in before] != [tuple(row) for row in after]


async def in_many_states(connection: Connection, claims: Claims, minters: Minters) -> dict[int, str]:
    """Programs that need something and programs that don't, by what is the matter with them."""
    states = {
        "new": {},
        "new and off": OFF,
        "full pool": {},
        "full pool in one block": {"codes_max": 4_000, "pool_max": 4_000},
        "below its mark": {},
        "below its mark and off": OFF,
        "at its maximum and given away": {"codes_max": 100},
        "at its maximum in few crumbs": {"codes_max": 900, "pool_max": 900},
        "one list": {"codes_max": 4_000, "pool_max": 4_000},
        "a block with a hole": {"codes_max": 4_000, "pool_max": 4_000},
        "large and small": {"codes_max": 1_300, "pool_max": 1_300},
        "expired": {"ttl": "P1D"},
        "expired and off": {"ttl": "P1D", **OFF},
        "expired and ended": {"ttl": "P1D"},
        "ended": {},
        "not begun": {},
        "inactive": {},
        "removed": {},
    }
    ids = {}
    for number, (state, changed) in enumerate(states.items()):
        made = await program(connection, minters, f"P{number}", **changed)
        ids[state] = made.id
        if "full pool" in state or "below" in state or "expired" in state:
            await generate(connection, minters, made.id, 40 if "below" in state else made.pool_max, None)
    await attach_all(claims, [message("P6") for _ in range(100)])
    await top_up(connection, minters, ids["at its maximum in few crumbs"])
    await list_block(connection, ids["one list"], [f"X{n}" for n in range(4_000)])
    for state in ("full pool in one block", "a block with a hole"):
        await one_block(connection, ids[state], 4_000)
    [hole] = await connection.fetch("SELECT id FROM block WHERE program_id = $1", ids["a block with a hole"])
    await delete_codes(connection, hole["id"], [5])
    await one_block(connection, ids["large and small"], 1_200)
    await generate(connection, minters, ids["large and small"], 100, None)
    for state, setting in (
        ("ended", "valid_until = now()"),
        ("expired and ended", "valid_until = now()"),
        ("not begun", "valid_from = now() + interval '1 h'"),
        ("inactive", "active = false"),
        ("removed", "removed_at = now()"),
    ):
        await connection.execute(f"UPDATE program SET {setting} WHERE id = $1", ids[state])
    await connection.execute("UPDATE block SET expires_at = now() WHERE expires_at IS NOT NULL")
    return {program_id: state for state, program_id in ids.items()}


async def one_block(connection: Connection, program_id: int, size: int) -> None:
    """Make codes as if all were made at once when blocks were larger."""
    async with connection.transaction():
        await connection.execute("DELETE FROM block WHERE program_id = $1", program_id)
        await connection.execute("UPDATE program SET made = $2 WHERE id = $1", program_id, size)
        await connection.execute("UPDATE template_version SET next_number = $2 WHERE program_id = $1", program_id, size)
        await connection.execute(
            "INSERT INTO block (program_id, kind, version, first, size, origin) "
            "VALUES ($1, 'range', 1, 0, $2, 'generate')",
            program_id,
            size,
        )


async def test_programs_are_needy_when_a_look_at_them_does_something(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    states = await in_many_states(connection, claims, minters)

    needy = {states[program_id] for program_id in await needy_programs(connection)}
    changed = {state for program_id, state in states.items() if await changes(connection, minters, program_id)}

    assert needy == changed
    assert needy == {
        "new",
        "full pool in one block",
        "below its mark",
        "large and small",
        "expired",
        "expired and off",
        "expired and ended",
    }
