"""Everything that people and requests do to programs, in any order."""

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.integration.model.changes import Changes
from tests.integration.model.model import Answer, Asked, Model
from tests.integration.model.reading import Reading
from tests.integration.model.steps import PROGRAMS_MAX

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
    st.lists(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, PROGRAMS_MAX]), min_size=1, max_size=2, unique=True),
    st.sampled_from(["", "", "", "", "", "", "", "late", "preview"]),
)
sources = st.sampled_from(["campaign", "scenario"])
changes = st.one_of(
    st.tuples(st.just("switch"), sources),
    st.tuples(st.just("active")),
    st.tuples(st.just("maximum"), st.integers(1, 12), st.integers(1, 5)),
    st.tuples(st.just("template")),
    st.tuples(
        st.just("who_gets_codes_again"),
        st.sampled_from(["request", "profile", "campaign", "step"]),
        st.sampled_from([False, False, True]),
    ),
    st.tuples(st.just("fallback"), st.lists(st.sampled_from(["P0", "P1", "P2"]), max_size=2, unique=True)),
    st.tuples(st.just("period"), st.sampled_from([None, None, 1]), st.sampled_from([None, None, None, 0, 1, 2])),
)
batches = st.lists(wishes, min_size=1, max_size=4)
besides = st.sampled_from(["batch", "same batch", "fill", "generate", "detach", "delete", "undo", "name", "reserve"])
few = st.lists(st.tuples(st.sampled_from(["campaign", "scenario"]), profiles), min_size=1, max_size=3)


