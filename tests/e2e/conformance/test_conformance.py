"""The official CloudEvents SDKs: what they send is answered, in each mode and compression, and they read answers."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from codewell.infra.uuid7 import uuid7
from codewell.issuing.reply import answer_id, utc_text
from schemas.events import CODES_ATTACHED, MESSAGE_RENDER, CodesAttached, schema_uri
from tests.support.site import Site, open_site

HERE: Final = Path(__file__).parent
COMPRESSIONS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
MODES: Final = ("binary", "structured")
TIMEOUT_S: Final = 90
BUILD_TIMEOUT_S: Final = 600


class Client(NamedTuple):
    """A program in the folder of its language. Where a tool is missing, its test is skipped."""

    folder: str
    tools: tuple[str, ...]
    builds: tuple[str, ...]
    """Shell commands, each tried until one succeeds: what is in the tools' caches is not fetched again."""
    command: tuple[str, ...]


_MAVEN: Final = "mvn -q -B process-classes"
_JAVA: Final = ("java", "-XX:TieredStopAtLevel=1", "-cp", "target/classes:target/libraries/*", "conformance.Client")
_NPM: Final = "npm ci --prefer-offline --no-audit --no-fund"
CLIENTS: Final = {
    "python 2": Client("python", (), (), (sys.executable, "client.py", "core")),
    "python 1": Client("python", (), (), (sys.executable, "client.py", "v1")),
    "javascript": Client("javascript", ("node", "npm"), (_NPM,), ("node", "client.mjs")),
    "java": Client("java", ("java", "mvn"), (f"{_MAVEN} -o", _MAVEN), _JAVA),
    "go": Client("go", ("go",), ("go build -o client .",), ("./client",)),
}


@pytest.fixture
async def site(database_url: str, kafka_bootstrap: str, prefix: str) -> AsyncIterator[Site]:
    async with open_site(database_url, kafka_bootstrap, prefix) as opened:
        yield opened


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Path]]]:
    """The folder of each client, once it is built. Two are built at a time, while tests of others run."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(build, client, tmp_path_factory.mktemp("conformance") / client.folder)
            for name, client in CLIENTS.items()
            if all(map(shutil.which, client.tools))
        }


def build(client: Client, folder: Path) -> Path:
    shutil.copytree(HERE / client.folder, folder, ignore=shutil.ignore_patterns("node_modules", "target"))
    said = "nothing"
    for command in client.builds:
        made = run(
            command, shell=True, cwd=folder, stdout=PIPE, stderr=STDOUT, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if made.returncode == 0:
            return folder
        said = made.stdout
    assert not client.builds, said
    return folder


class Plan(NamedTuple):
    """What a client sends: the document that it reads, and the ids of requests by what becomes of them."""

    document: dict[str, Any]
    answered: dict[str, dict[str, Any]]
    aborted: set[UUID]


def plan(prefix: str) -> Plan:
    """For each compression: a transaction that is aborted, one that is committed, and records outside of any.

    They are of one profile, so all are in one partition and in this order: when the last is answered, the first was
    passed over.
    """
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "topic": f"{prefix}message-render",
        "reply": f"{prefix}message-render.reply",
        "source": "/conformance",
        "type": MESSAGE_RENDER,
        "timeout_s": TIMEOUT_S,
        "batches": [],
    }
    answered: dict[str, dict[str, Any]] = {}
    aborted: set[UUID] = set()
    for compression in COMPRESSIONS:
        for transaction in ("abort", "commit", None):
            requests = []
            for mode in MODES:
                request_id, profile_id = uuid7(), f"p-{compression}"
                data = {"profile_id": profile_id, "campaign_id": "conformance", "programs": ["A"]}
                attributes = {
                    "time": utc_text(now),
                    "datacontenttype": "application/json",
                    "partitionkey": profile_id,
                    "expirytime": utc_text(now + timedelta(days=1)),
                    "correlationid": f"flow-{compression}",
                    "causationid": "order-1",
                }
                request = {"id": str(request_id), "mode": mode, "data": data, "attributes": attributes}
                requests.append(request)
                if transaction == "abort":
                    aborted.add(request_id)
                else:
                    answered[str(request_id)] = request
            document["batches"].append({"compression": compression, "transaction": transaction, "requests": requests})
    document["answered"] = list(answered)
    return Plan(document, answered, aborted)


# A first build downloads its packages.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CLIENTS)
async def test_an_sdk_is_answered(site: Site, folders: Mapping[str, Future[Path]], tmp_path: Path, name: str) -> None:
    client = CLIENTS[name]
    if name not in folders:
        pytest.skip(f"it needs {' and '.join(client.tools)}")
    await site.program("A", 100)
    # Our topics have the broker unpack what comes; here the issuer does it.
    as_it_comes = {"compression.type": "producer"}
    topic = ConfigResource(ConfigResourceType.TOPIC, f"{site.prefix}message-render", configs=as_it_comes)
    await site.admin.alter_configs([topic])
    sent = plan(site.prefix)
    document = tmp_path / "plan.json"
    document.write_text(json.dumps(sent.document))
    folder = await asyncio.wrap_future(folders[name])
    async with site.issuer():
        process = await asyncio.create_subprocess_exec(
            *client.command, site.bootstrap, document, cwd=folder, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    answers = [json.loads(line) for line in out.splitlines()]
    assert sorted(answer["correlation"] for answer in answers) == sorted(sent.answered)
    for answer in answers:
        await check(site, answer, sent.answered[answer["correlation"]])
    decided = await site.database.fetch("SELECT DISTINCT request_id FROM answer")
    assert {row["request_id"] for row in decided}.isdisjoint(sent.aborted)
    assert len(await site.all_of("message-render.reply")) == len(sent.answered)
    assert await site.all_of("message-render.dlq") == []


async def check(site: Site, answer: dict[str, Any], request: dict[str, Any]) -> None:
    """What the SDK read, in the mode of the request, against what the database says."""
    request_id, given = UUID(request["id"]), request["attributes"]
    decided_at = await site.database.fetchval("SELECT answered_at FROM answer WHERE request_id = $1", request_id)
    assert answer["mode"] == request["mode"]
    assert answer["specversion"] == "1.0"
    assert (answer["id"], answer["source"], answer["type"]) == (
        answer_id(request_id),
        "/codewell/issuer",
        CODES_ATTACHED,
    )
    assert answer["dataschema"] == schema_uri(CODES_ATTACHED)
    # The SDK of JavaScript keeps milliseconds only.
    assert abs(datetime.fromisoformat(answer["time"]) - decided_at) < timedelta(milliseconds=1)
    assert answer["partitionkey"] == given["partitionkey"]
    assert answer["correlationid"] == given["correlationid"]
    assert answer["causationid"] == request["id"]
    assert datetime.fromisoformat(answer["expirytime"]) == datetime.fromisoformat(given["expirytime"])
    data = CodesAttached.model_validate_json(json.dumps(answer["data"]))
    assert (data.request_id, data.profile_id) == (request["id"], request["data"]["profile_id"])
    assert len(data.codes) == 1
