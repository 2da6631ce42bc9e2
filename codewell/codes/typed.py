"""Finds the code that a text stands for, as people typed it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from codewell.codes.lookup import BLOCKS_OF_NUMBERS, COLUMNS, CodeFacts, LocatedCode, facts_of, minted_by
from codewell.codes.program_codes import ProgramCodes
from codewell.minting.folding import alike

BLOCKS_OF_MEANT: Final = f"""
    SELECT {COLUMNS}, c.position, c.text, NULL AS folded, false AS minted
    FROM code c JOIN block b ON b.id = c.block_id
    WHERE c.program_id = $1 AND c.text = ANY($2::text[])
    UNION ALL
    SELECT {COLUMNS}, c.position, c.text, f.folded, false
    FROM folded_text f JOIN code c ON c.program_id = f.program_id AND c.text = f.text JOIN block b ON b.id = c.block_id
    WHERE f.program_id = $1 AND f.folded = ANY($3::text[])
    UNION ALL
    SELECT {COLUMNS}, n.number - b.first, n.text, NULL, true
    FROM unnest($4::text[], $5::integer[], $6::bigint[]) AS n (text, version, number)
    JOIN block b ON b.kind = 'range' AND b.program_id = $1 AND b.version = n.version
         AND int8range(b.first, b.first + b.size) @> n.number
    """  # noqa: S608  a constant
"""Blocks of texts $2, of those of a folding program that are alike to $3, and of texts $4 by version and number."""

_BLOCKS_OF_UNFOLDED: Final = f"""
    {BLOCKS_OF_NUMBERS.replace(", n.number", ", n.number, NULL AS text, NULL AS position")}
    UNION ALL
    SELECT {COLUMNS}, NULL, c.text, c.position FROM code c JOIN block b ON b.id = c.block_id
    WHERE c.program_id = $1 AND c.text = ANY($4::text[])
    """  # noqa: S608  constants

_VERSIONS_AND_MATCH: Final = """
    SELECT v.version, v.next_number, p.match = 'fold' AS folds
    FROM program p JOIN template_version v ON v.program_id = p.id
    WHERE p.id = $1 AND v.next_number > 0 ORDER BY v.version
    """


def readings(given: str) -> tuple[str, ...]:
    """The texts that a given code may stand for, the most likely one first.

    People paste codes with spaces around them, which no code has, except for some of old templates.
    """
    stripped = given.strip()
    return (given,) if stripped == given else (given, stripped)


class Meant(NamedTuple):
    """The code that a person's text stands for: its own text, and its location; without it the program has none."""

    text: str
    at: LocatedCode | None


async def find(codes: ProgramCodes, given: str) -> CodeFacts | None:
    """Facts on the code that is meant, as `meant_all` finds it; None if the program never had such a code."""
    [found] = await meant_all(codes, [given])
    return None if found.at is None else (await facts_of(codes, [found.at], [found.text]))[0]


async def meant_all(codes: ProgramCodes, given: Sequence[str]) -> list[Meant]:
    """The codes that texts of people stand for, in order.

    A text stands for the code that has it, else for the one without the spaces around it, else, in a folding program,
    for the one that is alike. No two codes of a folding program are.
    """
    return await meant_by(codes, given, BLOCKS_OF_MEANT)


async def meant_by(codes: ProgramCodes, given: Sequence[str], statement: str, *parameters: object) -> list[Meant]:
    """As `meant_all`, by a statement that returns at least the rows of BLOCKS_OF_MEANT and takes more parameters."""
    exact = [text for one in given for text in readings(one) if text.isprintable()]
    folded = {one: alike(one) for one in given}
    keys = [key for key in folded.values() if key and key.isprintable()]
    found: dict[str, Meant] = {}
    of_folded: dict[str, Meant] = {}
    numbers = _numbers(codes, given)
    columns = [[number[part] for number in numbers] for part in range(3)]
    for row in await codes.connection.fetch(statement, codes.program_id, exact, keys, *columns, *parameters):
        meant = Meant(row["text"], LocatedCode(row, row["position"]))
        if row["minted"]:
            # A code that has returned to the pool is in a list block, which counts.
            found.setdefault(row["text"], meant)
        elif row["folded"] is None:
            found[row["text"]] = meant
        else:
            of_folded[row["folded"]] = meant
    missing = [one for one in given if one not in found and folded[one] not in of_folded]
    if missing:
        found = await _minted_as_meant(codes, missing) | found
    return [
        next((found[text] for text in readings(one) if text in found), None)
        or of_folded.get(folded[one])
        or Meant(one.strip(), None)
        for one in given
    ]


def _numbers(codes: ProgramCodes, given: Sequence[str]) -> list[tuple[str, int, int]]:
    """The texts with the versions, of those whose minters are cached, and the numbers that they have in them.

    So they are looked up without another statement.

    A text with spaces around it may be a code of another version, so it is left out.
    """
    texts = [one for one in given if one.isprintable() and one == one.strip()]
    return [
        (text, version, number)
        for version, minter in codes.minters.cached(codes.program_id).items()
        for text, number in zip(texts, minter.find_numbers(texts), strict=True)
        if number is not None
    ]


async def _minted_as_meant(codes: ProgramCodes, given: Sequence[str]) -> dict[str, Meant]:
    """The minted codes that these texts stand for, by reading, or in a folding program by text."""
    rows = await codes.connection.fetch(_VERSIONS_AND_MATCH, codes.program_id)
    if not rows or not rows[0]["folds"]:
        texts = [text for one in given for text in readings(one) if text.isprintable()]
        located = await minted_by(codes, texts, rows)
        return {text: Meant(text, at) for text, at in located.items()}
    found: dict[str, Meant] = {}
    for row in rows:
        minter = await codes.minter(row["version"])
        meant = {one: text for one in given if (text := minter.folding.unfold(one)) is not None}
        texts = list(set(meant.values()))
        numbers = minter.find_numbers(texts)
        text_of = {n: text for n, text in zip(numbers, texts, strict=True) if n is not None and n < row["next_number"]}
        if not text_of:
            continue
        places = await codes.connection.fetch(
            _BLOCKS_OF_UNFOLDED, codes.program_id, row["version"], list(text_of), list(text_of.values())
        )
        # A code that has returned to the pool is in a list block, which counts.
        at: dict[str, LocatedCode] = {}
        for place in sorted(places, key=lambda place: place["number"] is None):
            number = place["number"]
            text = place["text"] if number is None else text_of[number]
            at[text] = LocatedCode(place, place["position"] if number is None else number - place["first"])
        found |= {one: Meant(text, at[text]) for one, text in meant.items() if text in at}
    return found
