"""The check of the stream: each thing that may be wrong with its records is found."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

import pytest

from tests.support.stream_consumer import StreamEvent, judge

_NAMESPACE: Final = UUID("c2a9d1f4-5b7e-4e0a-8f63-9d10b4a7e58c")
_GIVEN: Final[dict[str, Any]] = {"program_id": 2, "request_id": "r", "ordinal": 0, "again": False}


def event(
    offset: int, type_: str, *, epoch: int = 1, place: int | None = None, key: str = "2/1", **data: Any
) -> StreamEvent:
    """One of partition 0, at its offset in the log unless `place` says another one."""
    sequence = f"{epoch:08x}-{offset if place is None else place:016x}-{0:08x}"
    if type_ == "codes-epoch-started":
        data = {"epoch": epoch}
    return StreamEvent(
        0, offset, key, type_, sequence, str(uuid5(_NAMESPACE, sequence)), data, (key.encode(), repr(data).encode(), ())
    )


RIGHT: Final = (
    event(0, "codes-epoch-started"),
    event(1, "code-snapshot", **_GIVEN),
    event(2, "codes-epoch-ready"),
    event(3, "code-attached", **{**_GIVEN, "ordinal": 1}),
    event(4, "code-attached", place=3, **{**_GIVEN, "ordinal": 1}),
)


async def stream(events: Sequence[StreamEvent]) -> AsyncIterator[StreamEvent]:
    for one in events:
        yield one


async def test_a_stream_that_is_right_tells_what_was_given() -> None:
    read = await judge(stream(RIGHT))
    assert (read.wrong, read.copies, read.epochs) == ([], 1, 1)
    assert read.given == {(2, "r", 0): 1, (2, "r", 1): 1}


async def test_a_new_epoch_tells_it_anew() -> None:
    again = (
        event(5, "codes-epoch-started", epoch=2),
        event(6, "code-snapshot", epoch=2, **_GIVEN),
        event(7, "codes-epoch-ready", epoch=2),
    )
    read = await judge(stream((*RIGHT, *again)))
    assert (read.wrong, read.epochs, read.given) == ([], 2, {(2, "r", 0): 1})


@pytest.mark.parametrize(
    ("further", "says"),
    [
        (event(5, "code-deleted", place=3, program_id=2), "5 has the sequence of 3, and is another event"),
        (event(5, "code-deleted", place=2, program_id=2)._replace(sequence=f"{1:08x}-{2:016x}-{1:08x}"),
         "5 comes after a later event"),
        (event(5, "code-deleted", program_id=2)._replace(id="x"), "the id x is not that of"),
        (event(5, "code-deleted", program_id=2, key="3/1"), "the key 3/1 is not of the program 2"),
        (event(5, "code-deleted", epoch=2, program_id=2), "is in epoch 1"),
        (event(5, "code-snapshot", **_GIVEN), "after the snapshot was ready"),
        (event(5, "codes-epoch-started"), "epoch 1 begins after 1"),
        (event(5, "codes-epoch-started", epoch=2), "the snapshot of epoch 2 is not ready"),
        (event(5, "code-deleted", program_id=3, key="3/1"), "the program 3 is in another partition"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said(further: StreamEvent, says: str) -> None:
    partition_1 = [one._replace(partition=1) for one in RIGHT if not one.data.get("program_id")]
    read = await judge(stream((*RIGHT, further, *partition_1)))
    assert any(says in one for one in read.wrong), read.wrong


async def test_a_code_that_is_told_before_the_snapshot_is_ready_is_wrong() -> None:
    read = await judge(stream((RIGHT[0], RIGHT[3], *RIGHT[2:3])))
    assert any("before the snapshot was ready" in one for one in read.wrong), read.wrong
