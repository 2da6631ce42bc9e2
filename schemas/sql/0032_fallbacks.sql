-- Fallbacks: programs whose codes are given where a program gives none.

-- Their short names, which never change; which reasons they are for; and how long a remote service is waited for first.
ALTER TABLE program ADD COLUMN fallback text[] NOT NULL DEFAULT '{}' CHECK (
    cardinality(fallback) <= 3 AND NOT name = ANY (fallback));
ALTER TABLE program ADD COLUMN fallback_on text[] NOT NULL DEFAULT '{pool_empty,maximum_reached,remote_failed}' CHECK (
    cardinality(fallback_on) > 0 AND fallback_on <@ '{pool_empty,maximum_reached,remote_failed}');
ALTER TABLE program ADD COLUMN fallback_after interval CHECK (
    fallback_after > interval '0' AND fallback_after <= interval '36500 days');
-- The programs that fall back to a given one.
CREATE INDEX program_by_fallback ON program USING gin (fallback) WHERE fallback <> '{}';

-- For a code of a fallback: the program that was asked, and the number of the fallback in its list (from 1).
-- `program_id` is the program that the code is from. No constraint: it would be checked for each row of all answers;
-- the audit has its rule.
ALTER TABLE answer ADD COLUMN asked_program_id bigint;
ALTER TABLE answer ADD COLUMN link smallint;

-- The audit judges a given code by the list that held then.
ALTER TABLE program_history ADD COLUMN fallback text[] NOT NULL DEFAULT '{}';

CREATE OR REPLACE FUNCTION note_program_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE'
        AND (OLD.active, OLD.removed_at IS NULL, OLD.valid_from, OLD.valid_until, OLD.campaign_can_create,
             OLD.scenario_can_create, OLD.shared, OLD.min_life_at_attach, OLD.fallback)
            IS NOT DISTINCT FROM
            (NEW.active, NEW.removed_at IS NULL, NEW.valid_from, NEW.valid_until, NEW.campaign_can_create,
             NEW.scenario_can_create, NEW.shared, NEW.min_life_at_attach, NEW.fallback)
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO program_history (program_id, held_from, active, removed, valid_from, valid_until, campaign_can_create,
                                 scenario_can_create, shared, min_life_at_attach, fallback)
    -- Nobody else sees a new program before its commit, and what its own transaction makes is made by its rules.
    VALUES (NEW.id, CASE TG_OP WHEN 'INSERT' THEN NEW.created_at ELSE clock_timestamp() END, NEW.active,
            NEW.removed_at IS NOT NULL, NEW.valid_from, NEW.valid_until, NEW.campaign_can_create,
            NEW.scenario_can_create, NEW.shared, NEW.min_life_at_attach, NEW.fallback);
    RETURN NULL;
END
$$;

DO $$
BEGIN
    -- As before: it writes what its caller may not write, and where it looks for tables is not for its caller to say.
    EXECUTE format('ALTER FUNCTION note_program_settings() SECURITY DEFINER SET search_path = pg_catalog, %I, pg_temp',
                   current_schema());
END
$$;

DROP TRIGGER program_settings_noted ON program;
CREATE CONSTRAINT TRIGGER program_settings_noted
    AFTER INSERT OR UPDATE OF active, removed_at, valid_from, valid_until, campaign_can_create, scenario_can_create,
                              shared, min_life_at_attach, fallback
    ON program DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_program_settings();
