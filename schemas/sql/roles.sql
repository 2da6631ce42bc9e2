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
    FOREACH role IN ARRAY ARRAY['codewell_issuer', 'codewell_generator', 'codewell_console', 'codewell_lifecycle',
                                'codewell_auditor'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING MESSAGE = format(
                    'User %s may not make the roles of the services. As a superuser run: CREATE ROLE codewell_issuer; '
                    'CREATE ROLE codewell_generator; CREATE ROLE codewell_console; CREATE ROLE codewell_lifecycle; '
                    'CREATE ROLE codewell_auditor; '
                    'and then codewell migrate again.', current_user);
        END;
    END LOOP;
    -- Databases that come from before version 15 let everybody make tables.
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO codewell_issuer, codewell_generator, codewell_console, '
                   'codewell_lifecycle, codewell_auditor', current_schema());
END
$$;

REVOKE ALL ON FUNCTION note_program_settings(), chain_audit_entry(), refuse_change_of_audit_log(), refuse_reserved_code(),
    grant_token(bigint, text, bytea, text[], text[], interval), revoke_token(bigint, bigint),
    make_session_token(text[], text[], interval), make_session_token(text[], text[], interval, bytea),
    delete_ended_sessions(integer), note_alert(), move_oldest_request(uuid),
    drop_answer_filters(bigint[]),
    claim_known(bigint[], bigint[], double precision[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], uuid,
                uuid[], integer[], bigint[], text[], text[]),
    delete_expired_responses(),
    use_untouched(bigint, bigint[], bigint[], text[], integer[], timestamptz[], timestamptz[], bigint[], bigint[],
                  text[], text[], text[], integer[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], text[],
                  bigint[], text[], bytea[], smallint[], text[], bytea[]) FROM PUBLIC;

-- Reservations: everybody who reads a program's rules; who gives codes back also ends them.
GRANT SELECT ON reservation TO codewell_issuer, codewell_generator, codewell_console, codewell_auditor;
GRANT INSERT (program_id, source, source_id, count, granted, on_order, until, send_at, partial, overflow),
    UPDATE (count, granted, on_order, until, used_before, takers, revision, ended_at, ended_by)
    ON reservation TO codewell_console;
GRANT UPDATE (granted, on_order, used_before, takers, ended_at, ended_by) ON reservation TO codewell_generator;
GRANT SELECT, INSERT (reservation_id, revision, state, count, reserved, used)
    ON reservation_event TO codewell_generator, codewell_console;
GRANT UPDATE (published_at) ON reservation_event TO codewell_generator;
GRANT UPDATE (reservations) ON program TO codewell_generator, codewell_console;
GRANT UPDATE (size, open, reservation_id, reserved_at, reserved_first, reserved_size, reserved_used, reserved_takers,
              reserved_open) ON block TO codewell_generator, codewell_console;
-- Lists are split where a reservation needs a part of one.
GRANT SELECT ON code_state TO codewell_generator;
GRANT UPDATE (block_id, position) ON code TO codewell_generator;
-- And nothing is reserved of what is being taken back.
GRANT SELECT (id, state, error) ON import TO codewell_generator;

GRANT SELECT ON migration
    TO codewell_issuer, codewell_generator, codewell_console, codewell_lifecycle, codewell_auditor;

-- The stream of codes. Its reader sees no code's text, and needs the attribute REPLICATION, which no role hands on.
GRANT SELECT ON block, code_state TO codewell_lifecycle;
GRANT SELECT (id, name, groups) ON program TO codewell_lifecycle;
GRANT SELECT (request_id, ordinal, program_id, block_id, position, again, profile_id, expires_at, fields, answered_at,
              asked_program_id, link) ON answer TO codewell_lifecycle;
