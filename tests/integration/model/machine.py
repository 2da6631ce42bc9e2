"""Everything that people and requests do to programs, in any order, held against the model after each step."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.integration.model.model import Answer, Asked, Before, Model, Program
from tests.integration.model.promises import Told, broken, day_of, told
from tests.integration.model.reading import Reading
from tests.integration.model.world import World, answer_of

# Few texts, so that imports and older templates bring those that would be minted.
TEMPLATES: Final = ("{number 2}", "{[01234567] 2}")
PROGRAMS_MAX: Final = 3
UNKNOWN: Final = "NOPE"

names = st.integers(0, PROGRAMS_MAX - 1)
codes = st.integers(0, 25)
profiles = st.sampled_from(["p-ann", "p-bob", "p-cid"])
some_days = st.sampled_from([1, 2])
ends = st.sampled_from([None, 1, 2])
texts = st.sampled_from([f"{number:02}" for number in range(0, 100, 9)] + ["I-1", "I-2", "I-3", "I-4"])
settings = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["template", "template", "template", "import"]),
        "campaign": st.booleans(),
        "scenario": st.booleans(),
        "codes_max": st.integers(1, 12),
        "pool_max": st.integers(1, 5),
        "ttl": ends,
        "ttl_from": st.sampled_from(["creation", "attachment"]),
        "shared": st.sampled_from([False, False, False, True]),
        "reuse": st.sampled_from(["request", "request", "profile", "campaign", "step"]),
    }
)
wishes = st.tuples(
    st.sampled_from(["campaign", "scenario", "hand"]),
    profiles,
    st.sampled_from(["one", "two"]),
    st.lists(st.integers(0, PROGRAMS_MAX), min_size=1, max_size=2, unique=True),
    st.sampled_from(["", "", "", "", "late", "preview"]),
)
batches = st.lists(wishes, min_size=1, max_size=4)
besides = st.sampled_from(["batch", "same batch", "fill", "generate", "detach", "delete", "undo", "name"])


class Machine(RuleBasedStateMachine):
    """One run through the life of some programs."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.answers: dict[UUID, Answer] = {}
        self.said: dict[UUID, Told] = {}
        self.imports: list[tuple[str, UUID]] = []
        self.requests = 0
        self.world.run(self.world.begin_anew())

    def teardown(self) -> None:
        """The audit is to agree."""
        assert self.world.run(self.world.audit()) == []

    # Programs.

    @initialize(first=settings, second=settings)
    def begin(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        self._create(first)
        self._create(second)

    @precondition(lambda self: len(self.model.programs) < PROGRAMS_MAX)
    @rule(given=settings)
    def create(self, given: dict[str, Any]) -> None:
        self._create(given)
        self._settle(self.model.before())

    @rule(name=names, source=st.sampled_from(["campaign", "scenario"]))
    def switch(self, name: int, source: str) -> None:
        program = self._program(name)
        on = not getattr(program, source)
        if not program.removed:
            self._run(self.world.update(program.name, **{f"{source}_can_create": on}))
            setattr(program, source, on)
            self._settle(self.model.before())

    @rule(name=names)
    def switch_off_or_on(self, name: int) -> None:
        program = self._program(name)
        if not program.removed:
            self._run(self.world.set_active(program.name, not program.active))
            program.active = not program.active
            self._settle(self.model.before())

    @rule(name=names, maximum=st.integers(1, 12), mark=st.integers(1, 5))
    def change_maximum_and_mark(self, name: int, maximum: int, mark: int) -> None:
        program = self._program(name)
        maximum = max(maximum, program.made + program.imported)
        if not program.removed and self._run(
            self.world.update(program.name, codes_max=maximum, pool_max=min(mark, maximum))
        ):
            program.codes_max, program.pool_max = maximum, min(mark, maximum)
            self._settle(self.model.before())

    @rule(name=names)
    def change_template(self, name: int) -> None:
        program = self._program(name)
        template = {"kind": "template", "template": TEMPLATES[program.versions % 2]}
        if program.kind == "template" and not program.removed:
            program.versions += self._run(self.world.update(program.name, source=template))
            self._settle(self.model.before())

    @rule(name=names, reuse=st.sampled_from(["request", "profile", "campaign", "step"]), shared=st.booleans())
    def change_who_gets_codes_again(self, name: int, reuse: Any, shared: bool) -> None:
        program = self._program(name)
        if not program.removed:
            self._run(self.world.update(program.name, reuse=reuse, shared=shared or program.shared))
            program.reuse, program.shared = reuse, shared or program.shared
            self._settle(self.model.before())

    @rule(name=names, begins=st.sampled_from([None, None, 1]), lasts=st.sampled_from([None, None, 0, 1, 2]))
    def change_period(self, name: int, begins: int | None, lasts: int | None) -> None:
        program = self._program(name)
        if program.removed or (begins is not None and lasts == 0):
            return
        end = None if lasts is None else lasts + (begins or 0)
        changes = {"valid_from": self._moment(begins), "valid_until": self._moment(end)}
        self._run(self.world.update(program.name, **changes))
        program.begins = None if begins is None else self.model.day + begins
        program.ends = None if end is None else self.model.day + end
        self._settle(self.model.before())

    @precondition(lambda self: len(self.model.programs) == PROGRAMS_MAX)
    @rule(name=names)
    def remove(self, name: int) -> None:
        program = self._program(name)
        if program.name == "P2" and not program.removed:
            self._run(self.world.remove(program.name))
            program.removed = True
            self._settle(self.model.before())

    # Time.

    @rule(days=some_days)
    def days_pass(self, days: int) -> None:
        self._run(self.world.put_forward(days))
        self.model.day += days
        self._settle(self.model.before())

    # Codes come.

    @rule()
    def fill(self) -> None:
        before = self.model.before()
        missing = {name: self.model.missing(one) for name, one in self.model.programs.items()}
        self._run(self.world.fill([one.id for one in self.model.programs.values()]))
        self._settle(before, made=missing)

    @rule(name=names, count=st.integers(1, 6))
    def generate(self, name: int, count: int) -> None:
        program, before = self._program(name), self.model.before()
        expected = self.model.may_generate(program, count)
        assert self._run(self.world.generate(program.id, count)) == expected, program
        self._settle(before, made={program.name: count * expected})

    @rule(name=names, whose=st.lists(profiles, min_size=1, max_size=3, unique=True))
    def generate_for_profiles(self, name: int, whose: list[str]) -> None:
        program, before = self._program(name), self.model.before()
        expected = self.model.may_generate(program, len(whose)) and not program.shared
        ids = [self._id() for _ in whose]
        assert self._run(self.world.generate_for(program.id, whose, ids)) == expected, program
        if expected:
            reading = self._run(self.world.read())
            for row in reading.rows.answer:
                if row["request_id"] in ids:
                    asked = Asked(row["request_id"], "hand", row["profile_id"], "", (program.name,))
                    self.model.learn(program, row["code"])
                    self.model.give(program, asked, row["code"], holds=self.model.held(program, asked) is None)
        self._settle(before, made={program.name: len(whose) * expected})

    @rule(
        name=names,
        rows=st.lists(st.tuples(texts, st.sampled_from(["", "", "p-ann", "p-bob"]), ends), min_size=1, max_size=5),
    )
    def bring_in(self, name: int, rows: list[tuple[str, str, int | None]]) -> None:
        program, before, import_id = self._program(name), self.model.before(), self._id()
        lines = [(text, "" if program.shared else who, self._moment(end)) for text, who, end in rows]
        done = self._run(self.world.bring_in(program.name, lines, import_id, profiles=not program.shared))
        if self.model.programs[program.name].standing(self.model.day) is not None:
            assert done is None
        else:
            ends_on = [None if end is None else self.model.day + end for _, _, end in rows]
            given = [(line[0], line[1], end) for line, end in zip(lines, ends_on, strict=True)]
            assert done == self.model.take_in(program, given, import_id), program
            self.imports.append((program.name, import_id))
        self._settle(before)

    @precondition(lambda self: self.imports)
    @rule(which=st.integers(0, 9))
    def undo(self, which: int) -> None:
        name, import_id = self.imports[which % len(self.imports)]
        before = self.model.before()
        self._run(self.world.undo(import_id))
        self.model.undo(self.model.programs[name], import_id)
        self._settle(before)

    # Codes are given.

    @rule(worker=st.integers(0, 1), batch=batches)
    def ask(self, worker: int, batch: Sequence[Any]) -> None:
        before, asked = self.model.before(), self._asked(batch)
        answers = self._run(self.world.ask(worker, asked))
        self.model.judge(answers, before, Counter(), Counter())
        self._settle(before, answers)

    @rule(batch=batches, beside=besides, other=batches, name=names, code=codes)
    def ask_while(self, batch: Sequence[Any], beside: str, other: Sequence[Any], name: int, code: int) -> None:
        """Requests at one worker, and at the same time what another does."""
        program, before, asked = self._program(name), self.model.before(), self._asked(batch)
        text = self._text(program, code)
        world, run = self.world, self._side_by_side
        came: Counter[str] = Counter()
        went: Counter[str] = Counter()
        made: dict[str, int] = {}
        judge = self._judging(before, came, went)
        if beside in {"batch", "same batch"}:
            others = self._asked(other) if beside == "batch" else asked[::-1]
            answers, more = run(world.ask(0, asked), world.ask(1, others))
            assert beside == "batch" or answers == more, f"I2: {answers} and {more}"
            answers |= more
            judge(answers)(self.model)
        elif beside == "fill":
            answers, _ = run(world.ask(0, asked), world.fill([one.id for one in self.model.programs.values()]))
            judge(answers)(self.model)
        elif beside == "generate":
            answers, done = run(world.ask(0, asked), world.generate(program.id, 2))
            came[program.name] = made[program.name] = 2 * done
            judge(answers)(self.model)
        elif beside == "undo":
            if not self.imports:
                return
            of, import_id = self.imports[code % len(self.imports)]
            answers, _ = run(world.ask(0, asked), world.undo(import_id))
            went[of] = before[of].pooled
            self._either(judge(answers), lambda model: model.undo(model.programs[of], import_id))
        elif beside == "name":
            hand = Asked(self._id(), "hand", "named", "", (program.name,))
            answers, done = run(world.ask(0, asked), world.attach_named(program.name, text, hand.profile, hand.id))
            went[program.name] = 1
            self._either(
                judge(answers),
                lambda model: _same(model.attach_named(model.programs[program.name], text, hand), done),
            )
        else:
            answers, done = run(world.ask(0, asked), world.live(beside, program.id, text))
            (came if beside == "detach" else went)[program.name] = 1
            self._either(
                judge(answers), lambda model: _same(getattr(model, beside)(model.programs[program.name], text), done)
            )
        self._settle(before, answers, filling=beside == "fill", made=made, came=came, went=went)

    @precondition(lambda self: self.answers)
    @rule(worker=st.integers(0, 1), which=st.integers(0, 50), wish=wishes, as_it_was=st.booleans())
    def repeat(self, worker: int, which: int, wish: Any, as_it_was: bool) -> None:
        """A request id that has its answer gets it again, whatever is asked for under it now."""
        before, new = self.model.before(), self._asked([wish])
        request_id = list(self.answers)[which % len(self.answers)]
        asked = self.model.told[request_id] if as_it_was else new[0]._replace(id=request_id)
        answers = self._run(self.world.ask(worker, [asked]))
        assert answers[asked] == self.answers[request_id], f"I2: {asked}"
        # Its pool may have been filled before its answer was found.
        self._settle(before, answers)

    @rule(worker=st.integers(0, 1), name=names, who=profiles)
    def attach(self, worker: int, name: int, who: str) -> None:
        program, before = self._program(name), self.model.before()
        asked = Asked(self._id(), "hand", who, "", (program.name,))
        row = self._run(self.world.attach(worker, asked))
        reading = self._run(self.world.read())
        answers = {asked: self._stored(reading, asked)}
        assert (row is None) == bool(answers[asked].refused)
        self.model.judge(answers, before, Counter(), Counter())
        self._settle(before, answers)

    @rule(name=names, code=codes, who=profiles)
    def attach_named(self, name: int, code: int, who: str) -> None:
        program, before, new = self._program(name), self.model.before(), self._id()
        text = self._text(program, code)
        asked = Asked(new, "hand", who, "", (program.name,))
        done = self._run(self.world.attach_named(program.name, text, who, new))
        assert self.model.attach_named(program, text, asked) == done, (text, program)
        self._settle(before)

    # Codes live.

    @rule(name=names, code=codes, what=st.sampled_from(["detach", "activate", "deactivate", "delete"]))
    def live(self, name: int, code: int, what: str) -> None:
        program, before = self._program(name), self.model.before()
        text = self._text(program, code)
        done = self._run(self.world.live(what, program.id, text))
        assert getattr(self.model, what)(program, text) == done, (what, text, program)
        self._settle(before)

    @rule(
        name=names,
        code=codes,
        one=st.sampled_from(["detach", "activate", "delete"]),
        two=st.sampled_from(["detach", "activate", "deactivate", "delete"]),
    )
    def two_at_one_code(self, name: int, code: int, one: str, two: str) -> None:
        """What two people do to a code at once is what they would do one behind the other."""
        program, before = self._program(name), self.model.before()
        text = self._text(program, code)
        done = self._side_by_side(self.world.live(one, program.id, text), self.world.live(two, program.id, text))

        def as_done(what: str, was: bool) -> Callable[[Model], None]:
            return lambda model: _same(getattr(model, what)(model.programs[program.name], text), was)

        self._either(as_done(one, done[0]), as_done(two, done[1]))
        self._settle(before)

    @rule(name=names, code=codes, days=ends)
    def change_end(self, name: int, code: int, days: int | None) -> None:
        program, before = self._program(name), self.model.before()
        text = self._text(program, code)
        done = self._run(self.world.change_end(program.id, text, self._moment(days)))
        end = None if days is None else self.model.day + days
        assert self.model.change_end(program, text, end) == done, (text, program)
        self._settle(before)

    @rule(who=profiles)
    def forget(self, who: str) -> None:
        before = self.model.before()
        self._run(self.world.forget(who))
        named = self._run(self.world.rows_with(who))
        assert not named, f"{who} is forgotten, and in {named}"
        reading: Reading = self._run(self.world.read())
        strangers = {
            reading.codes[program.id][text].profile or ""
            for program in self.model.programs.values()
            for text, code in program.codes.items()
            if code.profile == who
        }
        assert len(strangers) <= 1
        assert all(stranger.startswith("forgotten-") for stranger in strangers)
        self.model.forget(who, next(iter(strangers), ""))
        self._settle(before)

    # How a step is taken and held against the model.

    def _create(self, given: dict[str, Any]) -> None:
        name = f"P{len(self.model.programs)}"
        wanted = {**given, "pool_max": min(given["pool_max"], given["codes_max"])}
        template = {"kind": "template", "template": TEMPLATES[0]}
        made = self._run(
            self.world.create(
                name,
                source=template if given["kind"] == "template" else {"kind": "import"},
                campaign_can_create=given["campaign"],
                scenario_can_create=given["scenario"],
                ttl=None if given["ttl"] is None else timedelta(days=given["ttl"]),
                **{key: wanted[key] for key in ("codes_max", "pool_max", "ttl_from", "shared", "reuse")},
            )
        )
        self.model.programs[name] = Program(made, name, **wanted)

    def _run(self, what: Any) -> Any:
        return self.world.run(what)

    def _side_by_side(self, one: Any, two: Any) -> Any:
        async def both() -> Any:
            return await asyncio.gather(one, two)

        return self.world.run(both())

    def _either(self, one: Callable[[Model], object], two: Callable[[Model], object]) -> None:
        """What happened at once must have happened in one order or the other."""
        kept = deepcopy(self.model)
        try:
            one(self.model)
            two(self.model)
        except AssertionError:
            self.model = kept
            two(self.model)
            one(self.model)

    def _judging(
        self, before: dict[str, Before], came: Counter[str], went: Counter[str]
    ) -> Callable[[dict[Asked, Answer]], Callable[[Model], None]]:
        return lambda answers: lambda model: model.judge(answers, before, came, went)

    def _settle(
        self, before: dict[str, Before], answers: dict[Asked, Answer] | None = None, *, filling: bool = False,
        made: dict[str, int] | None = None, came: Counter[str] | None = None, went: Counter[str] | None = None,
    ) -> None:  # fmt: skip
        """Hold what is stored against the model and the promises. `made` is what was asked for by number."""
        reading: Reading = self._run(self.world.read())
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
            wanting = [one for one in answers or {} if program.name in one.names]
            creating = any(program.may_create(one.source) and not one.late and not one.preview for one in wanting)
            model.judge_making(
                program, program.made - before[program.name].made - (made or {}).get(program.name, 0),
                before[program.name], len(wanting), creating, filling, (came or Counter())[program.name],
                (went or Counter())[program.name],
            )  # fmt: skip
            assert (row["made"], row["imported"]) == (program.made, program.imported), f"I4: {program}"
            stored = {text: (one.state, one.profile, self._day(one.ends)) for text, one in seen.items()}
            expected = {
                text: (one.state, one.profile, one.pool_ends if one.profile is None else one.ends)
                for text, one in program.codes.items()
            }
            other = [(text, stored.get(text), expected.get(text)) for text in sorted(stored.keys() | expected.keys())]
            assert stored == expected, (
                f"{program.name} on day {model.day}: stored and expected are "
                f"{[one for one in other if one[1] != one[2]]} of {program}"
            )
            holding = {(r["profile_id"], r["code"]) for r in reading.rows.holding if r["program_id"] == program.id}
            assert holding == {(key[0], text) for key, text in program.holdings.items()}, f"I2: {program}"

    def _day(self, moment: datetime | None) -> int | None:
        return day_of(moment, self.world.begin, self.world.moved)

    def _moment(self, days: int | None) -> datetime | None:
        moment: datetime | None = None if days is None else self._run(self.world.moment(days))
        return moment

    def _stored(self, reading: Reading, asked: Asked) -> Answer:
        rows = [row for row in reading.rows.answer if row["request_id"] == asked.id]
        return answer_of({one.id: name for name, one in self.model.programs.items()}, rows)

    def _program(self, number: int) -> Program:
        programs = list(self.model.programs.values())
        return programs[number % len(programs)]

    def _text(self, program: Program, number: int) -> str:
        """A code of the program, or a text that it may never have had."""
        known = [*program.codes, "57", "I-3", "I-9"]
        return known[number % len(known)]

    def _id(self) -> UUID:
        self.requests += 1
        return UUID(int=self.requests << 80 | 0x7 << 76 | 0b10 << 62)

    def _asked(self, batch: Sequence[Any]) -> list[Asked]:
        asked = []
        for source, profile, where, programs, special in batch:
            named = [f"P{number}" if number < PROGRAMS_MAX else UNKNOWN for number in programs]
            named = named if source == "campaign" else named[:1]
            asked.append(
                Asked(
                    self._id(), source, profile, where, tuple(named), special == "late" and source != "hand",
                    special == "preview" and source != "hand",
                )
            )  # fmt: skip
        return asked


def _same(one: bool, other: bool) -> None:
    assert one == other
