"""I2: one request id gets one answer, however often, wherever and whenever the request is read again."""

import json

from tests.support.client_faults import until_committed
from tests.support.sender_records import (
    by_request,
    codes,
    copies,
    data_of,
    message,
    messages,
    renamed,
    step,
    structured,
    with_headers,
)
from tests.support.site import Site

REPLY = "message-render.reply"


async def test_a_repeated_request_gets_a_true_copy_of_its_answer(site: Site) -> None:
    await site.program("A", 100)
    await site.program("B", 100)
    requests = [
        *messages(10, "A", "B"),
        message("p", "B", template="Hello! {loyalty.A.promocode}"),
        message("p", "A", preview=True),
        message("p", "NOBODY"),
        message("p", "A", deadline="2020-01-01T00:00:00Z"),
    ]
    async with site.issuer():
        # Twice in one batch, again in the next, and on the other partition, as after a change of the key.
        await site.publish(requests + requests, 0)
        await site.came(REPLY, 28)
        await site.publish(requests, 0)
        await site.publish(requests, 1)
        await site.came(REPLY, 56)
    async with site.issuer(batch_size_max=3):
        await site.publish(requests[::-1], 1)
        replies = await site.came(REPLY, 70)

    sent = copies(replies)
    assert sent.keys() == {str(request.request_id) for request in requests}
    assert all(len(different) == 1 for different in sent.values())
    first = by_request(replies[:14])
    given = codes(answer for answer in first.values() if answer["outcome"] == "attached" and "preview" not in answer)
    assert len(set(given)) == len(given) == 22
    assert ((await site.stock("A")).attached, (await site.stock("B")).attached) == (11, 11)
    assert await site.uncommitted() == 0


async def test_copies_that_meet_in_two_issuers_get_one_answer(site: Site) -> None:
    await site.program("A", 1_000)
    requests = messages(200, "A")
    async with site.issuer(batch_size_max=7), site.issuer(batch_size_max=11):
        await site.publish(requests, 0)
        await site.publish(requests, 1)
        await until_committed(site)
    sent = copies(await site.all_of(REPLY))
    assert len(sent) == 200
    assert all(len(different) == 1 for different in sent.values())
    assert (await site.stock("A")).attached == 200


async def test_a_refusal_stays_a_refusal_when_the_reason_is_gone(site: Site) -> None:
    program = await site.program("A")
    early = message("p", "A"), message("p", "LATER")
    async with site.issuer():
        await site.publish(early, 0)
        refused = {data_of(one)["request_id"]: one.value for one in await site.came(REPLY, 2)}
        await site.program("LATER", 10)
        await site.database.execute("UPDATE program SET campaign_can_create = true WHERE id = $1", program.id)
        await site.publish([*early, message("p", "A")], 0)
        *again, new = (await site.came(REPLY, 5))[2:]
    assert {data_of(one)["request_id"]: one.value for one in again} == refused
    assert data_of(new)["outcome"] == "attached"


async def test_a_given_code_stays_given_when_the_program_has_ended(site: Site) -> None:
    await site.program("A", 10, valid_until="2100-01-01T00:00:00Z")
    request = message("p", "A")
    async with site.issuer():
        await site.publish([request], 0)
        [given] = await site.came(REPLY, 1)
        await site.database.execute("UPDATE program SET active = false, valid_until = now() - interval '1 day'")
    async with site.issuer():
        await site.publish([request], 1)
        again = (await site.came(REPLY, 2))[1]
    assert again.value == given.value


async def test_the_first_content_of_a_request_id_decides(site: Site) -> None:
    await site.program("A", 10)
    await site.program("B", 10)
    request = message("p-first", "A")
    other = renamed(message("p-second", "B", template="{loyalty.B.promocode}"), request.request_id)
    as_step = renamed(step("p-third", "B"), request.request_id)
    async with site.issuer():
        await site.publish([request], 0)
        [given] = await site.came(REPLY, 1)
        await site.publish([structured(request), other], 0)
        same, changed = (await site.came(REPLY, 3))[1:]
        await site.publish([as_step], 0)
        [stepped] = await site.came("scenario-step.reply", 1)
    assert json.loads(same.value)["data"] == data_of(given)
    assert json.loads(same.value)["id"] == dict(given.headers)["ce_id"].decode()
    assert data_of(changed)["codes"] == data_of(stepped)["codes"] == data_of(given)["codes"]
    assert changed.key == stepped.key == b"p-first"
    assert (await site.stock("B")).attached == 0


async def test_an_answer_goes_where_its_sender_wants_it(site: Site) -> None:
    await site.program("A", 10)
    allowed = f"{site.prefix}campaigns.answers"
    async with site.own_topic(allowed, partitions=3):
        wishes = ("kafka_replyTopic", allowed.encode()), ("kafka_correlationId", b"order \xff 7")
        asked = with_headers(message("p", "A"), *wishes)
        as_event = with_headers(structured(step("p", "NOBODY")), *wishes)
        plain = with_headers(message("p", "A"), wishes[1])
        async with site.issuer(reply_topics=f" {allowed} ,"):
            await site.publish([asked, plain], 1)
            await site.publish([as_event], 1)
            replies = await site.came("campaigns.answers", 2)
            [usual] = await site.came(REPLY, 1)
    by_id = {data_of(one)["request_id"]: one for one in replies}
    given, refused = by_id[str(asked.request_id)], by_id[str(as_event.request_id)]
    assert (data_of(given)["outcome"], data_of(refused)["outcome"]) == ("attached", "refused")
    for record in (given, refused, usual):
        assert dict(record.headers)["kafka_correlationId"] == b"order \xff 7"
        assert (record.key, record.partition) == (b"p", 1)
    assert data_of(usual)["request_id"] == str(plain.request_id)
    assert await site.all_of("scenario-step.reply") == []
