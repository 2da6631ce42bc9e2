"""Example bodies and responses about dead letters and the audit log."""

from typing import Final

DEAD_LETTER: Final = {
    "at": "message-render:0:17",
    "written_at": "2026-11-23T10:00:00Z",
    "topic": "message-render",
    "reason": "reply_topic_refused",
    "replays": 0,
    "replayed_at": None,
    "event_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "key": "p-1001",
    "value_bytes": 41,
    "detail": "The topic elsewhere is not in CODEWELL_REPLY_TOPICS.",
    "profile_id": "p-1001",
    "came_from": "message-render:3:4711",
    "purged_at": None,
    "headers": [["codewell_reason", "reply_topic_refused"], ["kafka_replyTopic", "elsewhere"]],
    "value": '{"profile_id":"p-1001","programs":["SPRING"]}',
    "value_base64": None,
    "cut": False,
}
_LISTED_LETTER: Final = {
    name: value for name, value in DEAD_LETTER.items()
    if name not in {"profile_id", "came_from", "purged_at", "headers", "value", "value_base64", "cut"}
}  # fmt: skip
DEAD_LETTERS: Final = {"items": [_LISTED_LETTER], "next_cursor": None}
REPLAY_LETTERS: Final = {"reason": "reply_topic_refused", "dry_run": True}
REPLAYED_LETTERS: Final = {
    "dry_run": True, "replayed": 12, "replayed_before": 1, "too_often": 0, "without_event": 0, "too_large": 0,
    "next_cursor": None,
}  # fmt: skip
PURGE_LETTERS: Final = {"until": "2026-11-01", "dry_run": True}
PURGED_LETTERS: Final = {"dry_run": True, "purged": 12, "never_replayed": 0, "deleted": 12, "next_cursor": None}
AUDIT_LOG: Final = {
    "items": [
        {
            "place": 17, "at": "2026-11-23T10:00:00Z", "via": "token", "actor": "marketing",
            "database_user": "codewell", "verb": "program.update", "program": "SPRING",
            "details": {"changed": ["codes_max"]},
        }
    ],
    "next_cursor": "MTc",
}  # fmt: skip
VERIFICATION: Final = {
    "state": "intact", "verified_up_to": 17, "head": "17:" + "0c" * 32, "fault": None,
    "verified_at": "2026-11-23T10:00:00Z",
}  # fmt: skip
