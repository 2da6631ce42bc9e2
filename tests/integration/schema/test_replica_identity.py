"""Logical replication, as for an upgrade of Postgres itself, finds each row of each table again."""

import asyncpg

_WITHOUT = """
    SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND NOT CASE c.relreplident
              WHEN 'f' THEN true
              WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
              WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
              ELSE false END
    """


async def test_each_table_has_a_replica_identity(connection: asyncpg.Connection) -> None:
    """Else Postgres refuses updates and deletes of a published table."""
    assert [row[0] for row in await connection.fetch(_WITHOUT)] == []
    await connection.execute("CREATE PUBLICATION codewell_upgrade FOR ALL TABLES")
    # As forgetting a profile does; without an identity Postgres refuses it even where no row is found.
    await connection.execute("UPDATE answer SET profile_id = profile_id WHERE false")
    await connection.execute("DELETE FROM answer WHERE false")
