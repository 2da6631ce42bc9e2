"""Random moments that a seed reproduces for debugging."""

import os
import random
import secrets
import sys

VARIABLE = "CODEWELL_TEST_SEED"


def seeded() -> random.Random:
    """A random generator. Its seed is in the test's output and can be set in the environment."""
    seed = int(os.environ.get(VARIABLE) or secrets.randbelow(10**6))
    sys.stdout.write(f"{VARIABLE}={seed}\n")
    return random.Random(seed)
