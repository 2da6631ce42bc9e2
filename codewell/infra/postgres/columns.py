"""Rows as the arrays that a statement takes: one parameter for each column."""

from collections.abc import Sequence
from typing import Any


def columns_of(rows: Sequence[Sequence[object]], count: int) -> list[list[Any]]:
    """The columns of rows that have `count` each; as many empty ones if there is no row."""
    return [[row[column] for row in rows] for column in range(count)]
