-- What one of the roles could do to the others' work, and cannot any longer.

-- NULL is no status that an entry can be moved to. A row that never had one is not Slipway's until a release begins with it.
CREATE OR REPLACE FUNCTION slipway_check_status_move() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    -- What a person took out comes back as it was, or by a fresh verification. What was superseded comes back by a release only.
    IF OLD.deployment_status = 'disabled' AND (
        NEW.deployment_status = OLD.disabled_from
        OR (NEW.deployment_status = 'ready' AND OLD.disabled_from IS NOT NULL AND NEW.verified_at IS DISTINCT FROM OLD.verified_at)
    ) THEN
        RETURN NEW;
    END IF;
    IF OLD.deployment_status IS NULL AND (NEW.deployment_environment IS NULL OR NEW.hub_revision IS NULL) THEN
        RETURN NEW;  -- not Slipway's
    END IF;
    IF (coalesce(OLD.deployment_status, 'no status'), coalesce(NEW.deployment_status, 'no status')) NOT IN (
        ('no status', 'pending'),
        ('no status', 'deploying'),
        ('pending', 'deploying'),
        ('deploying', 'ready'),
        ('deploying', 'failed'),
        ('ready', 'degraded'),
        ('ready', 'failed'),
        ('ready', 'disabled'),
        ('degraded', 'ready'),
        ('degraded', 'failed'),
        ('degraded', 'disabled'),
        ('failed', 'deploying'),
        ('disabled', 'deploying')
    ) THEN
        RAISE EXCEPTION 'an entry cannot go from % to % (model %, environment %)',
            coalesce(OLD.deployment_status, 'no status'), coalesce(NEW.deployment_status, 'no status'),
            NEW.model_name, NEW.deployment_environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_status_moves', TABLE = 'model_registry_entries';
    END IF;
    RETURN NEW;
END
$$;

DROP TRIGGER slipway_status_moves ON model_registry_entries;
CREATE TRIGGER slipway_status_moves
    BEFORE UPDATE ON model_registry_entries
    FOR EACH ROW
    WHEN (OLD.deployment_status IS DISTINCT FROM NEW.deployment_status)
    EXECUTE FUNCTION slipway_check_status_move();
COMMENT ON TRIGGER slipway_status_moves ON model_registry_entries IS 'Refuses status changes that the release process does not have.';

