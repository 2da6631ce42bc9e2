"""I11 at the end of a run: the stream gives the tables, its order is right, and it lacks nothing that was given."""

from collections.abc import Callable
from typing import Final

from codewell.errors import CodewellError
from codewell.infra.postgres.connection import connection
from codewell.lifecycle import stream_audit
from tests.support import stream_consumer
from torture.ledger import Violation
from torture.site import PREFIX, Site

_TOPIC: Final = PREFIX + "code-lifecycle"
_SHOWN_MAX: Final = 3


async def found(site: Site, say: Callable[[str], object]) -> list[Violation]:
    """Judge the stream twice: by the product's own check, and by a consumer that shares no code with it."""
    wrong: list[Violation] = []
    async with connection(site.postgres_url(), "torture") as one, connection(site.postgres_url(), "torture") as two:
        try:
            verdict = await stream_audit.audit(one, two, site.bootstrap, PREFIX)
        except CodewellError as error:
            return [Violation("I11", "the stream cannot be checked", str(error))]
        if not verdict.is_clean:
            shown = (verdict.headless, verdict.breaches[:_SHOWN_MAX], verdict.compared.differences[:_SHOWN_MAX])
            wrong.append(Violation("I11", "folding the stream does not give the tables", repr(shown)))
        read = await stream_consumer.judge(stream_consumer.consume(site.bootstrap, _TOPIC))
        say(f"the stream: {verdict.events:,} events, {read.copies:,} copies, {read.epochs} epochs; "
            f"{verdict.compared.codes:,} codes compared")  # fmt: skip
        says = [*read.wrong, *await stream_consumer.gaps(one, read)]
        wrong += [Violation("I11", "the stream is not in order, or has gaps", one_says) for one_says in says]
    return wrong
