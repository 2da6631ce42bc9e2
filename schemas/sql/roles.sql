-- What each service may do in the database, and no more: group roles that nobody logs in as. Operators make users and
-- grant them one of these (`codewell login`). The user that ran the migrations owns all and runs the commands.
--
-- `codewell migrate` applies this file after the migrations, each time: a dump of the database has no roles, so that
-- one restored elsewhere has lost them and all that they may do. It gives what is missing and takes nothing away but
-- from PUBLIC; what a role is to lose, a migration revokes.

-- Roles are the whole cluster's, and databases many: they may be there already, or be made elsewhere just now.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['codewell_issuer', 'codewell_generator', 'codewell_console', 'codewell_auditor'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING MESSAGE = format(
                    'User %s may not make the roles of the services. As a superuser run: CREATE ROLE codewell_issuer; '
                    'CREATE ROLE codewell_generator; CREATE ROLE codewell_console; CREATE ROLE codewell_auditor; '
                    'and then codewell migrate again.', current_user);
        END;
    END LOOP;
    -- Databases that come from before version 15 let everybody make tables.
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO codewell_issuer, codewell_generator, codewell_console, '
                   'codewell_auditor', current_schema());
END
$$;

REVOKE ALL ON FUNCTION note_program_settings(), chain_audit_entry(), refuse_change_of_audit_log() FROM PUBLIC;

GRANT SELECT ON migration TO codewell_issuer, codewell_generator, codewell_console, codewell_auditor;

-- Issuers decide requests, and mint codes on the spot where a pool is empty.
GRANT SELECT ON program, template_version, block, code, code_state, answer, holding TO codewell_issuer;
GRANT UPDATE (made) ON program TO codewell_issuer;
GRANT UPDATE (next_number, skipped) ON template_version TO codewell_issuer;
GRANT INSERT (program_id, kind, version, first, size, expires_at, fields, origin, source, created_at)
    ON block TO codewell_issuer;
GRANT UPDATE (next, attached, holes, open) ON block TO codewell_issuer;
GRANT INSERT ON answer TO codewell_issuer;
GRANT INSERT, UPDATE ON holding TO codewell_issuer;

-- Generators make and order codes, split and retire blocks, and keep or forget profiles as their events say.
GRANT SELECT ON program, template_version, block, code, remote_request, remote_service, remote_secret
    TO codewell_generator;
GRANT UPDATE (made, on_order) ON program TO codewell_generator;
GRANT UPDATE (next_number, skipped) ON template_version TO codewell_generator;
GRANT INSERT ON block, code, remote_request, remote_secret TO codewell_generator;
GRANT USAGE ON SEQUENCE block_id_seq TO codewell_generator;
GRANT UPDATE (size, open) ON block TO codewell_generator;
GRANT UPDATE (state, attempts, refused, next_attempt_at, leased_until, received, error, finished_at)
    ON remote_request TO codewell_generator;
GRANT UPDATE (failures, rest_until, error, error_at) ON remote_service TO codewell_generator;
GRANT SELECT, INSERT, UPDATE, DELETE ON profile TO codewell_generator;
-- To forget a profile: another id takes the place of its own. Nobody changes anything else in an answer.
GRANT SELECT (profile_id, answered_at), UPDATE (profile_id) ON answer TO codewell_generator, codewell_console;
GRANT SELECT (program_id, profile_id), DELETE ON holding TO codewell_generator;
GRANT SELECT (body), UPDATE (body) ON idempotency TO codewell_generator;

-- Consoles do what people ask for by HTTP. They know tokens and make none.
GRANT SELECT ON program, template_version, block, code, code_state, answer, holding, remote_request, remote_service,
    remote_secret, import, import_bad_row, import_piece, profile, token, token_miss, idempotency TO codewell_console;
GRANT INSERT (name, title, description, groups, active, valid_from, valid_until, source, scenario_can_create,
              campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from, fields, reuse,
              allow_guessable) ON program TO codewell_console;
GRANT UPDATE (title, description, groups, active, removed_at, valid_from, valid_until, source, scenario_can_create,
              campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from, fields, reuse,
              allow_guessable, version, made, imported, on_order, changing) ON program TO codewell_console;
GRANT INSERT ON template_version, block, code, code_state, answer, remote_request, remote_service, remote_secret
    TO codewell_console;
GRANT UPDATE (next_number, skipped) ON template_version TO codewell_console;
GRANT UPDATE (size, next, attached, deleted, returned, undone, holes, open) ON block TO codewell_console;
GRANT UPDATE (block_id, position), DELETE ON code TO codewell_console;
GRANT UPDATE (activated_at, deleted_at, returned_at, hole, changed, expires_at, fields) ON code_state
    TO codewell_console;
GRANT INSERT, UPDATE, DELETE ON holding, profile TO codewell_console;
GRANT UPDATE (ends_at) ON remote_secret TO codewell_console;
GRANT INSERT ON import, import_bad_row, import_piece TO codewell_console;
GRANT UPDATE (state, uploaded, rows_read, imported, attached, taken_back, bad, error, ended_at) ON import
    TO codewell_console;
GRANT DELETE ON import_piece TO codewell_console;
GRANT UPDATE (last_used) ON token TO codewell_console;
GRANT INSERT, UPDATE ON token_miss TO codewell_console;
GRANT INSERT, UPDATE (body), DELETE ON idempotency TO codewell_console;
-- When it was, and as whom the database was asked, is for the database to say.
GRANT INSERT (via, actor, verb, program, details) ON audit_entry TO codewell_console;

-- Auditors check the promises (`codewell audit`) and change nothing. They see no key and no secret.
GRANT SELECT ON program, program_history, block, code, code_state, answer, holding, import, remote_request
    TO codewell_auditor;
GRANT SELECT (program_id, version, next_number, skipped) ON template_version TO codewell_auditor;
GRANT SELECT ON audit_entry, audit_chain TO codewell_auditor;
