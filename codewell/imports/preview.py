"""Shows what an import of a file would do, from its first rows."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from codewell.codes.program_codes import ProgramCodes
from codewell.files.limits import FileLimits
from codewell.files.listing import listed
from codewell.files.scan import Scan
from codewell.files.table import open_table
from codewell.imports import known_texts
from codewell.imports.candidates import BadRow, Candidate, CandidateRules
from codewell.imports.chunks import chunks
from codewell.pool import folded_texts
from schemas.imports import ImportOptions, ImportPreview, PreviewBadRow, PreviewCode, PreviewColumn, Reading
from schemas.program import Program

ROWS_MAX: Final = 1_000
SHOWN_MAX: Final = 20
_NO_IMPORT: Final = UUID(int=0)


def rules_of(program: Program, now: datetime) -> CandidateRules:
    """What the program asks of a row at this time. Codes that would expire too soon to be attached are bad rows."""
    return CandidateRules(
        now + (program.min_life_at_attach or timedelta(0)),
        frozenset(field.name for field in program.fields if field.save),
        frozenset(field.name for field in program.fields if field.required),
        program.auto_link,
    )


class CheckedRows(NamedTuple):
    """The first rows of a file, as an import would take them."""

    reading: Reading
    columns: list[PreviewColumn]
    rows: int
    good: Sequence[Candidate]
    bad: list[BadRow]
    case_variants: int


def preview(path: Path, scan: Scan, options: ImportOptions, rules: CandidateRules, limits: FileLimits) -> ImportPreview:
    """Read the first rows of a file, and change nothing. Codes that the program has already are not told apart.

    Raises FileRefused as an import would.
    """
    return preview_of(check(path, scan, options, rules, limits))


def check(path: Path, scan: Scan, options: ImportOptions, rules: CandidateRules, limits: FileLimits) -> CheckedRows:
    """Read the first rows of a file, and tell good from bad ones. Raises FileRefused as an import would."""
    with open_table(path, scan, options, limits) as table:
        columns = table.columns
        shown = listed(columns.names, table.first[columns.first :], columns.width)
        chunk = next(chunks(table, rules, limits, 0, ROWS_MAX, options))
    first = {one.text: one.row for one in chunk.candidates}
    return CheckedRows(
        table.reading,
        [PreviewColumn(number=number, name=name or None, samples=some) for number, name, some in shown],
        chunk.rows,
        chunk.candidates,
        [
            one._replace(detail=f"its first row is {first[one.text]:,}")
            if one.reason == "twice_in_file" and one.text in first
            else one
            for one in chunk.bad
        ],
        chunk.case_variants,
    )


async def drop_known(codes: ProgramCodes, checked: CheckedRows) -> CheckedRows:
    """Count rows as bad whose codes the program has, or had."""
    bad = list(checked.bad)
    good = await known_texts.drop_listed(codes.connection, codes.program_id, _NO_IMPORT, checked.good, bad)
    good = await known_texts.drop_minted(codes, good, bad)
    if await folded_texts.folds(codes.connection, codes.program_id):
        good = await known_texts.drop_alike(codes, good, bad)
    return checked._replace(good=good, bad=bad)


def preview_of(checked: CheckedRows) -> ImportPreview:
    """The same in the form of the API."""
    return ImportPreview(
        reading=checked.reading,
        columns=checked.columns,
        checked_rows=checked.rows,
        good=len(checked.good),
        bad=dict(Counter(one.reason for one in checked.bad)),
        case_variants=checked.case_variants,
        codes=[_code(one) for one in checked.good[:SHOWN_MAX]],
        bad_rows=[_bad(one) for one in sorted(checked.bad, key=lambda one: one.row)[:SHOWN_MAX]],
    )


def _code(one: Candidate) -> PreviewCode:
    fields = json.loads(one.kind.fields) if one.kind.fields else {}
    return PreviewCode(
        row=one.row,
        code=one.text,
        profile_id=one.profile_id or None,
        expires_at=one.kind.expires_at,
        fields=fields,
    )


def _bad(one: BadRow) -> PreviewBadRow:
    return PreviewBadRow(row=one.row, code=one.text, reason=one.reason, detail=one.detail)