GRANT SELECT, INSERT, UPDATE, DELETE ON lifecycle_progress, lifecycle_profile TO codewell_lifecycle;
GRANT SELECT ON lifecycle_progress TO codewell_console, codewell_generator, codewell_auditor;
GRANT SELECT ON webhook_endpoint, webhook_event, webhook_delivery TO codewell_lifecycle;
GRANT INSERT (id, type, occurred_at, program_id, data) ON webhook_event TO codewell_lifecycle;
GRANT INSERT (endpoint_id, event_id) ON webhook_delivery TO codewell_lifecycle;
-- To forget a profile.
GRANT SELECT, INSERT, UPDATE, DELETE ON lifecycle_profile TO codewell_console, codewell_generator;

-- Issuers decide requests, and mint codes on the spot where a pool is empty.
GRANT SELECT ON program, template_version, block, code, code_state, answer, holding TO codewell_issuer;
GRANT UPDATE (made) ON program TO codewell_issuer;
GRANT UPDATE (next_number, skipped) ON template_version TO codewell_issuer;
GRANT INSERT (program_id, kind, version, first, size, expires_at, fields, origin, source, created_at)
    ON block TO codewell_issuer;
GRANT UPDATE (next, attached, holes, open, reserved_used, reserved_open, reserved_takers) ON block TO codewell_issuer;
GRANT EXECUTE ON FUNCTION
    claim_known(bigint[], bigint[], double precision[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], uuid,
                uuid[], integer[], bigint[], text[], text[]) TO codewell_issuer, codewell_console;
GRANT INSERT ON answer TO codewell_issuer;
GRANT INSERT, UPDATE ON holding TO codewell_issuer;

-- Codes of failed sends come back: issuers and consoles settle receipts, and generators end quarantines.
GRANT SELECT, INSERT, UPDATE (ended, ended_reason, ended_at) ON send_receipt
    TO codewell_issuer, codewell_generator, codewell_console;
GRANT SELECT, INSERT, UPDATE (number) ON return_minute TO codewell_issuer, codewell_generator, codewell_console;
GRANT INSERT (program_id, kind, size, expires_at, fields, origin, created_at),
      UPDATE (attached, deleted, returned) ON block TO codewell_issuer, codewell_generator;
GRANT INSERT, UPDATE (block_id, position) ON code TO codewell_issuer, codewell_generator;
GRANT SELECT, INSERT (block_id, position, returned_at, moved_to, moved_position, deleted_at),
      UPDATE (returned_at, moved_to, moved_position, deleted_at) ON code_state TO codewell_issuer, codewell_generator;
GRANT UPDATE (moved_position) ON code_state TO codewell_console;
GRANT SELECT, INSERT, DELETE ON holding TO codewell_issuer, codewell_generator;
-- A code that stays may have been reissued meanwhile.
GRANT SELECT (old_block_id, old_position, new_block_id, new_position) ON code_reissue TO codewell_issuer;
GRANT SELECT ON answer TO codewell_generator;

-- Generators make and order codes, split and retire blocks, and keep or forget profiles as their events say.
GRANT SELECT ON program, template_version, block, code, remote_request, remote_service, remote_secret
    TO codewell_generator;
GRANT UPDATE (made, on_order, texts_folded) ON program TO codewell_generator;
GRANT SELECT, INSERT ON folded_text TO codewell_generator;
GRANT UPDATE (next_number, skipped) ON template_version TO codewell_generator;
GRANT INSERT ON block, code, remote_request, remote_secret TO codewell_generator;
GRANT USAGE ON SEQUENCE block_id_seq TO codewell_generator;
GRANT UPDATE (size, open) ON block TO codewell_generator;
GRANT UPDATE (state, attempts, refused, next_attempt_at, leased_until, received, error, finished_at)
    ON remote_request TO codewell_generator;
