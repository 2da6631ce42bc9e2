"""The records of the topics: every request, answer, retry and dead letter in Kafka, and the violations among them.

It uses none of the product's code: it reads events as their contract describes them.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord

REQUESTS: Final = ("message-render", "scenario-step")
POISON_ID: Final = "poison_id"
_PLACEHOLDER: Final = re.compile(r"\{loyalty\.([A-Za-z0-9_]+)\.promocode\}")


class Violation(NamedTuple):
    """A violation: the promise, the check that found it, and the details."""

    promise: str
    check: str
    detail: str


class Rule(NamedTuple):
    """What is promised of a program's codes; read from the database."""

    shared: bool
    reuse: str
    pattern: re.Pattern[str] | None
    """The pattern of its codes; None when a remote service makes them."""
    may_refuse: bool
    """Whether its pool can run empty."""
    fallback: tuple[str, ...] = ()
    """The programs whose codes are given where it has none."""


class Asked(NamedTuple):
    """The expected content of an answer."""

    profile_id: str
    programs: tuple[str, ...]
    template: str | None
    campaign: str | None
    """None for a step of a scenario."""


class Ledger:
    """Consumes records in partition order and collects violations."""

    def __init__(self, prefix: str, rules: dict[str, Rule]) -> None:
        self.violations: list[Violation] = []
        self.asked: dict[str, Asked] = {}
        self.answered: dict[str, bytes] = {}
        """The digest of a request's whole answer."""
        self.answer_records = 0
        self.retried = 0
        self.poisoned: dict[bytes, tuple[bytes | None, bytes | None]] = {}
        self.buried: set[bytes] = set()
        self._prefix = prefix
        self._rules = rules
        self._given: dict[str, list[tuple[str, str]]] = {}
        """The codes of each answer, with the programs that gave them."""
        self._taken_by: dict[tuple[str, str], tuple[str, str]] = {}
        self._held: dict[tuple[str, str], str] = {}
        self._order: dict[tuple[str, int], list[bytes]] = defaultdict(list)
        """Published ids of requests and poison records, by offset."""
        self._attempts: dict[str, int] = {}
        self._finished: dict[tuple[str, int], int] = defaultdict(int)

    @property
    def waiting(self) -> int:
        """Unanswered requests."""
        return len(self.asked) - len(self.answered)

    def take(self, record: ConsumerRecord) -> None:
        """Add one record."""
        topic = record.topic.removeprefix(self._prefix)
        if topic in REQUESTS:
            self._request(record)
        elif topic.endswith(".retry"):
            self._retry(record)
        elif topic.endswith(".reply"):
            self._answer(record)
        else:
            self._dead_letter(record)

    def unanswered(self) -> list[str]:
        """Up to a few unanswered requests."""
        return sorted(self.asked.keys() - self.answered.keys())[:5]

    def committed(self, topic: str, partition: int, offset: int) -> None:
        """Judge a committed offset: all requests before it must be finished. Records before it must have been added."""
        key = (topic, partition)
        records = self._order[key]
        for index in range(self._finished[key], min(offset, len(records))):
            one = records[index]
            if not one:
                continue
            name = one.decode()
            finished = name in self.answered or one in self.buried
            if topic.endswith(".retry"):
                request_id, _, attempt = name.partition("#")
                finished = request_id in self.answered or self._attempts.get(request_id, 0) > int(attempt)
            elif not finished:
                finished = name in self._attempts
            if not finished:
                self.violate("I3, I7", "offset past unfinished work", f"{topic}/{partition}: {offset} is past {name}")
        self._finished[key] = max(self._finished[key], min(offset, len(records)))

    def compare(self, stored: Iterable[tuple[str, str | None, str | None, str]]) -> None:
        """Judge all stored answers: the request id, the program, the code and the profile of each part.

        A refusal has no code. The load requests no previews, which are not stored.
        """
        codes: dict[str, list[tuple[str, str]]] = {}
        for request_id, program, code, profile_id in stored:
            parts = codes.setdefault(request_id, [])
            if program is not None and code is not None:
                parts.append((program, code))
            asked = self.asked.get(request_id)
            if asked is not None and asked.profile_id != profile_id:
                self.violate("I1", "a stored code is of another profile than the one in the answer", request_id)
        for request_id in codes.keys() & self.answered.keys():
            if sorted(codes[request_id]) != sorted(self._given.get(request_id, ())):
                self.violate("I1", "stored codes are not those in the answer", request_id)
        if unanswered := codes.keys() - self.answered.keys():
            self.violate("I3", "stored and never answered", f"{len(unanswered)}, as {min(unanswered)}")
        if unknown := self.answered.keys() - codes.keys():
            self.violate("I1", "answered and not stored", f"{len(unknown)}, as {min(unknown)}")

    def reserved_code(self, request_id: str, campaign: str) -> None:
        """Judge a request that was given a code of this campaign's reservation."""
        asked = self.asked.get(request_id)
        if asked is not None and asked.campaign != campaign:
            self.violate("I9", "a reserved code is given to another campaign", f"{request_id}: {asked.campaign}")

    def violate(self, promise: str, check: str, detail: str) -> None:
        """Record a violation."""
        self.violations.append(Violation(promise, check, detail))

    def _note(self, record: ConsumerRecord, name: bytes) -> None:
        order = self._order[record.topic, record.partition]
        # Offsets have no gaps here: no topic is compacted, and no transaction leaves markers.
        order.extend([b""] * (record.offset - len(order)))
        order.append(name)

    def _request(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        poison = headers.get(POISON_ID)
        if poison is not None:
            self.poisoned[poison] = (record.key, record.value)
            self._note(record, poison)
            return
        request_id = headers["ce_id"].decode()
        self._note(record, headers["ce_id"])
        if request_id in self.asked:
            return
        data = json.loads(record.value)
        template = data.get("template")
        if template is not None:
            programs = tuple(dict.fromkeys(_PLACEHOLDER.findall(template)))
        else:
            programs = tuple(data["programs"]) if "programs" in data else (data["program"],)
        self.asked[request_id] = Asked(data["profile_id"], programs, template, data.get("campaign_id"))

    def _retry(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        request_id = headers["ce_id"].decode()
        attempt = int(headers.get("codewell_attempt", b"1"))
        self.retried += 1
        self._attempts[request_id] = max(attempt, self._attempts.get(request_id, 0))
        self._note(record, f"{request_id}#{attempt}".encode())

    def _dead_letter(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        poison = headers.get(POISON_ID)
        if poison is None:
            why = headers.get("codewell_detail", b"").decode()
            self.violate("I3", "a good request is a dead letter", f"{headers.get('ce_id')!r}: {why}")
            return
        self.buried.add(poison)
        if poison in self.poisoned and self.poisoned[poison] != (record.key, record.value):
            self.violate("I3", "a dead letter is not what came", poison.decode())
        if not headers.get("codewell_reason"):
            self.violate("I3", "a dead letter has no reason", poison.decode())

    def _answer(self, record: ConsumerRecord) -> None:
        self.answer_records += 1
        data = json.loads(record.value)
        request_id = data["request_id"]
        digest = hashlib.blake2b(
            repr((record.topic, record.key, record.value, record.headers)).encode(), digest_size=16
        ).digest()
        known = self.answered.setdefault(request_id, digest)
        if known != digest:
            self.violate("I2", "a request has two answers", request_id)
            return
        if known is not digest:
            return
        asked = self.asked.get(request_id)
        if asked is None:
            # Requests and answers are consumed concurrently; an answer without a request at the end is a violation.
            self.violate("I3", "an answer to nobody", request_id)
        elif data["profile_id"] != asked.profile_id or record.key != asked.profile_id.encode():
            self.violate("I1", "an answer has another profile", request_id)
        elif data["outcome"] == "refused":
            self._refused(request_id, data)
        else:
            self._attached(request_id, asked, data)

    def _refused(self, request_id: str, data: dict[str, Any]) -> None:
        for refusal in data["refusals"]:
            rule = self._rules.get(refusal["program"])
            if refusal["reason"] == ("program_unknown" if rule is None else refusal["reason"]) and (
                rule is None or rule.may_refuse
            ):
                continue
            self.violate("I3", "refused without a cause", f"{request_id}: {refusal}")

    def _attached(self, request_id: str, asked: Asked, data: dict[str, Any]) -> None:
        given = {one["program"]: one["code"] for one in data["codes"]}
        if tuple(one["program"] for one in data["codes"]) != asked.programs:
            self.violate("I3", "an answer has other programs", request_id)
        if asked.template is not None:
            rendered = _PLACEHOLDER.sub(lambda match: given.get(match[1], ""), asked.template)
            if data.get("rendered") != rendered:
                self.violate("I3", "an answer is rendered wrongly", request_id)
        for one in data["codes"]:
            giver = one.get("from", one["program"])
            number = one.get("fallback", 0)
            if giver != (one["program"], *self._rules[one["program"]].fallback)[number]:
                self.violate("I6", "a code of no fallback", f"{one['program']}: {request_id}")
            self._code(request_id, asked.profile_id, giver, one["code"])

    def _code(self, request_id: str, profile_id: str, program: str, code: str) -> None:
        rule = self._rules[program]
        if rule.pattern is not None and not rule.pattern.fullmatch(code):
            self.violate("I4", "a code does not fit its template", f"{program}: {request_id}")
        self._given.setdefault(request_id, []).append((program, code))
        taken_by = self._taken_by.setdefault((program, code), (profile_id, request_id))
        if rule.shared:
            if self._held.setdefault((program, ""), code) != code:
                self.violate("I4", "a shared code is not one", f"{program}: {request_id}")
        elif taken_by[0] != profile_id:
            self.violate("I1", "a code in answers to two profiles", f"{program}: {taken_by[1]}, {request_id}")
        elif rule.reuse == "request" and taken_by[1] != request_id:
            self.violate("I1", "a code in answers to two requests", f"{program}: {taken_by[1]}, {request_id}")
        elif rule.reuse == "profile" and self._held.setdefault((program, profile_id), code) != code:
            self.violate("I2", "a profile has two codes where it keeps one", f"{program}: {request_id}")
