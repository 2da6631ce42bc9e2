"""Moments that are random, and the same again when somebody looks for what happened."""

import os
import random
import secrets
import sys

VARIABLE = "CODEWELL_TEST_SEED"


def seeded() -> random.Random:
    """A source of chance. Its seed is in the test's output and may be given again in the environment."""
    seed = int(os.environ.get(VARIABLE) or secrets.randbelow(10**6))
    sys.stdout.write(f"{VARIABLE}={seed}\n")
    return random.Random(seed)
