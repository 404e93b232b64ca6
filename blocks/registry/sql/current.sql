-- The entry that holds the endpoint: ready; or degraded or taken out, while its last event there is not `displaced`.
SELECT
    r.organisation, r.model_name AS model, r.hub_revision, r.deployment_environment AS environment, r.deployment_namespace AS namespace,
    r.deployment_endpoint AS endpoint, r.deployment_status AS status, r.deployment_status_reason AS status_reason,
    r.disabled_from, r.candidate_fingerprint AS fingerprint, r.helm_revision, r.deployment_git_commit AS git_commit, r.verified_at::timestamptz AS verified_at,
    r.last_health_check_at::timestamptz AS last_health_check_at, r.created_at::timestamptz AS created_at, r.updated_at::timestamptz AS updated_at
FROM model_registry_entries AS r
WHERE r.model_name = %(model)s
    AND r.deployment_environment = %(environment)s
    AND r.organisation IS NOT DISTINCT FROM %(organisation)s
    AND r.hub_revision IS NOT NULL
    AND (
        r.deployment_status = 'ready'
        -- Distinct, not unequal: a row that was there before Slipway has no event, and holds its endpoint.
        OR ((r.deployment_status = 'degraded' OR r.disabled_from IS NOT NULL) AND 'displaced' IS DISTINCT FROM (
            SELECT e.kind
            FROM slipway_events AS e
            WHERE e.candidate_fingerprint = r.candidate_fingerprint
                AND e.model_name = r.model_name
                AND e.environment = r.deployment_environment
                AND e.organisation IS NOT DISTINCT FROM r.organisation
                AND e.kind = ANY(%(holding)s)
            ORDER BY e.id DESC
            LIMIT 1
        ))
    )
-- A model has a row for each commit, and several may be degraded or out: the one that was ready until then counts first.
ORDER BY r.deployment_status = 'ready' DESC, r.disabled_from = 'ready' DESC NULLS LAST, r.verified_at DESC NULLS LAST
LIMIT 1;
