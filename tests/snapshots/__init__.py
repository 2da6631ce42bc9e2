"""What the outside sees of Codewell, as text files in `data/`: a restructuring that changes none of them is safe.

`python -m tests.snapshots` writes them all anew. `tests/unit/test_outside.py` and
`tests/integration/store/test_outside.py` compare them with the code. A difference is either a mistake, or a change
that users notice and that the commit has to name.

The JSON Schemas of the events are not here: `schemas/json/` holds them, and `tests/unit/test_generated.py` compares.
"""
