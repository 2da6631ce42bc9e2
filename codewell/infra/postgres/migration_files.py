"""The migrations of this version: plain numbered SQL files, and the file of the roles, which is applied each time."""

import re
from importlib.resources import files
from typing import Final, NamedTuple

ROLES: Final = "roles.sql"

_MIN_WORKER: Final = re.compile(r"-- min_worker: (\d+)\n")
_COMMENT: Final = re.compile(r"--[^\n]*")
_CONCURRENT_INDEX: Final = re.compile(r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(\w+)\s+ON\s[^;]*;?\s*")


class Migration(NamedTuple):
    """One file of `schemas/sql`: number, name, statements."""

    number: int
    name: str
    sql: str

    @property
    def min_worker(self) -> int:
        """The last migration that a worker has to know at least to run beside this one: what its first line says.

        A file that says nothing needs workers that know it.
        """
        said = _MIN_WORKER.match(self.sql)
        return self.number if said is None else int(said[1])

    @property
    def concurrent_index(self) -> str | None:
        """The index that it builds beside writers, outside a transaction; None: a migration of any other kind."""
        statement = _CONCURRENT_INDEX.fullmatch(_COMMENT.sub("", self.sql))
        return None if statement is None else statement[1]

    @property
    def sql_for_empty_tables(self) -> str:
        """Its statements for a transaction, in which no index can be built beside writers."""
        return self.sql if self.concurrent_index is None else self.sql.replace(" CONCURRENTLY ", " ")


def load_migrations() -> list[Migration]:
    """The migrations of this version, by number."""
    found = (path for path in files("schemas.sql").iterdir() if path.name.endswith(".sql") and path.name != ROLES)
    return sorted(Migration(int(path.name[:4]), path.name, path.read_text("utf-8")) for path in found)


def load_roles() -> str:
    """The statements that create the services' roles and grant their privileges; idempotent."""
    return files("schemas.sql").joinpath(ROLES).read_text("utf-8")
