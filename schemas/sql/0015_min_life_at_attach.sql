-- The least rest of life with which a pooled code is given: one that expires sooner stays in the pool until it expires.
ALTER TABLE program ADD COLUMN min_life_at_attach interval CHECK (
    min_life_at_attach > interval '0' AND min_life_at_attach <= interval '36500 days');
ALTER TABLE program_history ADD COLUMN min_life_at_attach interval;

CREATE OR REPLACE FUNCTION note_program_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE'
        AND (OLD.active, OLD.removed_at IS NULL, OLD.valid_from, OLD.valid_until, OLD.campaign_can_create,
             OLD.scenario_can_create, OLD.shared, OLD.min_life_at_attach)
            IS NOT DISTINCT FROM
            (NEW.active, NEW.removed_at IS NULL, NEW.valid_from, NEW.valid_until, NEW.campaign_can_create,
             NEW.scenario_can_create, NEW.shared, NEW.min_life_at_attach)
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO program_history (program_id, held_from, active, removed, valid_from, valid_until, campaign_can_create,
                                 scenario_can_create, shared, min_life_at_attach)
    -- Nobody else sees a new program before its commit, and what its own transaction makes is made by its rules.
    VALUES (NEW.id, CASE TG_OP WHEN 'INSERT' THEN NEW.created_at ELSE clock_timestamp() END, NEW.active,
            NEW.removed_at IS NOT NULL, NEW.valid_from, NEW.valid_until, NEW.campaign_can_create,
            NEW.scenario_can_create, NEW.shared, NEW.min_life_at_attach);
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
                              shared, min_life_at_attach
    ON program DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_program_settings();