GRANT UPDATE (failures, rest_until, error, error_at) ON remote_service TO codewell_generator;
GRANT SELECT, INSERT, UPDATE, DELETE ON profile TO codewell_generator;
GRANT SELECT, INSERT ON profile_field TO codewell_generator, codewell_console;
-- To forget a profile: another id takes the place of its own. Nobody changes anything else in an answer.
GRANT SELECT (profile_id, answered_at), UPDATE (profile_id) ON answer TO codewell_generator, codewell_console;
GRANT SELECT (profile_id), UPDATE (profile_id) ON bulk_change TO codewell_generator;
GRANT SELECT (profile_id), UPDATE (profile_id) ON code_use TO codewell_generator;
-- And to see whether an order uses the codes that it was refused.
GRANT SELECT (order_id, refusals) ON shop_order TO codewell_generator;
GRANT SELECT (program_id, block_id, position, order_id, used_at, ended_at) ON code_use TO codewell_generator;
-- And to see whether a shared code lives.
GRANT SELECT (program_id, profile_id, scope, expires_at), DELETE ON holding TO codewell_generator;
GRANT SELECT (body), UPDATE (body) ON idempotency TO codewell_generator;

-- Consoles do what people ask for by HTTP. They know tokens, and make and revoke them by these functions alone.
GRANT EXECUTE ON FUNCTION grant_token(bigint, text, bytea, text[], text[], interval), revoke_token(bigint, bigint),
    make_session_token(text[], text[], interval), make_session_token(text[], text[], interval, bytea)
    TO codewell_console;
GRANT SELECT ON program, template_version, block, code, code_state, answer, holding, remote_request, remote_service,
    remote_secret, import, import_bad_row, import_piece, profile, token, token_miss, idempotency TO codewell_console;
GRANT INSERT (name, title, description, groups, active, valid_from, valid_until, source, scenario_can_create,
              campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from,
              min_life_at_attach, fields, reuse, returns, return_after, reissues_max, allow_guessable, uses, holder_only, refund) ON program TO codewell_console;
GRANT UPDATE (title, description, groups, active, removed_at, valid_from, valid_until, source, scenario_can_create,
              campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from,
              min_life_at_attach, fields, reuse, returns, return_after, reissues_max, allow_guessable, uses, holder_only, refund, version, made, imported,
              on_order, changing) ON program TO codewell_console;
GRANT INSERT (fallback, fallback_on, fallback_after), UPDATE (fallback, fallback_on, fallback_after)
    ON program TO codewell_console;
GRANT INSERT (match, version_folded), UPDATE (match, version_folded, texts_folded) ON program TO codewell_console;
GRANT INSERT (retention), UPDATE (retention) ON program TO codewell_console;
GRANT INSERT ON template_version, block, code, code_state, answer, remote_request, remote_service, remote_secret
    TO codewell_console;
GRANT UPDATE (next_number, skipped) ON template_version TO codewell_console;
GRANT UPDATE (size, next, attached, deleted, returned, undone, holes, open, expires_at, voided_at, voided_from, voided)
    ON block TO codewell_console;
GRANT UPDATE (block_id, position), DELETE ON code TO codewell_console;
GRANT SELECT, INSERT ON code_reissue TO codewell_console;
GRANT SELECT, INSERT ON bulk_change, bulk_change_item TO codewell_console;
GRANT UPDATE (state, profile_id, listed, major, minor, done, changed, skipped, items, undo_until, undo_next, restored,
              ended_at) ON bulk_change TO codewell_console;
GRANT SELECT ON code_reissue, bulk_change, bulk_change_item TO codewell_auditor;
GRANT UPDATE (activated_at, deleted_at, returned_at, moved_to, undone_activations, hole, changed, expires_at, fields,
              uses, held_until) ON code_state TO codewell_console;
-- Holds and uses, for the shop. An event of an order does the same in an issuer.
GRANT SELECT, INSERT ON code_use, shop_order TO codewell_console, codewell_issuer;
GRANT UPDATE (profile_id, context, per_code, taken_at, held_until, used_at, ended_at, ended_by)
    ON code_use TO codewell_console, codewell_issuer;
