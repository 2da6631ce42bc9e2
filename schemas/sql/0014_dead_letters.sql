-- What was done about dead letters: published again, or purged. Kafka keeps the letters themselves as they came.

ALTER TABLE dead_letter_replay RENAME TO dead_letter;
ALTER TABLE dead_letter
    -- Null until it is known that Kafka has the event again.
    ALTER COLUMN replayed_at DROP NOT NULL,
    ALTER COLUMN replayed_at DROP DEFAULT,
    -- Noted before the event is published: it is at this offset of the request topic's partition or behind it, if
    -- whoever published it got as far as that.
    ADD COLUMN replay_from bigint,
    -- Nobody wants to see it any more. Kafka deletes from the beginning of a partition only, so it may be there still.
    ADD COLUMN purged_at timestamptz;
