"""The patterns that texts match, each with the words that people read in its place.

A pattern is the machine's half: it goes into JSON Schemas and the OpenAPI document. A refusal says the words, which
follow the name of the field. A new pattern gets its line in WORDS.
"""

from typing import Final

# No legitimate system has control characters in an id, and Postgres can't store NUL.
ID: Final = r"^[^\x00-\x1f\x7f]{1,256}$"
ORDER_ID: Final = r"^[^\x00-\x1f\x7f]{1,200}$"
# A short name within a longer text.
NAME: Final = r"[A-Za-z0-9_]{1,64}"
SHORT_NAME: Final = f"^{NAME}$"
SHORT_NAMES: Final = f"^{NAME}(,{NAME}){{0,63}}$"
TEXT: Final = r"^[^\x00]*$"
WEB_URL: Final = r"^https?://[^\s\x00-\x1f\x7f]+$"
LINE: Final = r"^[^\x00-\x1f\x7f]*$"
EMAIL_ADDRESS: Final = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,185}[A-Za-z0-9])?$"
COLUMN: Final = r"^[^\x00]{1,1000}$"
SHEET: Final = r"^[^\x00]{1,200}$"
ENCODING: Final = r"^[A-Za-z0-9_.-]{1,40}$"
BOOTSTRAP: Final = r"^[^\s,]+:\d{1,5}(,\s*[^\s,]+:\d{1,5})*$"
HOST: Final = r"^\S+$"
HTTP_ENDPOINT: Final = r"^https?://\S+$"
TOPIC_PREFIX: Final = r"^[A-Za-z0-9._-]{0,100}$"
TIME_ZONE: Final = r"^[A-Za-z0-9_+/-]{1,60}$"
IDEMPOTENCY_KEY: Final = r"^[!-~]+$"
IF_MATCH: Final = r'^(\*|(W/)?"[!#-~]*"(\s*,\s*(W/)?"[!#-~]*")*)$'
# A dead letter: the topic of its event, partition and offset, as lists write it: letters are chosen by this text.
LETTER_PLACE: Final = r"^(message-render|scenario-step|delivery|orders):(0|[1-9][0-9]{0,8}):(0|[1-9][0-9]{0,17})$"
# A code within its program (`CodePlace`), that without the last number, and an HMAC of a profile's id.
PLACE: Final = r"^[01]:[0-9]{1,19}:[0-9]{1,19}$"
RUN: Final = r"^[01]:[0-9]{1,19}$"
PSEUDONYM: Final = r"^[0-9a-f]{32}$"
VERB: Final = r"^[a-z]+(\.[a-z_]+)?$"
UUID: Final = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
TOKEN_NAME: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"  # noqa: S105  a pattern

WORDS: Final = {
    ID: "must have 1 to 256 characters, none of them a control character",
    ORDER_ID: "must have 1 to 200 characters, none of them a control character",
    SHORT_NAME: "must be a short name: 1 to 64 letters, digits and _, without spaces",
    SHORT_NAMES: "must be 1 to 64 short names, separated by commas: letters, digits and _, without spaces",
    TEXT: "must not contain the character NUL",
    WEB_URL: "must be a URL such as https://codes.example.com/orders",
    LINE: "must be one line, without control characters",
    EMAIL_ADDRESS: "must be an e-mail address such as ops@example.com",
    COLUMN: "must be a column's name of 1 to 1,000 characters, or its number from 1",
    SHEET: "must be a sheet's name of 1 to 200 characters",
    ENCODING: "must be the name of an encoding, such as utf-8 or windows-1252",
    BOOTSTRAP: "must be brokers as host:port, separated by commas",
    HOST: "must be a host such as mail.example.com",
    HTTP_ENDPOINT: "must be a URL such as http://127.0.0.1:4318",
    TOPIC_PREFIX: "may have at most 100 letters, digits, ., _ and -",
    TIME_ZONE: "must be a time zone such as UTC or Europe/Berlin",
    IDEMPOTENCY_KEY: "must be visible ASCII characters, such as a UUID",
    IF_MATCH: "must be the ETag of an answer with its quotes, several of them separated by commas, or *",
    LETTER_PLACE: "must be a dead letter's place such as message-render:0:17, as lists of dead letters give it",
    PLACE: "must be a code's place such as 0:1:4711, as lists and the audit log print it",
    RUN: "must be a code's place without its last number, such as 0:1",
    PSEUDONYM: "must be 32 hexadecimal digits",
    VERB: "must be an action such as program.update, or its first part such as program",
    UUID: "must be a UUID such as 0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    TOKEN_NAME: "must be 1 to 64 letters, digits, _, . and -, beginning with a letter",
}
