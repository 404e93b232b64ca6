-- Remember a round of health checks: one statement for any number of entries. It waits for nobody: a row that somebody is changing keeps
-- what it has, and so does one that serves another candidate by now. Time never goes back.
WITH checked AS (
    SELECT *
    FROM unnest(
        %(organisations)s::text[], %(models)s::text[], %(hub_revisions)s::text[], %(environments)s::text[], %(fingerprints)s::text[],
        %(good)s::boolean[]
    ) AS c (organisation, model_name, hub_revision, environment, fingerprint, good)
),
free AS MATERIALIZED (
    SELECT e.ctid AS place, c.good
    FROM model_registry_entries AS e
    JOIN checked AS c
        ON e.model_name = c.model_name
        AND e.deployment_environment = c.environment
        AND e.hub_revision = c.hub_revision
        AND e.organisation IS NOT DISTINCT FROM c.organisation
        AND e.candidate_fingerprint IS NOT DISTINCT FROM c.fingerprint
    WHERE e.deployment_status IN ('ready', 'degraded')
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE model_registry_entries AS e
SET last_health_check_at = greatest(e.last_health_check_at, %(at)s),
    -- A round that is told twice (the first answer was lost) counts once.
    health_window = CASE
        WHEN e.last_health_check_at = %(at)s THEN e.health_window
        ELSE right(coalesce(e.health_window, '') || CASE WHEN free.good THEN '+' ELSE '-' END, 5)
    END
FROM free
-- The row is locked, so it is still in its place (ctid).
WHERE e.ctid = free.place
RETURNING
    e.organisation, e.model_name AS model, e.hub_revision, e.deployment_environment AS environment,
    e.candidate_fingerprint AS fingerprint, e.deployment_status AS status, e.health_window AS window;
