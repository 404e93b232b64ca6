-- A share of the requests first: which candidate gets how many of them beside the one that serves, and what routers are told of it.

CREATE TABLE slipway_canaries (
    organisation text,
    model_name text NOT NULL,
    environment text NOT NULL,
    run_id text NOT NULL,
    stable_fingerprint text NOT NULL,
    canary_fingerprint text NOT NULL,
    canary_endpoint text NOT NULL,
    weight integer NOT NULL DEFAULT 0,
    shadow integer NOT NULL DEFAULT 0,
    phase text NOT NULL DEFAULT 'coming',
    step integer NOT NULL DEFAULT 0,
    steps jsonb NOT NULL DEFAULT '[]',
    began_at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz,
    judge jsonb NOT NULL DEFAULT '{}',
    judged_at timestamptz,
    wish text,
    wish_actor text,
    wish_reason text,
    wished_at timestamptz,
    outcome text,
    outcome_reason text,
    CONSTRAINT slipway_canaries_shares CHECK (weight BETWEEN 0 AND 100 AND shadow BETWEEN 0 AND 100),
    CONSTRAINT slipway_canaries_phase CHECK (phase IN ('coming', 'running', 'held', 'taking_over', 'warm', 'ended')),
    CONSTRAINT slipway_canaries_unrouted CHECK (weight + shadow = 0 OR phase IN ('running', 'held', 'taking_over')),
    CONSTRAINT slipway_canaries_two CHECK (
        stable_fingerprint ~ '^[0-9a-f]{64}$' AND canary_fingerprint ~ '^[0-9a-f]{64}$' AND stable_fingerprint <> canary_fingerprint
    ),
    CONSTRAINT slipway_canaries_outcome CHECK ((phase = 'ended') = (outcome IS NOT NULL) AND outcome ~ '^[a-z][a-z_]{0,39}$'),
    CONSTRAINT slipway_canaries_wish CHECK (
        (wish IS NULL AND wish_actor IS NULL AND wish_reason IS NULL AND wished_at IS NULL)
        OR (
            wish IN ('promote', 'abort', 'hold', 'resume')
            AND wish_actor IS NOT NULL AND wish_reason IS NOT NULL AND wished_at IS NOT NULL
        )
    ),
    CONSTRAINT slipway_canaries_texts CHECK (
        organisation <> ''
        AND length(run_id) BETWEEN 1 AND 200
        AND canary_endpoint ~ '^[!-~]+$' AND length(canary_endpoint) <= 300
        AND length(wish_actor) <= 200
        AND length(wish_reason) <= 4000
        AND length(outcome_reason) <= 4000
    ),
    CONSTRAINT slipway_canaries_steps
        CHECK (step BETWEEN 0 AND 100 AND jsonb_typeof(steps) = 'array' AND octet_length(steps::text) <= 16384),
    -- As deep as every reader can read, as of events.
    CONSTRAINT slipway_canaries_judge
        CHECK (jsonb_typeof(judge) = 'object' AND octet_length(judge::text) <= 1048576 AND NOT judge @? 'strict $.**{200}'),
    CONSTRAINT slipway_canaries_times CHECK (
        began_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND since BETWEEN '1000-01-02' AND '9999-12-30'
        AND until BETWEEN '1000-01-02' AND '9999-12-30'
        AND judged_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND wished_at BETWEEN '1000-01-02' AND '9999-12-30'
    )
)
-- The judge's state is written every few seconds: with room beside each row no index is.
WITH (fillfactor = 50);

CREATE UNIQUE INDEX slipway_canaries_once ON slipway_canaries (model_name, environment, (coalesce(organisation, '')));

CREATE FUNCTION slipway_check_canary() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.phase <> OLD.phase AND NEW.phase <> 'ended' AND (OLD.phase, NEW.phase) NOT IN (
        ('coming', 'running'),
        ('coming', 'held'),
        ('running', 'held'),
        ('held', 'running'),
        ('running', 'taking_over'),
        ('held', 'taking_over'),
        ('taking_over', 'warm'),
        ('ended', 'coming')
    ) THEN
        RAISE EXCEPTION 'a canary cannot go from % to % (model %, environment %)', OLD.phase, NEW.phase, NEW.model_name, NEW.environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_canaries_moves', TABLE = 'slipway_canaries';
    END IF;
    -- By a lower weight conversations would go back one by one; at 0 all of them do.
    IF NEW.weight < OLD.weight AND NEW.weight <> 0 THEN
        RAISE EXCEPTION 'the weight of a canary rises or falls to 0, and does not go from % to % (model %, environment %)',
            OLD.weight, NEW.weight, NEW.model_name, NEW.environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_canaries_rise', TABLE = 'slipway_canaries';
    END IF;
    IF OLD.phase <> 'ended' AND (NEW.stable_fingerprint, NEW.canary_fingerprint) <> (OLD.stable_fingerprint, OLD.canary_fingerprint) THEN
        RAISE EXCEPTION 'a canary keeps its candidates until it has ended (model %, environment %)', NEW.model_name, NEW.environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_canaries_kept', TABLE = 'slipway_canaries';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER slipway_canaries_moves
    BEFORE UPDATE ON slipway_canaries
    FOR EACH ROW EXECUTE FUNCTION slipway_check_canary();

