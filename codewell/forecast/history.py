"""What programs gave by the hour: kept as one row a day, and read for many programs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from codewell.forecast.demand import HISTORY_H, Floats, History
from codewell.infra.postgres.connection import Connection

DAYS: Final = HISTORY_H // 24
# A week more, which says whether a program that gave nothing at the begin of those days is older than they are.
_KEPT_DAYS: Final = DAYS + 7
# An hour is whole once the workers' last reports of it are written.
_REPORTS: Final = timedelta(seconds=30)
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
# Of generators one keeps the days. Unique among all advisory locks.
_LOCK: Final = (0x636F6465, 39)

_NUMBER: Final = "sum(CASE outcome WHEN 'attached' THEN number ELSE -number END)"
_INTEGER_MAX: Final = 2**31 - 1
_OF_HOUR: Final = _NUMBER + " FILTER (WHERE hour = $1::timestamptz + interval '{hour} h')"
_OF_DAY: Final = ", ".join(
    f"least(coalesce({_OF_HOUR.format(hour=hour)}, 0), {_INTEGER_MAX})::integer" for hour in range(24)
)
_KEEP: Final = f"""
    INSERT INTO demand_day AS d (program_id, day, hours)
    SELECT program_id, $1::timestamptz, ARRAY[{_OF_DAY}] FROM usage_hour
    WHERE hour >= $1 AND hour < $2 AND outcome IN ('attached', 'returned') GROUP BY program_id ORDER BY program_id
    ON CONFLICT (program_id, day) DO UPDATE SET hours = excluded.hours
    """  # noqa: S608  constants
_DONE: Final = """
    INSERT INTO demand_done (until) VALUES ($1) ON CONFLICT (one) DO UPDATE SET until = excluded.until
    """
_DELETE: Final = "DELETE FROM demand_day WHERE day < $1"
_DELETE_ALL: Final = "DELETE FROM demand_day"

_NOW: Final = "SELECT statement_timestamp() AS now, (SELECT until FROM demand_done) AS until"
# The days of a program as one text: of each its place, and its numbers in the format that arrays have on the wire.
_DAYS: Final = """
    SELECT program_id,
           string_agg(int4send((extract(epoch FROM day - $2) / 86400)::integer) || array_send(hours), '') AS days
    FROM demand_day WHERE program_id = ANY ($1::bigint[]) AND day >= $2 AND day < $3 GROUP BY program_id
    """
_OLDER: Final = """
    SELECT DISTINCT program_id FROM demand_day
    WHERE program_id = ANY ($1::bigint[]) AND day < $2 AND day >= $2::timestamptz - $3::interval
    """
_LATER: Final = f"""
    SELECT program_id, hour, {_NUMBER}::float8 AS number FROM usage_hour
    WHERE program_id = ANY ($1::bigint[]) AND hour >= $2 AND hour >= $3 AND outcome IN ('attached', 'returned')
    GROUP BY program_id, hour
    """  # noqa: S608  constants
# Five numbers say that it is an array of so many integers; then each comes after its length.
_DAY_OF_WIRE: Final = np.dtype([("place", ">i4"), ("header", ">i4", 5), ("hours", ">i4", (24, 2))])


async def keep(connection: Connection) -> bool:
    """Add the hours that have become whole, and delete days that are too old. False: there was nothing to do.

    Each day is a transaction, so what is interrupted goes on there. Raises what asyncpg raises.
    """
    done = False
    while True:
        async with connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", *_LOCK):
                return done
            now, until = await connection.fetchrow(_NOW)
            oldest, end = _day(now) - _KEPT_DAYS * _DAY, _hour(now - _REPORTS)
            if until is not None and until > _hour(now):
                # The clock was ahead: days of the future were added, and others deleted that are not too old.
                await connection.execute(_DELETE_ALL)
                until = None
            if until is not None and until >= end:
                return done
            day = oldest if until is None else max(oldest, _day(until))
            if until == day and not done:
                # The last hours of the day before, of which a report may have come late.
                await connection.execute(_KEEP, day - _DAY, day)
            stop = min(day + _DAY, end)
            await connection.execute(_KEEP, day, stop)
            await connection.execute(_DONE, stop)
            await connection.execute(_DELETE, oldest)
            done = True


async def read(connection: Connection, program_ids: Sequence[int]) -> tuple[datetime, History]:
    """The database's time, and the history of these programs in this order. Raises what asyncpg raises."""
    now, until = await connection.fetchrow(_NOW)
    hour = _hour(now)
    begin = hour - HISTORY_H * _HOUR
    first_day = _day(begin)
    place = {id_: row for row, id_ in enumerate(program_ids)}
    # From the begin of a day to the end of the hour that has begun.
    length = int((hour - first_day) / _HOUR) + 1
    hours = np.zeros((len(program_ids), -(-length // 24) * 24))
    until = first_day if until is None else min(max(until, first_day), hour)
    await _read_days(connection, program_ids, place, first_day, until, hours)
    for row in await connection.fetch(_LATER, program_ids, until, first_day):
        at = int((row["hour"] - first_day) / _HOUR)
        if at < length:
            hours[place[row["program_id"]], at] = row["number"]
    older = {row["program_id"] for row in await connection.fetch(_OLDER, program_ids, first_day, 7 * _DAY)}
    first = length - 1 - HISTORY_H
    is_older = np.array([id_ in older for id_ in program_ids], bool) | hours[:, :first].any(axis=1)
    elapsed = min((now - hour) / _HOUR, 0.999)
    return now, History(hours[:, first : length - 1], hours[:, length - 1], elapsed, is_older)


async def _read_days(
    connection: Connection, program_ids: Sequence[int], place: dict[int, int], first_day: datetime, until: datetime,
    hours: Floats,
) -> None:  # fmt: skip
    found = await connection.fetch(_DAYS, program_ids, first_day, until)
    for row in found:
        days = np.frombuffer(row["days"], _DAY_OF_WIRE)
        hours[place[row["program_id"]]].reshape(-1, 24)[days["place"]] = days["hours"][:, :, 1]


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
