"""The codes of one program, over one connection: what look-ups and steps in a code's life work with."""

from typing import NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter
from codewell.pool.minter_cache import Minters


class ProgramCodes(NamedTuple):
    """The codes of a program: texts in the database, and those that its templates mint."""

    connection: Connection
    minters: Minters
    program_id: int

    async def minter(self, version: int) -> Minter:
        """The minter of this template version. Raises StackUnavailable when its key can't be unwrapped."""
        return await self.minters.get(self.connection, self.program_id, version)