-- Canonical JSON as the program writes it: keys sorted by code point, no white space, no escapes that are not needed, numbers as the
-- shortest text that is the same double.
CREATE FUNCTION slipway_canonical(document jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT
AS $$
DECLARE
    number text;
BEGIN
    CASE jsonb_typeof(document)
        WHEN 'object' THEN
            RETURN (
                SELECT '{' || coalesce(string_agg(to_json(e.key)::text || ':' || slipway_canonical(e.value), ',' ORDER BY e.key COLLATE "C"), '') || '}'
                FROM jsonb_each(document) AS e
            );
        WHEN 'array' THEN
            RETURN (
                SELECT '[' || coalesce(string_agg(slipway_canonical(a.value), ',' ORDER BY a.place), '') || ']'
                FROM jsonb_array_elements(document) WITH ORDINALITY AS a (value, place)
            );
        WHEN 'number' THEN
            number := document::text;
            -- Without a point it is an integer, of any length. PostgreSQL writes a double with an exponent from 1e15 on, Python from 1e16.
            IF position('.' IN number) = 0 OR abs(number::numeric) >= 1e15 THEN
                RETURN number;
            END IF;
            number := number::double precision::text;
            RETURN CASE WHEN number ~ '[.e]' THEN number ELSE number || '.0' END;
        ELSE
            RETURN document::text;
    END CASE;
END
$$;

-- What a candidate's fingerprint is taken over (flows/spec/candidate.py): all of it but what was read of the model, and without what came
-- to candidates later where it says nothing.
CREATE FUNCTION slipway_fingerprint(document jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT
AS $$
DECLARE
    identity jsonb := document - 'about';
    engine jsonb := document -> 'engine';
BEGIN
    IF identity -> 'remote_code' = 'false' THEN identity := identity - 'remote_code'; END IF;
    IF identity -> 'subfolder' = '""' THEN identity := identity - 'subfolder'; END IF;
    IF jsonb_typeof(engine) = 'object' THEN
        IF engine -> 'quantization' = '""' THEN engine := engine - 'quantization'; END IF;
        IF engine -> 'speculative' = 'null' THEN engine := engine - 'speculative'; END IF;
        IF engine -> 'load_format' = '"safetensors"' THEN engine := engine - 'load_format'; END IF;
        IF engine -> 'variables' = '{}' THEN engine := engine - 'variables'; END IF;
        identity := jsonb_set(identity, '{engine}', engine);
    END IF;
    RETURN encode(sha256(convert_to(slipway_canonical(identity), 'UTF8')), 'hex');
END
$$;

CREATE FUNCTION slipway_check_candidate() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.fingerprint IS DISTINCT FROM slipway_fingerprint(NEW.document) THEN
        RAISE EXCEPTION 'the fingerprint % is not that of its document', left(NEW.fingerprint, 12)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_candidates_checked', TABLE = TG_TABLE_NAME;
    END IF;
    IF (NEW.model_name, NEW.hub_revision) IS DISTINCT FROM (NEW.document ->> 'model', NEW.document ->> 'commit') THEN
        RAISE EXCEPTION 'candidate % is one of % at %, as its document says', left(NEW.fingerprint, 12),
            coalesce(NEW.document ->> 'model', 'no model'), coalesce(NEW.document ->> 'commit', 'no commit')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_candidates_checked', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION slipway_check_evidence() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.sha256 IS DISTINCT FROM encode(sha256(convert_to(slipway_canonical(NEW.document), 'UTF8')), 'hex') THEN
        RAISE EXCEPTION 'the SHA-256 % is not that of its document', left(NEW.sha256, 12)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_evidence_checked', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER slipway_candidates_checked
    BEFORE INSERT ON slipway_candidates
    FOR EACH ROW EXECUTE FUNCTION slipway_check_candidate();

CREATE TRIGGER slipway_evidence_checked
    BEFORE INSERT ON slipway_evidence
    FOR EACH ROW EXECUTE FUNCTION slipway_check_evidence();

COMMENT ON TRIGGER slipway_candidates_checked ON slipway_candidates IS 'Computes the fingerprint of the document, and refuses another one.';
COMMENT ON TRIGGER slipway_evidence_checked ON slipway_evidence IS 'Computes the hash of the document, and refuses another one.';

-- Numbers that only ever rise: with a lower one a lost holder would write again, or a used code would be good again.
CREATE FUNCTION slipway_refuse_fall() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% of % only ever rises', TG_ARGV[0], TG_TABLE_NAME USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER slipway_locks_rise
    BEFORE UPDATE ON slipway_locks
    FOR EACH ROW
    WHEN (NEW.fence < OLD.fence)
    EXECUTE FUNCTION slipway_refuse_fall('fence');

CREATE TRIGGER slipway_authenticators_rise
    BEFORE UPDATE ON slipway_authenticators
    FOR EACH ROW
    WHEN (NEW.last_step < OLD.last_step)
    EXECUTE FUNCTION slipway_refuse_fall('last_step');

COMMENT ON TRIGGER slipway_locks_rise ON slipway_locks IS 'Refuses a lower fence.';
COMMENT ON TRIGGER slipway_authenticators_rise ON slipway_authenticators IS 'Refuses a lower last step.';

-- The same two things as before. They wait for the turn that is a row, and only where there is something to wait for.
CREATE OR REPLACE FUNCTION slipway_disable(model text, environment text, reason text, actor text, organisation text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    moved record;
    number integer := 0;
BEGIN
    IF coalesce(btrim(slipway_disable.reason), '') = '' OR coalesce(btrim(slipway_disable.actor), '') = '' THEN
        RAISE EXCEPTION 'taking a model out needs a reason and a name' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(slipway_disable.reason) > 4000 OR length(slipway_disable.actor) > 200 THEN
        RAISE EXCEPTION 'a reason has 4000 characters at the most, a name 200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (
        SELECT FROM model_registry_entries
        WHERE model_name = slipway_disable.model
            AND deployment_environment = slipway_disable.environment
            AND coalesce(organisation, '') = coalesce(slipway_disable.organisation, '')
    ) THEN
        RETURN 0;
    END IF;
    PERFORM slipway_lock_chain(slipway_place(slipway_disable.organisation, slipway_disable.model, slipway_disable.environment));
    FOR moved IN
        UPDATE model_registry_entries
        SET deployment_status = 'disabled',
            disabled_from = deployment_status,
            deployment_status_reason = slipway_disable.reason,
            updated_at = clock_timestamp()
        WHERE model_name = slipway_disable.model
            AND deployment_environment = slipway_disable.environment
            AND coalesce(organisation, '') = coalesce(slipway_disable.organisation, '')
            AND hub_revision IS NOT NULL
            AND deployment_status IN ('ready', 'degraded')
        RETURNING candidate_fingerprint
    LOOP
        number := number + 1;
        INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, actor, detail)
        VALUES (
            clock_timestamp(), 'disabled', slipway_disable.organisation, slipway_disable.model, slipway_disable.environment,
            moved.candidate_fingerprint, slipway_disable.actor, jsonb_build_object('reason', slipway_disable.reason)
        );
    END LOOP;
    RETURN number;
END
$$;

CREATE OR REPLACE FUNCTION slipway_enable(model text, environment text, reason text, actor text, organisation text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    moved record;
    number integer := 0;
BEGIN
    IF coalesce(btrim(slipway_enable.reason), '') = '' OR coalesce(btrim(slipway_enable.actor), '') = '' THEN
        RAISE EXCEPTION 'putting a model back needs a reason and a name' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(slipway_enable.reason) > 4000 OR length(slipway_enable.actor) > 200 THEN
        RAISE EXCEPTION 'a reason has 4000 characters at the most, a name 200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (
        SELECT FROM model_registry_entries
        WHERE model_name = slipway_enable.model
            AND deployment_environment = slipway_enable.environment
            AND coalesce(organisation, '') = coalesce(slipway_enable.organisation, '')
    ) THEN
        RETURN 0;
    END IF;
    PERFORM slipway_lock_chain(slipway_place(slipway_enable.organisation, slipway_enable.model, slipway_enable.environment));
    FOR moved IN
        UPDATE model_registry_entries
        SET deployment_status = disabled_from,
            disabled_from = NULL,
            deployment_status_reason = CASE disabled_from WHEN 'degraded' THEN 'degraded already when it was taken out' END,
            updated_at = clock_timestamp()
        WHERE model_name = slipway_enable.model
            AND deployment_environment = slipway_enable.environment
            AND coalesce(organisation, '') = coalesce(slipway_enable.organisation, '')
            AND disabled_from IS NOT NULL
        RETURNING candidate_fingerprint
    LOOP
        number := number + 1;
        INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, actor, detail)
        VALUES (
            clock_timestamp(), 'enabled', slipway_enable.organisation, slipway_enable.model, slipway_enable.environment,
            moved.candidate_fingerprint, slipway_enable.actor, jsonb_build_object('reason', slipway_enable.reason)
        );
    END LOOP;
    RETURN number;
