"""What programs, codes and requests should be: one rule, some ten lines. Time is whole days; nothing here is stored.

What can't be foreseen is which texts a template spells and which code of a pool comes next, so these are learned from
answers and from the database, and judged: a code that is given was nobody's, and one that appears may be made now.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from uuid import UUID

EVERYBODY = ""


@dataclass
class Code:
    """A text that is in a program."""

    pool_ends: int | None
    """The day on which its life in the pool ends."""
    ends: int | None = None
    """The same for who has it."""
    state: Literal["pooled", "attached", "activated", "deleted", "archived"] = "pooled"
    profile: str | None = None
    has_own_end: bool = False
    import_id: UUID | None = None
    """The import that can take it back."""
    reissues: int = 0
    """How many codes came before it, each replaced by the next."""
    request: UUID | None = None
    """The request that it was given to first, and those that it was given to again since."""
    again: set[UUID] = field(default_factory=set)
    is_closed: bool = False
    """Answers have left of its block, and it has none: nothing is done with it any more."""
    was_used: bool = False
    """Before it was archived."""


@dataclass
class Program:
    """A program's settings and codes."""

    id: int
    name: str
    kind: Literal["template", "import"]
    campaign: bool
    scenario: bool
    codes_max: int
    pool_max: int
    ttl: int | None
    ttl_from: Literal["creation", "attachment"]
    shared: bool
    reuse: Literal["request", "profile", "campaign", "step"]
    active: bool = True
    removed: bool = False
    begins: int | None = None
    ends: int | None = None
    made: int = 0
    imported: int = 0
    codes: dict[str, Code] = field(default_factory=dict)
    assignments: dict[tuple[str, str], str] = field(default_factory=dict)
    everybodys: set[str] = field(default_factory=set)
    versions: int = 1
    fallback: tuple[str, ...] = ()

    @property
    def room(self) -> int:
        return self.codes_max - self.made - self.imported

    @property
    def reuses_codes(self) -> bool:
        return self.shared or self.reuse != "request"

    def may_create(self, source: str) -> bool:
        """Whether codes are made for this source without anybody asking."""
        switches = {"campaign": self.campaign, "scenario": self.scenario, "hand": False}
        return self.kind == "template" and switches[source]

    def closed_reason(self, day: int) -> str | None:
        """Why nothing is given or made on this day."""
        if self.removed or not self.active:
            return "program_inactive"
        if self.begins is not None and day < self.begins:
            return "program_not_started"
        return "program_ended" if self.ends is not None and day >= self.ends else None


class Asked(NamedTuple):
    """A request."""

    id: UUID
    source: Literal["campaign", "scenario", "hand"]
    profile: str
    where: str
    """The campaign, or the step of the one scenario."""
    names: tuple[str, ...]
    late: bool = False
    preview: bool = False


class Got(NamedTuple):
    """A code that a request was told."""

    name: str
    """The program that the code is of."""
    code: str
    again: bool
    asked: str
    """The program that was asked for it."""
    link: int | None
    """Which fallback of that program it is of, from 1."""


class Answer(NamedTuple):
    """What became of a request: codes in its order, or refusals."""

    got: tuple[Got, ...]
    refused: tuple[tuple[str, str], ...]


class Before(NamedTuple):
    """A program's pool before a step."""

    pooled: int
    room: int
    made: int


