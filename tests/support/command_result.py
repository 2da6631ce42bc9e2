"""How a command of `codewell` ended, and what it said."""

import json
import re
from typing import Any, NamedTuple

# What a service says on standard error is its log, and what a person reads is not.
_SENTENCE = re.compile(r"Error: [^\n]+[.?]\n")


class Said(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed, as one JSON object a line."""
        found = [json.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(one, dict) for one in found), self
        return found

    def is_done(self) -> "Said":
        """Fail unless the command did what it was asked to, and complained of nothing."""
        assert self.status == 0, self
        assert not self.err, self
        return self

    def is_refused(self, *words: str) -> None:
        """Fail unless it was refused in one clear sentence that has these words."""
        assert self.status == 1, self
        assert not self.out, self
        assert _SENTENCE.fullmatch(self.err), self
        assert all(word in self.err for word in words), self

    def is_aborted(self, question: str) -> None:
        """Fail unless it asked this and did nothing, as the answer was no."""
        assert self.status == 1, self
        assert not self.out.strip(), self
        assert question in self.err, self
        assert self.err.endswith("Aborted!\n"), self

    def is_wrong_usage(self, *words: str) -> None:
        """Fail unless the words of the command were not understood."""
        assert self.status == 2, self
        assert not self.out, self
        assert self.err.startswith("Usage: codewell"), self
        assert "Traceback" not in self.err
        assert all(word in self.err for word in words), self