-- Names the place and not the news, as slipway_announce_route does, on the same channel.
CREATE FUNCTION slipway_announce_canary() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    place text := json_build_object('model', NEW.model_name, 'environment', NEW.environment, 'organisation', NEW.organisation)::text;
BEGIN
    PERFORM pg_notify('slipway_routes', CASE WHEN octet_length(place) < 8000 THEN place ELSE '{}' END);
    RETURN NULL;
END
$$;

CREATE TRIGGER slipway_canaries_routed
    AFTER INSERT ON slipway_canaries
    FOR EACH ROW
    WHEN (NEW.weight + NEW.shadow > 0)
    EXECUTE FUNCTION slipway_announce_canary();

CREATE TRIGGER slipway_canaries_shifted
    AFTER UPDATE ON slipway_canaries
    FOR EACH ROW
    WHEN (
        (OLD.weight, OLD.shadow) <> (NEW.weight, NEW.shadow)
        OR (NEW.weight + NEW.shadow > 0 AND OLD.canary_endpoint <> NEW.canary_endpoint)
    )
    EXECUTE FUNCTION slipway_announce_canary();

-- Narrower than a right to update the table: an operator may wish, and the run that judges the canary does it.
CREATE FUNCTION slipway_wish(model text, environment text, wish text, reason text, actor text, organisation text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    canary slipway_canaries;
    moment timestamptz;
BEGIN
    IF coalesce(slipway_wish.wish, '') NOT IN ('promote', 'abort', 'hold', 'resume') THEN
        RAISE EXCEPTION 'of a canary one may wish promote, abort, hold or resume, and not %', coalesce(left(slipway_wish.wish, 40), 'nothing')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(btrim(slipway_wish.reason), '') = '' OR coalesce(btrim(slipway_wish.actor), '') = '' THEN
        RAISE EXCEPTION 'a wish for a canary needs a reason and a name' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(slipway_wish.reason) > 4000 OR length(slipway_wish.actor) > 200 THEN
        RAISE EXCEPTION 'a reason has 4000 characters at the most, a name 200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    slipway_wish.organisation := nullif(slipway_wish.organisation, '');
    -- Looked for before the turn is waited for: that would leave a chain behind for any place that somebody makes up.
    PERFORM FROM slipway_canaries AS c
    WHERE c.model_name = slipway_wish.model AND c.environment = slipway_wish.environment
        AND coalesce(c.organisation, '') = coalesce(slipway_wish.organisation, '');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM slipway_lock_chain(slipway_place(slipway_wish.organisation, slipway_wish.model, slipway_wish.environment));
    SELECT * INTO canary FROM slipway_canaries AS c
    WHERE c.model_name = slipway_wish.model AND c.environment = slipway_wish.environment
        AND coalesce(c.organisation, '') = coalesce(slipway_wish.organisation, '');
    IF canary.phase = 'ended' THEN
        RETURN false;
    END IF;
    IF canary.phase IN ('taking_over', 'warm') THEN
        RAISE EXCEPTION 'the canary of % in % takes over or has taken over already: go back by slipway rollback', canary.model_name, canary.environment
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF canary.wish = slipway_wish.wish AND canary.wish_actor = slipway_wish.actor AND canary.wish_reason = slipway_wish.reason THEN
        RETURN true;  -- said before, by this very call perhaps, whose answer was lost
    END IF;
    moment := clock_timestamp();
    UPDATE slipway_canaries AS c
    SET wish = slipway_wish.wish, wish_actor = slipway_wish.actor, wish_reason = slipway_wish.reason, wished_at = moment
    WHERE c.model_name = slipway_wish.model AND c.environment = slipway_wish.environment
        AND coalesce(c.organisation, '') = coalesce(slipway_wish.organisation, '');
    INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
    VALUES (
        moment, 'canary_wished', slipway_wish.organisation, slipway_wish.model, slipway_wish.environment, canary.canary_fingerprint,
        canary.run_id, slipway_wish.actor, jsonb_build_object('wish', slipway_wish.wish, 'reason', slipway_wish.reason)
    );
    RETURN true;
END
$$;

COMMENT ON TABLE slipway_canaries IS 'A candidate beside the one that serves a model in an environment, and its share of the requests; the last one of each place.';
COMMENT ON COLUMN slipway_canaries.weight IS 'Percent of the requests that the canary answers.';
COMMENT ON COLUMN slipway_canaries.shadow IS 'Percent of the requests that it is sent too, without being the one that answers.';
COMMENT ON COLUMN slipway_canaries.canary_endpoint IS 'Host and port that a router sends the canary''s share to; it means this candidate for as long as the canary is open.';
COMMENT ON COLUMN slipway_canaries.phase IS 'coming, running, held, taking_over, warm (it took over, and the one before stays up), ended.';
COMMENT ON COLUMN slipway_canaries.since IS 'Since when it has this phase, step and weight.';
COMMENT ON COLUMN slipway_canaries.until IS 'When the step, or the time in which the one before stays up, ends; null if that is open.';
COMMENT ON COLUMN slipway_canaries.judge IS 'What the judge has seen, so that a run that is taken up again goes on with it.';
COMMENT ON COLUMN slipway_canaries.wish IS 'What an operator wants done: promote, abort, hold or resume; null once it is.';
COMMENT ON INDEX slipway_canaries_once IS 'One canary for each organisation, model and environment.';
COMMENT ON TRIGGER slipway_canaries_moves ON slipway_canaries IS 'Refuses phases that do not follow each other, and weights that fall.';
COMMENT ON TRIGGER slipway_canaries_routed ON slipway_canaries IS 'Announces changes of routes on the channel slipway_routes.';
COMMENT ON TRIGGER slipway_canaries_shifted ON slipway_canaries IS 'Announces changes of routes on the channel slipway_routes.';
COMMENT ON FUNCTION slipway_wish IS 'Ask the run of a canary to promote, abort, hold or resume it; false if there is none.';

-- Beside what it tells of an entry, and at the end: who reads the columns that were there goes on sending everything to what serves.
CREATE OR REPLACE VIEW slipway_routes AS
SELECT
    r.organisation,
    r.model_name AS model,
    r.hub_revision,
    r.deployment_environment AS environment,
    CASE r.deployment_status WHEN 'ready' THEN r.deployment_endpoint END AS endpoint,
    r.candidate_fingerprint AS candidate,
    r.deployment_status AS status,
    r.verified_at,
    r.last_health_check_at AS last_checked_at,
    CASE r.deployment_status WHEN 'ready' THEN 200 ELSE 503 END AS http_status,
    CASE
        WHEN r.deployment_status = 'ready' THEN NULL
        WHEN r.disabled_from IS NOT NULL THEN
            format('model %s is disabled in %s: %s', r.model_name, r.deployment_environment, r.deployment_status_reason)
        ELSE format('model %s is not ready in %s: it is %s', r.model_name, r.deployment_environment, r.deployment_status)
    END AS message,
    CASE WHEN r.deployment_status = 'ready' THEN 0 WHEN r.disabled_from IS NOT NULL THEN 1 ELSE 2 END AS preference,
    r.updated_at,
    100 - coalesce(c.weight, 0) AS weight,
    c.canary_endpoint,
    c.canary_fingerprint AS canary_candidate,
    coalesce(c.weight, 0) AS canary_weight,
    coalesce(c.shadow, 0) AS shadow
FROM model_registry_entries AS r
LEFT JOIN slipway_canaries AS c
    ON c.model_name = r.model_name
    AND c.environment = r.deployment_environment
    AND coalesce(c.organisation, '') = coalesce(r.organisation, '')
    -- Beside what it was begun beside, and only while that serves: what takes a model out takes its canary out.
    AND c.stable_fingerprint = r.candidate_fingerprint
    AND r.deployment_status = 'ready'
    AND c.weight + c.shadow > 0
WHERE r.deployment_environment IS NOT NULL AND r.hub_revision IS NOT NULL AND r.deployment_status IS NOT NULL
    AND (r.deployment_endpoint IS NOT NULL OR r.deployment_status <> 'ready');

COMMENT ON COLUMN slipway_routes.weight IS 'Percent of the requests that go to the endpoint; 100 without a canary.';
COMMENT ON COLUMN slipway_routes.canary_endpoint IS 'Host and port of the candidate that gets the others, or copies; null without a canary.';
COMMENT ON COLUMN slipway_routes.canary_weight IS 'Percent of the requests that go to the canary.';
COMMENT ON COLUMN slipway_routes.shadow IS 'Percent of the requests to the endpoint that the canary is sent a copy of.';

-- A function that returns more is another one.
DROP FUNCTION route_through_pooler(text, text, text, text);
DROP FUNCTION route(text, text, text, text);

CREATE FUNCTION route(model text, hub_revision text DEFAULT NULL, environment text DEFAULT 'production', organisation text DEFAULT NULL)
RETURNS TABLE (
    endpoint text, candidate text, status text, last_checked_at timestamptz, http_status integer, message text,
    weight integer, canary_endpoint text, canary_candidate text, canary_weight integer, shadow integer
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT
        found.endpoint,
        found.candidate,
        found.status,
        found.last_checked_at,
        coalesce(found.http_status, 404),
        CASE
            WHEN found.http_status IS NOT NULL THEN found.message
            WHEN route.hub_revision IS NULL THEN format('model %s is unknown in %s', route.model, route.environment)
            ELSE format('model %s has no hub revision %s in %s', route.model, route.hub_revision, route.environment)
        END,
        -- Who asks for a hub revision gets that one alone.
        CASE WHEN route.hub_revision IS NULL THEN coalesce(found.weight, 100) ELSE 100 END,
        CASE WHEN route.hub_revision IS NULL THEN found.canary_endpoint END,
        CASE WHEN route.hub_revision IS NULL THEN found.canary_candidate END,
        CASE WHEN route.hub_revision IS NULL THEN coalesce(found.canary_weight, 0) ELSE 0 END,
        CASE WHEN route.hub_revision IS NULL THEN coalesce(found.shadow, 0) ELSE 0 END
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN LATERAL (
        SELECT
            r.endpoint, r.candidate, r.status, r.last_checked_at, r.http_status, r.message,
            r.weight, r.canary_endpoint, r.canary_candidate, r.canary_weight, r.shadow
        FROM slipway_routes AS r
        WHERE r.model = route.model
            AND r.environment = route.environment
            AND coalesce(r.organisation, '') = coalesce(route.organisation, '')
            AND (route.hub_revision IS NULL OR r.hub_revision = route.hub_revision)
        ORDER BY r.preference, r.verified_at DESC NULLS LAST, r.updated_at DESC NULLS LAST
        LIMIT 1
    ) AS found ON true;
END;

COMMENT ON FUNCTION route IS 'Where a model is served: always one row, with an endpoint or with why there is none (http_status 404 or 503).';

DO $do$
DECLARE
    changed text;
BEGIN
    EXECUTE format(
        $format$
CREATE FUNCTION route_through_pooler(
    model text, hub_revision text DEFAULT NULL, environment text DEFAULT 'production', organisation text DEFAULT NULL
)
RETURNS TABLE (
    endpoint text, candidate text, status text, last_checked_at timestamptz, http_status integer, message text,
    weight integer, canary_endpoint text, canary_candidate text, canary_weight integer, shadow integer
)
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN QUERY SELECT found.* FROM %1$I.route($1, $2, $3, $4) AS found;
END
$$
$format$,
        current_schema()
    );
    FOREACH changed IN ARRAY ARRAY['route_through_pooler', 'slipway_check_canary', 'slipway_announce_canary', 'slipway_wish'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = pg_catalog, %I, pg_temp', changed, current_schema());
    END LOOP;
END
$do$;

COMMENT ON FUNCTION route_through_pooler IS 'The same as route, for connections without named statements, as behind a pooler.';

REVOKE ALL ON FUNCTION route_through_pooler, slipway_check_canary, slipway_announce_canary, slipway_wish FROM PUBLIC;
GRANT EXECUTE ON FUNCTION route_through_pooler TO slipway_router, slipway_operator, slipway_admin;
GRANT EXECUTE ON FUNCTION slipway_wish TO slipway_operator, slipway_admin;
GRANT SELECT ON slipway_canaries TO slipway_operator, slipway_admin;
GRANT
    INSERT (
        organisation, model_name, environment, run_id, stable_fingerprint, canary_fingerprint, canary_endpoint, steps, began_at, since
    ),
    UPDATE (
        run_id, stable_fingerprint, canary_fingerprint, canary_endpoint, weight, shadow, phase, step, steps, began_at, since, until,
        judge, judged_at, wish, wish_actor, wish_reason, wished_at, outcome, outcome_reason
    )
    ON slipway_canaries TO slipway_admin;
