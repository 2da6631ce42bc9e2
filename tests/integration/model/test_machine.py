"""The machine, on a database of its own. CODEWELL_MODEL_EXAMPLES makes a long run, CODEWELL_MODEL_SEED repeats one."""

import os
import secrets
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.model.machine import Machine
from tests.integration.model.world import Keys, World

EXAMPLES = int(os.environ.get("CODEWELL_MODEL_EXAMPLES", "30"))
SEED = int(os.environ.get("CODEWELL_MODEL_SEED") or secrets.randbits(32))
STEPS = 30
# Many times what an example takes, and for what Hypothesis may take to make a failing one short.
EXAMPLE_S, SHRINKING_S = 5, 600


@pytest.mark.timeout(EXAMPLES * EXAMPLE_S + SHRINKING_S)
def test_programs_keep_their_promises_whatever_happens_to_them(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys()
    monkeypatch.setattr("services.store.versions.secrets", SimpleNamespace(token_bytes=keys.token_bytes))
    # No console is there that remembers texts, so nobody is waited for until he has forgotten.
    monkeypatch.setattr("services.store.foreign._WAIT_S", 0.0)
    print(f"CODEWELL_MODEL_SEED={SEED} CODEWELL_MODEL_EXAMPLES={EXAMPLES}")  # noqa: T201  shown where the test fails
    with World(database_url, tmp_path, keys) as world:
        Machine.world = world
        run_state_machine_as_test(
            seed(SEED)(Machine),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            ),
        )
