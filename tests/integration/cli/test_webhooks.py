"""`codewell webhook`: made, tested, listed, sent again and removed by a person on the command line."""

from pathlib import Path

from standardwebhooks import Webhook as Verifier

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from codewell.webhooks import leases
from tests.integration.webhooks.conftest import event, publish
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.in_process import codewell
from tests.support.remote_server import Asked, RemoteServer, Reply, remote_server, reply


async def test_a_webhook_from_its_creation_to_its_end(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    env = environment(
        CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1", CODEWELL_REMOTE_ALLOW="127.0.0.0/8"
    )

    async def run(*words: str) -> Said:
        return await codewell("webhook", *words, env=env, cwd=tmp_path)

    async def fine(_: Asked, __: RemoteServer) -> Reply:
        return reply(b"ok")

    async with remote_server(fine) as server:
        [made] = (await run("create", server.url, "--group", "marketing", "--json")).is_done().objects
        id_ = str(made["id"])
        assert (await run("test", id_)).is_done().out.startswith("The receiver took the message.")
        [asked] = server.asked
    assert Verifier(made["secret"]).verify(asked.body, asked.headers)
    failed = await run("test", id_)
    assert (failed.status, "cannot be reached" in failed.err) == (1, True)
    assert "whsec_" in (await run("rotate-secret", id_)).is_done().out
    assert "whsec_" not in (await run("show", id_)).is_done().out
    await publish(connection, event())
    [changed] = (await run("update", id_, "--group", "a", "--type", "alert-raised", "--json")).is_done().objects
    assert (changed["groups"], changed["types"]) == (["a"], ["alert-raised"])
    (await run("update", id_, "--target", "")).is_wrong_usage("An option is not valid")
    assert (await run("deliveries", id_)).is_done().out.strip() == "No deliveries."

    of_all = str((await run("create", "https://b.invalid", "--json")).is_done().objects[0]["id"])
    assert (await run("replay", of_all, "--since", "2026-01-01", "--json")).is_done().objects == [{"deliveries": 0}]
    await publish(connection, event())
    [leased] = await leases.lease(connection, 60, {}, 10)
    await leases.record(connection, leased, leases.Outcome(200, None), 0.1)
    [listed] = (await run("deliveries", of_all, "--state", "delivered", "--json")).is_done().objects
    [again] = (await run("resend", of_all, str(listed["id"]), "--json")).is_done().objects
    assert (again["state"], again["event_id"]) == ("waiting", str(leased.event_id))
    assert {one["id"] for one in (await run("list", "--json")).is_done().objects} == {int(id_), int(of_all)}
    (await run("remove", of_all)).is_done()
    gone = await run("show", of_all)
    assert (gone.status, "There is no webhook" in gone.err) == (1, True)
    refused = await run("create", "ops@example.com", "--kind", "email", "--type", "code-attached")
    assert (refused.status, "takes only" in refused.err) == (2, True)
    verbs = {one.verb for one in await audit_log.page(connection, 20)}
    assert verbs == {
        f"webhook.{step}" for step in ("create", "test", "rotate_secret", "update", "replay", "resend", "remove")
    }
