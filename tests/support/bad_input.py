"""Typical mistakes on the command line, each with words of the error message."""

import json

import pytest

GUIDE = "{string 4}-{number 4}-{upstring 4}"
GOOD = ("--template", GUIDE, "--codes-max", "1000")
SETTINGS = {"name": "X", "codes_max": 10, "source": {"kind": "template", "template": GUIDE}}


def has(*words: str) -> tuple[str, ...]:
    return words


OPTIONS = [
    pytest.param(("X", "--template", "{numbr 4}", "--codes-max", "9"), has('"{numbr 4}" is unknown'), id="token"),
    pytest.param(("X", "--template", "{[] 4}", "--codes-max", "9"), has("alphabet", "empty"), id="empty alphabet"),
    pytest.param(("X", "--template", "{[ABA] 4}", "--codes-max", "9"), has("repeats A"), id="twice a letter"),
    pytest.param(("X", "--template", "{number 2}", "--codes-max", "101"), has("fewer than the maximum"), id="space"),
    pytest.param(("X", "--template", "{number 6}", "--codes-max", "9"), has("can be guessed", "set --allow-guessable"),
                 id="guessable"),
    pytest.param(("A B", *GOOD), has("short name", "without spaces"), id="space in the name"),
    pytest.param(("N" * 65, *GOOD), has("short name", "64"), id="long name"),
    pytest.param((*GOOD,), has("Give what is missing: NAME. "), id="no name"),
    pytest.param(("THERE", *GOOD), has("short name THERE is taken", "choose another"), id="existing name"),
    pytest.param(("X", *GOOD, "--valid-from", "2027-01-01T00:00:00Z", "--valid-until", "2026-01-01T00:00:00Z"),
                 has("--valid-from must be before --valid-until"), id="ends before it begins"),
    pytest.param(("X", *GOOD, "--valid-from", "01.01.2027"), has("--valid-from", "a date such as"), id="no ISO date"),
    pytest.param(("X", *GOOD, "--valid-until", "soon"), has("--valid-until"), id="no time"),
    pytest.param(("X", "--template", GUIDE, "--codes-max", "0"), has("--codes-max"), id="no codes"),
    pytest.param(("X", "--template", GUIDE, "--codes-max", "-5"), has("--codes-max"), id="negative"),
    pytest.param(("X", "--template", GUIDE, "--codes-max", str(2**62 + 1)), has("--codes-max"), id="too many"),
    pytest.param(("X", "--template", GUIDE), has("Give what is missing: --codes-max. "), id="no maximum"),
    pytest.param(("X", "--codes-max", "9"), has("--template, --remote-url or --import-only"), id="no template"),
    pytest.param(("X", *GOOD, "--pool-max", "1001"), has("--pool-max must not be more than --codes-max"), id="pool"),
    pytest.param(("X", *GOOD, "--ttl", "tomorrow"), has("--ttl: "), id="ttl"),
    pytest.param(("X", *GOOD, "--ttl", "-P1D"), has("ttl"), id="negative ttl"),
    pytest.param(("X", *GOOD, "--ttl", "P0D"), has("ttl"), id="no life"),
    pytest.param(("X", *GOOD, "--group", "a b"), has("group"), id="group"),
]  # fmt: skip

FILES = [
    pytest.param('{"name": "X", ', has("is not valid JSON"), id="broken"),
    pytest.param("", has("is not valid JSON"), id="empty"),
    pytest.param("[" * 100_000, has("is not valid JSON"), id="deep"),
    pytest.param('["X"]', has("is not a JSON object"), id="no object"),
    pytest.param(json.dumps({**SETTINGS, "colour": "red", "size": 1}), has("colour"), id="unknown fields"),
    pytest.param(json.dumps({**SETTINGS, "source": {"kind": "magic"}}), has("source"), id="unknown source"),
    pytest.param(json.dumps({**SETTINGS, "codes_max": "many"}), has("--codes-max"), id="type"),
    pytest.param(json.dumps({**SETTINGS, "name": "A B"}), has("short name"), id="name"),
]

REQUESTS = [
    pytest.param(("message-render", "p-1"), id="no program"),
    pytest.param(("message-render", "p-1", "--program", "A B"), id="bad name"),
    pytest.param(("message-render", "p-1", "--template", "Hi {loyalty.SPRING.promocode"), id="broken placeholder"),
    pytest.param(("message-render", "p\x01", "--program", "THERE"), id="bad profile"),
]

VARIABLES = [
    ("CODEWELL_POSTGRES_URL", "nonsense"),
    ("CODEWELL_POSTGRES_URL", "postgresql://127.0.0.1:port/codewell"),
    ("CODEWELL_KAFKA_BOOTSTRAP", ""),
    ("CODEWELL_KAFKA_BOOTSTRAP", "127.0.0.1:port"),
    ("CODEWELL_TOPIC_PREFIX", "a b"),
    ("CODEWELL_GUESSES_PER_S", "none"),
    ("CODEWELL_MASTER_KEY", "short"),
    ("CODEWELL_LOG_LEVEL", "loud"),
]

USAGE = [
    ("send", "scenario-step", "p-1", "--program", "THERE", "--deadline", "tomorrow"),
    ("frobnicate",),
    ("program", "frobnicate"),
    ("program", "create", "X", "--colour", "red"),
    ("program", "create", "X", "--codes-max", "ten"),
    ("program", "create", "--file", "no-such-file"),
    ("program", "show"),
    ("code", "generate", "THERE", "0"),
    ("code", "generate", "THERE", "ten"),
    ("code", "generate", "THERE", "1", "--field", "discount"),
    ("code", "list", "THERE", "--after", "here"),
    ("send", "scenario-step", "p-1"),
    ("send", "message-render", "--program", "THERE"),
    ("standalone", "--issuers", "0"),
]
