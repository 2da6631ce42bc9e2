"""What people change about a program. What its template does not bear is refused, and changes nothing."""

from typing import Any

from tests.integration.model.model import Program
from tests.integration.model.steps import TEMPLATES, Steps


class Changes(Steps):
    """Each by its name, with what is drawn for it."""

    def change_switch(self, program: Program, source: str) -> None:
        on = not getattr(program, source)
        if self.run(self.world.update(program.name, **{f"{source}_can_create": on})):
            setattr(program, source, on)

    def change_fallback(self, program: Program, names: list[str]) -> None:
        others = [name for name in names if name != program.name]
        expected = self.model.may_fall_back(program, others)
        assert self.run(self.world.fall_back(program.name, others)) == expected, (program, others)
        if expected:
            program.fallback = tuple(others)

    def change_active(self, program: Program) -> None:
        self.run(self.world.set_active(program.name, not program.active))
        program.active = not program.active

    def change_maximum(self, program: Program, maximum: int, mark: int) -> None:
        maximum = max(maximum, program.made + program.imported)
        mark = min(mark, maximum)
        if self.run(self.world.update(program.name, codes_max=maximum, pool_max=mark)):
            program.codes_max, program.pool_max = maximum, mark

    def change_template(self, program: Program) -> None:
        template = {"kind": "template", "template": TEMPLATES[program.versions % 2]}
        if program.kind == "template":
            program.versions += self.run(self.world.update(program.name, source=template))

    def change_who_gets_codes_again(self, program: Program, reuse: Any, shared: bool) -> None:
        shared = shared or program.shared
        if self.run(self.world.update(program.name, reuse=reuse, shared=shared)):
            program.reuse, program.shared = reuse, shared

    def change_period(self, program: Program, begins: int | None, lasts: int | None) -> None:
        if begins is not None and lasts == 0:
            return
        end = None if lasts is None else lasts + (begins or 0)
        changes = {"valid_from": self.moment(begins), "valid_until": self.moment(end)}
        if self.run(self.world.update(program.name, **changes)):
            program.begins = None if begins is None else self.model.day + begins
            program.ends = None if end is None else self.model.day + end
