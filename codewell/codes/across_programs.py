"""Finds a code by its text alone, over the programs of access groups.

Texts from outside are found by an index probe in each program that has any. For codes of templates, each different
template is compared with the text first, however many programs have it, and only programs whose template fits invert it
to a number. Removed programs are left out.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from codewell.codes import typed
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import TemplateInvalid
from codewell.infra.postgres.connection import Connection
from codewell.minting.folding import Folding, alike
from codewell.minting.minter import Minter
from codewell.minting.template import Template
from codewell.pool.minter_cache import Minters

_SEEN: Final = "p.removed_at IS NULL AND ($1::text[] = '{}' OR p.groups && $1)"

_WITH_TEXT: Final = f"""
    SELECT p.id, p.name FROM program p
    WHERE {_SEEN} AND (p.imported > 0 OR p.source ->> 'kind' <> 'template') AND (
        EXISTS (SELECT FROM code c WHERE c.program_id = p.id AND c.text = ANY($2::text[]))
        OR p.match = 'fold' AND EXISTS (SELECT FROM folded_text f WHERE f.program_id = p.id AND f.folded = $3))
    """  # noqa: S608  a constant

_TEMPLATES: Final = f"""
    SELECT DISTINCT v.template, p.match = 'fold' AS folds FROM program p JOIN template_version v ON v.program_id = p.id
    WHERE {_SEEN} AND v.next_number > 0
    """  # noqa: S608  a constant

_WITH_TEMPLATE: Final = f"""
    SELECT p.id, p.name, v.version, v.next_number, p.match = 'fold' AS folds
    FROM program p JOIN template_version v ON v.program_id = p.id
    JOIN unnest($2::text[], $3::boolean[]) AS t (template, folds)
        ON v.template = t.template AND t.folds = (p.match = 'fold')
    WHERE {_SEEN} AND v.next_number > 0
    """  # noqa: S608  a constant


class FoundCode(NamedTuple):
    """A code, and the program that has it."""

    program_id: int
    program: str
    facts: CodeFacts


async def find(connection: Connection, minters: Minters, groups: Sequence[str], given: str) -> list[FoundCode]:
    """The codes that the text stands for, in programs with one of these access groups, by name; empty: in all programs.

    Raises StackUnavailable as `Minters.get` does.
    """
    if not alike(given):
        return []
    texts = [text for text in typed.readings(given) if text.isprintable()]
    key = alike(given)
    rows = await connection.fetch(_WITH_TEXT, groups, texts, key if key.isprintable() else "")
    likely = {row["name"]: row["id"] for row in rows}
    likely |= await _with_template(connection, minters, groups, given)
    found = []
    for name, program_id in sorted(likely.items()):
        facts = await typed.find(ProgramCodes(connection, minters, program_id), given)
        if facts is not None:
            found.append(FoundCode(program_id, name, facts))
    return found


async def _with_template(connection: Connection, minters: Minters, groups: Sequence[str], given: str) -> dict[str, int]:
    """Programs, by name, one of whose templates has made a code that the text may stand for."""
    rows = await connection.fetch(_TEMPLATES, groups)
    fitting = await asyncio.to_thread(
        lambda: [(row["template"], row["folds"]) for row in rows if _fits(row["template"], row["folds"], given)]
    )
    if not fitting:
        return {}
    rows = await connection.fetch(_WITH_TEMPLATE, groups, *map(list, zip(*fitting, strict=True)))
    await minters.load(connection, [(row["id"], row["version"]) for row in rows])
    made = [(row, await minters.get(connection, row["id"], row["version"])) for row in rows]
    return await asyncio.to_thread(
        lambda: {
            row["name"]: row["id"] for row, minter in made if _may_have(minter, row["next_number"], given, row["folds"])
        }
    )


def _may_have(minter: Minter, next_number: int, given: str, folds: bool) -> bool:
    texts = [minter.folding.unfold(given) or ""] if folds else typed.readings(given)
    return any(number is not None and number < next_number for number in minter.find_numbers(texts))


@lru_cache(maxsize=4_096)
def _template(text: str) -> Template:
    return Template.parse(text)


@lru_cache(maxsize=4_096)
def _folding(text: str) -> Folding:
    return Folding.of(_template(text))


def _fits(template: str, folds: bool, given: str) -> bool:
    try:
        if folds:
            return _folding(template).unfold(given) is not None
        return any(map(_template(template).fits, typed.readings(given)))
    except TemplateInvalid:
        # A later version refuses it, or could not fold it.
        return False
