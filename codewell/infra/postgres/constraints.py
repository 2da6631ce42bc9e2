"""Tells which constraint an error of Postgres is about."""

import asyncpg


def violates(error: asyncpg.PostgresError, constraint: str) -> bool:
    """Whether the error is about this constraint, or that of a part of its table, whose name begins with it."""
    return str(getattr(error, "constraint_name", None) or "").startswith(constraint)
