"""Keeps a table of all codes in SQLite, from the events of `code-lifecycle` alone: python table.py codes.sqlite."""

import asyncio
import json
import os
import sqlite3
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

TOPIC = os.environ.get("LIFECYCLE_TOPIC", "code-lifecycle")
TABLES = """
    CREATE TABLE IF NOT EXISTS code (program_id, run, number, state, profile, expires_at, uses,
                                     PRIMARY KEY (program_id, run, number));
    CREATE TABLE IF NOT EXISTS reading (partition PRIMARY KEY, next_offset, sequence);
"""
CHANGE = """
    UPDATE code SET {} WHERE program_id = :program_id AND run = :run AND number >= :first AND number < :first + :count
    AND state LIKE :those
"""
TILL = ("%", "uses = :uses")
# By kind of event: codes of which state it changes (% for any), and how.
CHANGES = {
    "codes-changed": ("pooled", "expires_at = :expires_at"),
    "codes-deleted": ("pooled", "state = 'voided'"),
    "codes-restored": ("voided", "state = 'pooled'"),
    "codes-withdrawn": ("pooled", "state = 'withdrawn'"),
    "codes-moved": ("pooled", "run = :new_run, number = number - :first + :new_first"),
    "code-snapshot": ("%", "state = :state, profile = :profile, expires_at = :expires_at, uses = :uses"),
    "code-attached": ("pooled", "state = 'attached', profile = :profile, expires_at = :expires_at"),
    "code-held": TILL,
    "code-released": TILL,
    "code-activated": TILL,
    "code-deactivated": TILL,
    "code-returned": ("%", "state = 'moved'"),
    "code-changed": ("%", "expires_at = :expires_at, state = iif(:new_place IS NULL, state, 'moved')"),
    "code-deleted": ("%", "state = 'deleted'"),
    "code-restored": ("%", "state = 'attached'"),
}


def take(table: sqlite3.Connection, kind: str, data: dict[str, Any], partition: int, partitions: int) -> None:
    """Do to the table what one event says. A single code is a range of one."""
    if kind == "codes-epoch-started":
        table.execute("DELETE FROM code WHERE program_id % ? = ?", (partitions, partition))
    if "place" in data:
        data |= range_of(data["place"])
    if kind in CHANGES:
        those, change = CHANGES[kind]
        table.execute(CHANGE.format(change), {**data, "those": those})
    if kind in {"codes-made", "codes-imported", "codes-snapshot"}:
        add(table, data)
    elif kind in {"code-returned", "code-changed"} and data["new_place"]:
        add(table, data | range_of(data["new_place"]))


def add(table: sqlite3.Connection, codes: dict[str, Any]) -> None:
    """Add a row for each code of a range."""
    program_id, run, first, state = codes["program_id"], codes["run"], codes["first"], codes.get("state", "pooled")
    rows = ((program_id, run, first + n, state, None, codes["expires_at"], 0) for n in range(codes["count"]))
    table.executemany("INSERT INTO code VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def range_of(place: str) -> dict[str, Any]:
    """A place as the range of one code."""
    run, _, number = place.rpartition(":")
    return {"run": run, "first": int(number), "count": 1}


async def main(path: str) -> None:
    """Read on from where the table is to the present end, and commit each batch with its offset."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092")
    table = sqlite3.connect(path)
    table.executescript(TABLES)
    known = {number: (offset, sequence) for number, offset, sequence in table.execute("SELECT * FROM reading")}
    # Without a group: it reads all partitions.
    async with AIOKafkaConsumer(TOPIC, bootstrap_servers=bootstrap, isolation_level="read_committed") as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        for partition in ends:
            consumer.seek(partition, known.get(partition.partition, (0, ""))[0])
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                number = partition.partition
                sequence = known.get(number, (0, ""))[1]
                for record in records:
                    headers = {name: value.decode() for name, value in record.headers}
                    # A crash of the writer may leave copies, which have the same sequence.
                    if headers["ce_sequence"] > sequence:
                        sequence = headers["ce_sequence"]
                        kind = headers["ce_type"].split(".")[2]
                        take(table, kind, json.loads(record.value), number, len(ends))
                known[number] = (records[-1].offset + 1, sequence)
                with table:
                    table.execute("REPLACE INTO reading VALUES (?, ?, ?)", (number, *known[number]))
    for state, codes in table.execute("SELECT state, count(*) FROM code GROUP BY state ORDER BY state"):
        print(f"{codes} {state}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python table.py FILE")
    try:
        asyncio.run(main(sys.argv[1]))
    except KafkaError as error:
        sys.exit(str(error))
