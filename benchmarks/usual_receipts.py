"""The usual consumer of receipts: one record, one transaction, one answer, one offset. It takes the product's rules."""

import asyncio
import os
from typing import Final
from uuid import UUID

from codewell.infra.kafka import clients
from codewell.infra.postgres.connection import connection
from codewell.returns.answers import answer_data, receipt_answer_id
from codewell.returns.settle import Receipt, Returns
from schemas import topics
from schemas.reports import SendDelivered, SendFailed
from services.issuer.report_events import ReportDecoder

GROUP: Final = "usual-receipts"


async def main() -> None:
    """Settle receipts until killed."""
    prefix, bootstrap = os.environ["CODEWELL_TOPIC_PREFIX"], os.environ["CODEWELL_KAFKA_BOOTSTRAP"]
    decoder = ReportDecoder(topics.REPORT_TYPES[topics.DELIVERY])
    returns = Returns()
    consumer = clients.consumer(bootstrap, prefix + GROUP)
    consumer.subscribe([prefix + topics.DELIVERY])
    async with (
        connection(os.environ["CODEWELL_POSTGRES_URL"], "usual-receipts") as opened,
        clients.started_producer(bootstrap) as producer,
        consumer,
    ):
        async for record in consumer:
            event = decoder.decode(record).event
            if not isinstance(event, SendFailed | SendDelivered):
                continue
            receipt = Receipt(UUID(event.request_id), event.profile_id, event.kind)
            settled = (await returns.settle(opened, [receipt])).settled[receipt]
            headers = [("ce_id", receipt_answer_id(receipt, settled).encode())]
            await producer.send_and_wait(
                prefix + topics.reply_to(topics.DELIVERY), answer_data(receipt, settled).encode(), key=record.key,
                partition=record.partition, headers=headers,
            )  # fmt: skip
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main())