class Model:
    """All programs at one time. What is wrong with what happened is raised as an AssertionError."""

    def __init__(self) -> None:
        self.day = 0
        self.programs: dict[str, Program] = {}
        self.told: dict[UUID, Asked] = {}
        self.failed: dict[UUID, list[str]] = {}
        """What became of the codes of requests whose messages failed."""

    # What a code is.

    def is_over(self, code: Code) -> bool:
        ends = code.pool_ends if code.profile is None else code.ends
        return ends is not None and ends <= self.day

    def state(self, code: Code) -> str:
        """A code's state as people are told it."""
        if code.state in {"pooled", "attached"} and self.is_over(code):
            return "expired"
        return code.state

    def pooled(self, program: Program) -> int:
        return sum(self.state(code) == "pooled" for code in program.codes.values())

    def before(self) -> dict[str, Before]:
        return {name: Before(self.pooled(one), one.room, one.made) for name, one in self.programs.items()}

    # Who has which code again.

    def scope(self, program: Program, asked: Asked) -> tuple[str, str]:
        """Under what a profile is given the same code again."""
        if program.shared:
            return EVERYBODY, ""
        if program.reuse == "profile":
            return asked.profile, ""
        if asked.source == "scenario":
            return asked.profile, f"step {asked.where}" if program.reuse == "step" else "scenario"
        return asked.profile, f"campaign {asked.where}" if asked.source == "campaign" else "hand"

    def held(self, program: Program, asked: Asked) -> str | None:
        """The living code that this request is to get again."""
        text = program.assignments.get(self.scope(program, asked)) if program.reuses_codes else None
        return None if text is None or self.is_over(program.codes[text]) else text

    # Codes come.

    def learn(self, program: Program, text: str) -> Code:
        """A code was just made from the template."""
        lives = program.ttl is not None and program.ttl_from == "creation"
        assert text not in program.codes
        program.made += 1
        code = program.codes[text] = Code(self.day + (program.ttl or 0) if lives else None)
        return code

    def may_generate(self, program: Program, count: int) -> bool:
        return program.closed_reason(self.day) is None and program.kind == "template" and count <= program.room

    def missing(self, program: Program) -> int:
        """How many codes the generator is to make."""
        if program.closed_reason(self.day) or not (program.may_create("campaign") or program.may_create("scenario")):
            return 0
        return max(0, min(program.room, self._mark(program) - self.pooled(program)))

    def _mark(self, program: Program) -> int:
        """The level that the generator fills to: one for a shared program, none while its shared code lives."""
        if not program.shared:
            return program.pool_max
        text = program.assignments.get((EVERYBODY, ""))
        return 1 if text is None or self.is_over(program.codes[text]) else 0

    def take_in(
        self, program: Program, rows: Sequence[tuple[str, str, int | None]], import_id: UUID
    ) -> tuple[int, int]:
        """Bring rows of text, profile and end in; return how many came, and how many of them to somebody."""
        came = given = 0
        seen: set[str] = set()
        for text, profile, own in rows:
            asked = Asked(import_id, "hand", profile, "", (program.name,))
            is_second = text in seen
            seen.add(text)
            if (
                is_second
                or text in program.codes
                or program.room <= 0
                or (profile and self.held(program, asked) is not None)
            ):
                continue
            program.imported += 1
            came += 1
            lives = program.ttl is not None and program.ttl_from == "creation"
            ends = self.day + (program.ttl or 0) if own is None and lives else own
            program.codes[text] = Code(ends, import_id=import_id)
            if profile:
                given += 1
                self.give(program, asked, text)
        return came, given

    def undo(self, program: Program, import_id: UUID) -> int:
        """Take back what nobody has of an import."""
        back = [text for text, code in program.codes.items() if code.import_id == import_id and code.state == "pooled"]
        for text in back:
            del program.codes[text]
        program.imported -= len(back)
        return len(back)

    # Codes are given.

    def give(self, program: Program, asked: Asked, text: str, *, holds: bool = True) -> None:
        """Attach a pooled code."""
        code = program.codes[text]
        assert program.closed_reason(self.day) is None, (
            f"I6: {text} was given, and the program is {program.closed_reason(0)}"
        )
        assert self.state(code) == "pooled", f"I1: {text} was given to {asked.profile}, and is {code}"
        code.state, code.profile, code.import_id = "attached", asked.profile, None
        code.request, code.again = asked.id, set()
        own = None if program.ttl is None or program.ttl_from == "creation" else self.day + program.ttl
        code.ends = min((end for end in (own, code.pool_ends) if end is not None), default=None)
        if program.reuses_codes and holds:
            program.assignments[self.scope(program, asked)] = text
            if program.shared:
                program.everybodys.add(text)

    def judge(
        self, answers: Mapping[Asked, Answer], before: Mapping[str, Before], came: Counter[str], went: Counter[str]
    ) -> None:
        """Whether these answers to requests that came together may be, and what follows from them.

        `came` and `went` are how many codes others may have brought into the pools and taken out of them meanwhile.
        """
        taken: Counter[str] = Counter()
        for asked, answer in answers.items():
            self._judge_rules(asked, answer)
        fresh = [(asked, got) for asked, answer in answers.items() for got in answer.got if not got.again]
        for asked, got in fresh:
            if asked.preview:
                continue
            program = self.programs[got.name]
            assert self.held(program, asked) is None, f"I2: {asked} has a code already and got {got}"
            if got.code not in program.codes:
                self.learn(program, got.code)
            self.give(program, asked, got.code)
            taken[got.name] += 1
        for asked, answer in answers.items():
            for got in answer.got:
                if got.again:
                    held = self.held(self.programs[got.name], asked)
                    assert got.code == held, f"I1: {asked} got {got} again, and has {held}"
                    self.programs[got.name].codes[got.code].again.add(asked.id)
            for name, reason in answer.refused:
                self._judge_refusal(asked, name, reason, before, taken, came, went)
            for name in self._passed_over(answer):
                self._judge_passing(asked, name, before, taken, came, went)
            self.told[asked.id] = asked

    def _judge_rules(self, asked: Asked, answer: Answer) -> None:
        """What the programs' rules alone say of the answer."""
        reasons = [
            (name, "program_unknown" if name not in self.programs else self.programs[name].closed_reason(self.day))
            for name in asked.names
        ]
        wrong = tuple((name, reason) for name, reason in reasons if reason is not None)
        if asked.late:
            wrong = tuple((name, "deadline_passed") for name in asked.names)
        if wrong:
            assert answer == Answer((), wrong), f"I6: {asked} got {answer} for {wrong}"
        elif answer.refused:
            assert not answer.got
            assert not asked.preview
        else:
            assert tuple(got.asked for got in answer.got) == asked.names, f"I3: {asked} got {answer}"
            for got in answer.got:
                if got.link is not None:
                    fallback = self.programs[got.asked].fallback
                    assert fallback[got.link - 1 :][:1] == (got.name,), f"I6: {asked} got {got} of {fallback}"
                    assert self.programs[got.name].closed_reason(self.day) is None, f"I6: {asked} got {got}"
                    assert not asked.preview

    def _judge_refusal(
        self, asked: Asked, name: str, reason: str, before: Mapping[str, Before], taken: Counter[str],
        came: Counter[str], went: Counter[str],
    ) -> None:  # fmt: skip
        """Whether the pool was empty at any moment of the step."""
        if reason not in {"pool_empty", "maximum_reached"}:
            return
        program = self.programs[name]
        why = f"{asked} was refused as {reason} by {program} of {before[name]}, {taken}"
        gone = taken[name] + went[name]
        assert before[name].pooled <= gone, why
        if reason == "maximum_reached":
            assert program.room <= 0, why
            assert before[name].pooled + before[name].room <= gone + came[name], why
        else:
            assert not program.may_create(asked.source), why
            assert before[name].room > 0, why

    def _passed_over(self, answer: Answer) -> Iterator[str]:
        """The programs that a fallback behind them gave a code for, and those that gave none to a refused request."""
        for got in answer.got:
            if got.link is not None:
                yield from (got.asked, *self.programs[got.asked].fallback[: got.link - 1])
        for name, reason in answer.refused:
            if reason in {"pool_empty", "maximum_reached"}:
                yield from self.programs[name].fallback

    def _judge_passing(
        self, asked: Asked, name: str, before: Mapping[str, Before], taken: Counter[str], came: Counter[str],
        went: Counter[str],
    ) -> None:  # fmt: skip
        """Whether the program had no code for the request at some moment of the step."""
        program = self.programs[name]
        if program.closed_reason(self.day) is not None:
            return
        gone = taken[name] + went[name]
        why = f"{asked} passed over {program} of {before[name]}, {taken}"
        assert before[name].pooled <= gone, why
        if program.may_create(asked.source):
            assert before[name].pooled + before[name].room <= gone + came[name], why

    def may_fall_back(self, program: Program, names: Sequence[str]) -> bool:
        """Whether the program may have these fallbacks: they are there, and none leads back to it."""
        reached = list(names)
        for name in reached:
            if name not in self.programs or self.programs[name].removed or name == program.name:
                return False
            reached += [one for one in self.programs[name].fallback if one not in reached]
        return True

    def is_fallback(self, name: str) -> bool:
        return any(name in one.fallback for one in self.programs.values() if not one.removed)

    def may_ask(self, asked: Asked, name: str) -> bool:
        """Whether the request may ask the program for a code, as one of its own or as their fallback."""
        own = [self.programs[one] for one in asked.names if one in self.programs]
        return name in asked.names or any(name in one.fallback for one in own)

    def judge_making(
        self, program: Program, made: int, before: Before, wanting: int, creating: bool, filling: bool, came: int,
        went: int,
    ) -> None:  # fmt: skip
        """Whether so many codes may have been made in a step in which nobody asked for them by number.

        So many codes were wanted; some for a source that may create them, perhaps; and perhaps pools were filled.
        """
        why = f"I6: {made} codes were made by {program} of {before} for {wanting}"
        if made == 0:
            return
        assert program.closed_reason(self.day) is None, why
        is_filled = filling and (program.may_create("campaign") or program.may_create("scenario"))
        assert is_filled or (creating and before.pooled < wanting + went), why
        assert made <= before.room, why
        assert self.pooled(program) <= max(program.pool_max, wanting) + came, why

    # Codes live.

    def detach(self, program: Program, text: str) -> bool:
        code = program.codes.get(text)
        if code is None or self.state(code) != "attached" or program.shared or self._is_everybodys(program, text):
            return False
        if code.has_own_end:
            code.pool_ends = code.ends
        self._let_go(program, text)
        code.state, code.profile, code.ends, code.has_own_end, code.reissues = "pooled", None, None, False, 0
        code.request = None
        return True

    def fail(self, asked: Asked, answer: Answer) -> list[str]:
        """The message of a request failed before the handoff: its codes come back that only it has."""
        if asked.id in self.failed:
            return self.failed[asked.id]
        outcomes = self.failed[asked.id] = []
        for got in answer.got:
            program, back = self.programs[got.name], False
            if not (asked.preview or got.again):
                code = program.codes[got.code]
                alone = code.request == asked.id and code.again <= self.failed.keys()
                back = alone and self.detach(program, got.code)
            outcomes.append("returned" if back else "kept")
        return outcomes

    def may_use(self, program: Program, text: str) -> bool:
        """Whether a till may use the code, or hold it, that names no profile."""
        code = program.codes.get(text)
        # Each profile uses a shared code once, so a till has to name it.
        stands = program.closed_reason(self.day) in {None, "program_ended"} and not program.shared
        return code is not None and self.state(code) == "attached" and stands

    def activate(self, program: Program, text: str) -> bool:
        if not self.may_use(program, text):
            return False
        program.codes[text].state = "activated"
        return True

    def deactivate(self, program: Program, text: str) -> bool:
        code = program.codes.get(text)
        if code is None or code.state != "activated":
            return False
        code.state = "attached"
        return True

    def delete(self, program: Program, text: str) -> bool:
        code = program.codes.get(text)
        if code is None or code.state in {"activated", "deleted"} or code.is_closed:
            return False
        self._let_go(program, text)
        code.state, code.import_id = "deleted", None
        return True

    def change_end(self, program: Program, text: str, ends: int | None) -> bool:
        code = program.codes.get(text)
        if code is None or code.state in {"activated", "deleted"} or code.is_closed:
            return False
        if code.profile is None:
            code.pool_ends, code.import_id = ends, None
        else:
            code.ends, code.has_own_end = ends, True
        return True

    def may_reissue(self, program: Program, text: str, *, fresh: bool) -> bool:
        """Whether a profile's code is replaced by another one of the pool."""
        code = program.codes.get(text)
        if code is None or code.state != "attached" or (self.is_over(code) and not fresh):
            return False
        if program.shared or self._is_everybodys(program, text) or code.reissues >= 1:
            return False
        return program.closed_reason(self.day) is None and self.pooled(program) > 0

    def reissue(self, program: Program, text: str, asked: Asked, new: str, *, fresh: bool) -> None:
        """Delete the code, and give its profile the new one, which it gets again where it got the old one again."""
        old = program.codes[text]
        self.give(program, asked, new, holds=False)
        given = program.codes[new]
        given.reissues = old.reissues + 1
        if not fresh:
            given.ends = old.ends
        program.assignments = {key: new if held == text else held for key, held in program.assignments.items()}
        old.state, old.import_id = "deleted", None

    def change_all(self, program: Program, state: str | None, *, void: bool, ends: int | None) -> bool:
        """Delete all codes of these states, or give them another end. Nothing where there can be none such."""
        found = [code for code in program.codes.values() if self._is_of(code, state)]
        in_use = [code for code in program.codes.values() if code.state == "activated" and state != "pooled"]
        having = [
            code for code in program.codes.values() if code.state in {"attached", "archived"} and state != "pooled"
        ]
        if not found and not in_use and not having:
            return False
        for text, code in program.codes.items():
            if code not in found or code.is_closed:
                continue
            if void:
                self._let_go(program, text)
                code.state = "deleted"
            elif code.profile is None:
                code.pool_ends = ends
            else:
                code.ends, code.has_own_end = ends, True
        return True

    def be_as(self, before: "Model", name: str) -> None:
        """All codes of a program are as they were, but for whose end is their own when they leave their profile."""
        program, old = self.programs[name], before.programs[name]
        own = {text for text, code in program.codes.items() if code.has_own_end}
        program.codes, program.assignments = old.codes, old.assignments
        for text in own:
            program.codes[text].has_own_end = True

    def _is_of(self, code: Code, state: str | None) -> bool:
        if code.state not in {"pooled", "attached"}:
            return False
        return state is None or state == ("expired" if self.is_over(code) else code.state)

    def attach_named(self, program: Program, text: str, asked: Asked) -> bool:
        """Attach this very code, which is taken in where there is none."""
        if program.closed_reason(self.day) is not None or program.shared:
            return False
        if text in program.codes:
            if self.state(program.codes[text]) != "pooled" or self.held(program, asked) is not None:
                return False
        elif program.room <= 0 or self.held(program, asked) is not None:
            return False
        else:
            program.imported += 1
            program.codes[text] = Code(None if program.ttl is None else self.day + program.ttl)
        self.give(program, asked, text)
        return True

    def forget(self, profile: str, stranger: str) -> None:
        """The profile's codes are somebody's whom nobody knows."""
        for program in self.programs.values():
            for code in program.codes.values():
                code.profile = stranger if code.profile == profile else code.profile
            program.assignments = {key: text for key, text in program.assignments.items() if key[0] != profile}

    def archive(self, gone: set[UUID]) -> None:
        """The answers of these requests have left the database."""
        for program in self.programs.values():
            for text, code in program.codes.items():
                if code.request not in gone:
                    continue
                why = f"{text} of {program} has left, and is {code}"
                assert (code.again, code.has_own_end, code.reissues) == (set(), False, 0), why
                assert code.state in {"attached", "activated"}, why
                assert self.is_over(code), why
                code.was_used = code.state == "activated"
                code.state, code.profile = "archived", "gone"

    def _let_go(self, program: Program, text: str) -> None:
        """Nobody gets this code again."""
        program.assignments = {key: held for key, held in program.assignments.items() if held != text}

    def _is_everybodys(self, program: Program, text: str) -> bool:
        return program.assignments.get((EVERYBODY, "")) == text
