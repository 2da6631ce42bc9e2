"""Checks before a measurement counts: refusals are answers too, and cheap ones."""

from collections.abc import Iterable

from codewell.audit.promises import audit
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection
from codewell.issuing.model import AnswerRow


async def check_audit(opened: Connection) -> None:
    """Check all invariants of `codewell audit`. Raises CodewellError, naming the first violated one."""
    for finding in await audit(opened):
        raise CodewellError(f"What was measured is wrong, {finding.rule.promise}: {finding.rule.says}")


def check_given(rows: Iterable[list[AnswerRow]], wanted: int) -> None:
    """Raise CodewellError unless `wanted` requests have a code each, and no code was attached twice."""
    codes = [row.code for answer in rows for row in answer]
    if len(set(codes) - {None}) != wanted or len(codes) != wanted:
        given = len(codes) - codes.count(None)
        raise CodewellError(f"{wanted:,} requests got {given:,} codes, {len(set(codes) - {None}):,} of them different.")
