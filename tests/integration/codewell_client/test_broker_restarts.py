"""A sender gets over a broker that is killed and comes back, with requests in flight."""

import asyncio
import signal

import pytest
from aiokafka import AIOKafkaProducer

from codewell_client import AnswerTimeout, Refused, Sender, closing
from services.standalone.kafka import KafkaBroker
from tests.integration.codewell_client.test_sender import message, refusal_of
from tests.integration.healing.test_kafka import broker
from tests.support.running import no_task_left

__all__ = ["broker"]

PREFIX = "h."
LIMIT_S = 60.0


async def test_requests_in_flight_are_answered_after_a_restart(broker: KafkaBroker) -> None:
    before, meanwhile, after = (message(f"p-{number}", "A") for number in range(3))
    async with no_task_left(), Sender(broker.bootstrap, topic_prefix=PREFIX) as sender:
        # It is in Kafka, and nothing answers yet.
        with pytest.raises(AnswerTimeout):
            await sender.ask(before, timeout_s=1)
        asking = [asyncio.create_task(sender.ask(before, timeout_s=LIMIT_S))]
        assert broker.child is not None
        await broker.child.stop(signal.SIGKILL)
        with pytest.raises(AnswerTimeout):
            await sender.ask(meanwhile, timeout_s=1)
        asking.append(asyncio.create_task(sender.ask(meanwhile, timeout_s=LIMIT_S)))
        await broker.start()
        asking.append(asyncio.create_task(sender.ask(after, timeout_s=LIMIT_S)))
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as issuer:
            for request in (before, meanwhile, after):
                value, headers = refusal_of(request, "pool_empty")
                await issuer.send_and_wait(f"{PREFIX}message-render.reply", value, headers=headers)
        answers = await asyncio.gather(*asking)
    assert [answer.request_id for answer in answers] == [before.id, meanwhile.id, after.id]
    assert all(isinstance(answer, Refused) for answer in answers)


async def test_a_sender_is_closed_while_no_broker_is_there(
    broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "CLOSE_TIMEOUT_S", 0.5)
    async with no_task_left(), asyncio.timeout(LIMIT_S), Sender(broker.bootstrap, topic_prefix=PREFIX) as sender:
        assert broker.child is not None
        await broker.child.stop(signal.SIGKILL)
        with pytest.raises(AnswerTimeout):
            await sender.ask(message("p-1", "A"), timeout_s=0.5)