class Machine(Changes):
    """One run through the life of some programs."""

    # Programs.

    @initialize(first=settings, second=settings)
    def begin(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        self.create_program(first)
        self.create_program(second)
        self.fill()

    @precondition(lambda self: len(self.model.programs) < PROGRAMS_MAX)
    @rule(given=settings)
    def create(self, given: dict[str, Any]) -> None:
        self.create_program(given)
        self.settle(self.model.before())

    @rule(name=names, change=changes)
    def change_program(self, name: int, change: tuple[Any, ...]) -> None:
        what, *values = change
        program = self.program(name)
        if not program.removed:
            getattr(self, f"change_{what}")(program, *values)
            self.settle(self.model.before())

    @precondition(lambda self: len(self.model.programs) == PROGRAMS_MAX)
    @rule(name=names)
    def remove(self, name: int) -> None:
        program = self.program(name)
        if program.name == "P2" and not program.removed:
            program.removed = not self.model.is_fallback(program.name)
            assert self.run(self.world.remove(program.name)) == program.removed, program
            self.settle(self.model.before())

    # Time.

    @rule(days=some_days)
    def days_pass(self, days: int) -> None:
        self.run(self.world.put_forward(days))
        self.model.day += days
        self.settle(self.model.before())

    # Codes come.

    @rule()
    def fill(self) -> None:
        before = self.model.before()
        missing = {name: self.model.missing(one) for name, one in self.model.programs.items()}
        self.run(self.world.fill([one.id for one in self.model.programs.values()]))
        self.settle(before, made=missing)

    @rule(name=names, count=st.integers(1, 6))
    def generate(self, name: int, count: int) -> None:
        program, before = self.program(name), self.model.before()
        expected = self.model.may_generate(program, count)
        assert self.run(self.world.generate(program.id, count)) == expected, program
        self.settle(before, made={program.name: count * expected})

    @rule()
    def fill_twice(self) -> None:
        """Two generators do what one does."""
        before, ids = self.model.before(), [one.id for one in self.model.programs.values()]
        missing = {name: self.model.missing(one) for name, one in self.model.programs.items()}
        self.side_by_side(self.world.fill(ids), self.world.fill(ids))
        self.settle(before, made=missing)

    @rule(name=names, one=st.integers(1, 6), two=st.integers(1, 6))
    def generate_twice(self, name: int, one: int, two: int) -> None:
        program, before = self.program(name), self.model.before()
        done = self.side_by_side(self.world.generate(program.id, one), self.world.generate(program.id, two))
        may = [self.model.may_generate(program, count) for count in (one, two, one + two)]
        assert tuple(done) in (
            [(True, True)] if may[2] else [(may[0], not may[0] and may[1]), (not may[1] and may[0], may[1])]
        )
        self.settle(before, made={program.name: one * done[0] + two * done[1]})

    @rule(name=names, whose=st.lists(profiles, min_size=1, max_size=3, unique=True))
    def generate_for_profiles(self, name: int, whose: list[str]) -> None:
        program, before = self.program(name), self.model.before()
        expected = self.model.may_generate(program, len(whose)) and not program.shared
        ids = [self.new_id() for _ in whose]
        assert self.run(self.world.generate_for(program.id, whose, ids)) == expected, program
        if expected:
            reading = self.run(self.world.read())
            for row in reading.rows.answer:
                if row["request_id"] in ids:
                    asked = Asked(row["request_id"], "hand", row["profile_id"], "", (program.name,))
                    self.model.learn(program, row["code"])
                    self.model.give(program, asked, row["code"], holds=self.model.held(program, asked) is None)
        self.settle(before, made={program.name: len(whose) * expected})

    @rule(
        name=names,
        rows=st.lists(st.tuples(texts, st.sampled_from(["", "", "p-ann", "p-bob"]), ends), min_size=1, max_size=5),
    )
    def bring_in(self, name: int, rows: list[tuple[str, str, int | None]]) -> None:
        program, before, import_id = self.program(name), self.model.before(), self.new_id()
        lines = [(text, "" if program.shared else who, self.moment(end)) for text, who, end in rows]
        done = self.run(self.world.bring_in(program.name, lines, import_id, profiles=not program.shared))
        if self.model.programs[program.name].closed_reason(self.model.day) is not None:
            assert done is None
        else:
            ends_on = [None if end is None else self.model.day + end for _, _, end in rows]
            given = [(line[0], line[1], end) for line, end in zip(lines, ends_on, strict=True)]
            assert done == self.model.take_in(program, given, import_id), program
            self.imports.append((program.name, import_id))
        self.settle(before)

    @precondition(lambda self: self.imports)
    @rule(which=st.integers(0, 9))
    def undo(self, which: int) -> None:
        name, import_id = self.imports[which % len(self.imports)]
        before = self.model.before()
        self.run(self.world.undo(import_id))
        self.model.undo(self.model.programs[name], import_id)
        self.settle(before)

    # Codes are given.

    @rule(worker=st.integers(0, 1), batch=batches)
    def ask(self, worker: int, batch: Sequence[Any]) -> None:
        before, asked = self.model.before(), self.asked_of(batch)
        answers = self.run(self.world.ask(worker, asked))
        self.model.judge(answers, before, Counter(), Counter())
        self.settle(before, answers)

    @rule(batch=batches, beside=besides, other=batches, name=names, code=codes)
    def ask_while(self, batch: Sequence[Any], beside: str, other: Sequence[Any], name: int, code: int) -> None:
        """Requests at one worker, and at the same time what another does."""
        program, before, asked = self.program(name), self.model.before(), self.asked_of(batch)
        text = self.text(program, code)
        world, run = self.world, self.side_by_side
        came: Counter[str] = Counter()
        went: Counter[str] = Counter()
        made: dict[str, int] = {}
        judge = self.judging(before, came, went)
        if beside in {"batch", "same batch"}:
            others = self.asked_of(other) if beside == "batch" else asked[::-1]
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
        elif beside == "reserve":
            # Sometimes for the campaign of these requests, which then gets those codes.
            campaign = ("one", "three")[code % 2]
            answers, minted = run(world.ask(0, asked), world.reserve_and_release(program.id, campaign, 1 + code % 5))
            came[program.name] = made[program.name] = minted
            went[program.name] = before[program.name].pooled + minted
            judge(answers)(self.model)
        elif beside == "undo":
            if not self.imports:
                return
            of, import_id = self.imports[code % len(self.imports)]
            answers, _ = run(world.ask(0, asked), world.undo(import_id))
            went[of] = before[of].pooled
            self.either(judge(answers), lambda model: model.undo(model.programs[of], import_id))
        elif beside == "name":
            hand = Asked(self.new_id(), "hand", "named", "", (program.name,))
            answers, done = run(world.ask(0, asked), world.attach_named(program.name, text, hand.profile, hand.id))
            went[program.name] = 1
            self.either(
                judge(answers),
                lambda model: _same(model.attach_named(model.programs[program.name], text, hand), done),
            )
        else:
            answers, done = run(world.ask(0, asked), world.live(beside, program.id, text))
            (came if beside == "detach" else went)[program.name] = 1
            self.either(
                judge(answers), lambda model: _same(getattr(model, beside)(model.programs[program.name], text), done)
            )
        workers = 2 if beside == "same batch" else 1
        self.settle(before, answers, workers=workers, filling=beside == "fill", made=made, came=came, went=went)

    @rule(name=names, here=few, there=few)
    def crowd(self, name: int, here: list[Any], there: list[Any]) -> None:
        """Both workers want codes of one program at the same time."""
        program, before = self.program(name), self.model.before()
        one, two = [
            [Asked(self.new_id(), source, who, "one", (program.name,)) for source, who in some]
            for some in (here, there)
        ]
        answers, more = self.side_by_side(self.world.ask(0, one), self.world.ask(1, two))
        answers |= more
        self.model.judge(answers, before, Counter(), Counter())
        self.settle(before, answers)

    @precondition(lambda self: self.answers)
    @rule(worker=st.integers(0, 1), which=st.integers(0, 50), wish=wishes, as_it_was=st.booleans())
    def repeat(self, worker: int, which: int, wish: Any, as_it_was: bool) -> None:
        """A request id that has its answer gets it again, whatever is asked for under it now."""
        before, new = self.model.before(), self.asked_of([wish])
        request_id = list(self.answers)[which % len(self.answers)]
        asked = self.model.told[request_id] if as_it_was else new[0]._replace(id=request_id)
        answers = self.run(self.world.ask(worker, [asked]))
        assert answers[asked] == self.answers[request_id], f"I2: {asked}"
        # Its pool may have been filled before its answer was found.
        self.settle(before, answers)

    @rule()
    def archive(self) -> None:
        """Old answers leave; all requests so far are too old."""
        before = self.model.before()
        gone = self.run(self.world.archive(self.new_id()))
        self.model.archive(gone)
        for request_id in gone & self.answers.keys():
            self.gone.append(self.model.told[request_id])
            for got in self.answers.pop(request_id).got:
                states = {one.state for one in [self.model.programs[got.name].codes.get(got.code)] if one is not None}
                assert self.gone[-1].preview or states == {"archived"}, f"I2: a part of {self.gone[-1]} has left"
            del self.said[request_id]
        reading = self.run(self.world.read())
        for program in self.model.programs.values():
            for text, seen in reading.codes[program.id].items():
                program.codes[text].is_closed = seen.is_closed
        self.settle(before)

    @precondition(lambda self: self.gone)
    @rule(worker=st.integers(0, 1), which=st.integers(0, 50))
    def repeat_what_left(self, worker: int, which: int) -> None:
        """A request whose answer has left gets no code, and the same refusal each time."""
        before, asked = self.model.before(), self.gone[which % len(self.gone)]
        answers = self.run(self.world.ask(worker, [asked]))
        assert answers[asked] == Answer((), tuple((name, "request_too_old") for name in asked.names)), f"I2: {asked}"
        self.settle(before)

    @rule(worker=st.integers(0, 1), name=names, who=profiles)
    def attach(self, worker: int, name: int, who: str) -> None:
        program, before = self.program(name), self.model.before()
        asked = Asked(self.new_id(), "hand", who, "", (program.name,))
        row = self.run(self.world.attach(worker, asked))
        reading = self.run(self.world.read())
        answers = {asked: self.stored(reading, asked)}
        assert (row is None) == bool(answers[asked].refused)
        self.model.judge(answers, before, Counter(), Counter())
        self.settle(before, answers)

    @rule(name=names, code=codes, who=profiles)
    def attach_named(self, name: int, code: int, who: str) -> None:
        program, before, new = self.program(name), self.model.before(), self.new_id()
        text = self.text(program, code)
        asked = Asked(new, "hand", who, "", (program.name,))
        done = self.run(self.world.attach_named(program.name, text, who, new))
        assert self.model.attach_named(program, text, asked) == done, (text, program)
        self.settle(before)

    # Codes live.

    @precondition(lambda self: self.answers)
    @rule(which=st.integers(0, 50))
    def fail_before_handoff(self, which: int) -> None:
        """Codes of a message that no provider got come back, once."""
        ids = sorted(self.answers.keys() & self.model.told.keys())
        if not ids:
            return
        asked, before = self.model.told[ids[which % len(ids)]], self.model.before()
        outcomes = self.run(self.world.fail(asked.id, asked.profile))
        assert outcomes == self.model.fail(asked, self.answers[asked.id]), asked
        self.settle(before)

    @rule(name=names, code=codes, what=st.sampled_from(["detach", "activate", "deactivate", "delete"]))
    def live(self, name: int, code: int, what: str) -> None:
        program, before = self.program(name), self.model.before()
        text = self.text(program, code)
        done = self.run(self.world.live(what, program.id, text))
        assert getattr(self.model, what)(program, text) == done, (what, text, program)
        self.settle(before)

    @rule(
        name=names,
        code=codes,
        told=st.lists(st.sampled_from(["paid", "cancelled", "refunded"]), min_size=1, max_size=3),
    )
    def order(self, name: int, code: int, told: list[Any]) -> None:
        """An order holds a code; then it is paid, cancelled, refunded, as two issuers hear in any order."""
        program, before = self.program(name), self.model.before()
        text, order_id = self.text(program, code), str(self.new_id())
        held = self.run(self.world.hold(program.id, text, order_id))
        assert held == self.model.may_use(program, text), (text, program)
        self.side_by_side(self.world.tell(order_id, told), self.world.tell(order_id, told[::-1][:2]))
        if held and set(told) == {"paid"}:
            self.model.activate(program, text)
        self.settle(before)

    @rule(
        name=names,
        code=codes,
        one=st.sampled_from(["detach", "activate", "delete"]),
        two=st.sampled_from(["detach", "activate", "deactivate", "delete"]),
    )
    def two_at_one_code(self, name: int, code: int, one: str, two: str) -> None:
        """What two people do to a code at once is what they would do one behind the other."""
        program, before = self.program(name), self.model.before()
        text = self.text(program, code)
        done = self.side_by_side(self.world.live(one, program.id, text), self.world.live(two, program.id, text))

        def as_done(what: str, was: bool) -> Callable[[Model], None]:
            return lambda model: _same(getattr(model, what)(model.programs[program.name], text), was)

        self.either(as_done(one, done[0]), as_done(two, done[1]))
        self.settle(before)

    @rule(name=names, code=codes, days=ends)
    def change_end(self, name: int, code: int, days: int | None) -> None:
        program, before = self.program(name), self.model.before()
        text = self.text(program, code)
        done = self.run(self.world.change_end(program.id, text, self.moment(days)))
        end = None if days is None else self.model.day + days
        assert self.model.change_end(program, text, end) == done, (text, program)
        self.settle(before)

    @rule(name=names, code=codes, fresh=st.booleans())
    def reissue(self, name: int, code: int, fresh: bool) -> None:
        program, before = self.program(name), self.model.before()
        text = self.text(program, code)
        asked = Asked(
            self.new_id(), "hand", getattr(program.codes.get(text), "profile", None) or "", "", (program.name,)
        )
        new = self.run(self.world.reissue(program.id, text, asked.id, fresh=fresh))
        assert (new is not None) == self.model.may_reissue(program, text, fresh=fresh), (text, program)
        if new is not None:
            self.model.reissue(program, text, asked, new, fresh=fresh)
        self.settle(before)

    @rule(name=names, state=st.sampled_from([None, "pooled", "attached", "expired"]), void=st.booleans(), days=ends,
          back=st.booleans())  # fmt: skip
    def change_all(self, name: int, state: str | None, void: bool, days: int | None, back: bool) -> None:
        """All codes of a state get another end or are deleted; and, perhaps, are as they were again."""
        program, before, kept = self.program(name), self.model.before(), deepcopy(self.model)
        until = None if void else self.moment(days)
        done = self.run(
            self.world.change_all(program.name, program.id, state, self.new_id(), void=void, ends=until, back=back)
        )
        end = None if days is None else self.model.day + days
        assert self.model.change_all(program, state, void=void, ends=end) == done, (state, program)
        if back:
            self.model.be_as(kept, program.name)
        self.settle(before)

    @rule(who=profiles)
    def forget(self, who: str) -> None:
        before = self.model.before()
        self.run(self.world.forget(who))
        named = self.run(self.world.rows_with(who))
        assert not named, f"{who} is forgotten, and in {named}"
        reading: Reading = self.run(self.world.read())
        strangers = {
            reading.codes[program.id][text].profile or ""
            for program in self.model.programs.values()
            for text, code in program.codes.items()
            if code.profile == who
        }
        assert len(strangers) <= 1
        assert all(stranger.startswith("forgotten-") for stranger in strangers)
        self.model.forget(who, next(iter(strangers), ""))
        self.settle(before)


def _same(one: bool, other: bool) -> None:
    assert one == other
