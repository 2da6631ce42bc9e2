-- Under which master key each key is wrapped, so that a master key can be replaced while services run; until when
-- tokens are in force.

-- The first 8 bytes of a hash of the master key. Null where the key is stored plain, and where it was wrapped before
-- this column: then the right one is found by trying.
ALTER TABLE template_version
    ADD COLUMN key_id bytea,
    ADD CONSTRAINT template_version_key_id CHECK (key_id IS NULL OR key_wrapped AND octet_length(key_id) = 8);
ALTER TABLE remote_secret
    ADD COLUMN key_id bytea,
    ADD CONSTRAINT remote_secret_key_id CHECK (key_id IS NULL OR wrapped AND octet_length(key_id) = 8);

-- Null is for ever, or until it is revoked.
ALTER TABLE token
    ADD COLUMN expires_at timestamptz,
    ADD CONSTRAINT token_expires_after_it_is_made CHECK (expires_at > created_at);