GRANT UPDATE (paid_at, cancelled_at, refunded_at, refusals, changed_at) ON shop_order
    TO codewell_console, codewell_issuer;
GRANT INSERT (block_id, position), UPDATE (activated_at, undone_activations, hole, uses, held_until) ON code_state
    TO codewell_issuer;
-- A shared code that is used up is given to nobody else.
GRANT DELETE ON holding TO codewell_issuer;
GRANT INSERT, UPDATE, DELETE ON holding, profile TO codewell_console;
GRANT SELECT, INSERT, DELETE ON folded_text TO codewell_console;
GRANT UPDATE (ends_at) ON remote_secret TO codewell_console;
GRANT INSERT ON import, import_bad_row, import_piece TO codewell_console;
GRANT UPDATE (state, uploaded, rows_read, share_read, imported, attached, taken_back, bad, case_variants, error, ended_at) ON import
    TO codewell_console;
GRANT DELETE ON import_piece TO codewell_console;
GRANT SELECT, INSERT, DELETE ON upload, upload_piece TO codewell_console;
GRANT UPDATE (last_used) ON token TO codewell_console;
GRANT INSERT, UPDATE ON token_miss TO codewell_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON context_miss TO codewell_console;
GRANT SELECT, DELETE ON session TO codewell_console;
GRANT INSERT (hash, token_id, kind, name, ends_at, authenticated_at),
      UPDATE (authenticated_at, last_seen_at, ended_at) ON session TO codewell_console;
-- Links are made by commands alone.
GRANT SELECT, DELETE ON sign_in_link TO codewell_console;
GRANT SELECT, INSERT, DELETE ON kept_form TO codewell_console;
GRANT INSERT, UPDATE (body), DELETE ON idempotency TO codewell_console;
GRANT EXECUTE ON FUNCTION
    use_untouched(bigint, bigint[], bigint[], text[], integer[], timestamptz[], timestamptz[], bigint[], bigint[],
                  text[], text[], text[], integer[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], text[],
                  bigint[], text[], bytea[], smallint[], text[], bytea[])
    TO codewell_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON program_draft TO codewell_console;
-- When it was, and as whom the database was asked, is for the database to say.
GRANT INSERT (via, actor, verb, program, details) ON audit_entry TO codewell_console;
GRANT SELECT ON audit_entry, audit_chain TO codewell_console;
-- What was done about dead letters, for operators.
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letter TO codewell_console;

-- Every worker reports on itself and on what it gave. Generators remove what is old; consoles show it.
GRANT SELECT (id, report), INSERT, UPDATE (report, seen_at, state, waiting_for, counters)
    ON worker TO codewell_issuer, codewell_generator, codewell_console, codewell_lifecycle;
GRANT SELECT, INSERT, UPDATE (number) ON usage_minute, usage_hour
    TO codewell_issuer, codewell_generator, codewell_console;
GRANT SELECT (seen_at, state), DELETE ON worker TO codewell_generator;
GRANT DELETE ON usage_minute, usage_hour, return_minute TO codewell_generator;
GRANT EXECUTE ON FUNCTION delete_ended_sessions(integer) TO codewell_generator;
GRANT SELECT, INSERT, DELETE ON pool_level TO codewell_generator;
GRANT SELECT ON pool_level TO codewell_console;
GRANT SELECT ON demand_day, demand_done TO codewell_generator, codewell_console;
GRANT INSERT, UPDATE (hours), DELETE ON demand_day TO codewell_generator;
GRANT INSERT, UPDATE (until) ON demand_done TO codewell_generator;
GRANT SELECT ON worker TO codewell_console;

-- Alerts are raised by who finds a reason, and cleared by people, or by generators once their cause is gone. A trigger
-- writes their events; generators tell and remove them.
GRANT SELECT, INSERT (program_id, kind, key, level, details), UPDATE (last_at, count, details)
    ON alert TO codewell_issuer, codewell_generator, codewell_console;
