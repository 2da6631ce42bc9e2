-- Rules of alerts, and what happened to alerts, until it is told: on the topic `alerts`, and by webhooks.

ALTER TABLE alert
    ADD COLUMN level       text NOT NULL DEFAULT 'warning' CHECK (level IN ('warning', 'critical')),
    -- When somebody was reminded last that it is open.
    ADD COLUMN reminded_at timestamptz;

-- When the cause was gone of an alert that a person had cleared before: its rule raises no other one until then.
ALTER TABLE alert ADD COLUMN over_at timestamptz;
CREATE INDEX alert_of_rules ON alert (program_id, kind) WHERE over_at IS NULL AND kind IN (
    'runs-out-within', 'pool-below', 'ends-within', 'codes-expire-within', 'refusals', 'remote-down', 'returns-share');

-- A program's rules of alerts; null: the defaults of the release.
ALTER TABLE program ADD COLUMN alerts jsonb CHECK (jsonb_typeof(alerts) = 'array');

CREATE INDEX return_minute_by_time ON return_minute (minute);

CREATE TABLE alert_event (
    -- The order in which events are told. The event of a later change of an alert has a higher number.
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The event's own id, a UUID of version 7: the time in milliseconds, then random bits.
    id           uuid NOT NULL DEFAULT encode(set_bit(set_bit(overlay(
                     uuid_send(gen_random_uuid())
                     PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                     FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid,
    alert_id     bigint NOT NULL REFERENCES alert,
    program_id   bigint NOT NULL,
    type         text NOT NULL CHECK (type IN ('raised', 'cleared', 'reminder')),
    level        text NOT NULL,
    -- As they were then.
    count        bigint NOT NULL,
    details      jsonb NOT NULL,
    occurred_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- When it was published on the topic, and when it was handed to webhooks: neither waits for the other.
    published_at timestamptz,
    handed_at    timestamptz
);

-- An alert is raised once and cleared once.
CREATE UNIQUE INDEX alert_event_once ON alert_event (alert_id, type) WHERE type <> 'reminder';
CREATE INDEX alert_event_unpublished ON alert_event (number) WHERE published_at IS NULL;
CREATE INDEX alert_event_unhanded ON alert_event (number) WHERE handed_at IS NULL;
CREATE INDEX alert_event_by_age ON alert_event (occurred_at);

-- Whoever raises or clears an alert, workers of earlier releases too, writes its event in the same transaction.
CREATE FUNCTION note_alert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO alert_event (alert_id, program_id, type, level, count, details)
    VALUES (NEW.id, NEW.program_id, TG_ARGV[0], NEW.level, NEW.count, NEW.details);
    RETURN NULL;
END
$$;

CREATE TRIGGER alert_raised AFTER INSERT ON alert FOR EACH ROW EXECUTE FUNCTION note_alert('raised');
CREATE TRIGGER alert_cleared AFTER UPDATE OF cleared_at ON alert FOR EACH ROW
    WHEN (OLD.cleared_at IS NULL AND NEW.cleared_at IS NOT NULL) EXECUTE FUNCTION note_alert('cleared');
CREATE TRIGGER alert_reminded AFTER UPDATE OF reminded_at ON alert FOR EACH ROW
    WHEN (NEW.reminded_at IS DISTINCT FROM OLD.reminded_at) EXECUTE FUNCTION note_alert('reminder');

DO $$
BEGIN
    -- Where it looks for tables is not for its caller to say.
    EXECUTE format('ALTER FUNCTION note_alert() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;

-- Alerts that are open already: what is told later of them has a beginning.
INSERT INTO alert_event (alert_id, program_id, type, level, count, details, occurred_at)
SELECT id, program_id, 'raised', level, count, details, raised_at FROM alert WHERE cleared_at IS NULL ORDER BY id;
