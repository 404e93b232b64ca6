-- The empty organisation was another one than none for turns, events and keys, and the same for routes: it is none now, everywhere. And a
-- judgement of an unknown kind was recorded.

-- No organisation has one name: null, also where the empty text is written. Keys and turns go by it.
CREATE FUNCTION slipway_no_organisation() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.organisation := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER slipway_no_organisation
    BEFORE INSERT ON model_registry_entries
    FOR EACH ROW
    WHEN (NEW.organisation = '' AND NEW.deployment_environment IS NOT NULL AND NEW.hub_revision IS NOT NULL)
    EXECUTE FUNCTION slipway_no_organisation();
COMMENT ON TRIGGER slipway_no_organisation ON model_registry_entries IS 'Takes the empty organisation for none.';

REVOKE ALL ON FUNCTION slipway_no_organisation FROM PUBLIC;

-- One that has a twin stays as it is: both count as entries without an organisation.
ALTER TABLE model_registry_entries ALTER COLUMN organisation DROP NOT NULL;
UPDATE model_registry_entries AS r
SET organisation = NULL
WHERE r.organisation = '' AND r.deployment_environment IS NOT NULL AND r.hub_revision IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM model_registry_entries AS twin
        WHERE twin.model_name = r.model_name
            AND twin.hub_revision = r.hub_revision
            AND twin.deployment_environment = r.deployment_environment
            AND twin.organisation IS NULL
    );

CREATE OR REPLACE FUNCTION slipway_chain_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    head slipway_chains;
    last record;
BEGIN
    IF NEW.kind = 'sealed' THEN
        -- What it says is not the writer's to choose: the ends of the chains that went on since the seal before, a thousand at the most.
        NEW.organisation := NULL;
        NEW.model_name := NULL;
        NEW.environment := NULL;
        NEW.candidate_fingerprint := NULL;
        head := slipway_lock_chain('*');
        SELECT jsonb_build_object('chains', jsonb_agg(jsonb_build_array(moved.chain, moved.position, moved.hash) ORDER BY moved.chain))
        INTO NEW.detail
        FROM (
            SELECT c.chain, c.position, c.hash
            FROM slipway_chains AS c
            LEFT JOIN slipway_sealed AS s ON s.chain = c.chain
            WHERE c.chain <> 0 AND c.position > coalesce(s.position, 0)
            ORDER BY c.chain
            LIMIT 1000
        ) AS moved;
        IF NEW.detail ->> 'chains' IS NULL THEN
            RETURN NULL;  -- all are sealed
        END IF;
    ELSE
        NEW.organisation := nullif(NEW.organisation, '');
        head := slipway_lock_chain(slipway_place(NEW.organisation, NEW.model_name, NEW.environment));
    END IF;
    -- Rows of this very statement are not in the chain's end yet.
    SELECT e.chain_position, e.hash INTO last
    FROM slipway_events AS e
    WHERE e.chain = head.chain AND e.chain_position > head.position
    ORDER BY e.chain_position DESC
    LIMIT 1;
    NEW.chain := head.chain;
    NEW.chain_position := coalesce(last.chain_position, head.position) + 1;
    NEW.previous_hash := coalesce(last.hash, head.hash);
    NEW.hash := slipway_event_hash(NEW);
    RETURN NEW;
END
$$;

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
    slipway_disable.organisation := nullif(slipway_disable.organisation, '');
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
    slipway_enable.organisation := nullif(slipway_enable.organisation, '');
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

CREATE OR REPLACE FUNCTION slipway_judge(
    kind text, organisation text, model text, environment text, fingerprint text, reason text, degraded_by text, holding text[],
    run_id text, actor text, detail jsonb, at timestamptz
) RETURNS boolean
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    IF slipway_judge.kind IS NULL OR slipway_judge.kind NOT IN ('degraded', 'recovered') THEN
        RAISE EXCEPTION 'what serves is found degraded or recovered, and not %', coalesce(left(slipway_judge.kind, 40), 'nothing')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    slipway_judge.organisation := nullif(slipway_judge.organisation, '');
    PERFORM slipway_turn(slipway_judge.organisation, slipway_judge.model, slipway_judge.environment);
    moment := coalesce(slipway_judge.at, clock_timestamp());
    IF slipway_judge.kind = 'degraded' THEN
        UPDATE model_registry_entries AS r
        SET deployment_status = 'degraded', deployment_status_reason = slipway_judge.reason,
            last_health_check_at = moment, updated_at = moment
        WHERE r.model_name = slipway_judge.model
            AND r.deployment_environment = slipway_judge.environment
            AND coalesce(r.organisation, '') = coalesce(slipway_judge.organisation, '')
            -- What was found bad may not serve any longer: then no row is touched.
            AND r.candidate_fingerprint = slipway_judge.fingerprint
            AND r.deployment_status = 'ready';
    ELSE
        -- One that lost its endpoint (last event `displaced`) comes back by a release only: what answers there now is another.
        UPDATE model_registry_entries AS r
        SET deployment_status = 'ready', deployment_status_reason = NULL, last_health_check_at = moment, updated_at = moment
        WHERE r.model_name = slipway_judge.model
            AND r.deployment_environment = slipway_judge.environment
            AND coalesce(r.organisation, '') = coalesce(slipway_judge.organisation, '')
            AND r.candidate_fingerprint = slipway_judge.fingerprint
            AND r.deployment_status = 'degraded'
            AND coalesce((
                SELECT e.kind <> 'displaced'
                    AND (slipway_judge.degraded_by IS NULL OR (e.kind = 'degraded' AND e.actor = slipway_judge.degraded_by))
                FROM slipway_events AS e
                WHERE e.candidate_fingerprint = r.candidate_fingerprint
                    AND e.model_name = r.model_name
                    AND e.environment = r.deployment_environment
                    AND e.organisation IS NOT DISTINCT FROM slipway_judge.organisation
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
                AND coalesce(r.organisation, '') = coalesce(slipway_judge.organisation, '')
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

-- Replacing a function takes its settings away.
DO $do$
DECLARE
    changed text;
BEGIN
    FOREACH changed IN ARRAY ARRAY[
        'slipway_no_organisation', 'slipway_chain_event', 'slipway_disable', 'slipway_enable', 'slipway_judge'
    ] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = pg_catalog, %I, pg_temp', changed, current_schema());
    END LOOP;
END
$do$;
