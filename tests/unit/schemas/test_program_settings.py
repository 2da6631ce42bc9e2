import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.program import POOL_MAX_DEFAULT, ProgramSettings

LEAST: dict[str, Any] = {
    "name": "SPRING",
    "source": {"kind": "template", "template": "{string 4}-{number 4}"},
    "codes_max": 1_000,
}


def read(**changed: object) -> ProgramSettings:
    return ProgramSettings.model_validate_json(json.dumps({**LEAST, **changed}))


def test_what_a_program_is_unless_it_says_otherwise() -> None:
    program = read()

    assert program.active
    switches = (program.scenario_can_create, program.campaign_can_create, program.shared, program.auto_link)
    assert switches == (False, False, False, False)
    assert (program.valid_from, program.valid_until, program.ttl) == (None, None, None)
    assert (program.ttl_from, program.reuse, program.fields, program.groups) == ("creation", "request", (), ())
    assert not program.allow_guessable


@pytest.mark.parametrize(
    ("given", "pool_max"),
    [
        ({"codes_max": 1_000}, 1_000),
        ({"codes_max": 10_000_000}, POOL_MAX_DEFAULT),
        ({"codes_max": 10_000_000, "pool_max": None}, POOL_MAX_DEFAULT),
        ({"codes_max": 1_000, "pool_max": 10}, 10),
        ({"codes_max": 2**62, "pool_max": 2**62}, 2**62),
    ],
)
def test_the_pool_is_as_large_as_the_maximum_and_not_above_its_default(given: dict[str, object], pool_max: int) -> None:
    assert read(**given).pool_max == pool_max


def test_the_program_of_the_contract_can_be_read() -> None:
    program = read(
        title="Spring sale",
        description="",
        groups=["marketing"],
        valid_from=None,
        valid_until="2027-01-01T00:00:00Z",
        scenario_can_create=True,
        campaign_can_create=True,
        codes_max=1_000_000,
        pool_max=100_000,
        ttl="P30D",
        ttl_from="creation",
        fields=[{"name": "discount", "required": False, "save": True}],
        reuse="request",
    )

    assert program.ttl == timedelta(days=30)
    assert program.fields[0].save
    assert json.loads(program.model_dump_json())["ttl"] == "P30D"
    assert ProgramSettings.model_validate_json(program.model_dump_json()) == program


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "two words"},
        {"name": ""},
        {"name": "A" * 65},
        {"name": "a-b"},
        {"title": "nul\0"},
        {"description": "x" * 2_001},
        {"groups": ["two words"]},
        {"codes_max": 0},
        {"codes_max": 2**62 + 1},
        {"codes_max": None},
        {"codes_max": 1.5},
        {"pool_max": 0},
        {"pool_max": 1_001},
        {"ttl": "PT0S"},
        {"ttl": "-P1D"},
        {"ttl": "a while"},
        {"ttl": "P40000D"},
        {"valid_until": "9999-12-31T23:59:59-12:00"},
        {"valid_from": "0001-01-01T00:00:00+12:00"},
        {"ttl_from": "sending"},
        {"reuse": "sometimes"},
        {"valid_from": "tomorrow"},
        {"valid_from": "2027-01-01", "valid_until": "2026-12-31"},
        {"valid_from": "2027-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z"},
        {"valid_from": "2027-01-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"},
        {"source": {"kind": "template"}},
        {"source": {"kind": "wishes", "template": "{number 4}"}},
        {"source": {"kind": "template", "template": "{number 4}", "more": 1}},
        {"source": "{number 4}"},
        {"fields": [{"name": "two words"}]},
        {"fields": [{"required": True}]},
        {"colour": "red"},
    ],
)
def test_settings_that_can_not_be_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        read(**changed)


@pytest.mark.parametrize("field", ["name", "source", "codes_max"])
def test_what_nobody_can_guess_must_be_said(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ProgramSettings.model_validate_json(json.dumps({key: LEAST[key] for key in LEAST if key != field}))


def test_both_sides_of_a_disagreement_are_named() -> None:
    with pytest.raises(ValidationError, match="pool_max must not be more than codes_max"):
        read(pool_max=1_001)
    with pytest.raises(ValidationError, match="valid_from must be before valid_until"):
        read(valid_from="2027-01-02T00:00:00Z", valid_until="2027-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "remote", "url": "ftp://codes.example"},
        {"kind": "remote", "url": "https://codes.example/a b"},
        {"kind": "remote", "url": "https://codes.example", "request_max": 0},
        {"kind": "import", "template": "{number 4}"},
        {"kind": "elsewhere"},
    ],
)
def test_a_source_that_can_not_be_is_refused(source: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ProgramSettings.model_validate({"name": "SPRING", "codes_max": 10, "source": source})
