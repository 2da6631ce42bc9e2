import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4, uuid5

import pytest
from asyncpg.pgproto import pgproto

from codewell.infra.uuid7 import uuid7
from codewell.issuing.decide import decide
from codewell.issuing.reply import answer_event, answer_id, answer_ids
from schemas.events import CODES_ATTACHED, CODES_REFUSED, CodesAttached, CodesRefused
from tests.support.factories import NOW, given_row, message, rules, step, stock

NAMES = {1: "SPRING", 2: "GIFT"}
# What JSON, HTML and JavaScript each read in their own way, and what none of them should change.
AWKWARD = [
    'quotes " and \\ and \\1 \\g<0>',
    "</script><!-- ${x} {{y}} %s",
    "emoji 🎁👩‍👩‍👧 and \u2028 and \u2029",
    "\u202e right to left \ufeff",
    "'); DROP TABLE answer; --",
]


def test_the_answer_has_the_bytes_of_the_contract() -> None:
    request_id = UUID("019aa5c4-1111-7000-8000-000000000001")
    request = message("SPRING", template="Hello! {loyalty.SPRING.promocode}", request_id=request_id)
    row = given_row(request, "smFg-2497-DMPB", expires_at=datetime(2026, 12, 23, tzinfo=UTC))

    event_type, data = answer_event(request, [row], NAMES)

    assert event_type == CODES_ATTACHED
    assert data == (
        '{"request_id":"019aa5c4-1111-7000-8000-000000000001","profile_id":"p-1","outcome":"attached",'
        '"codes":[{"program":"SPRING","code":"smFg-2497-DMPB","expires_at":"2026-12-23T00:00:00Z","fields":{}}],'
        '"rendered":"Hello! smFg-2497-DMPB"}'
    )


def test_stored_rows_give_the_same_bytes() -> None:
    request = message("SPRING", "GIFT")
    in_berlin = timezone(timedelta(hours=1))
    fresh = [
        given_row(request, "A", expires_at=NOW, fields='{"discount": "10"}'),
        given_row(request, "B", ordinal=1, program_id=2),
    ]
    stored = [
        row._replace(
            request_id=pgproto.UUID(str(row.request_id)),
            expires_at=row.expires_at and row.expires_at.astimezone(in_berlin),
        )
        for row in fresh
    ]

    assert answer_event(request, fresh, NAMES) == answer_event(request, stored, NAMES)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 12, 23, tzinfo=UTC), "2026-12-23T00:00:00Z"),
        (datetime(2026, 12, 23, 1, tzinfo=timezone(timedelta(hours=1))), "2026-12-23T00:00:00Z"),
        (datetime(2026, 12, 23, 10, 9, 8, 7, tzinfo=UTC), "2026-12-23T10:09:08.000007Z"),
        (None, None),
    ],
)
def test_times_are_in_utc_and_end_in_z(moment: datetime | None, text: str | None) -> None:
    request = step("SPRING")

    _, data = answer_event(request, [given_row(request, expires_at=moment)], NAMES)

    assert json.loads(data)["codes"][0]["expires_at"] == text


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_arrive_as_they_were(text: str) -> None:
    request = message(profile_id=text, template=f"{text}{{loyalty.SPRING.promocode}}{text}")
    fields = json.dumps({"note": text}, ensure_ascii=False)

    event_type, data = answer_event(request, [given_row(request, text, fields=fields)], NAMES)

    assert event_type == CODES_ATTACHED
    answer = CodesAttached.model_validate_json(data)
    assert answer.profile_id == text
    assert answer.codes[0].code == text
    assert answer.codes[0].fields == {"note": text}
    assert answer.rendered == text * 3
    assert data.encode().decode() == data


@pytest.mark.parametrize("text", AWKWARD)
def test_an_awkward_profile_is_refused_as_it_is_called(text: str) -> None:
    request = message("NOPE", "GONE", profile_id=text)
    decision = decide([request], {}, {}, {}, NOW, lambda *_: "")

    event_type, data = answer_event(request, decision.rows, {})

    assert event_type == CODES_REFUSED
    answer = CodesRefused.model_validate_json(data)
    assert answer.profile_id == text
    assert answer.request_id == str(request.id)
    assert [(refusal.program, refusal.reason) for refusal in answer.refusals] == [
        ("NOPE", "program_unknown"),
        ("GONE", "program_unknown"),
    ]
    assert answer.preview is None
    assert "rendered" not in data


