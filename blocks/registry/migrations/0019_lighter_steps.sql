-- A change of a status took the server 0.7 ms of CPU: half of it for what can be said once, or need not be said. PostgreSQL reads the
-- condition of a trigger anew in each statement, plans a function of SQL that it cannot put into its caller in each transaction, and sets
-- search_path anew in each call.

-- STABLE, as convert_to is: only so it becomes part of the expression that calls it.
ALTER FUNCTION slipway_chained STABLE;

-- The chain's row is looked for here, where it nearly always is. The empty organisation is none (migration 0016).
CREATE OR REPLACE FUNCTION slipway_turn(organisation text, model text, environment text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    wanted text := jsonb_build_array(nullif(organisation, ''), model, environment)::text;
BEGIN
    PERFORM FROM slipway_chains WHERE place = wanted FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM slipway_lock_chain(wanted);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION slipway_chain_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    head slipway_chains;
    last record;
    wanted text;
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
        wanted := jsonb_build_array(NEW.organisation, NEW.model_name, NEW.environment)::text;
        SELECT * INTO head FROM slipway_chains WHERE place = wanted FOR UPDATE;
        IF NOT FOUND THEN
            head := slipway_lock_chain(wanted);
        END IF;
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

-- Of each row and not of a table of all rows, which is dearer to make than one row is to write.
CREATE OR REPLACE FUNCTION slipway_move_chains() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    UPDATE slipway_chains SET position = NEW.chain_position, hash = NEW.hash WHERE chain = NEW.chain;
    IF NEW.chain = 0 THEN
        INSERT INTO slipway_sealed (chain, position)
        SELECT (sealed.part ->> 0)::bigint, max((sealed.part ->> 1)::bigint)
        FROM jsonb_array_elements(NEW.detail -> 'chains') AS sealed (part)
        GROUP BY 1
        ON CONFLICT (chain) DO UPDATE SET position = excluded.position;
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER slipway_events_counted ON slipway_events;
CREATE TRIGGER slipway_events_counted
    AFTER INSERT ON slipway_events
    FOR EACH ROW EXECUTE FUNCTION slipway_move_chains();
COMMENT ON TRIGGER slipway_events_counted ON slipway_events IS 'Notes where the chains end.';

-- Names the place and not the news: whoever hears it reads the row, so that it does not matter in what order or how often it is heard.
CREATE OR REPLACE FUNCTION slipway_announce_route() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    before text;
    here text;
    told text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (
            OLD.deployment_status, OLD.deployment_status_reason, OLD.disabled_from, OLD.deployment_endpoint, OLD.candidate_fingerprint,
            OLD.verified_at, OLD.model_name, OLD.deployment_environment, OLD.organisation, OLD.hub_revision
        ) IS NOT DISTINCT FROM (
            NEW.deployment_status, NEW.deployment_status_reason, NEW.disabled_from, NEW.deployment_endpoint, NEW.candidate_fingerprint,
            NEW.verified_at, NEW.model_name, NEW.deployment_environment, NEW.organisation, NEW.hub_revision
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        before := json_build_object('model', OLD.model_name, 'environment', OLD.deployment_environment, 'organisation', OLD.organisation)::text;
        -- More than NOTIFY can carry: an empty object means "read everything again".
        told := pg_notify('slipway_routes', CASE WHEN octet_length(before) < 8000 THEN before ELSE '{}' END);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        here := json_build_object('model', NEW.model_name, 'environment', NEW.deployment_environment, 'organisation', NEW.organisation)::text;
        -- Of a row that moves to another place, both are news.
        IF here IS DISTINCT FROM before THEN
            told := pg_notify('slipway_routes', CASE WHEN octet_length(here) < 8000 THEN here ELSE '{}' END);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

-- A health check sets none of these columns, and whether a value changed the function sees.
DROP TRIGGER slipway_routes_moved ON model_registry_entries;
CREATE TRIGGER slipway_routes_moved
    AFTER UPDATE OF
        deployment_status, deployment_status_reason, disabled_from, deployment_endpoint, candidate_fingerprint, verified_at, model_name,
        deployment_environment, organisation, hub_revision
    ON model_registry_entries
    FOR EACH ROW EXECUTE FUNCTION slipway_announce_route();
COMMENT ON TRIGGER slipway_routes_moved ON model_registry_entries IS 'Announces changes of routes on the channel slipway_routes.';

DROP TRIGGER slipway_taken_out ON model_registry_entries;
CREATE TRIGGER slipway_taken_out
    BEFORE UPDATE OF disabled_from ON model_registry_entries
    FOR EACH ROW
    WHEN (
        NEW.disabled_from IS NOT NULL
        AND NEW.disabled_from IS DISTINCT FROM OLD.disabled_from
        AND NEW.disabled_from IS DISTINCT FROM OLD.deployment_status
        -- What is out may lose its endpoint meanwhile.
        AND (OLD.disabled_from, NEW.disabled_from) IS DISTINCT FROM ('ready', 'degraded')
    )
    EXECUTE FUNCTION slipway_refuse_taken_out();
COMMENT ON TRIGGER slipway_taken_out ON model_registry_entries IS 'Refuses to say of what was superseded that a person took it out.';

-- Replacing a function takes its settings away.
DO $do$
DECLARE
    changed text;
BEGIN
    FOREACH changed IN ARRAY ARRAY['slipway_turn', 'slipway_chain_event', 'slipway_move_chains', 'slipway_announce_route'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = pg_catalog, %I, pg_temp', changed, current_schema());
    END LOOP;
    -- A procedure that ends a transaction can have no settings of its own.
    EXECUTE format(
        $format$
CREATE OR REPLACE PROCEDURE slipway_judge_together(
    kind text, organisation text, model text, environment text, fingerprint text, reason text, degraded_by text, holding text[],
    run_id text, actor text, detail jsonb, at timestamptz, INOUT holds boolean
)
LANGUAGE plpgsql
AS $$
DECLARE
    told text;
    written pg_catalog.pg_lsn;
BEGIN
    -- As of every transaction of the program (sql/settings.sql), where the session does not have it: this one begins and ends here.
    IF pg_catalog.current_setting('lock_timeout') OPERATOR(pg_catalog.<>) '15s'
        OR pg_catalog.current_setting('timezone') OPERATOR(pg_catalog.<>) 'UTC'
    THEN
        told := pg_catalog.set_config('lock_timeout', '15s', true);
        told := pg_catalog.set_config('timezone', 'UTC', true);
    END IF;
    IF pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) 'off' THEN
        told := pg_catalog.set_config('synchronous_commit', 'off', true);
    END IF;
    holds := %1$I.slipway_judge(
        kind, organisation, model, environment, fingerprint, reason, degraded_by, holding, run_id, actor, detail, at
    );
    COMMIT;
    written := pg_catalog.pg_logical_emit_message(true, 'slipway', '');
END
$$
$format$,
        current_schema()
    );
END
$do$;

-- Brings its settings along: behind a pooler it is a transaction by itself, in one round trip. A table from before Slipway may have times without
-- a zone, which are read as UTC.
ALTER FUNCTION route_through_pooler SET timezone = 'UTC';
ALTER FUNCTION route_through_pooler SET lock_timeout = '15s';

-- What was read of a model (`about`) is no part of its fingerprint: an operator's word for it was believed. Only the pipeline registers candidates.
REVOKE INSERT (fingerprint, document, model_name, hub_revision) ON slipway_candidates FROM slipway_operator;