GRANT UPDATE (cleared_at, cleared_by) ON alert TO codewell_issuer, codewell_generator, codewell_console;
GRANT UPDATE (reminded_at, over_at) ON alert TO codewell_generator;
GRANT INSERT (alerts), UPDATE (alerts) ON program TO codewell_console;
GRANT SELECT, UPDATE (published_at, handed_at), DELETE ON alert_event TO codewell_generator;
GRANT SELECT ON alert_event TO codewell_auditor;

-- And checks the promises when somebody asks for it.
GRANT SELECT ON program_history, alert_event TO codewell_console;
GRANT SELECT, INSERT (actor, rules), UPDATE (rules_done, ended_at, error, findings) ON promise_check
    TO codewell_console;

-- Auditors check the promises (`codewell audit`) and change nothing. They see no key and no secret.
GRANT SELECT ON folded_text TO codewell_auditor;
GRANT SELECT ON program, program_history, block, code, code_state, answer, holding, import, remote_request, code_use, shop_order, alert, send_receipt
    TO codewell_auditor;
GRANT SELECT (program_id, version, next_number, skipped) ON template_version TO codewell_auditor;
GRANT SELECT ON audit_entry, audit_chain TO codewell_auditor;

-- Webhooks: who has an event stores it for those that subscribe; generators deliver; consoles do what people ask for.
GRANT SELECT ON webhook_endpoint TO codewell_generator, codewell_console, codewell_auditor;
GRANT SELECT ON webhook_event, webhook_delivery TO codewell_generator, codewell_console, codewell_auditor;
GRANT INSERT (id, type, occurred_at, program_id, data) ON webhook_event TO codewell_generator;
GRANT DELETE ON webhook_event TO codewell_generator;
GRANT INSERT (endpoint_id, event_id) ON webhook_delivery TO codewell_generator, codewell_console;
GRANT UPDATE (state, attempts, next_attempt_at, ended_at) ON webhook_delivery TO codewell_generator;
GRANT UPDATE (state, attempts_before, next_attempt_at, ended_at) ON webhook_delivery TO codewell_console;
GRANT INSERT ON webhook_attempt TO codewell_generator;
GRANT SELECT ON webhook_attempt TO codewell_console;
GRANT SELECT ON webhook_secret TO codewell_generator, codewell_console;
GRANT INSERT (endpoint_id, secret, wrapped, key_id), UPDATE (ends_at), DELETE ON webhook_secret TO codewell_console;
GRANT INSERT (kind, target, description, types, groups),
      UPDATE (target, description, types, groups, active, inactive_reason, failures, rest_until, subscribed_at, removed_at) ON webhook_endpoint TO codewell_console;
GRANT UPDATE (active, inactive_reason, failures, rest_until, delivered_at) ON webhook_endpoint TO codewell_generator;

-- Old answers leave: who decides requests reads which ones are too old, and generators delete.
GRANT SELECT ON retention TO codewell_issuer, codewell_generator, codewell_console, codewell_auditor;
GRANT UPDATE (swept, refusals, vacuums) ON retention TO codewell_generator;
GRANT SELECT, INSERT, UPDATE (has_filter), DELETE ON freed_range TO codewell_generator;
GRANT EXECUTE ON FUNCTION move_oldest_request(uuid), drop_answer_filters(bigint[]) TO codewell_generator;
GRANT DELETE ON answer, send_receipt, code_state, code_use TO codewell_generator;
GRANT SELECT ON code_use TO codewell_generator;
GRANT UPDATE (archived, archived_used, archived_until) ON block TO codewell_generator;
GRANT SELECT (old_block_id, old_position, new_block_id, new_position, at) ON code_reissue TO codewell_generator;
GRANT SELECT (schema_version) ON worker TO codewell_generator;
