"""Profiles: written, read, and taken in from files."""

import io

import pytest

from codewell.errors import ProfileRefused, ProfileUnknown
from codewell.infra.postgres.connection import Connection
from codewell.profiles import csv_import, profiles
from codewell.profiles.csv_import import RefusedRow, import_profiles


async def test_all_fields_are_written_at_once(connection: Connection) -> None:
    await profiles.put(connection, {"p-1": {"email": "a", "name": "Ünïcode 🎁"}, "p/2": {}})
    first = await profiles.get(connection, "p-1")
    assert first.fields == {"email": "a", "name": "Ünïcode 🎁"}
    await profiles.put(connection, {"p-1": {"age": "7"}})
    second = await profiles.get(connection, "p-1")
    assert (second.fields, second.profile_id) == ({"age": "7"}, "p-1")
    assert second.changed_at > first.changed_at
    assert (await profiles.get(connection, "p/2")).fields == {}
    with pytest.raises(ProfileUnknown):
        await profiles.get(connection, "p-3")


async def imported(connection: Connection, text: str) -> csv_import.ImportedProfiles:
    told: list[int] = []
    return await import_profiles(connection, io.StringIO(text, newline=""), told.append)


async def test_a_file_is_taken_in_row_by_row(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_import, "_BATCH_SIZE", 2)
    text = (
        'email,profile_id,name\r\na@x,p-1,"A, ""B""\r\nC"\r\n,p-2,\r\n\r\nx,,y\r\nx,p-3\r\n'
        f'{"x" * 2_001},p-4,\r\nx,"p\n5",y\r\nsecond,p-2,\r\nlast,p-6,\r\n'
    )

    done = await imported(connection, text)

    assert (done.written, done.refused) == (4, 4)
    assert [one.line for one in done.first] == [6, 7, 8, 10]
    assert "profile id" in done.first[0].why
    assert done.first[1] == RefusedRow(7, "It has 2 cells and the first line has 3.")
    assert done.first[2].why.startswith("email: ")
    found = {row["profile_id"]: row["fields"] for row in await connection.fetch("SELECT * FROM profile")}
    assert found.keys() == {"p-1", "p-2", "p-6"}
    assert (await profiles.get(connection, "p-1")).fields == {"email": "a@x", "name": 'A, "B"\r\nC'}
    assert (await profiles.get(connection, "p-2")).fields == {"email": "second"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first line"),
        ("email\r\n", "first line"),
        ("profile_id,profile_id\r\n", "first line"),
        ("profile_id,a,a\r\n", "first line"),
        ("profile_id,two words\r\n", "two words"),
        ("profile_id," + ",".join(f"f{n}" for n in range(65)) + "\r\n", "a profile may have 64"),
        ('profile_id,a\r\np-1,"x\r\n', "Line 2"),
    ],
)
async def test_a_file_that_is_none(connection: Connection, text: str, says: str) -> None:
    with pytest.raises(ProfileRefused, match=says):
        await imported(connection, text)


async def test_a_profile_has_64_fields_at_most(connection: Connection) -> None:
    names = [f"f{n}" for n in range(64)]
    done = await imported(connection, f"profile_id,{','.join(names)}\r\np-1{',x' * 64}\r\n")
    assert done.written == 1
    assert len((await profiles.get(connection, "p-1")).fields) == 64


async def test_a_file_that_is_not_utf_8(connection: Connection) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"profile_id,name\r\np-1,\xff\r\n"), encoding="utf-8-sig", newline="")
    with pytest.raises(ProfileRefused, match="not UTF-8"):
        await import_profiles(connection, lines, lambda _: None)
