"""Codes that came back, and whose messages arrived after all."""

from codewell.alerts.alerts import raise_alert
from codewell.codes.locks import lock_codes
from codewell.infra.postgres.connection import Connection
from codewell.returns import queries
from codewell.returns.receipt_batch import ReceiptBatch


async def report_conflicts(connection: Connection, batch: ReceiptBatch, *, come_back_now: bool) -> None:
    """Raise an alert for each code that came back though its first profile has it.

    One that is still in the pool is to be deleted, as a customer has seen it: notes it, with its state locked. Call it
    before the codes of this batch come back for those that did before, and after that for those of this batch.
    """
    returning = {(row["request_id"], row["ordinal"]) for row in batch.returning}
    # Once for each, however many receipts say that it arrived.
    arrived = {(row["request_id"], row["ordinal"]): row for row in batch.conflicts}
    rows = [row for key, row in arrived.items() if (key in returning) is come_back_now]
    if not rows:
        return
    now_at = await queries.now_at(connection, {(row["program_id"], row["code"]) for row in rows})
    for row in rows:
        now = now_at.get((row["program_id"], row["code"]))
        if now is None or now["deleted"] or now["profile_id"] == row["profile_id"]:
            continue
        other = now["request_id"]
        if now["pooled"]:
            batch.voids.append((now["block_id"], now["position"]))
        details = {"request_id": str(row["request_id"]), "other_request_id": None if other is None else str(other)}
        await raise_alert(connection, row["program_id"], "return-conflict", str(row["request_id"]), details)
    batch.voids = sorted(set(batch.voids))
    if batch.voids:
        await lock_codes(connection, batch.voids)
