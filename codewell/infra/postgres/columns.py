"""Rows as the arrays that a statement takes: one parameter for each column."""

from collections.abc import Iterable, Sequence
from typing import Any


def columns_of(rows: Iterable[Sequence[object]], count: int) -> list[list[Any]]:
    """The columns of rows that have `count` each; as many empty ones if there is no row."""
    columns: list[list[Any]] = list(map(list, zip(*rows, strict=True)))
    return columns or [[] for _ in range(count)]
