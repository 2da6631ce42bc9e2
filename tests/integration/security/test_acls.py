"""The rights that `codewell topics --acls` prints are enough for each principal, and no more than it needs."""

import itertools
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest
from pydantic import SecretStr

from codewell.client.exchange import publish_program_changed
from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients
from codewell.infra.kafka.acls import Acl, acls, commands
from codewell.infra.kafka.cluster_facts import Permission, read_cluster
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.group_lag import read_lags
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.connection import Pool
from codewell.recovery import dead_letters
from codewell.recovery.dead_letters import LetterFilter
from codewell.recovery.purging import Purge
from codewell.recovery.replaying import ReplayCounts, ReplayOptions, replay
from schemas.topics import TOPICS
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings, Listener
from services.standalone.ports import free_port
from tests.integration.console.test_dead_letters import bury
from tests.support.client_faults import until_committed
from tests.support.consoles import Consoles, create_console
from tests.support.pools import AUTOMATIC, until_full
from tests.support.running import until
from tests.support.sender_records import answered, message, with_headers
from tests.support.site import Site, open_site

PREFIX, ANSWERS = "acl.", "campaign.answers"
PRINCIPALS = sorted({acl.principal for acl in acls(PREFIX)})
_numbers = itertools.count(1)
# Kafka's numbers.
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8}
RESOURCES = {"topic": 2, "group": 3}
ALLOW, LITERAL, PREFIXED = 3, 3, 4


class Guarded:
    """A broker that refuses all that no ACL allows, with one user a principal, and topics of the test's own."""

    def __init__(self, site: Site, port: int, answers: str) -> None:
        self.site = site
        self.prefix = site.prefix
        self.answers = answers
        self._bootstrap = f"localhost:{port}"

    def config(self, user: str) -> KafkaConfig:
        return KafkaConfig(self._bootstrap, "SASL_PLAINTEXT", "PLAIN", user, SecretStr(user))

    def settings(self, user: str) -> dict[str, Any]:
        return {
            "kafka_bootstrap": self._bootstrap, "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": user, "kafka_sasl_password": user,
        }  # fmt: skip

    async def write(self, user: str, topic: str, value: bytes | None = b"{}", key: bytes = b"p") -> None:
        async with clients.started_producer(self.config(user)) as producer:
            await producer.send_and_wait(topic, value, key=key)

    async def read(self, user: str, topic: str, group: str | None, count: int) -> list[bytes]:
        consumer = AIOKafkaConsumer(
            topic, **self.config(user).client_options(), group_id=group, auto_offset_reset="earliest"
        )
        try:
            await consumer.start()
            return [(await consumer.getone()).value for _ in range(count)]
        finally:
            await consumer.stop()


async def add(bootstrap: str, wanted: list[Acl]) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        for acl in wanted:
            pattern = PREFIXED if acl.is_prefix else LITERAL
            request = CreateAclsRequest(
                RESOURCES[acl.resource],
                acl.name,
                pattern,
                f"User:{acl.principal}",
                "*",
                OPERATIONS[acl.operation],
                ALLOW,
            )
            answer = await client.send(client.get_random_node(), request)
            assert answer.creation_responses[0][0] == 0, answer
    finally:
        await client.close()


class Broker(NamedTuple):
    """A Kafka with an authorizer: the bootstrap address of those who may do all, and the port of the principals."""

    bootstrap: str
    port: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    home, port = await Home.open(tmp_path_factory.mktemp("acls")), free_port()
    users = " ".join(f'user_{name}="{name}"' for name in PRINCIPALS)
    more = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The test's own clients, over the listener without authentication.
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config":
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
    }  # fmt: skip
    listener = Listener("SASL_PLAINTEXT", port, port, "SASL_PLAINTEXT", "localhost")
    server = KafkaBroker(home, KafkaSettings(listeners=(listener,), more=more))
    try:
        yield Broker(await server.start(), port)
    finally:
        await server.stop()
        home.close()


@pytest.fixture
async def guarded(database_url: str, broker: Broker) -> AsyncIterator[Guarded]:
    prefix = f"acl{next(_numbers)}."
    answers = prefix.replace("acl", "campaign") + "answers"
    async with clients.admin(broker.bootstrap) as admin:
        made = [NewTopic(prefix + t.name, 2, 1, topic_configs=dict(t.config)) for t in TOPICS]
        await admin.create_topics([*made, NewTopic(answers, 2, 1)])
    await add(broker.bootstrap, acls(prefix, [answers]))
    async with open_site(database_url, broker.bootstrap, prefix) as site:
        yield Guarded(site, broker.port, answers)


