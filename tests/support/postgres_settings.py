"""Settings of the Postgres servers that tests start."""

from typing import Final

from services.standalone.postgres import PostgresSettings

FOR_TESTS: Final = PostgresSettings(shared_buffers="128MB", durable=False)
"""A power cut may lose data, nothing else does."""
