-- Endpoints that events are delivered to, by HTTP or e-mail; the events; and each delivery with its attempts.

CREATE TABLE webhook_endpoint (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('webhook', 'slack', 'email')),
    -- A URL; of slack its beginning only, as the whole is a secret in webhook_secret; or an e-mail address.
    target          text NOT NULL CHECK (target <> ''),
    description     text NOT NULL DEFAULT '',
    -- Which events it gets: short types such as alert-raised.
    types           text[] NOT NULL CHECK (types <> '{}'),
    -- It gets events about programs of these access groups; '{}': about all programs.
    groups          text[] NOT NULL DEFAULT '{}',
    active          boolean NOT NULL DEFAULT true,
    -- Why it is not active; 'gone': it answered 410.
    inactive_reason text CHECK (inactive_reason IN ('person', 'gone')),
    -- Failed attempts in a row, and until when nothing is sent because of them or of Retry-After.
    failures        integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    rest_until      timestamptz,
    delivered_at    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Since when it gets what it gets: events that are stored later and that it subscribes to have a delivery.
    subscribed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at      timestamptz,
    CONSTRAINT webhook_endpoint_active CHECK (active = (inactive_reason IS NULL))
);

-- With what deliveries are signed; of slack, the URL. The newest has no end.
CREATE TABLE webhook_secret (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id bigint NOT NULL REFERENCES webhook_endpoint,
    secret      bytea NOT NULL,
    wrapped     boolean NOT NULL,
    key_id      bytea,
    made_at     timestamptz NOT NULL DEFAULT now(),
    ends_at     timestamptz
);
CREATE INDEX webhook_secret_of_endpoint ON webhook_secret (endpoint_id, id);

-- An event that some endpoint subscribes to, an inactive one too: it may ask for it later.
CREATE TABLE webhook_event (
    id          uuid PRIMARY KEY,
    type        text NOT NULL,
    occurred_at timestamptz NOT NULL,
    program_id  bigint REFERENCES program,
    -- The data as it is sent, byte for byte.
    data        text NOT NULL,
    stored_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_event_age ON webhook_event (stored_at);

CREATE TABLE webhook_delivery (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id     bigint NOT NULL REFERENCES webhook_endpoint,
    event_id        uuid NOT NULL REFERENCES webhook_event ON DELETE CASCADE,
    state           text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Attempts of earlier rounds; a person who resends begins a new one, with the delays from the first on.
    attempts_before integer NOT NULL DEFAULT 0 CHECK (attempts_before BETWEEN 0 AND attempts),
    -- A worker that sends it moves this to the end of its lease; one that dies lets it become due again.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    -- Any number of workers may store an event again; it is delivered once.
    CONSTRAINT webhook_delivery_once UNIQUE (event_id, endpoint_id),
    CHECK ((state = 'waiting') = (ended_at IS NULL)),
    CHECK (state <> 'delivered' OR attempts > 0)
);
CREATE INDEX webhook_delivery_of_endpoint ON webhook_delivery (endpoint_id, id);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_attempt_at) WHERE state = 'waiting';

CREATE TABLE webhook_attempt (
    delivery_id bigint NOT NULL REFERENCES webhook_delivery ON DELETE CASCADE,
    number      integer NOT NULL CHECK (number > 0),
    ended_at    timestamptz NOT NULL DEFAULT now(),
    -- Of HTTP or SMTP; null: no answer.
    status      integer,
    took_ms     integer NOT NULL CHECK (took_ms >= 0),
    error       text,
    -- The first characters of the answer, without data of the event.
    answer      text,
    PRIMARY KEY (delivery_id, number)
);
