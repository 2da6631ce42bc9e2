"""How a step is taken on the product and on the model, and what is held against what after it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine

from tests.integration.model.figures import wrong_figures
from tests.integration.model.model import Answer, Asked, Before, Model, Program
from tests.integration.model.promises import Told, broken, day_of, told
from tests.integration.model.reading import Reading
from tests.integration.model.world import World, answer_of

TEMPLATES: Final = ("{number 2}", "{[01234567] 2}")
PROGRAMS_MAX: Final = 3
UNKNOWN: Final = "NOPE"


class Steps(RuleBasedStateMachine):
    """What every rule needs."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.answers: dict[UUID, Answer] = {}
        self.said: dict[UUID, Told] = {}
        self.gone: list[Asked] = []
        self.imports: list[tuple[str, UUID]] = []
        self.requests = 0
        self.world.run(self.world.begin_anew())

    def teardown(self) -> None:
        """The audit is to agree, and folding the stream to give the tables."""
        assert self.world.run(self.world.audit()) == []
        differences = self.world.run(self.world.stream())
        assert differences == [], differences

    def create_program(self, given: dict[str, Any]) -> None:
        name = f"P{len(self.model.programs)}"
        wanted = {**given, "pool_max": min(given["pool_max"], given["codes_max"])}
        template = {"kind": "template", "template": TEMPLATES[0]}
        made = self.run(
            self.world.create(
                name,
                source=template if given["kind"] == "template" else {"kind": "import"},
                match="exact" if given["kind"] == "template" else "fold",
                campaign_can_create=given["campaign"],
                scenario_can_create=given["scenario"],
                ttl=None if given["ttl"] is None else timedelta(days=given["ttl"]),
                **{key: wanted[key] for key in ("codes_max", "pool_max", "ttl_from", "shared", "reuse")},
            )
        )
        self.model.programs[name] = Program(made, name, **wanted)

    def run(self, what: Any) -> Any:
        return self.world.run(what)

    def side_by_side(self, one: Any, two: Any) -> Any:
        async def both() -> Any:
            return await asyncio.gather(one, two)

        return self.world.run(both())

    def either(self, one: Callable[[Model], object], two: Callable[[Model], object]) -> None:
        """What happened at once must have happened in one order or the other."""
        kept = deepcopy(self.model)
        try:
            one(self.model)
            two(self.model)
        except AssertionError:
            self.model = kept
            two(self.model)
            one(self.model)

    def judging(
        self, before: dict[str, Before], came: Counter[str], went: Counter[str]
    ) -> Callable[[dict[Asked, Answer]], Callable[[Model], None]]:
        return lambda answers: lambda model: model.judge(answers, before, came, went)

    def settle(
        self, before: dict[str, Before], answers: dict[Asked, Answer] | None = None, *, workers: int = 1,
        filling: bool = False, made: dict[str, int] | None = None, came: Counter[str] | None = None,
        went: Counter[str] | None = None,
    ) -> None:  # fmt: skip
        """Hold what is stored against the model and the promises.

        `made` is what was asked for by number; `workers` is how many took codes for the same requests, of which all but
        one give theirs back.
        """
        reading: Reading = self.run(self.world.read())
        model, moved = self.model, self.world.moved
        for asked, answer in (answers or {}).items():
            self.answers[asked.id] = answer
            rows = [row for row in reading.rows.answer if row["request_id"] == asked.id]
            assert rows, f"I3: {asked} was told {answer}, and nothing is stored"
            self.said[asked.id] = told(rows, moved)
        everybodys = {(one.id, text) for one in model.programs.values() for text in one.everybodys}
        wrong = list(broken(reading, self.said, everybodys, moved))
        assert not wrong, "\n".join(wrong)
        for row in reading.rows.program:
            program = model.programs[row["name"]]
            seen = reading.codes[program.id]
            for text in sorted(seen.keys() - program.codes.keys()):
                assert seen[text].state == "pooled", f"I1: {text} is {seen[text]}, and nobody asked for it"
                model.learn(program, text)
            wanting = [one for one in answers or {} if model.may_ask(one, program.name)]
            creating = any(program.may_create(one.source) and not one.late and not one.preview for one in wanting)
            model.judge_making(
                program, program.made - before[program.name].made - (made or {}).get(program.name, 0),
                before[program.name], workers * len(wanting), creating, filling, (came or Counter())[program.name],
                (went or Counter())[program.name],
            )  # fmt: skip
            assert (row["made"], row["imported"]) == (program.made, program.imported), f"I4: {program}"
            stored = {text: (one.state, one.profile, self._day(one.ends)) for text, one in seen.items()}
            expected = {
                text: (one.state, one.profile, one.pool_ends if one.profile is None else one.ends)
                if one.state != "archived"
                else (one.state, None, None)
                for text, one in program.codes.items()
            }
            other = [(text, stored.get(text), expected.get(text)) for text in sorted(stored.keys() | expected.keys())]
            assert stored == expected, (
                f"{program.name} on day {model.day}: stored and expected are "
                f"{[one for one in other if one[1] != one[2]]} of {program}"
            )
            holding = {(r["profile_id"], r["code"]) for r in reading.rows.holding if r["program_id"] == program.id}
            assert holding == {(key[0], text) for key, text in program.assignments.items()}, f"I2: {program}"
        wrong = list(wrong_figures(model, self.run(self.world.figures(list(model.programs)))))
        assert not wrong, "\n".join(wrong)

    def _day(self, moment: datetime | None) -> int | None:
        return day_of(moment, self.world.begin, self.world.moved)

    def moment(self, days: int | None) -> datetime | None:
        moment: datetime | None = None if days is None else self.run(self.world.moment(days))
        return moment

    def stored(self, reading: Reading, asked: Asked) -> Answer:
        rows = [row for row in reading.rows.answer if row["request_id"] == asked.id]
        return answer_of({one.id: name for name, one in self.model.programs.items()}, rows)

    def program(self, number: int) -> Program:
        programs = list(self.model.programs.values())
        return programs[number % len(programs)]

    def text(self, program: Program, number: int) -> str:
        """A code of the program, or a text that it may never have had."""
        known = [*program.codes, "57", "I-3", "I-9"]
        return known[number % len(known)]

    def new_id(self) -> UUID:
        self.requests += 1
        return UUID(int=self.requests << 80 | 0x7 << 76 | 0b10 << 62)

    def asked_of(self, batch: Sequence[Any]) -> list[Asked]:
        asked = []
        for source, profile, where, programs, special in batch:
            named = [f"P{number}" if number < PROGRAMS_MAX else UNKNOWN for number in programs]
            named = named if source == "campaign" else named[:1]
            asked.append(
                Asked(
                    self.new_id(), source, profile, where, tuple(named), special == "late" and source != "hand",
                    special == "preview" and source != "hand",
                )
            )  # fmt: skip
        return asked
