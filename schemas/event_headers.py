"""The Kafka headers of events, as JSON Schemas. Each is text in UTF-8 unless it says otherwise."""

from typing import Any, Final

STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json"
JSON_CONTENT_TYPE: Final = "application/json"

Header = dict[str, Any]


def text(description: str, **more: object) -> Header:
    """A header that holds any text."""
    return {"type": "string", "description": description, **more}


def attributes(event_type: str, id_description: str) -> dict[str, Header]:
    """The required attributes of a CloudEvent in binary mode."""
    return {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": text(id_description, format="uuid"),
        "ce_source": text("Who publishes it, as a URI reference."),
        "ce_type": {"type": "string", "const": event_type},
    }


# Optional attributes and extensions of requests.
REQUEST_ATTRIBUTES: Final[dict[str, Header]] = {
    "content-type": text("The content type of the value.", default=JSON_CONTENT_TYPE),
    "ce_time": text("When it happened. It decides nothing.", format="date-time"),
    "ce_expirytime": text("The deadline, where the data has none.", format="date-time"),
    "ce_partitionkey": text("Given back in the answer. The record's key decides the partition."),
    "ce_correlationid": text("Given back in the answer."),
    "ce_causationid": text("The event that caused this one. The answer's is the request's id."),
}
REPLY_OPTIONS: Final[dict[str, Header]] = {
    "kafka_correlationId": text("Any bytes, at most 4 KiB, given back in the answer. The request's id is a good one."),
    "kafka_replyTopic": text(
        "The topic for the answer, one of CODEWELL_REPLY_TOPICS. Without it, the answer goes to the shared reply topic."
    ),
    "kafka_replyPartition": text(
        "The partition of kafka_replyTopic for the answer: a number of 4 bytes, big endian. Without it, the answer has "
        "the request's partition number, modulo the topic's number of partitions."
    ),
}
# What an answer has beside its required attributes.
ANSWER_ATTRIBUTES: Final[dict[str, Header]] = {
    "content-type": {"type": "string", "const": JSON_CONTENT_TYPE},
    "ce_time": text("When the request was decided; the same in each copy.", format="date-time"),
    "ce_dataschema": text("The URI of the data's JSON Schema, its $id in schemas/json/.", format="uri"),
    "ce_partitionkey": text("From the request."),
    "ce_expirytime": text("From the request.", format="date-time"),
    "ce_correlationid": text("From the request."),
    "ce_causationid": text("The request's id, where the request has ce_correlationid or ce_causationid."),
    "kafka_correlationId": text("The bytes of the request's header."),
}
# What an event of the stream of codes has beside its required attributes.
LIFECYCLE_ATTRIBUTES: Final[dict[str, Header]] = {
    "content-type": {"type": "string", "const": JSON_CONTENT_TYPE},
    "ce_time": text("When it was committed.", format="date-time"),
    "ce_sequence": text(
        "The place in the stream, over all partitions: epoch, place in the database's log, number within the commit. "
        "Compare it as text.",
        pattern="^[0-9A-F]{8}-[0-9A-F]{16}-[0-9A-F]{8}$",
    ),
    "ce_dataschema": text("The URI of the data's JSON Schema, its $id in schemas/json/.", format="uri"),
}
# Codewell writes these into a request that waits, or that is replayed; from others they are ignored.
RETRY: Final[dict[str, Header]] = {
    "codewell_attempt": text("The number of retries so far.", pattern="^[0-9]+$"),
    "codewell_first_at": text("When the request arrived.", format="date-time"),
    "codewell_give_up_at": text("When it is refused, if it still waits for a remote service.", format="date-time"),
    "codewell_waits_since": text("When its wait for a remote service began.", format="date-time"),
}
DEAD_LETTER: Final[dict[str, Header]] = {
    "codewell_reason": text("Why it is a dead letter."),
    "codewell_detail": text("The same as a sentence for a person."),
    "codewell_topic": text("Where the record came from."),
    "codewell_partition": text("Its partition.", pattern="^[0-9]+$"),
    "codewell_offset": text("Its offset.", pattern="^[0-9]+$"),
    "codewell_time": text("When it was found unreadable.", format="date-time"),
}
REPLAYED: Final[dict[str, Header]] = {
    "codewell_replays": text("How often it was replayed.", pattern="^[0-9]+$"),
    "codewell_replay_of": text("The place of the dead letter that it was."),
}
