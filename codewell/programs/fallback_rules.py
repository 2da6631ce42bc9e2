"""Checks which programs may be fallbacks of which."""

from collections.abc import Collection, Sequence
from typing import Final, Literal

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.plurals import counted
from schemas.program import ProgramSettings

FALLBACK_SETTINGS: Final = frozenset(("fallback", "fallback_after", "groups"))
"""The settings whose change needs `lock_fallbacks` and `check_fallbacks`."""

# Held from before the programs are read to the end of the transaction, so that two changes cannot make a cycle
# together, and no program is removed while it becomes a fallback. Taken before the row of any program.
_LOCK: Final = "SELECT pg_advisory_xact_lock(1668244581, 5)"
_LINKED: Final = """
    SELECT name, groups, source->>'kind' AS codes_from, removed_at IS NOT NULL AS removed FROM program
    WHERE name = ANY ($1::text[])
    """
_NEXT: Final = """
    SELECT name, fallback FROM program WHERE name = ANY ($1::text[]) AND fallback <> '{}' AND removed_at IS NULL
    """
_FALLING_BACK: Final = """
    SELECT name, groups FROM program
    WHERE fallback @> ARRAY[$1::text] AND fallback <> '{}' AND removed_at IS NULL ORDER BY name
    """

# As many programs as an error names.
_NAMES_MAX: Final = 5


async def lock_fallbacks(connection: Connection) -> None:
    """Hold all changes of fallbacks until the transaction ends. Call it before the transaction locks a program."""
    await connection.execute(_LOCK)


async def check_fallbacks(connection: Connection, settings: ProgramSettings) -> None:
    """Raise ProgramRefused unless a program with these settings may have these fallbacks, and be those it is of.

    Each fallback must exist, not be removed, and be in all access groups of the program, so that a person who may use
    the program may use the fallback; following the fallbacks of fallbacks must never lead back.
    """
    names = [link.program for link in settings.fallback]
    if names:
        linked = {row["name"]: row for row in await connection.fetch(_LINKED, names)}
        for name in names:
            row = linked.get(name)
            if row is None or not set(settings.groups) <= set(row["groups"]):
                raise _unknown(settings, name)
            if row["removed"]:
                raise _refused(f"{name} was removed: name another fallback for {settings.name}.", "fallback_unknown")
        await _refuse_cycle(connection, settings.name, names)
        if settings.fallback_after and "remote" not in {
            settings.source.kind, *(row["codes_from"] for row in linked.values())
        }:  # fmt: skip
            raise _refused(
                f"Neither {settings.name} nor a fallback of it has a remote service to wait for: leave fallback_after "
                "out.",
                "fallback_not_remote",
                "fallback_after",
            )
    lost = {
        group
        for row in await connection.fetch(_FALLING_BACK, settings.name)
        for group in set(row["groups"]) - set(settings.groups)
    }
    if lost:
        raise ProgramRefused(
            f"{settings.name} is a fallback of programs in the access group {min(lost)}: keep it in that group, or "
            "take it out of their fallbacks first.",
            reason="program_is_fallback",
            setting="groups",
        )


async def refuse_if_fallback(connection: Connection, name: str, groups: Sequence[str]) -> None:
    """Raise ProgramRefused if the program is a fallback of others; names those in `groups` (empty: all of them)."""
    rows = await connection.fetch(_FALLING_BACK, name)
    if rows:
        shown = [row["name"] for row in rows if not groups or set(row["groups"]) & set(groups)][:_NAMES_MAX]
        others = [counted(len(rows) - len(shown), "other program")] if len(rows) > len(shown) else []
        raise ProgramRefused(
            f"{name} is a fallback of {' and '.join([*shown, *others])}: take it out of their fallbacks first.",
            reason="program_is_fallback",
        )


async def _refuse_cycle(connection: Connection, name: str, names: Sequence[str]) -> None:
    """Follow the fallbacks of `names`, each program once, and raise ProgramRefused where they lead to `name`."""
    reached_from = dict.fromkeys(names, name)
    frontier: Collection[str] = names
    while frontier:
        rows = await connection.fetch(_NEXT, list(frontier))
        frontier = set()
        for row in rows:
            for link in row["fallback"]:
                if link == name:
                    path = [name, *_path(reached_from, row["name"], name), name]
                    raise _refused(
                        f"The fallbacks would lead in a circle, {' to '.join(path)}: leave one of them out.",
                        "fallback_cycle",
                    )
                if link not in reached_from:
                    reached_from[link] = row["name"]
                    frontier.add(link)


def _path(reached_from: dict[str, str], last: str, name: str) -> list[str]:
    path = [last]
    while reached_from[path[0]] != name:
        path.insert(0, reached_from[path[0]])
    return path


def _unknown(settings: ProgramSettings, name: str) -> ProgramRefused:
    within = f" in all access groups of {settings.name} ({', '.join(settings.groups)})" if settings.groups else ""
    return _refused(f"There is no program {name}{within}: name another fallback.", "fallback_unknown")


def _refused(
    why: str, reason: Literal["fallback_cycle", "fallback_not_remote", "fallback_unknown"], setting: str = "fallback"
) -> ProgramRefused:
    return ProgramRefused(why, reason=reason, setting=setting)
