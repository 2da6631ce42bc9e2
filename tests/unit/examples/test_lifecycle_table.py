"""The table of the example that reads the stream, beside the product's own fold of the same events."""

import importlib.util
import sqlite3
from datetime import datetime
from pathlib import Path
from types import ModuleType

from codewell.lifecycle.fold import Fold
from codewell.lifecycle.fold_store import FoldStore
from codewell.lifecycle.spans import overlaid
from schemas import lifecycle as types
from tests.support.documented import ROOT
from tests.support.seeded_random import seeded
from tests.unit.lifecycle.some_events import PROGRAM, SomeEvents

PARTITION = PROGRAM % types.PARTITIONS


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("table", ROOT / "examples" / "lifecycle" / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def moment(written: str | None) -> int | None:
    return None if written is None else round(datetime.fromisoformat(written).timestamp() * 1_000_000)


def test_it_and_the_fold_agree_on_every_code(tmp_path: Path) -> None:
    module, chance = example(), seeded()
    for number in range(60):
        some = SomeEvents(chance)
        table = sqlite3.connect(":memory:")
        table.executescript(module.TABLES)
        (tmp_path / str(number)).mkdir()
        with FoldStore(tmp_path / str(number)) as store:
            fold = Fold(store)
            for at, (kind, data) in enumerate(some.events(80)):
                fold.take(str(at), kind, data, PARTITION)
                module.take(table, kind.split(".")[2], dict(data), PARTITION, types.PARTITIONS)
            assert fold.breaches == []
            folded = {
                (f"{span.listed}:{span.major}", code): span.state
                for span in overlaid(store.spans())
                for code in range(span.first, span.end)
            }
        rows = {
            (row[0], row[1]): row[2:] for row in table.execute("SELECT run, number, state, expires_at, uses FROM code")
        }
        assert {at: state.state for at, state in folded.items()} == {
            at: {"gone": "deleted", "voided": "deleted", "deleted": "deleted_attached"}.get(state, state)
            for at, state in some.states.items()
        }
        assert {at: "deleted" if row[0] == "voided" else row[0] for at, row in rows.items()} == {
            at: "deleted" if state.state == "deleted_attached" else state.state for at, state in folded.items()
        }
        alive = {at: state for at, state in folded.items() if state.state in {"pooled", "attached"}}
        assert {at: (moment(rows[at][1]), rows[at][2]) for at in alive} == {
            at: (state.expires_at, state.uses) for at, state in alive.items()
        }
        module.take(table, "codes-epoch-started", {"epoch": 2}, PARTITION, types.PARTITIONS)
        assert not table.execute("SELECT * FROM code").fetchall()
        table.close()
