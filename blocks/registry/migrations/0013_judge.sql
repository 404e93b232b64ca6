-- What serves is found bad, or good again: by the monitor, for many models at once. In one statement each, so that nobody waits for a
-- client's answers meanwhile.
CREATE FUNCTION slipway_judge(
    kind text, organisation text, model text, environment text, fingerprint text, reason text, degraded_by text, holding text[],
    run_id text, actor text, detail jsonb, at timestamptz
) RETURNS boolean
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    PERFORM slipway_turn(slipway_judge.organisation, slipway_judge.model, slipway_judge.environment);
    moment := coalesce(slipway_judge.at, clock_timestamp());
    IF slipway_judge.kind = 'degraded' THEN
        UPDATE model_registry_entries AS r
        SET deployment_status = 'degraded', deployment_status_reason = slipway_judge.reason,
            last_health_check_at = moment, updated_at = moment
        WHERE r.model_name = slipway_judge.model
            AND r.deployment_environment = slipway_judge.environment
            AND r.organisation IS NOT DISTINCT FROM slipway_judge.organisation
            -- What was found bad may not serve any longer: then no row is touched.
            AND r.candidate_fingerprint = slipway_judge.fingerprint
            AND r.deployment_status = 'ready';
    ELSIF slipway_judge.kind = 'recovered' THEN
        -- One that lost its endpoint (last event `displaced`) comes back by a release only: what answers there now is another.
        UPDATE model_registry_entries AS r
        SET deployment_status = 'ready', deployment_status_reason = NULL, last_health_check_at = moment, updated_at = moment
        WHERE r.model_name = slipway_judge.model
            AND r.deployment_environment = slipway_judge.environment
            AND r.organisation IS NOT DISTINCT FROM slipway_judge.organisation
            AND r.candidate_fingerprint = slipway_judge.fingerprint
            AND r.deployment_status = 'degraded'
            AND coalesce((
                SELECT e.kind <> 'displaced'
                    AND (slipway_judge.degraded_by IS NULL OR (e.kind = 'degraded' AND e.actor = slipway_judge.degraded_by))
                FROM slipway_events AS e
                WHERE e.candidate_fingerprint = r.candidate_fingerprint
                    AND e.model_name = r.model_name
                    AND e.environment = r.deployment_environment
                    AND e.organisation IS NOT DISTINCT FROM r.organisation
                    AND e.kind = ANY(slipway_judge.holding)
                ORDER BY e.id DESC
                LIMIT 1
            -- No event: a row that was there before Slipway. A verification may bring it back, a health check may not.
            ), slipway_judge.degraded_by IS NULL);
    END IF;
    IF NOT FOUND THEN
        -- Said before, by this very call perhaps, whose answer was lost.
        RETURN EXISTS (
            SELECT FROM model_registry_entries AS r
            WHERE r.model_name = slipway_judge.model
                AND r.deployment_environment = slipway_judge.environment
                AND r.organisation IS NOT DISTINCT FROM slipway_judge.organisation
                AND r.candidate_fingerprint = slipway_judge.fingerprint
                AND r.deployment_status = CASE slipway_judge.kind WHEN 'recovered' THEN 'ready' ELSE slipway_judge.kind END
        );
    END IF;
    INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
    VALUES (
        moment, slipway_judge.kind, slipway_judge.organisation, slipway_judge.model, slipway_judge.environment, slipway_judge.fingerprint,
        slipway_judge.run_id, slipway_judge.actor, slipway_judge.detail
    );
    RETURN true;
END
$$;

-- The same, so that many at once do not wait for the disk one after the other. PostgreSQL lets one transaction at a time end that announces
-- something (NOTIFY), for as long as its end takes to reach the disk. So the change ends without waiting for the disk, and then a second
-- transaction waits for it: what is there when it has ended was written before it. It returns when the change is as safe as any other.
DO $do$
BEGIN
    EXECUTE format(
        $format$
CREATE PROCEDURE slipway_judge_together(
    kind text, organisation text, model text, environment text, fingerprint text, reason text, degraded_by text, holding text[],
    run_id text, actor text, detail jsonb, at timestamptz, INOUT holds boolean
)
LANGUAGE plpgsql
AS $$
BEGIN
    -- As of every transaction of the program (sql/settings.sql): this one begins and ends here.
    PERFORM pg_catalog.set_config('timezone', 'UTC', true), pg_catalog.set_config('lock_timeout', '15s', true);
    IF pg_catalog.current_setting('synchronous_commit') <> 'off' THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    END IF;
    holds := %1$I.slipway_judge(
        kind, organisation, model, environment, fingerprint, reason, degraded_by, holding, run_id, actor, detail, at
    );
    COMMIT;
    PERFORM pg_catalog.pg_logical_emit_message(true, 'slipway', '');
END
$$
$format$,
        current_schema()
    );
    EXECUTE format('ALTER FUNCTION slipway_judge SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$do$;

COMMENT ON FUNCTION slipway_judge IS 'What serves is found bad (degraded) or good again (recovered); whether it serves here and has that status now.';
COMMENT ON PROCEDURE slipway_judge_together IS 'slipway_judge for many writers at once: announced before it is on the disk, and returns when it is.';

REVOKE ALL ON FUNCTION slipway_judge FROM PUBLIC;
REVOKE ALL ON PROCEDURE slipway_judge_together FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_judge TO slipway_admin;
GRANT EXECUTE ON PROCEDURE slipway_judge_together TO slipway_admin;