async def test_each_principal_can_do_its_work(guarded: Guarded) -> None:
    site = guarded.site
    await site.program("A", 100)
    usual = message("p-1", "A")
    named = with_headers(message("p-2", "A"), ("kafka_replyTopic", guarded.answers.encode()))
    async with site.issuer(reply_topics=guarded.answers, **guarded.settings("codewell-issuer")):
        async with clients.started_producer(guarded.config("campaign-sender")) as sender:
            for one in (usual, named):
                await sender.send_and_wait(f"{guarded.prefix}{one.topic}", one.value, key=one.key, headers=one.headers)
        await guarded.write("campaign-sender", f"{guarded.prefix}message-render", b"no json")
        await guarded.write("scenario-engine", f"{guarded.prefix}scenario-step", b"no json")
        answered([usual], await site.came("message-render.reply", 1))
        [own] = await guarded.read("campaign-sender", f"{guarded.prefix}message-render.reply", "campaign-sender-1", 1)
        [other] = await guarded.read("campaign-sender", guarded.answers, "campaign-sender-2", 1)
        assert [json.loads(one)["profile_id"] for one in (own, other)] == ["p-1", "p-2"]
        await site.came("message-render.dlq", 1)
        await until_committed(site)
    operator = guarded.config("codewell-operator")
    await what_doctor_sees(site, operator)
    lags = await read_lags(operator, guarded.prefix)
    assert sum(lags.dead_letters.values()) == 2
    async with dead_letters.open_dead_letters(operator, guarded.prefix) as letters:
        counts = await replay(
            site.database, operator, guarded.prefix, letters, LetterFilter(), ReplayOptions(), lambda _: None
        )
        assert counts == ReplayCounts(2)
        purging = Purge(site.database, letters, LetterFilter(), unreplayed=False, limit=None)
        assert (await purging.purge(operator, lambda _: None)).deleted == 2
    async with clients.admin(site.bootstrap) as admin:
        await admin.delete_topics([f"{guarded.prefix}profile-changed", guarded.answers])

    async def is_gone() -> bool:
        async with clients.admin(site.bootstrap) as admin:
            return not {f"{guarded.prefix}profile-changed", guarded.answers} & set(await admin.list_topics())

    await until(is_gone, "deletion of two topics")
    assert sorted(await create_topics(operator, guarded.prefix, 1, [guarded.answers])) == [
        f"{guarded.prefix}profile-changed",
        guarded.answers,
    ]


async def what_doctor_sees(site: Site, operator: KafkaConfig) -> None:
    """ACLs, settings and the clock are for those who may describe the cluster; the operator sees the topics alone."""
    wanted = [f"{site.prefix}message-render", f"{site.prefix}none"]
    everything = await read_cluster(KafkaConfig.parse(site.bootstrap), wanted)
    assert everything.has_authorizer
    assert Permission("User:campaign-sender", f"{site.prefix}message-render", False, 4) in (
        everything.permissions or ()
    )
    assert list(everything.topics) == [f"{site.prefix}message-render"]
    assert everything.hidden == ()
    assert abs(everything.controller_offset_s or 99) < 5
    little = await read_cluster(operator, wanted)
    assert (little.permissions, little.has_authorizer, little.controller_offset_s) == (None, None, None)
    assert little.topics[f"{site.prefix}message-render"].config is None
    assert little.hidden == (f"{site.prefix}none",)


async def test_the_generator_the_console_and_the_profile_store(guarded: Guarded) -> None:
    site = guarded.site
    async with site.generator(**guarded.settings("codewell-generator")):
        first = await site.program("FIRST", **AUTOMATIC)
        await until_full(site, first)
        program = await site.program("A", **AUTOMATIC)
        async with clients.started_producer(guarded.config("codewell-console")) as producer:
            assert await publish_program_changed(producer, guarded.prefix, program.id, program.name)
            await producer.send_and_wait(f"{guarded.prefix}pool-demand", b"{}", key=b"1")
        await until_full(site, program)
        value = json.dumps({"profile_id": "p-1", "fields": {"a": "b"}}).encode()
        await guarded.write("profile-store", f"{guarded.prefix}profile-changed", value, b"p-1")

        async def is_kept() -> bool:
            return bool(await site.database.fetchval("SELECT count(*) FROM profile"))

        await until(is_kept, "profile")


