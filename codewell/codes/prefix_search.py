"""Search of a program's codes by the beginning of their text.

Imported texts are found by an index. Minted codes are stored nowhere: either the texts that begin so and fit the
template are inverted to their numbers, or the minted numbers are turned to texts, whichever finds more in one page. So
the time for a page is limited, however many codes there are; a page may be short or empty and have a cursor.
"""

import asyncio
import math
from typing import Final, NamedTuple

from codewell.codes import lookup
from codewell.codes.lookup import COLUMNS, CodeFacts, LocatedCode, facts_of
from codewell.codes.program_codes import ProgramCodes
from codewell.minting.minter import Minter
from codewell.minting.template import Template

# Texts or numbers that one page examines: some tenths of a second.
EXAMINED_MAX: Final = 100_000
# Those examined between two looks at whether the page is full.
_RUN: Final = 5_000
# No text has this character, the last one of all.
_LAST: Final = chr(0x10FFFF)

_LISTED: Final = f"""
    SELECT {COLUMNS}, c.position, c.text FROM code c JOIN block b ON b.id = c.block_id
    WHERE c.program_id = $1 AND c.text >= $2 AND c.text < $3 AND c.text > $4 ORDER BY c.text LIMIT $5
    """  # noqa: S608  a constant
_VERSIONS: Final = """
    SELECT version, next_number FROM template_version
    WHERE program_id = $1 AND version >= $2 AND next_number > 0 ORDER BY version
    """
# Of these places, those of codes that a profile has or had: of a shared code it may be any profile.
_OF_PROFILE: Final = """
    SELECT DISTINCT w.listed, w.major, w.minor FROM answer a JOIN block b ON b.id = a.block_id
    JOIN unnest($3::integer[], $4::bigint[], $5::bigint[]) AS w (listed, major, minor)
        ON w.listed = (b.kind = 'list')::int AND w.major = coalesce(b.version, b.id)
        AND w.minor = coalesce(b.first, 0) + a.position
    WHERE a.profile_id = $2 AND a.program_id = $1 AND a.block_id IS NOT NULL
    """


class SearchPlace(NamedTuple):
    """Cursor of a search: in the imported texts after `text` (version 0), or at a candidate of a version."""

    version: int
    candidate: int
    text: str


SEARCH_START: Final = SearchPlace(0, 0, "")


class SearchPage(NamedTuple):
    """Found codes, and the cursor for the next page; None after the last one."""

    codes: list[CodeFacts]
    next: SearchPlace | None


async def search(
    codes: ProgramCodes, prefix: str, after: SearchPlace, limit: int, profile_id: str | None = None
) -> SearchPage:
    """Up to `limit` codes whose text begins with `prefix`: imported and returned ones, then minted ones.

    With a profile, only those that it has or had. Raises StackUnavailable as `Minters.get` does.
    """
    page = await _search(codes, prefix, after, limit)
    if profile_id is None or not page.codes:
        return page
    columns = map(list, zip(*(one.place for one in page.codes), strict=True))
    rows = await codes.connection.fetch(_OF_PROFILE, codes.program_id, profile_id, *columns)
    own = {tuple(row) for row in rows}
    return page._replace(codes=[one for one in page.codes if tuple(one.place) in own])


async def _search(codes: ProgramCodes, prefix: str, after: SearchPlace, limit: int) -> SearchPage:
    found: list[CodeFacts] = []
    if after.version == 0:
        rows = await codes.connection.fetch(_LISTED, codes.program_id, prefix, prefix + _LAST, after.text, limit)
        at = [LocatedCode(row, row["position"]) for row in rows]
        found = [one for one in await facts_of(codes, at, [row["text"] for row in rows]) if one is not None]
        if len(rows) == limit:
            return SearchPage(found, SearchPlace(0, 0, rows[-1]["text"]))
        after = SearchPlace(1, 0, "")
    examined = 0
    for version, next_number in await codes.connection.fetch(_VERSIONS, codes.program_id, after.version):
        candidates = _Candidates(await codes.minter(version), prefix, next_number)
        index = after.candidate if version == after.version else 0
        while index < candidates.count:
            if len(found) >= limit or examined >= EXAMINED_MAX:
                return SearchPage(found, SearchPlace(version, index, ""))
            texts, index, looked_at = await asyncio.to_thread(candidates.texts, index, limit - len(found))
            examined += looked_at
            located = await lookup.minted(codes, texts) if texts else {}
            # A text of an older version belongs to that one; this version's allocation has skipped it.
            known = [text for text in texts if text in located and located[text].block["version"] == version]
            at = [located[text] for text in known]
            # A code that was returned is in a block of its own, and was found there.
            found += [one for one in await facts_of(codes, at, known) if one is not None]
    return SearchPage(found, None)


class _Candidates:
    """The candidates of one template version: `count` texts that begin with the prefix, or numbers below the next."""

    def __init__(self, minter: Minter, prefix: str, next_number: int) -> None:
        self._minter = minter
        self._prefix = prefix
        self._next_number = next_number
        self._rest = _rest(minter.template, prefix)
        completions = 0 if self._rest is None else math.prod(map(len, self._rest))
        self._inverts = completions <= next_number
        self.count = completions if self._inverts else next_number

    def texts(self, index: int, wanted: int) -> tuple[list[str], int, int]:
        """Up to `wanted` texts of minted numbers from candidate `index` on, the next index, and how many it examined.

        A number that the allocation skipped may be among them.
        """
        end = min(self.count, index + _RUN)
        if self._inverts:
            run = [self._completion(number) for number in range(index, end)]
            numbers = self._minter.find_numbers(run)
            hits = [place for place, number in enumerate(numbers) if number is not None and number < self._next_number]
        else:
            run = self._minter.mint(index, end - index)
            hits = [place for place, text in enumerate(run) if text.startswith(self._prefix)]
        if len(hits) > wanted:
            end = index + hits[wanted]
        return [run[place] for place in hits[:wanted]], end, end - index

    def _completion(self, number: int) -> str:
        """The text number `number`, in alphabetical order, of those that begin with the prefix and fit the template."""
        characters = []
        for cell in reversed(self._rest or ()):
            number, place = divmod(number, len(cell))
            characters.append(cell[place])
        text = self._prefix + "".join(reversed(characters))
        check = self._minter.template.check
        return text if check is None or check.place < len(self._prefix) else check.complete(text)


def _rest(template: Template, prefix: str) -> list[str] | None:
    """The alphabets of the positions after the prefix, each sorted; None if no text of the template begins so.

    Of the check character, which the others determine, only one character.
    """
    if len(prefix) > template.length:
        return None
    fits = all(character in cell for character, cell in zip(prefix, template.cells, strict=False))
    rest = ["".join(sorted(cell)) for cell in template.cells[len(prefix) :]]
    if template.check is not None and template.check.place >= len(prefix):
        computed = template.check.place - len(prefix)
        rest[computed] = rest[computed][0]
    return rest if fits else None
