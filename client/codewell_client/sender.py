"""Asks for codes over Kafka and waits for the answers: one producer, one consumer, any number of requests in flight."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from codewell_client.answers import Answer
from codewell_client.closing import close
from codewell_client.errors import AnswerTimeout, KafkaUnavailable, PublishFailed, SenderError
from codewell_client.replies import CORRELATION_ID, Replies
from codewell_client.requests import MessageRender, Request, ScenarioStep, encode

TIMEOUT_S: Final = 30.0
IN_FLIGHT_MAX: Final = 1_000
_REQUEST_TYPES: Final = (MessageRender, ScenarioStep)


class Sender:
    """Publishes requests and reads their answers, in the block that opens it.

    Answers come on the shared reply topic of each request topic, or on a topic of your own: `reply_topic`, which the
    operator has to allow in CODEWELL_REPLY_TOPICS. With `reply_partition` only that partition of it is used, so that
    several processes share a topic without reading each other's answers. `kafka` has options for aiokafka's clients,
    such as `security_protocol`, `ssl_context` and `sasl_mechanism`.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        source: str = "/codewell_client",
        topic_prefix: str = "",
        reply_topic: str | None = None,
        reply_partition: int | None = None,
        kafka: Mapping[str, Any] | None = None,
    ) -> None:
        if reply_partition is not None and reply_topic is None:
            raise ValueError("reply_partition needs a reply_topic of your own.")
        self._bootstrap_servers = bootstrap_servers
        self._prefix = topic_prefix
        self._client = {"client_id": "codewell-client", **(kafka or {}), "bootstrap_servers": bootstrap_servers}
        shared = [f"{topic_prefix}{request.topic}.reply" for request in _REQUEST_TYPES]
        self._reply_topics = shared if reply_topic is None else [reply_topic]
        self._reply_partition = reply_partition
        self._headers: list[tuple[str, bytes]] = [
            ("ce_specversion", b"1.0"),
            ("ce_source", source.encode()),
            ("content-type", b"application/json"),
        ]
        if reply_topic is not None:
            self._headers.append(("kafka_replyTopic", reply_topic.encode()))
        if reply_partition is not None:
            self._headers.append(("kafka_replyPartition", reply_partition.to_bytes(4, "big")))
        self._producer: AIOKafkaProducer | None = None
        self._replies: Replies | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises KafkaUnavailable."""
        # aiokafka's clients belong to the event loop in which they are made.
        self._producer = AIOKafkaProducer(**self._client, acks="all", enable_idempotence=True)
        self._replies = Replies(self._reply_topics, self._reply_partition, self._client)
        try:
            await self._producer.start()
            await self._replies.start(self._producer)
        except KafkaError as error:
            await self.__aexit__()
            raise KafkaUnavailable(f"Cannot use Kafka at {self._bootstrap_servers}: {error!r}") from error
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is buffered, for at most 5 s, and disconnect."""
        if self._producer is not None:
            await close(self._producer)
        if self._replies is not None:
            await self._replies.stop()

    async def ask(self, request: Request, *, timeout_s: float = TIMEOUT_S) -> Answer:
        """Publish a request and wait for its answer: codes, or refusals as a value.

        Raises AnswerTimeout after `timeout_s` (s), PublishFailed, and ValueError for a request that is too long. The
        same request again, also after an error and from another process, gets the same answer.
        """
        if self._producer is None or self._replies is None:
            raise RuntimeError("Open the sender first: async with Sender(...) as sender.")
        value = encode(request)
        correlation_id = str(request.id).encode()
        headers = [
            ("ce_id", correlation_id),
            ("ce_type", request.type.encode()),
            *self._headers,
            (CORRELATION_ID, correlation_id),
        ]
        topic = self._prefix + request.topic
        future = self._replies.expect(correlation_id)
        try:
            async with asyncio.timeout(timeout_s):
                await self._producer.send_and_wait(topic, value, key=request.profile_id.encode(), headers=headers)
                return await future
        except TimeoutError as error:
            raise AnswerTimeout(request, timeout_s, self._replies.failure) from error
        except KafkaError as error:
            raise PublishFailed(request, repr(error)) from error
        finally:
            self._replies.forget(correlation_id, future)

    async def ask_many(
        self,
        requests: Iterable[Request] | AsyncIterable[Request],
        *,
        timeout_s: float = TIMEOUT_S,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> AsyncGenerator[tuple[Request, Answer | SenderError], None]:
        """Ask for many, and yield each request with its answer as it comes, in any order.

        `timeout_s` (s) is for each request. What `ask` would raise as a SenderError is yielded in place of the answer,
        so that one request without an answer does not end the others. At most `in_flight_max` requests wait for their
        answers or for you; `requests` is read no further meanwhile. Raises ValueError when none may.
        """
        if in_flight_max < 1:
            raise ValueError("in_flight_max must be at least 1.")
        batch = _Batch(self, timeout_s, in_flight_max)
        feeder = asyncio.create_task(batch.feed(requests))
        try:
            while (result := await batch.results.get()) is not None:
                batch.slots.release()
                yield result
            await feeder
        finally:
            feeder.cancel()
            await asyncio.wait([feeder])


class _Batch:
    """The requests of one `ask_many` that are in flight, and their results; None ends the results."""

    def __init__(self, sender: Sender, timeout_s: float, in_flight_max: int) -> None:
        self.results: asyncio.Queue[tuple[Request, Answer | SenderError] | None] = asyncio.Queue()
        self.slots = asyncio.Semaphore(in_flight_max)
        self._sender = sender
        self._timeout_s = timeout_s

    async def feed(self, requests: Iterable[Request] | AsyncIterable[Request]) -> None:
        """Ask each as a slot is free. Raises what `requests` raises, and what `ask` raises beside SenderErrors."""
        try:
            async with asyncio.TaskGroup() as group:
                async for request in _each(requests):
                    await self.slots.acquire()
                    group.create_task(self._ask(request))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self.results.put_nowait(None)

    async def _ask(self, request: Request) -> None:
        result: Answer | SenderError
        try:
            result = await self._sender.ask(request, timeout_s=self._timeout_s)
        except SenderError as error:
            result = error
        self.results.put_nowait((request, result))


async def _each(requests: Iterable[Request] | AsyncIterable[Request]) -> AsyncIterator[Request]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
