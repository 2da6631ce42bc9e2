-- Which dead letters were published again. Kafka keeps the letters themselves as they came.

CREATE TABLE dead_letter_replay (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    "offset"    bigint NOT NULL,
    -- When the letter was written: a topic that was made anew counts its offsets anew.
    written_at  timestamptz NOT NULL,
    replayed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset", written_at)
);
