-- Services have roles of their own from here on: roles.sql makes them and says what each may do.

DO $$
BEGIN
    -- It writes what nobody else may write. Where it looks for tables is not for its caller to say.
    EXECUTE format('ALTER FUNCTION note_program_settings() SECURITY DEFINER SET search_path = pg_catalog, %I, pg_temp',
                   current_schema());
END
$$;
