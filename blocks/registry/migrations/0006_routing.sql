-- What routers read, and how they hear of changes.

-- What counts is the first entry of a place in this order: ready, then taken out by a person, then the rest. So a lookup is one look into
-- one index, whatever its answer.
CREATE INDEX slipway_entry_places ON model_registry_entries (
    model_name,
    deployment_environment,
    coalesce(organisation, ''),
    (CASE WHEN deployment_status = 'ready' THEN 0 WHEN disabled_from IS NOT NULL THEN 1 ELSE 2 END),
    verified_at DESC NULLS LAST,
    updated_at DESC NULLS LAST
);
COMMENT ON INDEX slipway_entry_places IS 'The entries of a model in an environment, in the order in which they count.';

CREATE VIEW slipway_routes AS
SELECT
    organisation,
    model_name AS model,
    hub_revision,
    deployment_environment AS environment,
    CASE deployment_status WHEN 'ready' THEN deployment_endpoint END AS endpoint,
    candidate_fingerprint AS candidate,
    deployment_status AS status,
    verified_at,
    last_health_check_at AS last_checked_at,
    CASE deployment_status WHEN 'ready' THEN 200 ELSE 503 END AS http_status,
    CASE
        WHEN deployment_status = 'ready' THEN NULL
        WHEN disabled_from IS NOT NULL THEN
            format('model %s is disabled in %s: %s', model_name, deployment_environment, deployment_status_reason)
        ELSE format('model %s is not ready in %s: it is %s', model_name, deployment_environment, deployment_status)
    END AS message,
    CASE WHEN deployment_status = 'ready' THEN 0 WHEN disabled_from IS NOT NULL THEN 1 ELSE 2 END AS preference,
    updated_at
FROM model_registry_entries
WHERE deployment_environment IS NOT NULL AND hub_revision IS NOT NULL AND deployment_status IS NOT NULL
    AND (deployment_endpoint IS NOT NULL OR deployment_status <> 'ready');

COMMENT ON VIEW slipway_routes IS 'Where each entry is served, or why it is not. Of a model in an environment the lowest preference counts.';
COMMENT ON COLUMN slipway_routes.endpoint IS 'Host and port; null unless the entry is ready.';
COMMENT ON COLUMN slipway_routes.preference IS '0 ready, 1 taken out by a person, 2 not ready otherwise. Then the latest verified counts, then the latest changed.';

-- Its body is bound to the view whatever the caller's search_path is, and small enough to become part of the caller's query.
CREATE FUNCTION route(model text, hub_revision text DEFAULT NULL, environment text DEFAULT 'production', organisation text DEFAULT NULL)
RETURNS TABLE (endpoint text, candidate text, status text, last_checked_at timestamptz, http_status integer, message text)
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
        END
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN LATERAL (
        SELECT r.endpoint, r.candidate, r.status, r.last_checked_at, r.http_status, r.message
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

GRANT SELECT ON slipway_routes TO slipway_router, slipway_operator, slipway_admin;

-- Names the place and not the news: whoever hears it reads the row, so that it does not matter in what order or how often it is heard.
CREATE FUNCTION slipway_announce_route() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    place text;
BEGIN
    -- Of a row that moves to another place, both are news; the same twice in a transaction is told once.
    FOR place IN
        SELECT json_build_object('model', row.model, 'environment', row.environment, 'organisation', row.organisation)::text
        FROM (VALUES
            (TG_OP <> 'INSERT', OLD.model_name, OLD.deployment_environment, OLD.organisation),
            (TG_OP <> 'DELETE', NEW.model_name, NEW.deployment_environment, NEW.organisation)
        ) AS row (there, model, environment, organisation)
        WHERE row.there
    LOOP
        -- More than NOTIFY can carry: an empty object means "read everything again".
        PERFORM pg_notify('slipway_routes', CASE WHEN octet_length(place) < 8000 THEN place ELSE '{}' END);
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER slipway_routes_changed
    AFTER INSERT OR DELETE ON model_registry_entries
    FOR EACH ROW EXECUTE FUNCTION slipway_announce_route();

-- A health check is no change of a route.
CREATE TRIGGER slipway_routes_moved
    AFTER UPDATE ON model_registry_entries
    FOR EACH ROW
    WHEN ((
        OLD.deployment_status, OLD.deployment_status_reason, OLD.disabled_from, OLD.deployment_endpoint, OLD.candidate_fingerprint,
        OLD.verified_at, OLD.model_name, OLD.deployment_environment, OLD.organisation, OLD.hub_revision
    ) IS DISTINCT FROM (
        NEW.deployment_status, NEW.deployment_status_reason, NEW.disabled_from, NEW.deployment_endpoint, NEW.candidate_fingerprint,
        NEW.verified_at, NEW.model_name, NEW.deployment_environment, NEW.organisation, NEW.hub_revision
    ))
    EXECUTE FUNCTION slipway_announce_route();

COMMENT ON TRIGGER slipway_routes_changed ON model_registry_entries IS 'Announces changes of routes on the channel slipway_routes.';
COMMENT ON TRIGGER slipway_routes_moved ON model_registry_entries IS 'Announces changes of routes on the channel slipway_routes.';
