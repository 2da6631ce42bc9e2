"""Every topic as the contract has it."""

import json

from schemas.topics import TOPICS, dead_letters_of, reply_to, retry_of


def files() -> dict[str, str]:
    """The topics in the order in which they are made, one line each, and how names are derived."""
    lines = [
        f"{topic.name} | key: {topic.key} | events: {', '.join(topic.types) or '-'} | partitions: {topic.partitions}"
        f" | config: {json.dumps(dict(topic.config), sort_keys=True)}"
        for topic in TOPICS
    ]
    derived = [reply_to("any"), retry_of("any"), dead_letters_of("any")]
    return {"topics.txt": "\n".join([*lines, *(f"derived: {name}" for name in derived)]) + "\n"}
