"""Dead letters as an operator sees them, and what becomes of their events once the cause is gone."""

from pathlib import Path

from structlog.testing import capture_logs

from codewell.client.exchange import build_request, open_exchange
from codewell.infra.uuid7 import uuid7
from tests.integration.issuer.conftest import site
from tests.support.commands import Caller
from tests.support.site import Site

__all__ = ["site"]

NOTHING = {
    "dry_run": False, "replayed": 0, "replayed_before": 0, "too_often": 0, "without_event": 0, "too_large": 0,
}  # fmt: skip


async def buried(caller: Caller, count: int) -> list[dict[str, object]]:
    """The dead letters, once there are so many."""
    while True:
        said = (await caller.run("dlq", "list", "--json")).is_done()
        if len(said.objects) >= count:
            return said.objects


async def test_an_event_is_answered_once_its_cause_is_gone(site: Site, tmp_path: Path) -> None:
    caller = Caller(
        tmp_path, CODEWELL_POSTGRES_URL=site.postgres_url, CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap,
        CODEWELL_TOPIC_PREFIX=site.prefix,
    )  # fmt: skip
    data = {"profile_id": "p-1", "campaign_id": "spring", "programs": ["SPRING"]}
    request = build_request("message-render", data, uuid7())
    replies = f"{site.prefix}message-render.reply"
    elsewhere = ("kafka_replyTopic", replies.encode())
    # What the issuer logs is kept from the output of commands.
    with capture_logs():
        async with site.issuer():
            (await caller.run("program", "create", "SPRING", "--template", "{upstring 8}", "--codes-max", "10",
                             "--campaign-can-create", "--allow-guessable")).is_done()  # fmt: skip
            assert (await caller.run("dlq", "list")).is_done().out == "No dead letters.\n"
            assert (await caller.run("dlq", "replay", "--json")).objects[0]["replayed"] == 0
            await site.put("message-render", request.value, [*request.headers, elsewhere], request.key)
            await site.put("message-render", b"\xff", request.headers, b"\xff")
            first, second = sorted(await buried(caller, 2), key=lambda letter: str(letter["reason"]))

            assert (first["reason"], first["topic"], first["replayed_at"]) == ("not_json", "message-render", None)
            assert (second["reason"], second["event_id"]) == ("reply_topic_refused", str(request.request_id))
            # Whoever lists letters did not ask for this customer; whoever names one did.
            assert all("p-1" not in str(letter) for letter in (first, second))
            assert "p-1" not in (await caller.run("dlq", "list")).is_done().out
            assert "p-1" in (await caller.run("dlq", "list", "--unmasked")).is_done().out
            [whole] = (await caller.run("dlq", "show", str(second["at"]), "--json")).is_done().objects
            assert (whole["value"], whole["key"]) == (request.value.decode(), "p-1")
            assert ["kafka_replyTopic", replies] in whole["headers"]
            [unread] = (await caller.run("dlq", "show", str(first["at"]), "--json")).is_done().objects
            assert unread["value_base64"] == "/w=="
            shown = (await caller.run("dlq", "show", str(first["at"]))).is_done().out
            assert "codewell_reason: not_json" in shown
            assert "value (1 bytes)\n00000000  ff " in shown
            (await caller.run("dlq", "show", "message-render:0:999")).is_refused("message-render:0:999", "dlq list")
            (await caller.spawn("dlq", "show", "0:999")).is_wrong_usage("message-render:0:17")
            for step in ("replay", "purge"):
                for named in (["--at", "message-render:0:999"], ["--at", str(first["at"]), "--at", "orders:99:0"]):
                    said = await caller.run("dlq", step, *named, "--reason", "not_json", "--dry-run")
                    said.is_refused(named[-1], "dlq list")
                (await caller.run("dlq", step, "--at", "message-render:00:7")).is_wrong_usage("message-render:00:7")
            said = await caller.run("dlq", "replay", "--at", str(first["at"]), "--dry-run")
            assert said.out == "Would replay 1 event.\n", said
            table = (await caller.run("dlq", "list", "--reason", "not_json", "--topic", "message-render")).is_done().out
            assert len(table.splitlines()) == 2
            assert (await caller.run("dlq", "list", "--since", "2999-01-01T00:00:00Z")).out == "No dead letters.\n"
            (await caller.run("dlq", "list", "--since", "yesterday")).is_wrong_usage("a date such as 2027-01-31")
            assert (await caller.run("dlq", "list", "--limit", "1")).err.startswith("Newest 1 of 2")

            said = await caller.run("dlq", "replay", "--reason", "not_json")
            assert said.out == "Replayed 1 event.\n", said
            again = [letter for letter in await buried(caller, 3) if letter["reason"] == "not_json"]
            # What still can't be read is a letter anew, and the one before is not published a second time.
            assert [letter["replayed_at"] is None for letter in again] == [False, True]
            assert [letter["replays"] for letter in again] == [0, 1]
            (await caller.spawn("dlq", "purge", "--reason", "not_json", stdin="n\n")).is_aborted("Purge 1 dead letter,")
            assert len(await buried(caller, 3)) == 3
            [counts] = (await caller.run("dlq", "purge", "--reason", "not_json", "--dry-run", "--json")).objects
            assert (counts["dry_run"], counts["purged"]) == (True, 1)
            # On a busy machine it says how far it is.
            said = await caller.run("dlq", "purge", "--yes", "--reason", "not_json")
            assert said.status == 0, said
            assert said.out.startswith("Purged 1 dead letter, 0 of them never replayed.\n")
            assert len(await buried(caller, 2)) == 2

        async with site.issuer(reply_topics=replies), open_exchange(site.bootstrap, site.prefix) as opened:
            [counts] = (await caller.run("dlq", "replay", "--reason", "reply_topic_refused", "--json")).objects
            assert counts == NOTHING | {"replayed": 1}
            answer = await anext(opened.answers(20))
            assert (answer.data["request_id"], answer.data["outcome"]) == (str(request.request_id), "attached")
            [counts] = (await caller.run("dlq", "replay", "--reason", "reply_topic_refused", "--json")).objects
            assert counts == NOTHING | {"replayed_before": 1}
            [counts] = (
                await caller.run("dlq", "replay", "--reason", "reply_topic_refused", "--again", "--json")
            ).objects
            assert counts["replayed"] == 1
            assert (await anext(opened.answers(20))).data == answer.data
