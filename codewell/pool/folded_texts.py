"""The texts from outside of folding programs: how each folds, so that no two of them are alike.

The caller has locked the program's row, as everyone who brings in texts does.
"""

from collections.abc import Collection, Sequence
from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.minting.folding import Folding, alike
from codewell.pool.minter_cache import Minters

TEMPLATE_CODE: Final = "a code of the template"
NOTHING: Final = "nothing"

# For statements that count the texts that they add. The constraint program_texts_folded compares the counters.
COUNT_FOLDED: Final = "texts_folded = texts_folded + CASE match WHEN 'fold' THEN {number} ELSE 0 END"

_FOLDS: Final = "SELECT match = 'fold' FROM program WHERE id = $1"
_VERSIONS: Final = "SELECT version FROM template_version WHERE program_id = $1 ORDER BY version"
_KNOWN: Final = "SELECT folded, text FROM folded_text WHERE program_id = $1 AND folded = ANY($2::text[])"
_ADD: Final = """
    INSERT INTO folded_text (program_id, folded, text) SELECT $1, * FROM unnest($2::text[], $3::text[])
    ON CONFLICT (program_id, folded) DO NOTHING
    """


async def folds(connection: Connection, program_id: int) -> bool:
    """Whether the program's codes are found by texts that fold alike."""
    return bool(await connection.fetchval(_FOLDS, program_id))


async def foldings(connection: Connection, minters: Minters, program_id: int) -> list[Folding]:
    """The folding of each template that the program has had. Raises TemplateInvalid where one can't be folded."""
    versions = [row["version"] for row in await connection.fetch(_VERSIONS, program_id)]
    return [(await minters.get(connection, program_id, version)).folding for version in versions]


async def clashes(
    connection: Connection, program_id: int, texts: Sequence[str], templates: Collection[Folding] = ()
) -> dict[str, str]:
    """What texts fold onto, for those that may not enter the program: a text of it, or one before them, or a sentence.

    A text that the program has is no clash with itself.
    """
    folded = {text: alike(text) for text in texts}
    rows = await connection.fetch(_KNOWN, program_id, list(set(folded.values())))
    first = {row["folded"]: row["text"] for row in rows}
    found: dict[str, str] = {}
    for text, key in folded.items():
        if not key:
            found[text] = NOTHING
        elif any(template.can_be(key) for template in templates):
            found[text] = TEMPLATE_CODE
        elif first.setdefault(key, text) != text:
            found[text] = first[key]
    return found


async def add(connection: Connection, program_id: int, texts: Sequence[str]) -> None:
    """Note how these texts of a folding program fold. The statement that counts them has COUNT_FOLDED."""
    await connection.execute(_ADD, program_id, [alike(text) for text in texts], list(texts))


async def remove(connection: Connection, program_id: int, texts: Sequence[str]) -> None:
    """Forget texts that leave the program."""
    await connection.execute(
        "DELETE FROM folded_text WHERE program_id = $1 AND folded = ANY($2::text[])",
        program_id,
        [alike(text) for text in texts],
    )
