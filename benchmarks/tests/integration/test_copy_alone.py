"""What COPY alone stores is what a claim stores, or it would be no ceiling."""

import asyncpg

from benchmarks import copy_alone
from services.issuer.settings import IssuerSettings

_COLUMNS = """
    SELECT attname, atttypid, attnotnull FROM pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum
    """
_INDEXES = """
    SELECT replace(substring(pg_get_indexdef(indexrelid) FROM 'USING .*'), '"', '') FROM pg_index
    WHERE indrelid = $1::regclass ORDER BY 1
    """
_CHECKS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass ORDER BY 1"


async def test_the_table_has_the_columns_the_indexes_and_the_checks_of_answer(connection: asyncpg.Connection) -> None:
    await copy_alone.make_table(connection)

    for query in (_COLUMNS, _INDEXES, _CHECKS):
        alone, answer = [await connection.fetch(query, table) for table in (copy_alone.TABLE, "answer")]
        assert alone == answer
        assert len(answer) >= 3


async def test_each_request_has_an_answer_with_a_code_in_batches_of_an_issuer(connection: asyncpg.Connection) -> None:
    size = IssuerSettings.model_fields["batch_size_max"].default
    batches = list(copy_alone.encoded(size + 10))
    await copy_alone.make_table(connection)

    stored = []
    for batch in batches:
        await copy_alone.copy(connection, batch)
        stored.append(await connection.fetchval(f"SELECT count(*) FROM {copy_alone.TABLE}"))

    assert stored == [size, size + 10]
    row = await connection.fetchrow(f"SELECT * FROM {copy_alone.TABLE} WHERE profile_id = 'p-7'")
    assert row is not None
    assert (row["position"], row["code"], row["again"], row["preview"]) == (7, "smFg-0007-DMPB", False, False)
    ids = [one[0] for one in await connection.fetch(f"SELECT request_id FROM {copy_alone.TABLE} ORDER BY position")]
    assert ids == sorted(ids)
