-- Administrators make and revoke tokens over HTTP. Consoles have no right to write tokens: these two functions do it
-- with their owner's rights, and give nobody more than the token has that asks.

-- A person's right to make tokens does not end with the session, so neither do the tokens that the session makes.
CREATE FUNCTION grant_token(
    maker_id bigint, new_name text, new_hash bytea, new_scopes text[], new_groups text[], lifetime interval
) RETURNS SETOF token LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    maker token%ROWTYPE;
    ends  timestamptz := now() + lifetime;
    wrong text;
BEGIN
    -- Until the commit, nobody revokes it.
    SELECT * INTO maker FROM token
    WHERE id = maker_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FOR SHARE;
    wrong := CASE
        WHEN maker.id IS NULL OR NOT 'admin' = ANY (maker.scopes)
            THEN 'Only a token in force with the scope admin makes others: use one.'
        WHEN maker.groups <> '{}' AND (new_groups = '{}' OR NOT new_groups <@ maker.groups)
            THEN format('This token makes tokens only in its own groups: set groups to some of %s.',
                        array_to_string(maker.groups, ', '))
        -- `admin` includes the others but this one, which a token without groups needs no scope for.
        WHEN 'profiles' = ANY (new_scopes) AND maker.groups <> '{}' AND NOT 'profiles' = ANY (maker.scopes)
            THEN 'This token lacks the scope profiles, so it cannot grant it: leave it out.'
        WHEN maker.kind = 'api' AND (ends IS NULL AND maker.expires_at IS NOT NULL OR ends > maker.expires_at)
            THEN format('A token ends no later than the one that makes it, at %s UTC: set expires_in to less.',
                        to_char(maker.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
    END;
    IF wrong IS NOT NULL THEN
        RAISE insufficient_privilege USING MESSAGE = wrong, CONSTRAINT = 'token_grant';
    END IF;
    RETURN QUERY INSERT INTO token (name, hash, scopes, groups, expires_at)
        VALUES (new_name, new_hash, new_scopes, new_groups, ends) RETURNING *;
END
$$;

-- Nothing where there is no such token in force, or none that the one that asks may see. Tokens of sessions end
-- with their sessions.
CREATE FUNCTION revoke_token(revoker_id bigint, revoked_id bigint)
RETURNS SETOF token LANGUAGE sql SECURITY DEFINER AS $$
    UPDATE token SET revoked_at = now()
    FROM (SELECT groups FROM token
          WHERE id = revoker_id AND 'admin' = ANY (scopes) AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > now()) FOR SHARE) AS revoker
    WHERE token.id = revoked_id AND token.revoked_at IS NULL AND token.kind = 'api'
      AND (revoker.groups = '{}' OR token.groups <> '{}' AND token.groups <@ revoker.groups)
    RETURNING token.*
$$;

DO $$
BEGIN
    -- Where they look for tables is not for their caller to say.
    EXECUTE format('ALTER FUNCTION grant_token SET search_path = pg_catalog, %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION revoke_token SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
