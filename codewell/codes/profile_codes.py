"""The codes that a profile has or had, over all programs that a caller may see."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from codewell.codes import listing
from codewell.codes.code_filter import CodeFilter
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters

CODES_MAX: Final = 200
_PROGRAMS_MAX: Final = 100

_PROGRAMS: Final = """
    SELECT id, name FROM program
    WHERE ($2::text[] = '{}' OR groups && $2::text[]) AND id IN (
        SELECT program_id FROM answer WHERE profile_id = $1 AND block_id IS NOT NULL)
    ORDER BY name LIMIT $3
    """


class CodesOfProfile(NamedTuple):
    """Codes with the short names of their programs, by program; not complete if there are more than CODES_MAX."""

    codes: list[tuple[str, CodeFacts]]
    is_complete: bool


async def of_profile(
    connection: Connection, minters: Minters, profile_id: str, groups: Sequence[str]
) -> CodesOfProfile:
    """The profile's codes of the programs in these access groups; without groups, of all programs."""
    found: list[tuple[str, CodeFacts]] = []
    programs = await connection.fetch(_PROGRAMS, profile_id, list(groups), _PROGRAMS_MAX + 1)
    for program_id, name in programs[:_PROGRAMS_MAX]:
        if len(found) >= CODES_MAX:
            return CodesOfProfile(found, is_complete=False)
        wanted = CodeFilter(profile_id=profile_id, newest_first=True)
        codes = ProgramCodes(connection, minters, program_id)
        page = await listing.page(codes, wanted.start, CODES_MAX - len(found), wanted)
        found += [(name, one) for one in page.codes]
        if page.next is not None:
            return CodesOfProfile(found, is_complete=False)
    return CodesOfProfile(found, is_complete=len(programs) <= _PROGRAMS_MAX)
