"""A test request to a remote service: what is sent, what comes back, and whether it is as agreed."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from schemas.events import ShortName
from schemas.program import FIELDS_MAX, REQUEST_MAX_LIMIT, Text
from schemas.service_url import ServiceUrl
from schemas.strict_model import Contradictions, StrictModel

TEST_CODES_MAX: Final = 10
BODY_CHARACTERS_MAX: Final = 20_000

TestCount = Annotated[
    int, Field(ge=1, le=TEST_CODES_MAX, description="The number of codes to ask for; they are not kept.")
]


class RemoteTestOfProgram(StrictModel):
    """A test request to the remote service of a program, signed with the program's secrets."""

    count: TestCount = 1
    fields: dict[ShortName, Text] = Field({}, max_length=FIELDS_MAX)


class RemoteTestOfUrl(RemoteTestOfProgram):
    """A test request to a service that no program has yet, signed with a secret that is made for it and answered."""

    url: ServiceUrl
    request_max: Annotated[int, Field(ge=1, le=REQUEST_MAX_LIMIT)] = 500
    program: ShortName = "TEST"

    @model_validator(mode="after")
    def _asks_for_no_more_than_the_program_may(self) -> Self:
        if self.count > self.request_max:
            raise Contradictions([("count", "count must not be more than request_max")])
        return self


class SentRequest(StrictModel):
    """What was sent, signature headers included."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


class TestedAnswer(StrictModel):
    """What came back. `body` is the answer as text, up to 20,000 characters; `cut`: there was more."""

    status: int
    headers: dict[str, str]
    body: str
    cut: bool


class TestVerdict(StrictModel):
    """Whether the answer is as agreed. `field`: the path of the first wrong field, where it is one."""

    accepted: bool
    field: str | None
    detail: str


class RemoteTestResult(StrictModel):
    """A test request and its outcome. `answer` null: none came. `secret`: the one made for this test."""

    request: SentRequest
    secret: str | None
    answer: TestedAnswer | None
    took_s: float
    verdict: TestVerdict