@pytest.mark.parametrize("ended", [False, True])
def test_a_preview_says_so(ended: bool) -> None:
    request = message("SPRING", template="{loyalty.SPRING.promocode}!", preview=True)
    program = rules(valid_until=NOW if ended else None)
    decision = decide([request], {"SPRING": program}, {1: stock(0)}, {}, NOW, lambda *_: "LOOK")

    event_type, data = answer_event(request, decision.rows, NAMES)

    if ended:
        assert CodesRefused.model_validate_json(data).preview is True
    else:
        answer = CodesAttached.model_validate_json(data)
        assert (event_type, answer.preview, answer.rendered) == (CODES_ATTACHED, True, "LOOK!")


def test_a_template_is_rendered_once_and_only_where_one_came() -> None:
    request = message("GIFT", template="{loyalty.SPRING.promocode}{loyalty.GIFT.promocode}{loyalty.SPRING.promocode}")
    rows = [
        given_row(request, "{loyalty.SPRING.promocode}", program_id=2),
        given_row(request, "S", ordinal=1),
    ]

    assert json.loads(answer_event(request, rows, NAMES)[1])["rendered"] == "S{loyalty.SPRING.promocode}S"
    assert "rendered" not in json.loads(answer_event(message("SPRING"), rows, NAMES)[1])
    assert "rendered" not in json.loads(answer_event(step("SPRING"), rows, NAMES)[1])


def test_a_copy_with_another_template_keeps_what_it_was_not_given() -> None:
    copy = message(template="{loyalty.SPRING.promocode} {loyalty.LATER.promocode}")

    _, data = answer_event(copy, [given_row(copy, "S")], NAMES)

    assert json.loads(data)["rendered"] == "S {loyalty.LATER.promocode}"
    assert json.loads(data)["unresolved"] == ["{loyalty.LATER.promocode}"]


@pytest.mark.parametrize(
    "stays",
    [
        "{loyalty.SPRING.other}",
        "{loyalty.NOPE.points}",
        "{LOYALTY.SPRING.PROMOCODE}",
        "{Loyalty.SPRING.promocode}",
        "{ loyalty.SPRING.promocode }",
        "{loyalty .SPRING.promocode}",
    ],
)
def test_a_placeholder_that_stays_in_the_text_is_listed_once(stays: str) -> None:
    request = message(template=f"{{loyalty.SPRING.promocode}} {stays} {{other.SPRING.name}} {stays} {{}}")

    _, data = answer_event(request, [given_row(request, "{loyalty.CODE.x}")], NAMES)

    answer = CodesAttached.model_validate_json(data)
    assert answer.rendered == f"{{loyalty.CODE.x}} {stays} {{other.SPRING.name}} {stays} {{}}"
    assert answer.unresolved == (stays,)


def test_at_most_a_hundred_placeholders_are_listed() -> None:
    request = message(template="{loyalty.SPRING.promocode}" + "".join(f"{{loyalty.P{n}.x}}" for n in range(200)))

    _, data = answer_event(request, [given_row(request, "S")], NAMES)

    assert json.loads(data)["unresolved"] == [f"{{loyalty.P{n}.x}}" for n in range(100)]


@pytest.mark.parametrize("template", ["{loyalty.SPRING.promocode}", "a {{loyalty.SPRING.promocode}} {b} {loyal.x}"])
def test_a_template_of_which_nothing_stays_lists_nothing(template: str) -> None:
    request = message(template=template)

    assert "unresolved" not in json.loads(answer_event(request, [given_row(request, "S")], NAMES)[1])


def test_what_was_decided_comes_from_the_rows() -> None:
    first = message("SPRING", profile_id="p-1")
    copy = message("GIFT", profile_id="p-2", preview=True)

    _, data = answer_event(copy, [given_row(first, "S")], NAMES)

    assert json.loads(data) == {
        "request_id": str(first.id),
        "profile_id": "p-1",
        "outcome": "attached",
        "codes": [{"program": "SPRING", "code": "S", "expires_at": None, "fields": {}}],
    }


@pytest.mark.parametrize("make", [uuid4, uuid7])
def test_an_answers_id_is_uuid_5_of_the_request_id(make: Callable[[], UUID]) -> None:
    namespace = UUID("6a3f0bb3-6f0e-4a52-9d7e-0f3c7f1c2b64")
    made = [make() for _ in range(100)]
    for request_id in made:
        assert answer_id(request_id) == str(uuid5(namespace, str(request_id)))
        assert answer_id(pgproto.UUID(str(request_id))) == answer_id(request_id)
    assert answer_ids(list(map(str, made))) == list(map(answer_id, made))
