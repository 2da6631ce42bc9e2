"""Formats Kafka's storage as its own tool does, without the second of a JVM that the tool takes."""

import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

META: Final = "meta.properties"
CHECKPOINT: Final = "bootstrap.checkpoint"
# What the tool of the pinned Kafka writes for a cluster with its default features: times apart, it is always the same.
_WRITTEN: Final = Path(__file__).with_name("kafka-bootstrap.checkpoint")


def new_id() -> str:
    """A random id in Kafka's form: 16 bytes as 22 characters."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def format_storage(data: Path, cluster_id: str, node_id: str) -> None:
    """Format the folder `data`, which does not exist."""
    data.mkdir(mode=0o700)
    (data / CHECKPOINT).write_bytes(_WRITTEN.read_bytes())
    meta = {"version": "1", "cluster.id": cluster_id, "node.id": node_id, "directory.id": new_id()}
    # It gets its name last and as a whole: a folder with it counts as formatted.
    partial = data / "meta.partial"
    partial.write_text("".join(f"{name}={value}\n" for name, value in meta.items()))
    partial.replace(data / META)
