"""The machine, on a database of its own.

CODEWELL_MODEL_EXAMPLES makes a long run, and CODEWELL_TEST_SEED repeats one, but for what happens at the same time.
A failing run prints its steps as they were; CODEWELL_MODEL_SHRINK=1 looks for fewer, which takes up to five minutes.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.model.machine import Machine
from tests.integration.model.world import Keys, World
from tests.support.seeded_random import seeded

EXAMPLES = int(os.environ.get("CODEWELL_MODEL_EXAMPLES", "30"))
STEPS = 30
SHRINKS = os.environ.get("CODEWELL_MODEL_SHRINK") == "1"
# Many times what an example takes, and what Hypothesis may take to read all modules, and to make a failing run short.
EXAMPLE_S, READING_S, SHRINKING_S = 5, 120, 600 if SHRINKS else 0


@pytest.mark.timeout(EXAMPLES * EXAMPLE_S + READING_S + SHRINKING_S)
def test_programs_keep_their_promises_whatever_happens_to_them(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys()
    monkeypatch.setattr("codewell.programs.template_versions.secrets", SimpleNamespace(token_bytes=keys.token_bytes))
    # No console is there that remembers texts, so nobody is waited for until he has forgotten.
    monkeypatch.setattr("codewell.codes.possible_texts._WAIT_S", 0.0)
    with World(database_url, tmp_path, keys) as world:
        Machine.world = world
        run_state_machine_as_test(
            seed(seeded().getrandbits(64))(Machine),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
                phases=[Phase.generate, *([Phase.shrink, Phase.explain] if SHRINKS else [])],
            ),
        )
