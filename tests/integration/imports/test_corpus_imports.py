"""Every file of the corpus through a real import."""

from pathlib import Path

from codewell.audit.promises import audit
from codewell.errors import FileRefused
from codewell.files.limits import FileLimits
from codewell.imports import imports, run
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.imports import ImportOptions
from tests.integration.imports.test_imports import IMPORT
from tests.support.factories import program
from tests.support.import_runs import no_progress, read_file
from tests.unit.files.test_corpus import CASES, CORPUS, Case


async def test_the_corpus_becomes_codes_bad_rows_and_refusals(connection: Connection, minters: Minters) -> None:
    wrong = []
    for place, case in enumerate(CASES):
        name = f"P{place}"
        await program(connection, minters, name=name, fields=[{"name": "off"}], **IMPORT)
        got = await _bring_in(connection, minters, name, case)
        expected = (tuple(case.codes), dict(case.bad)) if case.refused is None else None
        if got != expected:
            wrong.append((case.file, got, expected))
    assert wrong == []
    assert await audit(connection) == []


async def _bring_in(
    connection: Connection, minters: Minters, name: str, case: Case
) -> tuple[tuple[str, ...], dict[int, str]] | None:
    path, options = Path(CORPUS / case.file), ImportOptions(**case.options)
    try:
        scanned, reading = read_file(path, options)
        found = await programs.get(connection, name)
        begun = await imports.start_import(
            connection, uuid7(), found, path.name, scanned, options, reading, uploaded=False
        )
        done = await run.import_file(connection, minters, begun.id, path, scanned, FileLimits(), no_progress)
    except FileRefused:
        return None
    rows = await connection.fetch(
        "SELECT text FROM code JOIN program p ON p.id = program_id WHERE p.name = $1 ORDER BY block_id, position", name
    )
    bad = await imports.bad_rows(connection, done.id, 0)
    texts = [row["text"] for row in rows]
    assert done.imported == len(texts)
    order = {text: place for place, text in enumerate(case.codes)}
    # Codes with a profile or an expiry of their own stand in blocks of their own.
    texts.sort(key=lambda text: order.get(text, len(order)))
    return tuple(texts), {one.row: one.reason for one in bad}
