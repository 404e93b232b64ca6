-- A model can be taken out of an environment and put back by a person, with a reason.

ALTER TABLE model_registry_entries
    ADD COLUMN disabled_from text,
    ADD CONSTRAINT slipway_entry_disabled_from
        CHECK (disabled_from IS NULL OR (disabled_from IN ('ready', 'degraded') AND deployment_status = 'disabled'));

COMMENT ON COLUMN model_registry_entries.disabled_from IS 'The status that it had when a person took it out; null where it was superseded.';
COMMENT ON CONSTRAINT slipway_entry_disabled_from ON model_registry_entries IS 'Only what is disabled was taken out.';

GRANT INSERT (disabled_from), UPDATE (disabled_from) ON model_registry_entries TO slipway_admin;

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
    IF (OLD.deployment_status, NEW.deployment_status) NOT IN (
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
            OLD.deployment_status, NEW.deployment_status, NEW.model_name, NEW.deployment_environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_status_moves', TABLE = 'model_registry_entries';
    END IF;
    RETURN NEW;
END
$$;

-- Narrower than a right to update the table: an operator may do these two things and no other.
-- Both wait for their turn as every step of a release does, and return how many entries they moved.
CREATE FUNCTION slipway_disable(model text, environment text, reason text, actor text, organisation text DEFAULT NULL) RETURNS integer
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
    PERFORM pg_advisory_xact_lock(hashtextextended(
        jsonb_build_array('slipway', slipway_disable.organisation, slipway_disable.model, slipway_disable.environment)::text, 0
    ));
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

CREATE FUNCTION slipway_enable(model text, environment text, reason text, actor text, organisation text DEFAULT NULL) RETURNS integer
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
    PERFORM pg_advisory_xact_lock(hashtextextended(
        jsonb_build_array('slipway', slipway_enable.organisation, slipway_enable.model, slipway_enable.environment)::text, 0
    ));
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

-- A function that runs with its owner's rights must not look into its caller's schemas.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION slipway_disable SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION slipway_enable SET search_path = %I, pg_temp', current_schema());
END
$$;

REVOKE ALL ON FUNCTION slipway_disable, slipway_enable FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_disable, slipway_enable TO slipway_operator, slipway_admin;

COMMENT ON FUNCTION slipway_disable IS 'Take a model out of an environment until slipway_enable; routers answer 503 with the reason.';
COMMENT ON FUNCTION slipway_enable IS 'Put back what slipway_disable took out.';
