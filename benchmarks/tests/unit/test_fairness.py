"""The ceiling must do the product's work with Kafka, or the comparison means nothing."""

from datetime import UTC, datetime
from uuid import UUID

from aiokafka import ConsumerRecord

from benchmarks import bare_issuer
from benchmarks.tests.unit.recording import Kept, RecordingProducer
from codewell.client.exchange import build_request
from codewell.issuing.model import AnswerRow
from schemas.events import MESSAGE_RENDER
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.decode import Decoder
from tests.support.records import decoded_headers

TOPIC = "message-render"
REPLY_TOPIC = "message-render.reply"


def request() -> ConsumerRecord:
    data = {"profile_id": "p-1", "campaign_id": "spring", "message_id": "m-1", "programs": ["SPRING"]}
    sent = build_request(TOPIC, data)
    return ConsumerRecord(TOPIC, 3, 0, 0, 0, sent.key, sent.value, None, 0, 0, tuple(sent.headers))


async def product_answer(record: ConsumerRecord) -> Kept:
    received = Decoder({TOPIC: MESSAGE_RENDER}, frozenset()).decode(record)
    expires_at = datetime(2026, 12, 23, 0, 0, 0, 123456, tzinfo=UTC)
    row = AnswerRow(
        received.request.id, 0, 1, 1, 0, False, False, "p-1", "abCd-1234-EFGH", expires_at, None, None, expires_at
    )  # fmt: skip
    producer = RecordingProducer()
    publisher = BatchPublisher(producer, {REPLY_TOPIC: 24})
    publisher.answer(received, [row], {1: "SPRING"})
    await publisher.flush()
    [kept] = producer.kept[REPLY_TOPIC]
    return kept


async def test_an_answer_without_a_database_is_as_long_and_has_the_same_headers() -> None:
    record = request()

    product = await product_answer(record)
    value, headers = bare_issuer.answer(record)

    assert len(value) == len(product.value)
    assert {name: len(text) for name, text in decoded_headers(headers)} == {
        name: len(text) for name, text in product.headers
    }


def test_an_answer_without_a_database_names_its_request() -> None:
    record = request()

    value, headers = bare_issuer.answer(record)

    request_id = dict(record.headers)["ce_id"].decode()
    assert UUID(request_id).version == 7
    assert request_id in value.decode()
    assert dict(decoded_headers(headers))["ce_id"].decode() == request_id
