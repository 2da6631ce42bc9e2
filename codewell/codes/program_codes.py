"""Handle on the codes of one program over one connection, for look-ups and lifecycle steps."""

from typing import NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter
from codewell.pool.minter_cache import Minters


class ProgramCodes(NamedTuple):
    """The codes of one program: stored texts, and texts that its templates mint."""

    connection: Connection
    minters: Minters
    program_id: int

    async def minter(self, version: int) -> Minter:
        """The minter of this template version. Raises StackUnavailable as `Minters.get` does."""
        return await self.minters.get(self.connection, self.program_id, version)