async def test_the_console_reads_the_lag_and_handles_dead_letters(guarded: Guarded, connections: Pool) -> None:
    places = [await bury(guarded.site, profile) for profile in ("p-1", "p-2")]
    api = create_console(connections, topic_prefix=guarded.prefix, **guarded.settings("codewell-console"))
    async with AsyncExitStack() as stack:
        client = await Consoles(connections, connections, stack).client("admin", api=api)
        lags = (await client.get("/lag")).json()
        assert sum(lags["dead_letters"].values()) == 2
        listed = (await client.get("/dead-letters")).json()["items"]
        assert [one["at"] for one in listed] == places[::-1]
        replayed = (await client.post("/dead-letters:replay", json={})).json()
        assert (replayed["replayed"], replayed["next_cursor"]) == (2, None)
        purged = (await client.post("/dead-letters:purge", json={})).json()
        assert (purged["deleted"], purged["next_cursor"]) == (2, None)


async def test_nothing_else_is_allowed(guarded: Guarded) -> None:
    allowed = {(acl.principal, acl.operation, acl.name) for acl in acls(guarded.prefix, [guarded.answers])}
    for principal in PRINCIPALS:
        # Not idempotent, as that needs the right to write to some topic.
        async with AIOKafkaProducer(**guarded.config(principal).client_options()) as producer:
            for topic in [*(guarded.prefix + t.name for t in TOPICS), guarded.answers]:
                if (principal, "Write", topic) not in allowed:
                    with pytest.raises(TopicAuthorizationFailedError):
                        await producer.send_and_wait(topic, b"{}", key=b"p", partition=0)
                elif not topic.endswith("profile-changed"):
                    await producer.send_and_wait(topic, b"{}", key=b"p", partition=0)
    with pytest.raises(KafkaError):
        await guarded.read("campaign-sender", f"{guarded.prefix}message-render.dlq", "campaign-sender-1", 1)
    with pytest.raises(GroupAuthorizationFailedError):
        await guarded.read(
            "campaign-sender", f"{guarded.prefix}message-render.reply", f"{guarded.prefix}codewell-issuer", 1
        )
    await what_a_worker_says(guarded, f"{guarded.prefix}message-render")


async def what_a_worker_says(guarded: Guarded, topic: str) -> None:
    """Which topic it has no right to, and what to do."""
    what_to_do = "alert-reader has no right to it: .* give the rights that codewell topics --acls prints"
    with pytest.raises(StackUnavailable, match=f"no topic {topic}, or {what_to_do}"):
        await clients.wait_until_up(guarded.config("alert-reader"), [topic], 0)
    # A sender may write there, so it sees the topic, and may not read.
    with pytest.raises(TopicAuthorizationFailedError) as refused:
        await guarded.read("campaign-sender", topic, "campaign-sender-1", 1)
    assert "give the principal the rights" in clients.outage_reason(refused.value)


def test_every_topic_has_a_reader_and_a_writer() -> None:
    wanted = acls(PREFIX)
    for topic in TOPICS:
        operations = {acl.operation for acl in wanted if acl.name == PREFIX + topic.name}
        assert operations >= {"Read", "Write", "Create"}, topic.name


def test_the_commands_say_all_of_it() -> None:
    wanted = acls(PREFIX, [ANSWERS])
    said = set()
    for line in commands("k:9092", wanted):
        words = shlex.split(line)
        assert words[:6] == [
            "kafka-acls.sh",
            "--bootstrap-server",
            "k:9092",
            "--command-config",
            "admin.properties",
            "--add",
        ]
        options = list(zip(words[6::2], words[7::2], strict=True))
        given = dict(options)
        principal = given["--allow-principal"].removeprefix("User:")
        said |= {
            (principal, given["--operation"], name.removeprefix("--"), value, "--resource-pattern-type" in given)
            for name, value in options
            if name in {"--topic", "--group"}
        }
    assert said == {tuple(acl) for acl in wanted}
