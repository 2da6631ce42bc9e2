"""The result of a `codewell` command: exit status and output."""

import json
import re
from typing import Any, NamedTuple

# A service's standard error is its log; a command's is a message to a person.
_SENTENCE = re.compile(r"Error: [^\n]+[.?]\n")


class Said(NamedTuple):
    """The result of a command."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Its output, as one JSON object a line."""
        found = [json.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(one, dict) for one in found), self
        return found

    def is_done(self) -> "Said":
        """Fail unless the command succeeded without complaints."""
        assert self.status == 0, self
        assert not self.err, self
        return self

    def is_refused(self, *words: str) -> None:
        """Fail unless it was refused with one clear sentence that contains these words."""
        assert self.status == 1, self
        assert not self.out, self
        assert _SENTENCE.fullmatch(self.err), self
        assert all(word in self.err for word in words), self

    def is_aborted(self, question: str) -> None:
        """Fail unless it prompted with this question and changed nothing after the answer "no"."""
        assert self.status == 1, self
        assert not self.out.strip(), self
        assert question in self.err, self
        assert self.err.endswith("Aborted!\n"), self

    def is_wrong_usage(self, *words: str) -> None:
        """Fail unless the command line was rejected as wrong usage."""
        assert self.status == 2, self
        assert not self.out, self
        assert self.err.startswith("Usage: codewell"), self
        assert "Traceback" not in self.err
        assert all(word in self.err for word in words), self
