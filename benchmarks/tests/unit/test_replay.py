"""An answer that differs from its first copy is found, whatever differs."""

import pytest

from benchmarks.replay import Given, check_copies, check_once
from codewell.errors import CodewellError

FIRST = Given({b"a": b"1", b"b": b"2"}, 1.0)


def test_true_copies_pass() -> None:
    check_copies(FIRST, Given(dict(reversed(FIRST.digests.items())), 2.0))
    check_once("run", FIRST.digests, 2, 2)


@pytest.mark.parametrize(
    "again",
    [{b"a": b"1", b"b": b"3"}, {b"a": b"1"}, {b"a": b"1", b"c": b"2"}, {b"a": b"1", b"b": b"2", b"c": b"3"}],
    ids=["other bytes", "lost", "other id", "one more"],
)
def test_anything_else_does_not(again: dict[bytes, bytes]) -> None:
    with pytest.raises(CodewellError, match="of 2 answers came back otherwise"):
        check_copies(FIRST, Given(again, 2.0))


@pytest.mark.parametrize(("events", "count"), [(3, 3), (3, 2), (2, 3)], ids=["twice", "twice, one lost", "lost"])
def test_each_request_has_one_answer(events: int, count: int) -> None:
    with pytest.raises(CodewellError, match="run has 2 answers"):
        check_once("run", FIRST.digests, events, count)
