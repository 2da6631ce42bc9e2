"""No text of pydantic reaches a person: every model, every field, many bad values, and every error that there is."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core._pydantic_core import list_all_errors
from pydantic_settings import BaseSettings

from codewell.imports.settings import ImportSettings
from codewell.infra.config.settings import WorkerSettings
from codewell.validation import field_mistakes, mistake, words_of
from schemas import api, events, imports, patterns, profile, program, remote, remote_tests, templates
from services.console.settings import ConsoleSettings
from services.generator.settings import GeneratorSettings
from services.issuer.settings import IssuerSettings

MODULES = (api, events, imports, profile, program, remote, remote_tests, templates)
MODELS: dict[str, type[BaseModel]] = {
    f"{module.__name__}.{name}": model
    for module in MODULES
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
    if model.model_fields
}
SETTINGS: tuple[type[BaseSettings], ...] = (
    WorkerSettings, ConsoleSettings, GeneratorSettings, IssuerSettings, ImportSettings,
)  # fmt: skip
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
BAD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, 10**400, float("inf"), float("nan"), "", " ", "x", "x" * 3_000, "a b", "\x00",
    "ü\n", "\ud800", "soon", "2027-01-31", "2027-01-31T12:00:00", "9999-12-31T23:59:59Z", "P0D", "-P1D", "P99999D",
    "https://me:you@x.test", [], [None], ["a b"], ["A"] * 200, {}, {"a b": 1}, {"": ""}, {"A": "\x00"},
    {"A": "x" * 3_000}, {f"F{number}": "x" for number in range(70)}, {"kind": "magic"}, {"kind": "template"},
    {"kind": "remote", "url": "x"},
    {"kind": "remote", "url": "https://x.test/#a", "request_max": 0}, {"kind": "import", "colour": "red"},
    [{"name": "a b"}], [{"name": "A", "save": "often"}], [{}] * 70, [{"program": "A", "reason": "none", "detail": 1}],
    datetime(1, 1, 1, tzinfo=UTC), object(), DEEP,
)  # fmt: skip
# Phrases of pydantic's and of the standard library's, and what only programs read.
FOREIGN = re.compile(
    r"[Ii]nput|Field required|Value error|Assertion|should (be|have|match|contain)|after validation|valid (string|int"
    r"|bool|dict|datetime|timedelta|list|tuple)|unable to|timezone info|pattern|\\x|\^|\$|\[A-Z|<class|Error"
    r"|[Ee]xtra |NoneType|[Dd]ictionary|function-|validat|EOF|trailing|line \d+ column"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def mistakes(model: type[BaseModel], value: object) -> Iterator[Mapping[str, Any]]:
    """What is wrong with a value, as Python's and as JSON."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        yield from error.errors(include_url=False)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return
    try:
        model.model_validate_json(text)
    except ValidationError as error:
        yield from error.errors(include_url=False)


def check(one: Mapping[str, Any]) -> None:
    said = words_of(one)
    # What a person gave is quoted.
    assert not FOREIGN.search(re.sub(r"'[^']*'", "", said)), (one, said)
    assert re.match(r"[a-zA-Z']", said), said
    assert not said.endswith("."), said
    whole = mistake(one, "The whole")
    assert whole.isprintable(), whole


@pytest.mark.parametrize("name", MODELS)
def test_each_field_of_each_model_refuses_in_our_words(name: str) -> None:
    model = MODELS[name]
    for field in model.model_fields:
        for bad in BAD:
            for one in mistakes(model, {field: bad}):
                check(one)
    for bad in BAD:
        for one in mistakes(model, bad):
            check(one)


def refusals(kind: type[BaseSettings], given: Mapping[str, object]) -> list[Any]:
    try:
        kind.model_validate(given)
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return []


@pytest.mark.parametrize("kind", [pytest.param(one, id=one.__name__) for one in SETTINGS])
def test_each_setting_refuses_in_our_words(kind: type[BaseSettings]) -> None:
    for bad in BAD:
        # All at once, as each time takes long; then alone, which leads to the rules of the whole, where it is taken.
        refused = refusals(kind, dict.fromkeys(kind.model_fields, bad))
        for one in refused:
            check(one)
        for field in kind.model_fields.keys() - {one["loc"][0] for one in refused}:
            for one in refusals(kind, {field: bad}):
                check(one)


