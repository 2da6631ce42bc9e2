"""The requests of a mixed backlog: a tenth refused, a tenth for two programs, evenly over the programs."""

from collections import Counter

import pytest

from benchmarks.mixed import wanted


@pytest.mark.parametrize("program_count", [1_000, 10])
def test_a_tenth_is_refused_and_a_tenth_is_for_two_programs(program_count: int) -> None:
    asked = [wanted("M", number, program_count) for number in range(2_000)]

    assert sum(names == ["M_ended"] for names in asked) == 200
    assert sum(len(names) == 2 and len(set(names)) == 2 for names in asked) == 200
    codes = Counter(name for names in asked for name in names if name != "M_ended")
    assert len(codes) == program_count
    assert set(codes.values()) == {2_000 // program_count}