END
$$;

-- A right to a whole table is also a right to lock it: whoever has it for columns may add and change the same rows, and no LOCK TABLE stops
-- anybody else.
REVOKE INSERT ON slipway_candidates FROM slipway_operator, slipway_admin;
REVOKE INSERT ON slipway_evidence, slipway_events FROM slipway_admin;
REVOKE INSERT, UPDATE ON slipway_authenticators, slipway_locks FROM slipway_admin;
GRANT INSERT (fingerprint, document, model_name, hub_revision) ON slipway_candidates TO slipway_operator, slipway_admin;
GRANT INSERT (sha256, kind, document) ON slipway_evidence TO slipway_admin;
GRANT
    INSERT (event_key, occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
    ON slipway_events TO slipway_admin;
GRANT INSERT (approver), UPDATE (last_step, wrong_codes, locked_until) ON slipway_authenticators TO slipway_admin;
GRANT
    INSERT (organisation, model_name, environment, holder, fence, acquired_at, heartbeat_at),
    UPDATE (holder, fence, acquired_at, heartbeat_at)
    ON slipway_locks TO slipway_admin;

-- Whoever may execute a trigger's function may put it on a table of his own; route() alone is for everybody.
REVOKE ALL ON FUNCTION
    slipway_chained, slipway_event_hash, slipway_place, slipway_check_status_move, slipway_refuse_change, slipway_refuse_fall,
    slipway_announce_route, slipway_canonical, slipway_fingerprint, slipway_check_candidate, slipway_check_evidence
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_canonical, slipway_fingerprint TO slipway_operator, slipway_admin;

-- A name in a function's text means the same whoever calls it: otherwise a caller's temporary table would come first. Functions whose body
-- was bound when they were made need none, and could not become part of a query with one.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT p.oid
        FROM pg_proc AS p
        JOIN pg_language AS l ON l.oid = p.prolang
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'slipway\_%' AND l.lanname = 'plpgsql'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', ours, current_schema());
    END LOOP;
END
$$;