@given(st.sampled_from(sorted(MODELS)), st.data())
@hypothesis_settings(max_examples=100)
def test_whatever_comes_is_refused_in_our_words(name: str, data: st.DataObject) -> None:
    model = MODELS[name]
    fields = st.sampled_from(sorted(model.model_fields)) | st.text(max_size=5)
    for one in mistakes(model, data.draw(st.dictionaries(fields, JSON, max_size=4))):
        check(one)


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a": NaN}', "nonsense", '{"a": "\x01"}', "[" * 1_000, '"\\ud800"'])
def test_what_is_not_json_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        events.MessageRender.model_validate_json(text)
    for one in refused.value.errors(include_url=False):
        check(one)
    if one["type"] == "json_invalid":
        assert re.search(r"is not valid JSON: .*, see line \d+, column \d+", words_of(one))


@pytest.mark.parametrize("kind", [pytest.param(one, id=one["type"]) for one in list_all_errors()])
def test_every_error_of_pydantic_has_words(kind: dict[str, Any]) -> None:
    if kind["type"] != "value_error":
        check({"type": kind["type"], "loc": ("a",), "ctx": kind.get("example_context") or {}})


def test_every_pattern_of_a_shape_has_words() -> None:
    named = {value for value in vars(patterns).values() if isinstance(value, str) and value.startswith("^")}
    assert named == set(patterns.WORDS)
    found = set(_patterns([model.model_json_schema() for model in (*MODELS.values(), *SETTINGS)]))
    assert found <= named, "put the pattern into schemas/patterns.py"


def _patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from _patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _patterns(value)


@pytest.mark.parametrize(
    ("model", "value", "said"),
    [
        (api.CodeOnly, {}, "code: give a value, it is required"),
        (api.CodeOnly, {"code": "A", "colour": "red"},
         "colour: remove this field or check its spelling, it is not known here"),
        (api.Generate, {"count": 0}, "count: must be at least 1"),
        (api.Generate, {"count": "many"}, "count: must be a whole number"),
        (api.Generate, {"count": 1, "fields": {"a b": "x"}},
         "fields.'a b': its name must be a short name: 1 to 64 letters, digits and _, without spaces"),
        (api.Generate, {}, "The body: give count, profiles or both"),
        (api.CodeChanges, {"expires_at": "soon"},
         "expires_at: must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"),
        (events.ScenarioStep, {"deadline": "2027-01-31T12:00:00"},
         "deadline: must name its time zone, as 2027-01-31T12:00:00Z does"),
        (program.ProgramSettings, {"source": {"kind": "magic"}},
         "source: must have as 'kind' one of 'template', 'remote', 'import'"),
        (program.ProgramSettings, {"name": "A", "source": {"kind": "remote", "url": "x"}},
         "source.url: must be a URL such as https://codes.example.com/orders"),
        (events.ScenarioStep, {"profile_id": ""},
         "profile_id: must have 1 to 256 characters, none of them a control character"),
        (remote.RemoteAnswer, {"version": 2}, "version: must be one of 1"),
    ],
)  # fmt: skip
def test_the_place_and_what_to_do(model: type[BaseModel], value: object, said: str) -> None:
    assert said in [mistake(one, "The body") for one in mistakes(model, value)]


@pytest.mark.parametrize(
    ("profiles", "paths"),
    [(["x" * 300], [("profiles", "0")]), ([], [("profiles",)]), (["a", "\x07"], [("profiles", "1")])],
)
def test_a_list_is_not_called_too_short_for_its_invalid_entries(
    profiles: list[str], paths: list[tuple[str, ...]]
) -> None:
    with pytest.raises(ValidationError) as refused:
        api.Generate.model_validate({"profiles": profiles})
    assert [one.path for one in field_mistakes(refused.value.errors())] == paths


def test_the_models_are_there() -> None:
    assert len(MODELS) > 25
    assert get_args(events.Reason)
